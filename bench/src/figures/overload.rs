//! Figure 4: more than any server can deliver one by one: 10,000 watchers of a job with 1,000 updates a second.
//! Meanwhile another job, with few watchers and a few updates a second, must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Load, Measures, Meter, mib, ms, number};
use crate::error::Error;
use crate::reporter::{Pace, Paced};
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::{Watchers, histogram};

const WARM_UP: Duration = Duration::from_secs(2);
const QUIET_WATCHERS: usize = 10;
const QUIET_RATE: f64 = 20.0;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let updates = Updates::new(clock, server.padding(clock, load.size)?);
    let (hot, quiet) = (job(0), job(1));
    let mut watchers = Watchers::new(clock)?;
    watchers.connect(&server.address, load.watchers, |_| server.watched(&hot))?;
    // The quiet job's watchers have a thread of their own, so that they see the server's delay, not this one's.
    let mut bystanders = Watchers::new(clock)?;
    bystanders.connect(&server.address, QUIET_WATCHERS, |_| server.watched(&quiet))?;
    server.settle()?;
    let start = server.memory()?;

    let time = WARM_UP + load.time;
    let pace = Pace { rate: load.rate, depth: load.depth, time, end: true };
    let hot_reporter =
        Paced::start(server.address.clone(), vec![server.reported(&hot)], updates.clone(), pace);
    let pace = Pace { rate: QUIET_RATE, depth: 1, time, end: false };
    let quiet_reporter =
        Paced::start(server.address.clone(), vec![server.reported(&quiet)], updates, pace);
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let bystanding = std::thread::spawn(move || {
        bystanders.turn_for(WARM_UP)?;
        bystanders.reset();
        while !stop.load(Ordering::Relaxed) {
            bystanders.turn(Duration::from_millis(50))?;
        }
        Ok::<_, Error>(bystanders)
    });

    let watched = watch(server, load, &mut watchers);
    // Reported or not: let the end come.
    let drained = Instant::now() + Duration::from_secs(60);
    let drain = |watchers: &mut Watchers| {
        while !hot_reporter.is_done() && Instant::now() < drained {
            watchers.turn(Duration::from_millis(5))?;
        }
        let end = hot_reporter.finish()?;
        watchers.aim(end.number);
        watchers.turn_until(Duration::from_secs(60), "the end with every watcher", |watchers| {
            watchers.reached() == load.watchers
        })?;
        Ok::<_, Error>(clock.now().saturating_sub(end.at))
    };
    let end = watched.and_then(|watched| Ok((watched, drain(&mut watchers)?)));
    over.store(true, Ordering::Relaxed);
    let bystanders = bystanding.join();
    let (watched, end) = end?;
    quiet_reporter.finish()?;
    let bystanders =
        bystanders.map_err(|_| Error::Server("the quiet watchers' thread panicked".into()))??;

    let mut measures = watched;
    measures.extend([
        ("end with all: ms", Duration::from_nanos(end).as_secs_f64() * 1e3),
        ("quiet p50 ms", ms(&bystanders.tally.latency, 0.5)),
        ("quiet p99 ms", ms(&bystanders.tally.latency, 0.99)),
        ("quiet updates", number(bystanders.tally.deliveries) / number(QUIET_WATCHERS)),
        ("MiB before", mib(start.pss)),
    ]);
    Ok(measures)
}

/// The steady part: how old what the watchers have is, what it costs, and the memory it takes.
fn watch(server: &Server, load: &Load, watchers: &mut Watchers) -> Result<Measures, Error> {
    watchers.turn_for(WARM_UP)?;
    watchers.reset();
    let before = watchers.newest();
    let mut ages = histogram();
    let meter = Meter::start(server)?;
    let (mut first, mut second) = (0, 0);
    let half = load.time.as_secs_f64() / 2.0;
    while meter.wall() < load.time.as_secs_f64() {
        let sample = Instant::now() + Duration::from_millis(100);
        while Instant::now() < sample {
            watchers.turn(Duration::from_millis(10))?;
        }
        watchers.record_ages(&mut ages);
        let pss = server.memory()?.pss;
        let most = if meter.wall() < half { &mut first } else { &mut second };
        *most = pss.max(*most);
    }
    let (cpu, wall, client) = (meter.cpu()?, meter.wall(), meter.client_cores()?);
    let deliveries = number(watchers.tally.deliveries);
    Ok(vec![
        ("age p99 ms", ms(&ages, 0.99)),
        ("age p50 ms", ms(&ages, 0.5)),
        ("updates/s", number(watchers.newest() - before) / wall),
        ("deliveries/s", deliveries / wall),
        ("deliveries/CPU-s", deliveries / cpu),
        ("server cores", cpu / wall),
        ("client cores", client),
        ("most MiB, first half", mib(first)),
        ("most MiB, second half", mib(second)),
    ])
}
