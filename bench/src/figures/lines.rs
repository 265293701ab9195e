//! `POST /updates`: how many updates a second one connection reports, in batches of many jobs' lines.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{Load, Measures, Meter, number};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::server::{Server, job};
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

/// In a request, each of another job.
const LINES: usize = 1_000;

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let mut updates = Updates::new(clock, server.padding(clock, load.size)?);
    let mut reporter = Watchers::new(clock)?;
    reporter.add_reporter(&server.address)?;
    let to = Endpoint { path: "/updates".to_owned(), ..server.reported("") };
    let mut batch = || {
        let mut lines = String::new();
        for line in 0..LINES {
            let (_, json) = updates.next(false);
            writeln!(lines, r#"{{"job_id":"{}",{}"#, job(line), &json[1..])
                .expect("a String takes every write");
        }
        lines
    };
    let mut post = |reporter: &mut Watchers| {
        if let Some(reporter) = &mut reporter.reporter {
            reporter.queue(&to, &batch());
        }
        reporter.flush()?;
        let answered = |reporter: &Watchers| reporter.in_flight() == 0;
        reporter.turn_until(Duration::from_secs(10), "a batch is answered", answered)
    };
    // Once, so that every job is known.
    post(&mut reporter)?;
    server.settle()?;
    let (meter, redis) = (Meter::start(server)?, server.redis_cpu()?);
    let began = Instant::now();
    let mut lines = 0;
    while began.elapsed() < load.time {
        post(&mut reporter)?;
        lines += LINES;
    }
    let (wall, cpu, redis) = (meter.wall(), meter.cpu()?, server.redis_cpu()? - redis);
    let lines = number(lines);
    Ok(vec![
        ("lines/s", lines / wall),
        ("server us/line", cpu * 1e6 / lines),
        ("Redis us/line", redis * 1e6 / lines),
        ("client cores", meter.client_cores()?),
    ])
}
