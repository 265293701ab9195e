//! Figure 6: watchers that connect, each to a job of its own; then, once the jobs are known, all of them again.

use std::time::Duration;

use super::{Load, Measures, Meter, number};
use crate::error::Error;
use crate::figures::jobs;
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let mut updates = Updates::new(clock, server.padding(clock, load.size)?);
    let mut watchers = Watchers::new(clock)?;
    server.settle()?;
    let connect = |watchers: &mut Watchers| {
        let meter = Meter::start(server)?;
        watchers.connect(&server.address, load.watchers, |number| server.watched(&job(number)))?;
        let wall = meter.wall();
        // What follows the handshake (the first message, the state) belongs to it.
        watchers.turn_for(Duration::from_millis(300))?;
        Ok::<_, Error>((meter.cpu()?, wall))
    };
    let (cpu, wall) = connect(&mut watchers)?;
    watchers.add_reporter(&server.address)?;
    jobs::report(server, &mut watchers, &mut updates, load, load.watchers)?;
    watchers.disconnect();
    server.settle()?;
    let (again_cpu, again_wall) = connect(&mut watchers)?;
    let count = number(load.watchers);
    Ok(vec![
        ("connects/CPU-s", count / cpu),
        ("connects/s", count / wall),
        ("to a known job: connects/CPU-s", count / again_cpu),
        ("to a known job: connects/s", count / again_wall),
    ])
}
