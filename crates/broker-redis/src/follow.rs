use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use milepost_protocol::{JobId, Position};
use milepost_redis::Client;
use tokio::sync::watch;

/// The jobs whose logs somebody follows on this instance. Where their logs end is asked of Redis again and again: once for
/// each job, whatever the number of its followers.
#[derive(Default)]
pub(crate) struct Follow(Mutex<HashMap<JobId, watch::Sender<Option<Position>>>>);

/// Whether a log that ended at `end` when it was asked about may have lines after `seen`, which may have been seen since.
fn is_news(end: Option<Position>, seen: Option<Position>) -> bool {
    let Some((end, seen)) = end.zip(seen) else { return end.is_some() && seen.is_none() };
    end.epoch != seen.epoch || end.number > seen.number
}

/// So often; so late, at most, is a line seen.
const EVERY: Duration = Duration::from_millis(300);

impl Follow {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, watch::Sender<Option<Position>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the log has lines after `seen`. That it was forgotten is not noticed.
    pub(crate) async fn grown(&self, job: &JobId, seen: Option<Position>) {
        let mut end = {
            let mut jobs = self.jobs();
            jobs.entry(job.clone()).or_insert_with(|| watch::Sender::new(seen)).subscribe()
        };
        // An error: the job is no longer asked about; whoever follows it asks anew.
        let _ = end.wait_for(|end| is_news(*end, seen)).await;
    }

    /// Asks where the logs end. Runs until it is dropped.
    pub(crate) async fn run(&self, client: &Client) {
        /// So many questions are under way at once.
        const AT_ONCE: usize = 64;
        let mut tick = tokio::time::interval(EVERY);
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
            let mut ends = ends.buffer_unordered(AT_ONCE);
            while let Some((job, read)) = ends.next().await {
                // What Redis does not answer now, it is asked again soon.
                let Ok(read) = read else { continue };
                let end = read.and_then(|read| read.end);
                if let Some(sender) = self.jobs().get(&job) {
                    sender.send_if_modified(|last| std::mem::replace(last, end) != end);
                }
            }
        }
    }
}
