use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use milepost_broker::{
    Appended, LogPage, LogPart, LogStats, LogWindow, MAX_JOB_LOG_BYTES, line_cost,
};
use milepost_protocol::{Epoch, JobId, LogLine, Position};
use tokio::sync::watch;

/// The logs of all jobs, under one bound. They are not kept on disk.
///
/// Invariant: a log has a known job. Lines are appended while the lock of the job's stripe is held, and the job is
/// forgotten under the same lock. This lock is taken after a stripe's, never before.
pub(crate) struct Logs {
    rings: Mutex<Rings>,
    /// The number of logs, so that a broker without logs takes no lock.
    count: AtomicUsize,
    max_bytes: usize,
    hasher: RandomState,
    /// Wakes the followers of logs. Jobs whose ids hash to the same place share one.
    grown: Box<[watch::Sender<()>]>,
}

#[derive(Default)]
struct Rings {
    by_job: HashMap<JobId, Ring>,
    /// The order of eviction: the logs of ended jobs, then the others; each by the time of the latest append.
    ended: BTreeMap<u64, JobId>,
    running: BTreeMap<u64, JobId>,
    appends: u64,
    bytes: usize,
    evicted: u64,
}

struct Ring {
    end: Position,
    lines: VecDeque<LogLine>,
    bytes: usize,
    is_of_ended: bool,
    /// The number under which the log is queued.
    appended: u64,
}

/// The bytes that a log counts for in addition to its lines.
const RING_BYTES: usize = 512;

const WAKERS: u64 = 64;

impl Logs {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            rings: Mutex::default(),
            count: AtomicUsize::new(0),
            max_bytes,
            hasher: RandomState::new(),
            grown: (0..WAKERS).map(|_| watch::Sender::new(())).collect(),
        }
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends lines. If all logs together then exceed their bound, evicts other logs, and at last drops lines of this one.
    pub(crate) fn append(
        &self,
        job: &JobId,
        lines: Vec<LogLine>,
        is_of_ended: bool,
        new_epoch: impl FnOnce() -> Epoch,
    ) -> Appended {
        let mut rings = self.rings();
        if lines.is_empty() {
            return rings.by_job.get(job).map_or_else(Appended::default, Ring::appended);
        }
        let before = rings.remove(job);
        let mut ring = before.unwrap_or_else(|| Ring {
            end: Position { epoch: new_epoch(), number: 0 },
            lines: VecDeque::new(),
            bytes: 0,
            is_of_ended,
            appended: 0,
        });
        ring.is_of_ended = is_of_ended;
        let most = MAX_JOB_LOG_BYTES.min(self.max_bytes.saturating_sub(RING_BYTES));
        for line in lines {
            ring.push(line, most);
        }
        while rings.bytes + ring.cost() > self.max_bytes && rings.evict() {}
        let appended = ring.appended();
        rings.insert(job.clone(), ring);
        self.count.store(rings.by_job.len(), Ordering::Relaxed);
        drop(rings);
        self.grown_of(job).send_replace(());
        appended
    }

    /// Records that the job has ended, so its log is evicted before those of running jobs.
    pub(crate) fn ended(&self, job: &JobId) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut rings = self.rings();
        let Some(ring) = rings.by_job.get_mut(job) else { return };
        ring.is_of_ended = true;
        let appended = ring.appended;
        rings.running.remove(&appended);
        rings.ended.insert(appended, job.clone());
    }

    pub(crate) fn forget(&self, job: &JobId) {
        if self.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut rings = self.rings();
        if rings.remove(job).is_some() {
            self.count.store(rings.by_job.len(), Ordering::Relaxed);
            drop(rings);
            self.grown_of(job).send_replace(());
        }
    }

    pub(crate) fn page(&self, job: &JobId, part: LogPart) -> LogPage {
        let rings = self.rings();
        let ring = rings.by_job.get(job);
        let log = ring.map_or_else(Appended::default, Ring::appended);
        let window = LogWindow::of(part, log);
        let skipped = usize::try_from(window.first - log.dropped - 1).unwrap_or(usize::MAX);
        let wanted = usize::try_from(window.end - window.first).unwrap_or(0);
        let lines = ring.into_iter().flat_map(|ring| ring.lines.iter().skip(skipped).take(wanted));
        LogPage { log, gap: window.gap, first: window.first, lines: lines.cloned().collect() }
    }

    /// Waits until the log no longer ends at `seen`.
    pub(crate) async fn grown(&self, job: &JobId, seen: Option<Position>) {
        let mut grown = self.grown_of(job).subscribe();
        while self.rings().by_job.get(job).map(|ring| ring.end) == seen {
            // The senders live as long as `self`.
            if grown.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn stats(&self) -> LogStats {
        let rings = self.rings();
        LogStats { bytes: rings.bytes, evicted: rings.evicted }
    }

    fn grown_of(&self, job: &JobId) -> &watch::Sender<()> {
        let index = self.hasher.hash_one(job) % WAKERS;
        &self.grown[usize::try_from(index).unwrap_or(0)]
    }
}

impl Rings {
    fn queue(&mut self, of_ended: bool) -> &mut BTreeMap<u64, JobId> {
        if of_ended { &mut self.ended } else { &mut self.running }
    }

    fn insert(&mut self, job: JobId, mut ring: Ring) {
        self.appends += 1;
        ring.appended = self.appends;
        self.bytes += ring.cost();
        self.queue(ring.is_of_ended).insert(ring.appended, job.clone());
        self.by_job.insert(job, ring);
    }

    fn remove(&mut self, job: &JobId) -> Option<Ring> {
        let ring = self.by_job.remove(job)?;
        self.bytes -= ring.cost();
        self.queue(ring.is_of_ended).remove(&ring.appended);
        Some(ring)
    }

    /// Evicts a log. Returns false if there is none.
    fn evict(&mut self) -> bool {
        let first = self.ended.first_key_value().or_else(|| self.running.first_key_value());
        let Some(job) = first.map(|(_, job)| job.clone()) else { return false };
        self.evicted += 1;
        self.remove(&job).is_some()
    }
}

impl Ring {
    fn push(&mut self, line: LogLine, most: usize) {
        self.end = self.end.next();
        self.bytes += line_cost(&line);
        self.lines.push_back(line);
        while self.bytes > most {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= line_cost(&oldest);
        }
    }

    fn cost(&self) -> usize {
        self.bytes + RING_BYTES
    }

    fn appended(&self) -> Appended {
        Appended { end: Some(self.end), dropped: self.end.number - self.lines.len() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::Timestamp;

    use super::*;

    fn job(name: &str) -> JobId {
        JobId::parse(name).unwrap()
    }

    fn append(logs: &Logs, name: &str, is_of_ended: bool) -> Appended {
        let line = LogLine::new(&"x".repeat(4_000), None, Timestamp::from_micros(0));
        logs.append(&job(name), vec![line; 10], is_of_ended, || Epoch(1))
    }

    fn kept(logs: &Logs, name: &str) -> usize {
        logs.page(&job(name), LogPart { after: None, most: 100 }).lines.len()
    }

    #[test]
    fn logs_of_ended_jobs_make_room_first_then_the_oldest() {
        let logs = Logs::new(130_000);
        append(&logs, "running", false);
        append(&logs, "ended", false);
        append(&logs, "quiet", false);
        logs.ended(&job("ended"));
        append(&logs, "running", false);
        let names = ["running", "ended", "quiet"];
        assert_eq!(names.map(|name| kept(&logs, name)), [20, 0, 10]);
        append(&logs, "new", false);
        assert_eq!(["running", "quiet", "new"].map(|name| kept(&logs, name)), [20, 0, 10]);
        let stats = logs.stats();
        assert!(stats.bytes <= 130_000 && stats.bytes > 120_000, "{stats:?}");
        assert_eq!(stats.evicted, 2);
        for name in ["running", "new"] {
            logs.forget(&job(name));
        }
        assert_eq!(logs.stats(), LogStats { bytes: 0, evicted: 2 });
    }

    #[test]
    fn one_log_alone_stays_within_the_bound() {
        let logs = Logs::new(20_000);
        let appended = append(&logs, "a", false);
        assert_eq!((appended.lines(), appended.dropped), (10, 6));
        assert_eq!(kept(&logs, "a"), 4);
        assert!(logs.stats().bytes <= 20_000);
    }
}
