//! What the command prints, as the job's log.

use std::collections::VecDeque;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use milepost_protocol::{JobId, LogStream, MAX_LOG_LINE_BYTES, Timestamp};
use serde_json::json;

use super::relay::OutputObserver;
use crate::client::{Client, RequestError};

/// Collects lines and sends them. The command never waits for it: what is too much, or cannot be sent, is left out, and
/// the log says so.
#[derive(Debug)]
pub(crate) struct OutputLog {
    pending: Arc<Mutex<Pending>>,
}

/// Sends what an [`OutputLog`] has collected, from a thread of its own.
pub(crate) struct LogSender {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Pending {
    lines: VecDeque<Line>,
    bytes: usize,
    /// How many bytes of output were read since lines were last sent.
    looked_at: usize,
    /// Lines before these are left out.
    gap: bool,
}

#[derive(Debug)]
struct Line {
    stream: LogStream,
    at: Timestamp,
    /// At most [`MAX_LOG_LINE_BYTES`] and one more.
    text: Vec<u8>,
}

/// How often lines are sent.
const BATCH: Duration = Duration::from_millis(200);
/// The most that waits to be sent. Beyond it, the oldest lines are dropped.
const MAX_PENDING_BYTES: usize = 96 << 10;
const MAX_PENDING_LINES: usize = 1_500;
/// Less than the server takes in one request.
const MAX_BODY_BYTES: usize = 255 << 10;
/// The most that is read in the time of a batch.
const MAX_LOOKED_AT: usize = 512 << 10;
/// How long a request may take, and how long after one that failed the next is sent.
const PATIENCE: Duration = Duration::from_secs(1);

impl OutputLog {
    /// Sends the lines to the job's server from now on; none if it has nowhere to send them to.
    pub(crate) fn start(url: &str, job: &JobId) -> Option<(Self, LogSender)> {
        let client = Client::with_timeout(url, PATIENCE).ok().filter(Client::takes_logs)?;
        let pending = Arc::<Mutex<Pending>>::default();
        let (stop, stopped) = channel();
        let (job, taken) = (job.clone(), Arc::clone(&pending));
        let run = move || {
            let mut delivery = Delivery { client, job, pending: taken, batch: None, over: false };
            let mut not_before = Instant::now();
            while stopped.recv_timeout(BATCH) == Err(RecvTimeoutError::Timeout) {
                if Instant::now() >= not_before && !delivery.send() {
                    not_before = Instant::now() + PATIENCE;
                }
            }
            // The last lines: one try.
            if Instant::now() >= not_before {
                delivery.send();
            }
        };
        let thread = thread::Builder::new().name("log".to_owned()).spawn(run).ok()?;
        Some((Self { pending }, LogSender { stop, thread }))
    }

    /// Looks at a stream on the way to `observer`.
    pub(crate) fn observe<O>(log: Option<&Self>, stream: LogStream, observer: O) -> Logged<'_, O> {
        Logged { log, stream, observer, line: Vec::new(), carriage_return: false }
    }
}

impl LogSender {
    /// Sends the last lines. Takes no longer than a request may take, and the one that is under way.
    pub(crate) fn finish(self) {
        drop(self.stop);
        // The panic hook has reported a panic there. It does not affect the command's outcome.
        let _ = self.thread.join();
    }
}

struct Delivery {
    client: Client,
    job: JobId,
    pending: Arc<Mutex<Pending>>,
    /// Not accepted yet.
    batch: Option<String>,
    /// The server takes no lines of this job.
    over: bool,
}

impl Delivery {
    /// False if the server cannot be reached.
    fn send(&mut self) -> bool {
        let Pending { lines, gap, .. } = std::mem::take(&mut *lock(&self.pending));
        if self.over {
            return true;
        }
        if self.batch.is_none() && !lines.is_empty() {
            self.batch = Some(encode(&lines, gap));
        } else if !lines.is_empty() {
            put_back(&mut lock(&self.pending), lines, gap);
        }
        let Some(batch) = &self.batch else { return true };
        match self.client.append_log(&self.job, batch) {
            // Where the answer is broken, whether the lines arrived is not known: rather none than two.
            Ok(()) | Err(RequestError::BrokenAnswer { .. }) => self.batch = None,
            // Its first report has not arrived yet.
            Err(error) if error.is_unknown_job() => return true,
            Err(RequestError::Unreachable { .. }) => return false,
            Err(_) => self.over = true,
        }
        true
    }
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put_back(pending: &mut Pending, lines: VecDeque<Line>, gap: bool) {
    let newer = std::mem::take(&mut pending.lines);
    pending.bytes = 0;
    pending.gap |= gap;
    lines.into_iter().chain(newer).for_each(|line| pending.push(line));
}

impl Pending {
    fn push(&mut self, line: Line) {
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.bytes > MAX_PENDING_BYTES || self.lines.len() > MAX_PENDING_LINES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
            self.gap = true;
        }
    }
}

/// As JSON lines, at most [`MAX_BODY_BYTES`]: the newest. Control characters take several bytes each.
fn encode(lines: &VecDeque<Line>, mut gap: bool) -> String {
    let encoded = |line: &Line, text: &str| {
        let at = line.at.with_millis().to_string();
        let stream = line.stream.as_str();
        format!("{}\n", json!({ "text": text, "stream": stream, "at": at }))
    };
    let mut newest = VecDeque::new();
    let mut room = MAX_BODY_BYTES;
    for line in lines.iter().rev() {
        let json = encoded(line, &String::from_utf8_lossy(&line.text));
        if json.len() > room {
            gap = true;
            break;
        }
        room -= json.len();
        newest.push_front(json);
    }
    if let Some(first) = lines.front().filter(|_| gap) {
        newest.push_front(encoded(first, "(milepost: output is left out here)"));
    }
    Vec::from(newest).concat()
}

/// Passes a stream on to its observer, and its lines to the log.
pub(crate) struct Logged<'a, O> {
    log: Option<&'a OutputLog>,
    stream: LogStream,
    observer: O,
    /// The line that has not ended, as far as it is kept.
    line: Vec<u8>,
    /// What comes next overwrites the line, unless it ends there.
    carriage_return: bool,
}

impl<O> Logged<'_, O> {
    fn collect(&mut self, bytes: &[u8]) {
        let Some(log) = self.log else { return };
        let mut pending = lock(&log.pending);
        pending.looked_at += bytes.len();
        if pending.looked_at > MAX_LOOKED_AT {
            pending.gap = true;
            self.line.clear();
            return;
        }
        for piece in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            let (text, end) = match piece.split_last() {
                Some((end @ (b'\n' | b'\r'), text)) => (text, Some(*end)),
                _ => (piece, None),
            };
            if std::mem::take(&mut self.carriage_return) && !(text.is_empty() && end.is_some()) {
                self.line.clear();
            }
            let room = (MAX_LOG_LINE_BYTES + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            match end {
                Some(b'\n') => {
                    let text = std::mem::take(&mut self.line);
                    pending.push(Line { stream: self.stream, at: Timestamp::now(), text });
                }
                Some(_) => self.carriage_return = true,
                None => {}
            }
        }
    }
}

impl<O: OutputObserver> OutputObserver for Logged<'_, O> {
    fn observe(&mut self, bytes: &[u8]) {
        self.collect(bytes);
        self.observer.observe(bytes);
    }

    fn pause(&mut self) {
        self.observer.pause();
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.carriage_return = false;
            self.collect(b"\n");
        }
        self.observer.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl OutputObserver for Nothing {
        fn observe(&mut self, _: &[u8]) {}
    }

    fn collected(pieces: &[&[u8]]) -> Pending {
        let log = OutputLog { pending: Arc::default() };
        let mut stream = OutputLog::observe(Some(&log), LogStream::Stdout, Nothing);
        for piece in pieces {
            stream.observe(piece);
        }
        stream.end();
        std::mem::take(&mut *lock(&log.pending))
    }

    fn texts(pieces: &[&[u8]]) -> Vec<String> {
        let lines = collected(pieces).lines;
        lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect()
    }

    #[test]
    fn of_a_bar_only_its_last_state_is_a_line() {
        assert_eq!(texts(&[b"a\nb", b"c\r\n", b"\n"]), ["a", "bc", ""]);
        assert_eq!(texts(&[b"10%\r20", b"%\r", b"30%\r\n40%\r", b"50%"]), ["30%", "50%"]);
        assert_eq!(texts(&[b"100%\r"]), ["100%"]);
        let long = [b'x'; 10_000];
        assert_eq!(texts(&[&long, b"\ny\n"]), ["x".repeat(4_097), "y".to_owned()]);
    }

    #[test]
    fn surplus_lines_are_dropped_and_counted() {
        let many = collected(&[&b"line\n".repeat(10_000)]);
        assert_eq!((many.lines.len(), many.gap), (MAX_PENDING_LINES, true));
        let lines = encode(&many.lines, many.gap);
        assert_eq!(lines.lines().count(), MAX_PENDING_LINES + 1);
        assert!(lines.lines().next().unwrap().contains("left out"), "{lines}");
        let chunk = b"line\n".repeat(20_000);
        let fast = collected(&[&chunk, &chunk, &chunk, &chunk, &chunk, &chunk]);
        assert!(fast.gap && fast.looked_at > MAX_LOOKED_AT);
    }

    #[test]
    fn a_full_batch_fits_into_one_request() {
        // A control character is six bytes of JSON: the worst there is.
        let mut pending = Pending::default();
        for _ in 0..MAX_PENDING_LINES {
            let text = vec![1; 60];
            pending.push(Line { stream: LogStream::Stdout, at: Timestamp::from_micros(0), text });
        }
        let body = encode(&pending.lines, false);
        assert!(body.len() <= 256 << 10, "{}", body.len());
        assert!(
            body.starts_with("{\"at\":\"1970-01-01T00:00:00.000Z\"") && body.contains("left out")
        );
    }
}
