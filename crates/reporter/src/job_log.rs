use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use milepost_protocol::{JobId, MAX_LOG_LINE_BYTES, Timestamp};
use serde_json::json;

use crate::backoff::Backoff;
use crate::http::Http;
use crate::notice::{Notice, NoticeHook};
use crate::transport::{Failure, LogOutcome};

/// The most lines of a job that wait to be sent. Older ones are dropped.
const MAX_LINES: usize = 512;
/// The most jobs with lines that wait. Lines of further jobs are dropped.
const MAX_JOBS: usize = 1_000;
/// The most bytes of lines that wait, of all jobs. Further lines are dropped.
const MAX_BYTES: usize = 8 << 20;
/// The most bytes of one request; the server takes 256 KiB.
const BATCH_BYTES: usize = 192 << 10;
/// The time between a line and the request that sends it with those that have come meanwhile.
const INTERVAL: Duration = Duration::from_millis(200);
/// A job that the server does not know has not been reported yet. After so many requests, it is not going to be.
const MAX_UNKNOWN: u32 = 60;

/// The lines of jobs' logs (`spec/README.md`, section 17) that are still to be sent, and the thread that sends them. The thread
/// begins with the first line.
pub(crate) struct JobLogs {
    shared: Arc<Shared>,
    thread: Mutex<Thread>,
    process: u32,
}

enum Thread {
    NotBegun(Option<Http>),
    Begun(JoinHandle<()>),
    Over,
}

struct Shared {
    lines: Mutex<Lines>,
    changed: Condvar,
    notices: NoticeHook,
    /// Whether the program was notified that lines are not sent.
    was_notified: AtomicBool,
    request_timeout: Duration,
}

#[derive(Default)]
struct Lines {
    jobs: BTreeMap<JobId, Pending>,
    bytes: usize,
    /// Everything is to be sent by then, and nothing more is accepted.
    closing: Option<Instant>,
}

/// What waits of one job.
#[derive(Default)]
struct Pending {
    /// Encoded, each with its line feed.
    lines: VecDeque<String>,
    /// How many were dropped before the first of them.
    dropped: u64,
    /// How often the server did not know the job.
    unknown: u32,
}

impl JobLogs {
    /// `http`: the server that takes them. None: no lines are sent, with a notice.
    pub(crate) fn new(http: Option<Http>, notices: NoticeHook, request_timeout: Duration) -> Self {
        let shared = Shared {
            lines: Mutex::default(),
            changed: Condvar::new(),
            notices,
            was_notified: AtomicBool::new(false),
            request_timeout,
        };
        let thread = Mutex::new(Thread::NotBegun(http));
        Self { shared: Arc::new(shared), thread, process: std::process::id() }
    }

    /// Adds lines to a job's log. Never waits for the server.
    pub(crate) fn write(&self, job: &JobId, text: &str, at: Timestamp) {
        // Before any lock: in a forked child, a lock may be held forever.
        if self.process == std::process::id() && self.begin() {
            self.shared.write(job, text, at);
        }
    }

    /// Whether there is a thread that sends lines.
    fn begin(&self) -> bool {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let http = match &mut *thread {
            Thread::Begun(_) => return true,
            Thread::Over => return false,
            Thread::NotBegun(http) => http.take(),
        };
        *thread = Thread::Over;
        let Some(http) = http else {
            drop(thread);
            self.shared.notify("only a Milepost server (http:// or https://) takes logs");
            return false;
        };
        let shared = Arc::clone(&self.shared);
        let builder = thread::Builder::new().name("milepost-log".to_owned());
        match builder.spawn(move || Sender::new(http, shared).run()) {
            Ok(begun) => *thread = Thread::Begun(begun),
            Err(error) => {
                drop(thread);
                self.shared.notify(&format!("the thread did not start: {error}"));
                return false;
            }
        }
        true
    }

    /// Sends what waits, at most until then, and ends the thread.
    pub(crate) fn close(&self, deadline: Instant) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let Thread::Begun(begun) = std::mem::replace(&mut *thread, Thread::Over) else { return };
        drop(thread);
        self.shared.lock().closing = Some(deadline);
        self.shared.changed.notify_all();
        if begun.thread().id() != thread::current().id() {
            // A panic there has been printed already.
            let _ = begun.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, job: &JobId, text: &str, at: Timestamp) {
        let mut lines = self.lock();
        if lines.closing.is_some() {
            return;
        }
        let was_empty = lines.jobs.is_empty();
        for line in text.lines() {
            lines.push(job, encode(line, at));
        }
        if was_empty && !lines.jobs.is_empty() {
            self.changed.notify_all();
        }
    }

    fn notify(&self, reason: &str) {
        if !self.was_notified.swap(true, Ordering::Relaxed) {
            self.notices.notify(&Notice::LogNotSent { reason: reason.to_owned() });
        }
    }
}

impl Lines {
    fn push(&mut self, job: &JobId, line: String) {
        if !self.jobs.contains_key(job) && self.jobs.len() >= MAX_JOBS {
            return;
        }
        let pending = self.jobs.entry(job.clone()).or_default();
        self.bytes += line.len();
        pending.lines.push_back(line);
        while pending.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = pending.lines.pop_front() else { break };
            self.bytes -= oldest.len();
            pending.dropped += 1;
        }
    }

    /// The lines of a job that fit into one request, and how many were dropped before them.
    fn take(&mut self, job: &JobId) -> Option<(Vec<String>, u64)> {
        let pending = self.jobs.get_mut(job)?;
        let (mut taken, mut size) = (Vec::new(), 0);
        while let Some(line) = pending.lines.front() {
            size += line.len();
            if size > BATCH_BYTES && !taken.is_empty() {
                break;
            }
            taken.extend(pending.lines.pop_front());
        }
        self.bytes -= taken.iter().map(String::len).sum::<usize>();
        Some((taken, std::mem::take(&mut pending.dropped)))
    }

    /// Puts lines that were not sent before those that have come since.
    fn put_back(&mut self, job: &JobId, taken: Vec<String>, dropped: u64) {
        let Some(pending) = self.jobs.get_mut(job) else { return };
        pending.dropped += dropped;
        for line in taken.into_iter().rev() {
            if pending.lines.len() < MAX_LINES && self.bytes + line.len() <= MAX_BYTES {
                self.bytes += line.len();
                pending.lines.push_front(line);
            } else {
                pending.dropped += 1;
            }
        }
    }

    fn forget(&mut self, job: &JobId) {
        if let Some(pending) = self.jobs.remove(job) {
            self.bytes -= pending.lines.iter().map(String::len).sum::<usize>();
        }
    }
}

/// A line as section 17 of the protocol has it.
fn encode(text: &str, at: Timestamp) -> String {
    let most = text.len().min(MAX_LOG_LINE_BYTES);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}\n", json!({ "at": at.with_millis().to_string(), "text": &text[..end] }))
}

/// The thread.
struct Sender {
    http: Http,
    shared: Arc<Shared>,
    backoff: Backoff,
    random: fastrand::Rng,
}

impl Sender {
    fn new(http: Http, shared: Arc<Shared>) -> Self {
        Self { http, shared, backoff: Backoff::default(), random: fastrand::Rng::new() }
    }

    fn run(mut self) {
        while let Some(jobs) = self.wait() {
            let pause = jobs.iter().try_for_each(|job| self.send(job));
            if self.shared.lock().closing.is_some() {
                return;
            }
            if let Err(pause) = pause {
                self.rest(pause);
            }
        }
    }

    /// Waits until there are lines, and others have had the time to come. None: it is over, and nothing is left.
    fn wait(&self) -> Option<Vec<JobId>> {
        let lines = self.shared.lock();
        let lines = self
            .shared
            .changed
            .wait_while(lines, |lines| lines.jobs.is_empty() && lines.closing.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        drop(lines);
        self.rest(INTERVAL);
        let lines = self.shared.lock();
        let jobs: Vec<_> = lines.jobs.keys().cloned().collect();
        (!jobs.is_empty()).then_some(jobs)
    }

    /// Waits, but no longer than until the reporter is closed.
    fn rest(&self, pause: Duration) {
        let lines = self.shared.lock();
        let closing =
            self.shared.changed.wait_timeout_while(lines, pause, |lines| lines.closing.is_none());
        drop(closing);
    }

    /// # Errors
    /// How long to wait before anything is sent.
    fn send(&mut self, job: &JobId) -> Result<(), Duration> {
        loop {
            let (timeout, taken) = {
                let mut lines = self.shared.lock();
                let left = lines.closing.map(|by| by.saturating_duration_since(Instant::now()));
                (left, lines.take(job))
            };
            let Some((taken, dropped)) = taken else { return Ok(()) };
            if taken.is_empty() && dropped == 0 {
                // Whatever comes after this begins anew.
                let mut lines = self.shared.lock();
                if lines.jobs.get(job).is_some_and(|pending| pending.lines.is_empty()) {
                    lines.forget(job);
                    return Ok(());
                }
                continue;
            }
            let timeout = timeout.unwrap_or(self.shared.request_timeout);
            let timeout = timeout.min(self.shared.request_timeout);
            if timeout.is_zero() {
                return Ok(());
            }
            let gap = format!("(milepost: {dropped} lines are left out here)");
            let gap = (dropped > 0).then(|| encode(&gap, Timestamp::now()));
            let body: String = gap.into_iter().chain(taken.iter().cloned()).collect();
            let answer = self.http.append_log(job, &body, timeout);
            let mut lines = self.shared.lock();
            match answer {
                Ok(LogOutcome::Accepted) => {
                    self.backoff.reset();
                    if let Some(pending) = lines.jobs.get_mut(job) {
                        pending.unknown = 0;
                    }
                }
                Ok(LogOutcome::UnknownJob) => {
                    lines.put_back(job, taken, dropped);
                    let pending = lines.jobs.get_mut(job);
                    let unknown = pending.map_or(0, |pending| {
                        pending.unknown += 1;
                        pending.unknown
                    });
                    if unknown >= MAX_UNKNOWN {
                        lines.forget(job);
                    }
                    return Ok(());
                }
                Ok(LogOutcome::Rejected { reason }) => {
                    drop(lines);
                    self.shared.notify(&reason);
                }
                Err(failure) => {
                    lines.put_back(job, taken, dropped);
                    let least = match failure {
                        Failure::Busy { retry_after, .. } => retry_after.unwrap_or_default(),
                        Failure::Lost { .. } | Failure::BatchRejected => Duration::ZERO,
                    };
                    return Err(self.backoff.next(&mut self.random).max(least));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: &str) -> JobId {
        JobId::parse(id).unwrap()
    }

    #[test]
    fn of_too_many_lines_the_oldest_are_dropped_and_counted() {
        let mut lines = Lines::default();
        for number in 0..MAX_LINES + 3 {
            lines.push(&job("a"), format!("{number}\n"));
        }
        let (taken, dropped) = lines.take(&job("a")).unwrap();
        assert_eq!((taken.len(), taken[0].as_str(), dropped), (MAX_LINES, "3\n", 3));
        assert_eq!(lines.bytes, 0);
        lines.push(&job("a"), "new\n".to_owned());
        lines.put_back(&job("a"), taken, dropped);
        let (taken, dropped) = lines.take(&job("a")).unwrap();
        assert_eq!(
            (taken[0].as_str(), taken.last().unwrap().as_str(), dropped),
            ("4\n", "new\n", 4)
        );
    }

    #[test]
    fn the_bytes_and_the_jobs_are_bounded() {
        let mut lines = Lines::default();
        for number in 0..MAX_JOBS + 5 {
            lines.push(&job(&format!("j{number}")), "x".repeat(10_000));
        }
        assert!(lines.bytes <= MAX_BYTES, "{}", lines.bytes);
        assert_eq!(lines.jobs.len(), MAX_JOBS);
        for job in lines.jobs.keys().cloned().collect::<Vec<_>>() {
            lines.forget(&job);
        }
        assert_eq!(lines.bytes, 0);
    }

    #[test]
    fn a_request_has_at_most_so_many_bytes() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.push(&job("a"), "x".repeat(4_000));
        }
        let (taken, _) = lines.take(&job("a")).unwrap();
        assert_eq!(taken.len(), BATCH_BYTES / 4_000);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = encode(&"ä".repeat(MAX_LOG_LINE_BYTES), Timestamp::from_micros(0));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["text"].as_str().unwrap().len(), MAX_LOG_LINE_BYTES);
    }
}
