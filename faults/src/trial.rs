//! One fault, from before to after, and what everybody saw of it.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::delays::Phase;
use crate::failure::Failure;
use crate::fault::Fault;
use crate::job::{Job, Order};
use crate::result::{Readied, Row};
use crate::sight::Wrongs;
use crate::stage::{Load, Stage};
use crate::watcher::{Lie, Seen, Watcher};

/// By then, after a fault, every watcher has to show the newest state.
pub(crate) const BOUND: Duration = Duration::from_secs(5);
/// So long is waited to see how late who is too late is.
const LATEST: Duration = Duration::from_secs(40);
/// Workers that can reach everything again have told their jobs' ends by then.
const ENDED: Duration = Duration::from_secs(20);

/// Tries one fault. `lies` are told to the first watchers.
#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
pub(crate) fn run(
    fault: Fault,
    load: &Load,
    lies: &[Lie],
    runtime: &Handle,
) -> Result<Row, Failure> {
    let load = &Load { rate: fault.rate(load.rate), ..load.clone() };
    let mut stage = Stage::set(fault.name(), fault.ground(), load, lies, runtime)?;
    stage.world.delays.enter(Phase::Before);
    let (quiet, first) = (Instant::now(), total(&stage, Job::confirmed));
    sleep(load.wait(if fault.is_of_others() { 15.0 } else { 3.0 }, 0.5));
    let before = total(&stage, Job::confirmed);
    let due = quiet.elapsed().as_secs_f64() * load.rate * load.jobs as f64;
    let share = (before - first) as f64 / due;

    let begun = Instant::now();
    stage.world.delays.enter(Phase::During);
    let end = fault.happen(&mut stage, load, runtime)?;
    stage.world.delays.enter(Phase::Unmeasured);
    let took = end - begun;
    let peak = stage.instances.iter().filter_map(|instance| Some(instance.held()?.peak)).max();
    if lies.is_empty() {
        stage.newcomers(fault.evicts(), runtime);
    }

    // A job that goes on is newest when it shows something that was reported since.
    let mut targets = Vec::new();
    for job in &stage.jobs {
        let goes_on = !job.has_ended() && job.order() != Order::Die;
        targets.push(job.confirmed() + u64::from(goes_on));
    }
    for watcher in &stage.watchers {
        watcher.seen().sight.aim(targets[watcher.job], end);
    }
    stage.within(end + load.wait(LATEST.as_secs_f64(), BOUND.as_secs_f64()), |stage| {
        stage.watchers.iter().all(|watcher| watcher.seen().sight.reached().is_some())
    });
    let back = stage.watchers.iter().map(|watcher| {
        let reached = watcher.seen().sight.reached();
        reached.map(|at| at.saturating_duration_since(end))
    });
    let back: Vec<Option<Duration>> = back.collect();
    let readiness = (0..stage.instances.len()).filter(|number| fault.is_to_be_told(*number));
    let readied = readiness.map(|number| readied(&stage, number, begun, end)).collect();

    // Where a worker was killed, another one takes over.
    for job in stage.jobs.iter().filter(|job| job.order() == Order::Die) {
        job.retry();
    }
    sleep(load.wait(5.0, 1.0));
    let now: Vec<u64> = stage.jobs.iter().map(|job| job.confirmed()).collect();
    stage.within(Instant::now() + BOUND, |stage| stale(stage, &now) == 0);
    let stale = stale(&stage, &now);

    for job in &stage.jobs {
        job.give(Order::End);
    }
    stage.within(Instant::now() + ENDED, |stage| stage.jobs.iter().all(|job| job.has_ended()));
    stage.within(Instant::now() + BOUND, |stage| missing_ends(stage) == 0);
    // What is shown once too often is shown by then.
    sleep(load.wait(5.0, 1.0));

    let mut wrongs = Wrongs::default();
    let (mut twice, mut displaced, mut disconnected) = (0, 0, 0);
    let (mut thrown_out, mut notes) = (Vec::new(), Vec::new());
    for watcher in &stage.watchers {
        let seen = watcher.seen();
        wrongs.add(seen.sight.wrongs);
        twice += u64::from(seen.sight.ends > 1);
        displaced += seen.displaced;
        disconnected += u64::from(!seen.connected);
        thrown_out.extend(seen.thrown_out.iter().cloned());
        let job = &stage.jobs[watcher.job].id;
        notes.extend(seen.sight.notes.iter().map(|note| format!("{job}: {note}")));
        if misses_end(&stage, watcher.job, &seen) {
            let job = &stage.jobs[watcher.job];
            notes.push(format!(
                "{} ({:?}): its end is update {}; shown are {} ends, and last update {} at {}",
                job.id,
                job.kind,
                job.confirmed(),
                seen.sight.ends,
                seen.sight.newest,
                seen.sight.position.as_deref().unwrap_or("nothing"),
            ));
        }
    }
    let unended = stage.jobs.iter().filter(|job| !job.has_ended()).count();
    Ok(Row {
        fault,
        took,
        share,
        confirmed: total(&stage, Job::confirmed) - before,
        lost: total(&stage, Job::lost),
        refused: total(&stage, Job::refused),
        states: stage.watchers.iter().map(|watcher| watcher.seen().sight.states).sum(),
        back,
        stale,
        unended: unended as u64,
        missing_ends: missing_ends(&stage),
        twice,
        wrongs,
        thrown_out,
        notes,
        displaced,
        disconnected,
        readied,
        p99: stage.world.delays.p99(),
        peak,
    })
}

fn total(stage: &Stage, of: impl Fn(&Job) -> u64) -> u64 {
    stage.jobs.iter().map(|job| of(job)).sum()
}

/// Watchers that do not show what their worker knew to be there.
fn stale(stage: &Stage, now: &[u64]) -> u64 {
    let is_stale = |watcher: &&Arc<Watcher>| watcher.seen().sight.newest < now[watcher.job];
    stage.watchers.iter().filter(is_stale).count() as u64
}

/// Watchers that were not shown their job's end, or show something else now.
fn missing_ends(stage: &Stage) -> u64 {
    let misses = |watcher: &&Arc<Watcher>| misses_end(stage, watcher.job, &watcher.seen());
    stage.watchers.iter().filter(misses).count() as u64
}

fn misses_end(stage: &Stage, job: usize, seen: &Seen) -> bool {
    let job = &stage.jobs[job];
    job.has_ended() && (seen.sight.ends == 0 || seen.sight.newest != job.confirmed())
}

/// How soon the instance said that it is not ready, and that it is again.
fn readied(stage: &Stage, number: usize, begun: Instant, end: Instant) -> Readied {
    // It has 10 s; so long it is asked.
    let instance = &stage.instances[number];
    stage.within(end + Duration::from_secs(10), |_| instance.readiness().ready);
    let said = instance.readiness();
    let unready = said.became_unready.filter(|(at, _)| *at >= begun);
    Readied {
        instance: number,
        unready: unready.as_ref().map(|(at, _)| *at - begun),
        said: unready.map_or_else(String::new, |(_, said)| said),
        ready: said.ready.then(|| {
            said.became_ready.map_or(Duration::ZERO, |at| at.saturating_duration_since(end))
        }),
    }
}
