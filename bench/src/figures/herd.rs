//! A thundering herd: an instance is lost, and all of its watchers come at once to the other, which is at work. How long
//! until each has its job's present state, what those who watched there before notice, and what it costs Redis.

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
/// For the herd to come: the longest wait.
const COMING: Duration = Duration::from_secs(60);

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let &[lost, left] = server.addresses().as_slice() else {
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
    let _reporter = Paced::start(left, jobs, updates, pace);
    let (alone, scripts) = (Instant::now(), server.scripts_run());
    while alone.elapsed() < load.time {
        others.turn(Duration::from_millis(2))?;
        herd.turn(Duration::ZERO)?;
    }
    // Each report is a script and a delivery to one of the others. The rest is regular: reads of watched jobs, and probes.
    let regular = server.scripts_run() - scripts - number(others.tally.deliveries);
    // Of which the lost instance does half.
    let regular_per_second = regular / 2.0 / load.time.as_secs_f64();
    let before = others.tally.latency.clone();
    others.reset();
    // Whoever has an update of the last round of all jobs, or a later one, has its job's present state.
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
