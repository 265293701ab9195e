//! Workers: each reports its jobs in its own way until it gets another order.

mod batch;
mod http;
mod plain;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::job::{Job, Kind};
use crate::world::World;

/// How long a worker without a response, or with an error, waits before it tries the next instance.
const PAUSE: Duration = Duration::from_millis(100);
/// So many jobs does a worker have that reports them together.
const BATCH: usize = 25;

/// Starts the workers of `jobs`, which report each `rate` times a second.
pub(crate) fn start(tasks: &mut JoinSet<()>, jobs: &[Arc<Job>], world: &Arc<World>, rate: f64) {
    let of = |kind| jobs.iter().filter(move |job| job.kind == kind).cloned();
    for (number, job) in of(Kind::Http).enumerate() {
        tasks.spawn(http::work(job, Arc::clone(world), rate, number));
    }
    let batched: Vec<_> = of(Kind::Batch).collect();
    for (number, jobs) in batched.chunks(BATCH).enumerate() {
        tasks.spawn(batch::work(jobs.to_vec(), Arc::clone(world), rate, number));
    }
    for job in of(Kind::Plain) {
        tasks.spawn(plain::work(job, Arc::clone(world), rate));
    }
}

/// So many ticks a second; workers do not tick in step, and what is missed is not made up for.
fn ticks(rate: f64) -> Interval {
    let period = Duration::from_secs_f64(1.0 / rate);
    let first = tokio::time::Instant::now() + period.mul_f64(fastrand::f64());
    let mut ticks = interval_at(first, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}
