//! Figure 2: as many jobs as watchers, one each; reports over one connection, 16 deep.

use std::time::{Duration, Instant};

use super::{Load, Measures, Meter, ms, number};
use crate::error::Error;
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let mut updates = Updates::new(clock, server.padding(clock, load.size)?);
    let mut watchers = Watchers::new(clock)?;
    watchers.connect(&server.address, load.watchers, |number| server.watched(&job(number)))?;
    watchers.add_reporter(&server.address)?;
    // Once each, so that every job is known.
    report(server, &mut watchers, &mut updates, load, load.watchers)?;
    server.settle()?;
    watchers.reset();
    let meter = Meter::start(server)?;
    report(server, &mut watchers, &mut updates, load, load.deliveries)?;
    let (cpu, wall, client) = (meter.cpu()?, meter.wall(), meter.client_cores()?);
    let tally = &watchers.tally;
    let deliveries = number(tally.deliveries);
    Ok(vec![
        ("deliveries/CPU-s", deliveries / cpu),
        ("deliveries/s", deliveries / wall),
        ("delivered", deliveries / number(load.deliveries)),
        ("p50 ms", ms(&tally.latency, 0.5)),
        ("p99 ms", ms(&tally.latency, 0.99)),
        ("bytes", number(tally.bytes) / deliveries),
        ("client cores", client),
    ])
}

/// Reports `count` updates, to one job after the other in a scattered order, and waits for the deliveries.
/// A server may merge what a watcher has not seen yet, so it is the answers and quiet that end this.
pub(crate) fn report(
    server: &Server,
    watchers: &mut Watchers,
    updates: &mut Updates,
    load: &Load,
    count: usize,
) -> Result<(), Error> {
    let expected = watchers.tally.deliveries + count as u64;
    let mut sent = 0;
    let (mut seen, mut moved) = (0, Instant::now());
    loop {
        if let Some(reporter) = &mut watchers.reporter {
            while sent < count && reporter.in_flight() < load.depth {
                let (stamp, json) = updates.next(false);
                // A prime that divides none of the sizes used: every job comes once in each `watchers` updates.
                let number = usize::try_from(stamp.number).unwrap_or(0) * 7919 % load.watchers;
                reporter.queue(&server.reported(&job(number)), &json);
                sent += 1;
            }
        }
        watchers.flush()?;
        watchers.turn(Duration::from_millis(50))?;
        let deliveries = watchers.tally.deliveries;
        if deliveries != seen {
            (seen, moved) = (deliveries, Instant::now());
        }
        let answered = sent == count && watchers.in_flight() == 0;
        if answered && (deliveries >= expected || moved.elapsed() > Duration::from_secs(1)) {
            return Ok(());
        }
        if moved.elapsed() > Duration::from_secs(10) {
            return Err(Error::Late(format!(
                "{deliveries} of {expected} delivered, then nothing for 10 s"
            )));
        }
    }
}
