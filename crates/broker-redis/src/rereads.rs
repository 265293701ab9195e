use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use milepost_protocol::JobId;

/// When each subscribed job is read again although no message has arrived: a plain PUBLISH can be lost without a trace.
#[derive(Default)]
pub(crate) struct Rereads {
    /// The jobs, by time and a number that makes each key unique.
    due: BTreeMap<(Duration, u64), JobId>,
    /// Each job's key in `due`.
    keys: HashMap<JobId, (Duration, u64)>,
    next_number: u64,
}

/// How long after a read a job is usually read again.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long after the first read, and while a legacy key waits to be folded. The worker may be between its PUBLISH, which was
/// missed, and its SETEX.
const SOON: Duration = Duration::from_secs(1);

impl Rereads {
    /// Plans a job's next read, in place of the one planned before. The time is jittered by a fifth.
    pub(crate) fn plan(&mut self, job: JobId, is_soon: bool, now: Duration) {
        let interval = if is_soon { SOON } else { INTERVAL };
        self.next_number += 1;
        let key = (now + interval.mul_f64(fastrand::f64() * 0.4 + 0.8), self.next_number);
        if let Some(before) = self.keys.insert(job.clone(), key) {
            self.due.remove(&before);
        }
        self.due.insert(key, job);
    }

    /// Removes and returns a job that is due.
    pub(crate) fn take(&mut self, now: Duration) -> Option<JobId> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let job = entry.remove();
        self.keys.remove(&job);
        Some(job)
    }
}
