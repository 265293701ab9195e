//! A thundering herd: an instance fails, and all its watchers connect at once to the other, which is busy. Measured: how long
//! until each has its job's present state, the latency of the other instance's own watchers, and the cost to Redis.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Load, Measures, ms, number};
use crate::error::Error;
use crate::reporter::{Pace, Paced};
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

/// Each is watched on the other instance as well, by one watcher, and reported all the time.
const JOBS: usize = 500;
/// The longest wait for the herd to connect and to have the present states.
const COMING: Duration = Duration::from_secs(60);

/// Each job has to be reported before the instance is lost: twice, because a busy server loses some of the reporter's turns.
///
/// # Errors
/// If `--seconds` times `--rate` is too little for that.
pub(crate) fn check(load: &Load) -> Result<(), Error> {
    let (reports, least) = (load.rate * load.time.as_secs_f64(), 2 * JOBS);
    if reports >= number(least) {
        return Ok(());
    }
    Err(Error::Limit(format!(
        "--seconds times --rate is {reports:.0}; at least {least} is needed, so that each of the {JOBS} jobs is reported"
    )))
}

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let addresses = server.addresses();
    let [lost, left] = addresses.as_slice() else {
        return Err(Error::Limit("a herd needs two instances: --servers shared".into()));
    };
    let updates = Updates::new(clock, server.padding(clock, load.size)?);
    let watched = |number: usize| server.watched(&job(number % JOBS));
    let (mut herd, mut others) = (Watchers::new(clock)?, Watchers::new(clock)?);
    others.connect(left, JOBS, watched)?;
    herd.connect(lost, load.watchers, watched)?;
    let pace =
        Pace { rate: load.rate, depth: load.depth, time: load.time * 2 + COMING, end: false };
    let jobs = (0..JOBS).map(|number| server.reported(&job(number))).collect();
    let _reporter = Paced::start(left.clone(), jobs, updates, pace);
    let (alone, scripts) = (Instant::now(), server.scripts_run());
    while alone.elapsed() < load.time {
        others.turn(Duration::from_millis(2))?;
        herd.turn(Duration::ZERO)?;
    }
    // Each report is a script and a delivery to one of the others. The rest is regular: reads of watched jobs, and probes.
    let regular = server.scripts_run() - scripts - number(others.tally.deliveries);
    // The lost instance does half of that.
    let regular_per_second = regular / 2.0 / load.time.as_secs_f64();
    let before = others.tally.latency.clone();
    others.reset();
    // A watcher has its job's present state if it has an update of the last round of all jobs, or a later one.
    let present = herd.newest().saturating_sub(2 * JOBS as u64).max(1);

    let (scripts, redis) = (server.scripts_run(), server.redis_cpu()?);
    server.lose_first();
    herd.disconnect();
    herd.aim(present);
    let began = Instant::now();
    let is_over = AtomicBool::new(false);
    let (coming, others) = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                others.turn(Duration::from_millis(5))?;
            }
            Ok::<_, Error>(others)
        });
        let coming = herd.connect(left, load.watchers, watched).and_then(|()| {
            let what = "the herd has the present states";
            herd.turn_until(COMING, what, |herd| herd.reached() >= load.watchers)
        });
        let coming = coming.map(|()| began.elapsed());
        is_over.store(true, Ordering::Relaxed);
        let panicked = |_| Err(Error::Server("the thread of the others panicked".into()));
        (coming, watching.join().unwrap_or_else(panicked))
    });
    let (coming, others) = (coming?, others?);
    let scripts = server.scripts_run() - scripts - number(others.tally.deliveries);
    let for_the_herd = scripts - regular_per_second * coming.as_secs_f64();
    Ok(vec![
        ("all present: ms", coming.as_secs_f64() * 1e3),
        ("others' p99 ms", ms(&others.tally.latency, 0.99)),
        ("others' p99 ms before", ms(&before, 0.99)),
        ("scripts/watcher", for_the_herd.max(0.0) / number(load.watchers)),
        ("Redis cores", (server.redis_cpu()? - redis) / coming.as_secs_f64()),
        ("others' deliveries", number(others.tally.deliveries)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_reports_for_all_jobs_are_refused() {
        let own = crate::HERD.load;
        check(&own).unwrap();
        let refused = check(&Load { time: Duration::from_secs(5), ..own }).unwrap_err().to_string();
        assert!(refused.contains("--seconds times --rate is 500"), "{refused}");
    }
}
