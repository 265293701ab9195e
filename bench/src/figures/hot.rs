//! Figure 3: one job with many watchers and more updates than there are writes to be had: 1,000 a second,
//! with at most so many reports unanswered. A server that cannot keep that pace is reported as fast as it answers.

use std::time::{Duration, Instant};

use super::{Load, Measures, Meter, ms, number};
use crate::error::Error;
use crate::reporter::{Pace, Paced};
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::{Watchers, histogram};

/// What is left out at the start, while windows open and pools fill.
const WARM_UP: Duration = Duration::from_secs(1);

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let updates = Updates::new(clock, server.padding(clock, load.size)?);
    let job = job(0);
    let mut watchers = Watchers::new(clock)?;
    watchers.connect(&server.address, load.watchers, |_| server.watched(&job))?;
    server.settle()?;
    let pace = Pace { rate: load.rate, depth: load.depth, time: WARM_UP + load.time, end: false };
    let reporter = Paced::start(server.address.clone(), vec![server.reported(&job)], updates, pace);
    watchers.turn_for(WARM_UP)?;
    watchers.reset();
    let before = watchers.newest();
    let mut ages = histogram();
    let meter = Meter::start(server)?;
    while meter.wall() < load.time.as_secs_f64() {
        let sample = Instant::now() + Duration::from_millis(10);
        while Instant::now() < sample {
            watchers.turn(Duration::from_millis(5))?;
        }
        watchers.record_ages(&mut ages);
    }
    let (cpu, wall, client) = (meter.cpu()?, meter.wall(), meter.client_cores()?);
    let updates = number(watchers.newest() - before);
    let deliveries = number(watchers.tally.deliveries);
    let measures = vec![
        ("deliveries/CPU-s", deliveries / cpu),
        ("deliveries/s", deliveries / wall),
        ("updates/s", updates / wall),
        ("delivered", deliveries / (updates.max(1.0) * number(load.watchers))),
        ("age p50 ms", ms(&ages, 0.5)),
        ("age p99 ms", ms(&ages, 0.99)),
        ("server cores", cpu / wall),
        ("client cores", client),
    ];
    // What is still under way is not measured, but it must arrive.
    let drained = Instant::now() + Duration::from_secs(60);
    while !reporter.is_done() && Instant::now() < drained {
        watchers.turn(Duration::from_millis(10))?;
    }
    let last = reporter.finish()?;
    watchers.aim(last.number);
    watchers.turn_until(
        Duration::from_secs(60),
        "the last update with every watcher",
        |watchers| watchers.reached() == load.watchers,
    )?;
    Ok(measures)
}
