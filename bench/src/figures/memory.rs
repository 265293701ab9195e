//! Figure 5: memory in user space for an idle watcher with a job of its own, the job's state included.

use std::time::Duration;

use super::{Load, Measures, mib, number};
use crate::error::Error;
use crate::figures::jobs;
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    // Also makes the server take what it takes once, with its first watcher and its first report.
    let mut updates = Updates::new(clock, server.padding(clock, load.size)?);
    server.settle()?;
    let before = server.memory()?;
    let mut watchers = Watchers::new(clock)?;
    watchers.connect(&server.address, load.watchers, |number| server.watched(&job(number)))?;
    server.settle()?;
    let connected = server.memory()?;
    watchers.add_reporter(&server.address)?;
    jobs::report(server, &mut watchers, &mut updates, load, load.watchers)?;
    watchers.turn_for(Duration::from_secs(2))?;
    server.settle()?;
    let known = server.memory()?;
    let each = |after: u64, before: u64| {
        number(after.saturating_sub(before)) / number(load.watchers) / 1024.0
    };
    Ok(vec![
        ("KiB/watcher with its job", each(known.pss, before.pss)),
        ("KiB/watcher of an unknown job", each(connected.pss, before.pss)),
        ("RSS: KiB/watcher with its job", each(known.rss, before.rss)),
        ("MiB before", mib(before.pss)),
        ("MiB after", mib(known.pss)),
    ])
}
