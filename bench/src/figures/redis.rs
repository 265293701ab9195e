//! Figure 8: through Redis. As many jobs as watchers, spread over the instances; half of the reports come to another
//! instance than the one where the job is watched.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::{Load, Measures, Meter, connect_spread, ms, number};
use crate::error::Error;
use crate::reporter::{Pace, Paced};
use crate::server::{Server, job};
use crate::stream::Address;
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

/// Reports are sent over so many connections to each instance where they come as fast as they are answered.
const CONNECTIONS: usize = 4;
/// More than can be answered.
const FLAT_OUT: f64 = 100_000.0;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let addresses = server.addresses();
    let updates = Updates::new(clock, server.padding(clock, load.size)?);
    let mut watchers = Watchers::new(clock)?;
    connect_spread(&mut watchers, server, &addresses, load.watchers)?;
    server.settle()?;

    let mut run = Run { server, addresses, load, updates, last: 0 };
    // Which also makes every job known.
    let (meter, redis) = (Meter::start(server)?, server.redis_cpu()?);
    let most = run.report(&mut watchers, FLAT_OUT, CONNECTIONS)?;
    let (cpu, wall, redis) = (meter.cpu()?, meter.wall(), server.redis_cpu()? - redis);
    let reports = most.updates * load.time.as_secs_f64();
    let slow = run.report(&mut watchers, load.rate / 10.0, 1)?;
    let fast = run.report(&mut watchers, load.rate, 1)?;
    Ok(vec![
        ("p99 ms", ms(&fast.latency, 0.99)),
        ("p50 ms", ms(&fast.latency, 0.5)),
        ("updates/s", fast.updates),
        ("p99 ms at a tenth", ms(&slow.latency, 0.99)),
        ("p50 ms at a tenth", ms(&slow.latency, 0.5)),
        ("reports/s at most", most.updates),
        ("p99 ms then", ms(&most.latency, 0.99)),
        ("delivered then", most.delivered),
        ("server cores then", cpu / wall),
        ("server us/report then", cpu * 1e6 / reports),
        ("Redis us/report then", redis * 1e6 / reports),
    ])
}

struct Run<'a> {
    server: &'a Server,
    addresses: Vec<Address>,
    load: &'a Load,
    updates: Updates,
    /// The highest number so far: a watcher's updates are numbered on from phase to phase.
    last: u64,
}

struct Phase {
    latency: Histogram<u64>,
    /// Reported in a second.
    updates: f64,
    /// Of what was reported.
    delivered: f64,
}

impl Run<'_> {
    /// Reports for the load's time, over so many connections to each instance.
    fn report(
        &mut self,
        watchers: &mut Watchers,
        rate: f64,
        connections: usize,
    ) -> Result<Phase, Error> {
        watchers.reset();
        let reporters = self.addresses.len() * connections;
        let pace = Pace {
            rate: rate / number(reporters),
            depth: self.load.depth,
            time: self.load.time,
            end: false,
        };
        let first = self.last;
        let updates = self.updates.after(first);
        let paced = (0..reporters).map(|reporter| {
            // Neighbours in number are watched at different instances.
            let jobs = (0..self.load.watchers)
                .filter(|number| number / self.addresses.len() % reporters == reporter);
            let paths = jobs.map(|number| self.server.reported(&job(number))).collect();
            let address = self.addresses[reporter % self.addresses.len()].clone();
            Paced::start(address, paths, updates.clone(), pace)
        });
        let paced: Vec<_> = paced.collect();
        let deadline = Instant::now() + self.load.time + Duration::from_secs(60);
        while !paced.iter().all(Paced::is_done) && Instant::now() < deadline {
            watchers.turn(Duration::from_millis(5))?;
        }
        let mut reported = 0;
        for reporter in paced {
            let last = reporter.finish()?.number;
            reported += last - first;
            self.last = self.last.max(last);
        }
        // What is still on its way counts.
        watchers.turn_for(Duration::from_secs(1))?;
        Ok(Phase {
            latency: watchers.tally.latency.clone(),
            updates: number(reported) / self.load.time.as_secs_f64(),
            delivered: number(watchers.tally.deliveries) / number(reported),
        })
    }
}
