//! Figure 1: one job, many watchers, one update after the other. The next update is reported when every watcher
//! has the last one, so each delivery is a write of its own.

use std::time::Duration;

use super::{Load, Measures, Meter, ms, number};
use crate::error::Error;
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let mut updates = Updates::new(clock, server.padding(clock, load.size)?);
    let job = job(0);
    let path = server.reported(&job);
    let mut watchers = Watchers::new(clock)?;
    watchers.connect(&server.address, load.watchers, |_| server.watched(&job))?;
    watchers.add_reporter(&server.address)?;
    let mut one = |watchers: &mut Watchers| {
        let (stamp, json) = updates.next(false);
        watchers.aim(stamp.number);
        if let Some(reporter) = &mut watchers.reporter {
            reporter.queue(&path, &json);
        }
        watchers.flush()?;
        watchers.turn_until(Duration::from_secs(10), "an update with every watcher", |watchers| {
            watchers.reached() == load.watchers && watchers.in_flight() == 0
        })
    };
    for _ in 0..3 {
        one(&mut watchers)?;
    }
    server.settle()?;
    watchers.reset();
    let meter = Meter::start(server)?;
    for _ in 0..(load.deliveries / load.watchers).max(10) {
        one(&mut watchers)?;
    }
    let (cpu, wall, client) = (meter.cpu()?, meter.wall(), meter.client_cores()?);
    let tally = &watchers.tally;
    let deliveries = number(tally.deliveries);
    Ok(vec![
        ("deliveries/CPU-s", deliveries / cpu),
        ("deliveries/s", deliveries / wall),
        ("p50 ms", ms(&tally.latency, 0.5)),
        ("p99 ms", ms(&tally.latency, 0.99)),
        ("bytes", number(tally.bytes) / deliveries),
        ("client cores", client),
    ])
}
