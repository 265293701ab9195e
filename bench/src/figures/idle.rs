//! Figure 7: watchers that are sent only pings.

use super::{Load, Measures, Meter, number};
use crate::error::Error;
use crate::server::{Server, job};
use crate::update::Clock;
use crate::watchers::Watchers;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let mut watchers = Watchers::new(clock)?;
    watchers.connect(&server.address, load.watchers, |number| server.watched(&job(number)))?;
    server.settle()?;
    watchers.reset();
    let meter = Meter::start(server)?;
    watchers.turn_for(load.time)?;
    let (cpu, wall) = (meter.cpu()?, meter.wall());
    let pings = number(watchers.tally.pings);
    Ok(vec![
        ("server cores", cpu / wall),
        ("pings/watcher/s", pings / number(load.watchers) / wall),
        ("pings/CPU-s", pings / cpu),
    ])
}
