//! The figures, a file each.

mod beside;
pub(crate) mod connects;
pub(crate) mod fanout;
pub(crate) mod flood;
pub(crate) mod herd;
pub(crate) mod hostile;
pub(crate) mod hot;
pub(crate) mod idle;
pub(crate) mod jobs;
pub(crate) mod lines;
pub(crate) mod memory;
pub(crate) mod overload;
pub(crate) mod redis;
pub(crate) mod stalled;

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::error::{Error, doing};
use crate::process;
use crate::server::{Server, job};
use crate::stream::Address;
use crate::update::Clock;
use crate::watchers::Watchers;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Watchers; in some figures jobs as well.
    pub(crate) watchers: usize,
    /// Deliveries to make, where that ends the run.
    pub(crate) deliveries: usize,
    /// How long to report, where time ends the run.
    pub(crate) time: Duration,
    /// Updates a second, where the reporter has a pace.
    pub(crate) rate: f64,
    /// Reports in flight.
    pub(crate) depth: usize,
    /// Bytes of a delivered update.
    pub(crate) size: usize,
    /// How many of the watchers never read.
    pub(crate) stalled: usize,
}

/// What was measured, by name; the first is the figure's own.
pub(crate) type Measures = Vec<(&'static str, f64)>;

/// A figure: measures one server under one load.
pub(crate) type Measure = fn(&Server, &Load, Clock) -> Result<Measures, Error>;

/// Nanoseconds at a quantile, in milliseconds.
pub(crate) fn ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    Duration::from_nanos(histogram.value_at_quantile(quantile)).as_secs_f64() * 1e3
}

/// Bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    number(bytes) / (1024.0 * 1024.0)
}

/// A count as a number to divide by. Counts here are far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(crate) fn number(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

/// Connects as many watchers as jobs, each to its own job, spread over the instances.
fn connect_spread(
    watchers: &mut Watchers,
    server: &Server,
    addresses: &[Address],
    count: usize,
) -> Result<(), Error> {
    for (instance, address) in addresses.iter().enumerate() {
        let here = (instance..count).step_by(addresses.len());
        watchers.connect(address, here.len(), |number| {
            server.watched(&job(number * addresses.len() + instance))
        })?;
    }
    Ok(())
}

/// Processor and wall time from here on, of the server and of this program.
#[derive(Debug)]
pub(crate) struct Meter<'a> {
    server: &'a Server,
    cpu: f64,
    client: f64,
    start: Instant,
}

impl<'a> Meter<'a> {
    pub(crate) fn start(server: &'a Server) -> Result<Self, Error> {
        Ok(Self { server, cpu: server.cpu()?, client: client_cpu()?, start: Instant::now() })
    }

    /// Seconds of the server's processor time since the start.
    pub(crate) fn cpu(&self) -> Result<f64, Error> {
        // A hundredth of a second is what the kernel shows; less is noise, and not to be divided by.
        Ok((self.server.cpu()? - self.cpu).max(0.01))
    }

    /// Seconds since the start.
    pub(crate) fn wall(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Cores that this program took: near 1 (or 2, with a reporter's thread), it was the limit.
    pub(crate) fn client_cores(&self) -> Result<f64, Error> {
        Ok((client_cpu()? - self.client) / self.wall())
    }
}

fn client_cpu() -> Result<f64, Error> {
    let cpu = process::own_cpu(std::process::id()).map_err(doing("reading this program's cost"))?;
    Ok(cpu.as_secs_f64())
}
