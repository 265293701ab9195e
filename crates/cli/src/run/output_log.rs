//! What the command prints, as the job's log.

use std::collections::VecDeque;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use milepost_protocol::{JobId, LogStream, MAX_LOG_LINE_BYTES, Timestamp};
use serde_json::json;

use super::relay::OutputObserver;
use crate::client::{Appended, Client};

/// Collects lines and sends them. The command never waits for it: of what is too much, or cannot be sent, the latest lines are kept, and
/// the log says where others are left out.
#[derive(Debug)]
pub(crate) struct OutputLog {
    pending: Arc<Mutex<Pending>>,
}

/// Sends what an [`OutputLog`] has collected, from a thread of its own.
pub(crate) struct LogSender {
    stop: Sender<Last>,
    thread: JoinHandle<()>,
}

/// How the last lines are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    /// The server has just answered.
    Now,
    /// Only if the latest request did not fail.
    IfReachable,
}

#[derive(Debug, Default)]
struct Pending {
    lines: VecDeque<Line>,
    bytes: usize,
    /// How many bytes of output were read since lines were last taken.
    looked_at: usize,
    /// Lines before the first one are left out.
    gap: bool,
}

#[derive(Debug)]
struct Line {
    stream: LogStream,
    at: Timestamp,
    /// At most [`MAX_LOG_LINE_BYTES`] and one more.
    text: Vec<u8>,
    /// Lines before it are left out.
    gap: bool,
}

/// The line in place of those that are left out.
const MARK: &str = "(milepost: output is left out here)";
/// How often lines are sent.
const BATCH: Duration = Duration::from_millis(200);
/// The most that waits to be sent. Beyond it, the oldest lines are dropped.
const MAX_PENDING_BYTES: usize = 96 << 10;
const MAX_PENDING_LINES: usize = 1_500;
/// Less than the server takes in one request.
const MAX_BODY_BYTES: usize = 255 << 10;
/// The most output that is split into lines in the time of a batch. Of what is beyond, only the latest is.
const MAX_LOOKED_AT: usize = 512 << 10;
/// How long a request may take, and how long after one that failed the next is sent. That doubles up to [`MAX_PAUSE`].
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// The most requests for the last lines: one that was not accepted, and the lines that have come since.
const LAST_REQUESTS: usize = 2;

impl OutputLog {
    /// Sends the lines to the job's server from now on; none if it has nowhere to send them to. `say` is called once if the server will not
    /// take them.
    pub(crate) fn start(
        url: &str,
        job: &JobId,
        say: impl Fn(&str) + Send + 'static,
    ) -> Option<(Self, LogSender)> {
        let client = Client::with_timeout(url, PATIENCE).ok().filter(Client::takes_logs)?;
        let pending = Arc::<Mutex<Pending>>::default();
        let (stop, stopped) = channel();
        let (job, taken) = (job.clone(), Arc::clone(&pending));
        let run = move || {
            let append = move |lines: &str| client.append_log(&job, lines);
            let mut delivery = Delivery::new(taken, append, say);
            let (mut not_before, mut pause) = (Instant::now(), PATIENCE);
            let last = loop {
                match stopped.recv_timeout(BATCH) {
                    Err(RecvTimeoutError::Timeout) => {}
                    last => break last.unwrap_or(Last::IfReachable),
                }
                if Instant::now() < not_before {
                    continue;
                }
                if delivery.send() {
                    pause = PATIENCE;
                } else {
                    not_before = Instant::now() + pause;
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            };
            if last == Last::Now || Instant::now() >= not_before {
                delivery.send_last();
            }
        };
        let thread = thread::Builder::new().name("log".to_owned()).spawn(run).ok()?;
        Some((Self { pending }, LogSender { stop, thread }))
    }

    /// Looks at a stream on the way to `observer`.
    pub(crate) fn observe<O>(log: Option<&Self>, stream: LogStream, observer: O) -> Logged<'_, O> {
        Logged { log, observer, splitter: Splitter::new(stream), unread: Vec::new() }
    }
}

impl LogSender {
    /// Sends the last lines. Takes no longer than [`LAST_REQUESTS`] may take, and the one that is under way. `is_there`: the server has just
    /// accepted the job's end.
    pub(crate) fn finish(self, is_there: bool) {
        // If its thread has panicked, nobody receives it.
        let _ = self.stop.send(if is_there { Last::Now } else { Last::IfReachable });
        // The panic hook has reported a panic there. It does not affect the command's outcome.
        let _ = self.thread.join();
    }
}

/// Sends what is pending, by `append`.
struct Delivery<A, S> {
    pending: Arc<Mutex<Pending>>,
    append: A,
    /// Called with why the server takes no lines, once.
    say: S,
    /// Not accepted yet.
    batch: Option<String>,
    /// The server takes no lines of this job.
    over: bool,
}

impl<A: FnMut(&str) -> Appended, S: Fn(&str)> Delivery<A, S> {
    fn new(pending: Arc<Mutex<Pending>>, append: A, say: S) -> Self {
        Self { pending, append, say, batch: None, over: false }
    }

    /// False if the next request is better sent later.
    fn send(&mut self) -> bool {
        let taken = lock(&self.pending).take();
        if self.over {
            return true;
        }
        match self.batch {
            None if !taken.is_empty() => self.batch = Some(encode(&taken)),
            _ => lock(&self.pending).put_back(taken),
        }
        let Some(batch) = &self.batch else { return true };
        match (self.append)(batch) {
            Appended::Yes => self.batch = None,
            // Its first report has not arrived yet.
            Appended::NotKnownYet => {}
            Appended::Later => return false,
            Appended::Rejected => {
                self.batch = None;
                lock(&self.pending).mark_gap();
            }
            Appended::Never(reason) => {
                self.over = true;
                (self.say)(&format!("lines of the job's log are not sent: {reason}"));
            }
        }
        true
    }

    fn send_last(&mut self) {
        for _ in 0..LAST_REQUESTS {
            if !self.send() || self.over {
                return;
            }
        }
    }
}

fn lock(pending: &Mutex<Pending>) -> MutexGuard<'_, Pending> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pending {
    /// Lines before the next one are missing.
    fn mark_gap(&mut self) {
        match self.lines.front_mut() {
            Some(first) => first.gap = true,
            None => self.gap = true,
        }
    }

    fn push(&mut self, mut line: Line) {
        line.gap |= self.lines.is_empty() && std::mem::take(&mut self.gap);
        self.bytes += line.text.len();
        self.lines.push_back(line);
        while self.bytes > MAX_PENDING_BYTES || self.lines.len() > MAX_PENDING_LINES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.text.len();
            self.mark_gap();
        }
    }

    /// All lines. A gap that no line follows yet stays.
    fn take(&mut self) -> VecDeque<Line> {
        (self.bytes, self.looked_at) = (0, 0);
        std::mem::take(&mut self.lines)
    }

    /// Puts lines before those that have come since.
    fn put_back(&mut self, lines: VecDeque<Line>) {
        let newer = std::mem::take(&mut self.lines);
        self.bytes = 0;
        lines.into_iter().chain(newer).for_each(|line| self.push(line));
    }
}

/// As JSON lines, at most [`MAX_BODY_BYTES`]: the newest. Control characters take several bytes each.
fn encode(lines: &VecDeque<Line>) -> String {
    let encoded = |line: &Line, text: &str| {
        let at = line.at.with_millis().to_string();
        let stream = line.stream.as_str();
        format!("{}\n", json!({ "text": text, "stream": stream, "at": at }))
    };
    let mark = |line: &Line| encoded(line, MARK);
    let mut newest = VecDeque::new();
    // There is always room for the mark of a gap before the first line.
    let mut room = MAX_BODY_BYTES - lines.front().map_or(0, |line| mark(line).len());
    for line in lines.iter().rev() {
        let json = encoded(line, &String::from_utf8_lossy(&line.text));
        let mark = line.gap.then(|| mark(line));
        let size = json.len() + mark.as_ref().map_or(0, String::len);
        if size > room {
            newest.push_front(encoded(line, MARK));
            break;
        }
        room -= size;
        newest.push_front(json);
        if let Some(mark) = mark {
            newest.push_front(mark);
        }
    }
    Vec::from(newest).concat()
}

/// Passes a stream on to its observer, and its lines to the log.
pub(crate) struct Logged<'a, O> {
    log: Option<&'a OutputLog>,
    observer: O,
    splitter: Splitter,
    /// The latest output, which there was no time to split. It is split when there is time again, or nothing comes any more, so that the
    /// newest lines are never missed.
    unread: Vec<u8>,
}

impl<O> Logged<'_, O> {
    fn collect(&mut self, bytes: &[u8]) {
        let Some(log) = self.log else { return };
        let mut pending = lock(&log.pending);
        pending.looked_at += bytes.len();
        if pending.looked_at <= MAX_LOOKED_AT {
            self.splitter.split(&std::mem::take(&mut self.unread), &mut pending);
            self.splitter.split(bytes, &mut pending);
            return;
        }
        drop(pending);
        self.unread.extend_from_slice(bytes);
        // More at once would not be kept. Not each time: what is kept is moved.
        if self.unread.len() > 2 * MAX_PENDING_BYTES {
            let surplus = self.unread.len() - MAX_PENDING_BYTES;
            self.splitter.skip(&self.unread[..surplus]);
            self.unread.drain(..surplus);
        }
    }

    /// Splits what there was no time for.
    fn catch_up(&mut self) {
        if let Some(log) = self.log.filter(|_| !self.unread.is_empty()) {
            self.splitter.split(&std::mem::take(&mut self.unread), &mut lock(&log.pending));
        }
    }
}

impl<O: OutputObserver> OutputObserver for Logged<'_, O> {
    fn observe(&mut self, bytes: &[u8]) {
        self.collect(bytes);
        self.observer.observe(bytes);
    }

    fn pause(&mut self) {
        self.catch_up();
        self.observer.pause();
    }

    fn end(&mut self) {
        self.catch_up();
        if let Some(log) = self.log {
            self.splitter.end(&mut lock(&log.pending));
        }
        self.observer.end();
    }
}

/// Splits a stream into the lines of a log.
struct Splitter {
    stream: LogStream,
    /// The line that has not ended, as far as it is kept.
    line: Vec<u8>,
    /// What comes next overwrites the line, unless it ends there.
    carriage_return: bool,
    /// Lines before the next one are left out.
    gap: bool,
}

impl Splitter {
    fn new(stream: LogStream) -> Self {
        Self { stream, line: Vec::new(), carriage_return: false, gap: false }
    }

    fn split(&mut self, bytes: &[u8], pending: &mut Pending) {
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
                    let gap = std::mem::take(&mut self.gap);
                    pending.push(Line { stream: self.stream, at: Timestamp::now(), text, gap });
                }
                Some(_) => self.carriage_return = true,
                None => {}
            }
        }
    }

    /// Leaves the lines that end there out.
    fn skip(&mut self, bytes: &[u8]) {
        let mut begun = bytes;
        if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
            begun = &bytes[end + 1..];
            self.gap = true;
            self.carriage_return = false;
            self.line.clear();
        }
        // It has no end of a line.
        self.split(begun, &mut Pending::default());
    }

    /// What has not ended is a line as well.
    fn end(&mut self, pending: &mut Pending) {
        if !self.line.is_empty() {
            self.carriage_return = false;
            self.split(b"\n", pending);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl OutputObserver for Nothing {
        fn observe(&mut self, _: &[u8]) {}
    }

    fn log() -> OutputLog {
        OutputLog { pending: Arc::default() }
    }

    fn collected(pieces: &[&[u8]]) -> Pending {
        let log = log();
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

    /// The texts of the lines of a request.
    fn sent(body: &str) -> Vec<String> {
        let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        body.lines().map(|json| line(json)["text"].as_str().unwrap().to_owned()).collect()
    }

    /// What requests have, if the server answers them so, each after the next line. All further ones it accepts.
    fn requests(answers: &[Appended]) -> Vec<Vec<String>> {
        let log = log();
        let mut stream = OutputLog::observe(Some(&log), LogStream::Stdout, Nothing);
        let (mut answers, mut bodies) = (answers.iter().cloned(), Vec::new());
        let append = |body: &str| {
            bodies.push(sent(body));
            answers.next().unwrap_or(Appended::Yes)
        };
        let mut delivery = Delivery::new(Arc::clone(&log.pending), append, |_: &str| {});
        for text in ["1\n", "2\n", "3\n"] {
            stream.observe(text.as_bytes());
            delivery.send();
        }
        delivery.send_last();
        bodies
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
        assert_eq!(many.lines.len(), MAX_PENDING_LINES);
        let lines = sent(&encode(&many.lines));
        assert_eq!((lines.len(), lines[0].as_str()), (MAX_PENDING_LINES + 1, MARK));
    }

    #[test]
    fn of_a_flood_the_latest_lines_are_kept() {
        let chunk = b"line\n".repeat(20_000);
        let log = log();
        let mut stream = OutputLog::observe(Some(&log), LogStream::Stdout, Nothing);
        stream.observe(b"first\n");
        for _ in 0..20 {
            stream.observe(&chunk);
        }
        assert!(stream.unread.len() <= 2 * MAX_PENDING_BYTES, "{}", stream.unread.len());
        let before = lock(&log.pending).take();
        assert!(before.len() == MAX_PENDING_LINES && before[0].gap, "only what is before it");
        stream.observe(b"FATAL: disk full");
        stream.end();
        let after = lock(&log.pending).take();
        assert_eq!(after.back().unwrap().text, b"FATAL: disk full");
        assert!(after[0].gap && after.iter().skip(1).all(|line| !line.gap));
    }

    #[test]
    fn a_gap_is_marked_where_it_is() {
        let mut pending = Pending::default();
        let mut splitter = Splitter::new(LogStream::Stdout);
        splitter.split(b"one\ntw", &mut pending);
        splitter.skip(b"o\nthree\nfo");
        splitter.split(b"ur\n", &mut pending);
        splitter.skip(b"10%\r20%\r3");
        splitter.split(b"0%\n", &mut pending);
        assert_eq!(sent(&encode(&pending.take())), ["one", MARK, "four", "30%"]);
        splitter.skip(b"lost\n");
        assert!(pending.take().is_empty(), "a batch without lines");
        splitter.split(b"five\n", &mut pending);
        assert_eq!(sent(&encode(&pending.take())), [MARK, "five"]);
    }

    #[test]
    fn a_huge_last_line_is_cut() {
        let piece = vec![b'x'; 64 << 10];
        let many: Vec<&[u8]> = std::iter::repeat_n(&piece[..], 32).collect();
        assert_eq!(texts(&many), ["x".repeat(4_097)]);
    }

    #[test]
    fn lines_that_are_refused_for_now_are_sent_later() {
        let later = requests(&[Appended::Later, Appended::Later]);
        assert_eq!(later, [&["1"][..], &["1"], &["1"], &["2", "3"]]);
        let unknown = requests(&[Appended::NotKnownYet]);
        assert_eq!(unknown, [&["1"][..], &["1"], &["2", "3"]]);
        let rejected = requests(&[Appended::Rejected]);
        assert_eq!(rejected, [&["1"][..], &[MARK, "2"], &["3"]]);
        // Other lines have come meanwhile.
        let rejected = requests(&[Appended::Later, Appended::Rejected]);
        assert_eq!(rejected, [&["1"][..], &["1"], &[MARK, "2", "3"]]);
        assert_eq!(requests(&[Appended::Never("no".to_owned())]), [["1"]]);
    }

    #[test]
    fn a_full_batch_fits_into_one_request() {
        // A control character is six bytes of JSON: the worst there is.
        let mut pending = Pending::default();
        for _ in 0..MAX_PENDING_LINES {
            let text = vec![1; 60];
            let (stream, at) = (LogStream::Stdout, Timestamp::from_micros(0));
            pending.push(Line { stream, at, text, gap: false });
        }
        let body = encode(&pending.lines);
        assert!(body.len() <= 256 << 10, "{}", body.len());
        assert!(
            body.starts_with("{\"at\":\"1970-01-01T00:00:00.000Z\"") && body.contains("left out")
        );
    }
}
