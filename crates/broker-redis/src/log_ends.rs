use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use milepost_protocol::{JobId, Position};
use milepost_redis::Client;
use tokio::sync::watch;

/// The ends of the logs that are followed on this instance. Redis is polled, once for each job, whatever the number of
/// followers.
#[derive(Default)]
pub(crate) struct LogEnds(Mutex<HashMap<JobId, watch::Sender<Option<Position>>>>);

/// Whether a log that ended at `end` a moment ago may have lines after `seen`. `seen` may be newer than `end`.
fn has_more(end: Option<Position>, seen: Option<Position>) -> bool {
    let Some((end, seen)) = end.zip(seen) else { return end.is_some() && seen.is_none() };
    end.is_newer_than(seen, None)
}

/// How often Redis is polled. A line is seen at most this much later.
const INTERVAL: Duration = Duration::from_millis(300);

impl LogEnds {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<Option<Position>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the log has lines after `seen`. Does not notice if the log is forgotten.
    pub(crate) async fn grown(&self, job: &JobId, seen: Option<Position>) {
        let mut end = {
            let mut jobs = self.jobs();
            jobs.entry(job.clone()).or_insert_with(|| watch::Sender::new(seen)).subscribe()
        };
        // On an error the job is no longer polled, and its followers call this again.
        let _ = end.wait_for(|end| has_more(*end, seen)).await;
    }

    /// Polls Redis for the ends of the logs. Runs until it is dropped.
    pub(crate) async fn run(&self, client: &Client) {
        /// How many reads are in flight at once.
        const MAX_READS: usize = 64;
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let followed: Vec<_> = {
                let mut jobs = self.jobs();
                jobs.retain(|_, end| end.receiver_count() > 0);
                jobs.keys().cloned().collect()
            };
            let ends = futures_util::stream::iter(followed).map(|job| async move {
                let read = client.read_log(&job, None, 0).await;
                (job, read)
            });
            let mut ends = ends.buffer_unordered(MAX_READS);
            while let Some((job, read)) = ends.next().await {
                // If Redis does not reply, the next tick tries again.
                let Ok(read) = read else { continue };
                let end = read.and_then(|read| read.end);
                if let Some(sender) = self.jobs().get(&job) {
                    sender.send_if_modified(|last| std::mem::replace(last, end) != end);
                }
            }
        }
    }
}
