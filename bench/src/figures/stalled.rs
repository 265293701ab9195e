//! Figure 9: one job; a tenth of its watchers never read. Measured without them, then with them, on one server.

use std::time::{Duration, Instant};

use super::{Load, Measures, mib, ms, number};
use crate::error::Error;
use crate::reporter::{Pace, Paced};
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::{self, Watchers};

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let updates = Updates::new(clock, server.padding(clock, load.size)?);
    // Two jobs, so that the second run's updates do not depend on the first's.
    let without = readers(server, load, clock, updates.clone(), &job(0), 0)?;
    let with = readers(server, load, clock, updates, &job(1), load.stalled)?;
    Ok(vec![
        ("p99 with / without", with.p99 / without.p99),
        ("p99 ms without", without.p99),
        ("p99 ms with", with.p99),
        ("delivered without", without.delivered),
        ("delivered with", with.delivered),
        ("MiB, end / middle", mib(with.end) / mib(with.middle)),
        ("MiB before", mib(with.before)),
        ("MiB, middle", mib(with.middle)),
        ("MiB, end", mib(with.end)),
    ])
}

struct Readers {
    p99: f64,
    delivered: f64,
    before: u64,
    middle: u64,
    end: u64,
}

fn readers(
    server: &Server,
    load: &Load,
    clock: Clock,
    updates: Updates,
    job: &str,
    stalled: usize,
) -> Result<Readers, Error> {
    let mut watchers = Watchers::new(clock)?;
    let reading = load.watchers - load.stalled;
    // The stalled ones first: a server that goes through its watchers in order meets them first.
    let sockets = watchers::stalled(&server.address, stalled, &server.watched(job))?;
    watchers.connect(&server.address, reading, |_| server.watched(job))?;
    server.settle()?;
    let before = server.memory()?.pss;
    let pace = Pace { rate: load.rate, depth: load.depth, time: load.time, end: false };
    let reporter = Paced::start(server.address.clone(), vec![server.reported(job)], updates, pace);
    // The first half fills the stalled ones' socket buffers, in the kernel; it is not measured.
    watchers.turn_for(load.time / 2)?;
    watchers.reset();
    let newest = watchers.newest();
    let middle = server.memory()?.pss;
    let deadline = Instant::now() + load.time + Duration::from_secs(60);
    while !reporter.is_done() && Instant::now() < deadline {
        watchers.turn(Duration::from_millis(20))?;
    }
    let last = reporter.finish()?;
    watchers.aim(last.number);
    watchers.turn_until(
        Duration::from_secs(30),
        "the last update with every reader",
        |watchers| watchers.reached() == reading,
    )?;
    let end = server.memory()?.pss;
    drop(sockets);
    let delivered =
        number(watchers.tally.deliveries) / number(reading) / number(last.number - newest);
    Ok(Readers { p99: ms(&watchers.tally.latency, 0.99), delivered, before, middle, end })
}
