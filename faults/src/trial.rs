//! One fault: the time before, during and after it, and what watchers saw meanwhile.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::delays::Phase;
use crate::failure::Failure;
use crate::fault::{BOUND, Fault};
use crate::health::Judged;
use crate::job::{Job, Order};
use crate::result::{Readied, Row, Shown};
use crate::stage::{Load, Stage};
use crate::watcher::{Lie, Seen, Watcher};

/// How long a late watcher is waited for, to see how late it is.
const LATEST: Duration = Duration::from_secs(40);
/// How soon workers that can reach everything again have reported their jobs' ends.
const ENDED: Duration = Duration::from_secs(20);

/// Tries one fault. `lies` are given to the first watchers.
pub(crate) fn run(
    fault: Fault,
    load: &Load,
    lies: &[Lie],
    runtime: &Handle,
) -> Result<Row, Failure> {
    let load = &Load { rate: fault.rate(load.rate), ..load.clone() };
    let mut stage = Stage::set(fault.name(), fault.ground(), load, lies, runtime)?;
    let judged = fault
        .judges_health(load)
        .then(|| runtime.block_on(Judged::begin(&stage.world, stage.instances.len())));
    let judged = judged.transpose()?;
    let share = share_before(&stage, load, fault);
    let before = total(&stage, Job::confirmed);

    let begun = Instant::now();
    if let Some(judged) = &judged {
        judged.fall_ill();
    }
    stage.world.delays.enter(Phase::During);
    let end = fault.happen(&mut stage, load, runtime)?;
    stage.world.delays.enter(Phase::Unmeasured);
    let peak = stage.instances.iter().filter_map(|instance| Some(instance.held()?.peak)).max();
    if lies.is_empty() {
        stage.newcomers(fault.evicts(), runtime);
    }

    let back = until_newest(&stage, load, end);
    let readiness = (0..stage.instances.len()).filter(|number| fault.affects_readiness(*number));
    let readied = readiness.map(|number| readied(&stage, number, begun, end)).collect();
    let stale = until_none_stale(&stage, load);
    let health = judged.map(|judged| runtime.block_on(judged.verdict(end)));
    until_ended(&stage, load);

    let shown = Shown::of(&stage);
    let unended = stage.jobs.iter().filter(|job| !job.has_ended()).count();
    Ok(Row {
        fault,
        took: end - begun,
        share,
        confirmed: total(&stage, Job::confirmed) - before,
        lost: total(&stage, Job::lost),
        refused: total(&stage, Job::refused),
        back,
        stale,
        unended: unended as u64,
        missing_ends: missing_ends(&stage),
        shown,
        readied,
        p99: stage.world.delays.p99(),
        peak,
        health,
    })
}

/// Waits before the fault. Returns the share of the updates due meanwhile that workers reported.
#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
fn share_before(stage: &Stage, load: &Load, fault: Fault) -> f64 {
    stage.world.delays.enter(Phase::Before);
    let (quiet, first) = (Instant::now(), total(stage, Job::confirmed));
    sleep(load.wait(if fault.is_of_others() { 15.0 } else { 3.0 }, 0.5));
    let reported = total(stage, Job::confirmed) - first;
    let due = quiet.elapsed().as_secs_f64() * load.rate * load.jobs as f64;
    reported as f64 / due
}

/// Waits until every watcher shows the newest state. Returns how long after the fault's `end` each did.
fn until_newest(stage: &Stage, load: &Load, end: Instant) -> Vec<Option<Duration>> {
    // A running job is shown as newest once it shows something that was reported since.
    let target = |job: &Arc<Job>| {
        let goes_on = !job.has_ended() && job.order() != Order::Die;
        job.confirmed() + u64::from(goes_on)
    };
    let targets: Vec<_> = stage.jobs.iter().map(target).collect();
    for watcher in &stage.watchers {
        watcher.seen().sight.aim(targets[watcher.job], end);
    }
    stage.within(end + load.wait(LATEST.as_secs_f64(), BOUND.as_secs_f64()), |stage| {
        stage.watchers.iter().all(|watcher| watcher.seen().sight.reached().is_some())
    });
    let back = |watcher: &Arc<Watcher>| {
        let reached = watcher.seen().sight.reached();
        reached.map(|at| at.saturating_duration_since(end))
    };
    stage.watchers.iter().map(back).collect()
}

/// Lets other workers take over from those that were killed. Returns how many watchers are stale some time later.
fn until_none_stale(stage: &Stage, load: &Load) -> u64 {
    for job in stage.jobs.iter().filter(|job| job.order() == Order::Die) {
        job.retry();
    }
    sleep(load.wait(5.0, 1.0));
    let now: Vec<u64> = stage.jobs.iter().map(|job| job.confirmed()).collect();
    stage.within(Instant::now() + BOUND, |stage| stale(stage, &now) == 0);
    stale(stage, &now)
}

/// Ends all jobs, and waits until every watcher shows its job's end.
fn until_ended(stage: &Stage, load: &Load) {
    for job in &stage.jobs {
        job.give(Order::End);
    }
    stage.within(Instant::now() + ENDED, |stage| stage.jobs.iter().all(|job| job.has_ended()));
    stage.within(Instant::now() + BOUND, |stage| missing_ends(stage) == 0);
    // By then, a state that is shown twice has been.
    sleep(load.wait(5.0, 1.0));
}

impl Shown {
    fn of(stage: &Stage) -> Self {
        let mut shown = Self::default();
        for watcher in &stage.watchers {
            let seen = watcher.seen();
            let job = &stage.jobs[watcher.job];
            shown.states += seen.sight.states;
            shown.wrongs.add(seen.sight.wrongs);
            shown.twice += u64::from(seen.sight.ends > 1);
            shown.displaced += seen.displaced;
            shown.disconnected += u64::from(!seen.connected);
            shown.thrown_out.extend(seen.thrown_out.iter().cloned());
            let notes = seen.sight.notes.iter();
            shown.notes.extend(notes.map(|note| format!("{}: {note}", job.id)));
            if misses_end(stage, watcher.job, &seen) {
                shown.notes.push(format!(
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
        shown
    }
}

fn total(stage: &Stage, of: impl Fn(&Job) -> u64) -> u64 {
    stage.jobs.iter().map(|job| of(job)).sum()
}

/// How many watchers do not show what their worker knows to be accepted.
fn stale(stage: &Stage, now: &[u64]) -> u64 {
    let is_stale = |watcher: &&Arc<Watcher>| watcher.seen().sight.newest < now[watcher.job];
    stage.watchers.iter().filter(is_stale).count() as u64
}

/// How many watchers were not shown their job's end, or show something else now.
fn missing_ends(stage: &Stage) -> u64 {
    let misses = |watcher: &&Arc<Watcher>| misses_end(stage, watcher.job, &watcher.seen());
    stage.watchers.iter().filter(misses).count() as u64
}

fn misses_end(stage: &Stage, job: usize, seen: &Seen) -> bool {
    let job = &stage.jobs[job];
    job.has_ended() && (seen.sight.ends == 0 || seen.sight.newest != job.confirmed())
}

/// When the instance's `/readyz` changed to not ready, and back.
fn readied(stage: &Stage, number: usize, begun: Instant, end: Instant) -> Readied {
    let instance = &stage.instances[number];
    // It has 10 s to become ready again.
    stage.within(end + Duration::from_secs(10), |_| instance.readiness().ready);
    let readiness = instance.readiness();
    let unready = readiness.became_unready.filter(|(at, _)| *at >= begun);
    Readied {
        instance: number,
        unready: unready.as_ref().map(|(at, _)| *at - begun),
        reason: unready.map_or_else(String::new, |(_, reason)| reason),
        ready: readiness.ready.then(|| {
            readiness.became_ready.map_or(Duration::ZERO, |at| at.saturating_duration_since(end))
        }),
    }
}
