//! Watchers and a reporter that go on while something else happens.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Load, connect_spread, number};
use crate::error::Error;
use crate::reporter::{Pace, Paced};
use crate::server::{Server, job};
use crate::stream::Address;
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

/// As many jobs as watchers, which are spread over the instances. All are reported to the first instance.
pub(super) struct Others<'a> {
    server: &'a Server,
    load: &'a Load,
    addresses: Vec<Address>,
    watchers: Watchers,
    updates: Updates,
    last: u64,
    /// The smallest part of the updates that arrived in one of the measurements.
    pub(super) least_delivered: f64,
}

impl<'a> Others<'a> {
    pub(super) fn start(server: &'a Server, load: &'a Load, clock: Clock) -> Result<Self, Error> {
        let addresses = server.addresses();
        let updates = Updates::new(clock, server.padding(clock, load.size)?);
        let mut watchers = Watchers::new(clock)?;
        connect_spread(&mut watchers, server, &addresses, load.watchers)?;
        let mut others =
            Self { server, load, addresses, watchers, updates, last: 0, least_delivered: 1.0 };
        // So that every job is known.
        others.watch()?;
        server.settle()?;
        Ok(others)
    }

    /// Reports and watches for the load's time. Returns the latencies.
    pub(super) fn watch(&mut self) -> Result<Histogram<u64>, Error> {
        self.watchers.reset();
        let pace =
            Pace { rate: self.load.rate, depth: self.load.depth, time: self.load.time, end: false };
        let jobs = (0..self.load.watchers).map(|number| self.server.reported(&job(number)));
        let updates = self.updates.after(self.last);
        let reporter = Paced::start(self.addresses[0].clone(), jobs.collect(), updates, pace);
        let deadline = Instant::now() + self.load.time + Duration::from_secs(60);
        while !reporter.is_done() && Instant::now() < deadline {
            self.watchers.turn(Duration::from_millis(5))?;
        }
        let last = reporter.finish()?.number;
        let reported = last - self.last;
        self.last = last;
        // What is still on its way counts.
        self.watchers.turn_for(Duration::from_secs(1))?;
        let delivered = number(self.watchers.tally.deliveries) / number(reported);
        self.least_delivered = self.least_delivered.min(delivered);
        Ok(self.watchers.tally.latency.clone())
    }
}
