//! Reports over HTTP/1.1, pipelined on one connection that is kept alive.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Registry, Token};

use crate::endpoint::Endpoint;
use crate::error::{Error, doing};
use crate::stream::{Address, Stream};
use crate::update::{Stamp, Updates, write_request};

/// One keep-alive connection that reports. Answers come in the order of the requests (RFC 9112, 9.3.2).
#[derive(Debug)]
pub(crate) struct Reporter {
    stream: Stream,
    out: Vec<u8>,
    written: usize,
    answers: Vec<u8>,
    in_flight: usize,
}

impl Reporter {
    /// Connects and registers with `registry` under `token`.
    pub(crate) fn connect(
        address: &Address,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, Error> {
        let connect = || {
            let mut stream = address.connect()?;
            stream.tcp().set_nodelay(true)?;
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        };
        let stream =
            connect().map_err(doing(format!("connecting a reporter to {}", address.socket)))?;
        Ok(Self { stream, out: Vec::new(), written: 0, answers: Vec::new(), in_flight: 0 })
    }

    /// How many reports are not answered yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Queues one report; [`Reporter::flush`] sends what is queued.
    pub(crate) fn queue(&mut self, to: &Endpoint, json: &str) {
        write_request(&mut self.out, to, json);
        self.in_flight += 1;
    }

    /// Sends what is queued, as far as the socket takes it.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Error::Io("sending a report".into(), error)),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Takes the answers that have come. An answer other than 2xx is an error, with its body.
    pub(crate) fn take_answers(&mut self) -> Result<(), Error> {
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    return Err(Error::Server("the server closed a reporter's connection".into()));
                }
                Ok(read) => self.answers.extend_from_slice(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(Error::Io("reading an answer".into(), error)),
            }
        }
        let mut taken = 0;
        while let Some(answer) = answer(&self.answers[taken..])? {
            if !answer.is_accepted() {
                let (status, body) = (answer.status, String::from_utf8_lossy(answer.body));
                return Err(Error::Refused(format!("a report was answered with {status}: {body}")));
            }
            taken += answer.length;
            self.in_flight = self.in_flight.checked_sub(1).ok_or_else(|| {
                Error::Protocol("the server answered more often than it was asked".into())
            })?;
        }
        self.answers.drain(..taken);
        Ok(())
    }
}

/// A server's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    body: &'a [u8],
    /// With its head.
    pub(crate) length: usize,
}

impl Answer<'_> {
    fn is_accepted(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The answer at the start of `bytes`, once it is whole.
pub(crate) fn answer(bytes: &[u8]) -> Result<Option<Answer<'_>>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(Error::Protocol(format!("an answer that is not HTTP: {error}"))),
    };
    let status = response.code.unwrap_or(0);
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    let length = match (length, status) {
        (Some(length), _) => length,
        (None, 204) => 0,
        (None, _) => return Err(Error::Protocol("an answer without Content-Length".into())),
    };
    let length = head + length;
    Ok(bytes.get(head..length).map(|body| Answer { status, body, length }))
}

/// How fast a [`Paced`] reporter reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Updates a second. What cannot be sent in time, because `depth` are unanswered, is not made up for.
    pub(crate) rate: f64,
    /// At most so many unanswered reports.
    pub(crate) depth: usize,
    /// For how long.
    pub(crate) time: Duration,
    /// Whether one more update, the end, follows.
    pub(crate) end: bool,
}

/// A reporter on a thread of its own, which reports jobs at a steady pace, one after the other.
#[derive(Debug)]
pub(crate) struct Paced {
    thread: Option<JoinHandle<Result<Stamp, Error>>>,
    stop: Arc<AtomicBool>,
}

impl Paced {
    /// Reports to each in turn.
    pub(crate) fn start(address: Address, to: Vec<Endpoint>, updates: Updates, pace: Pace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || report_paced(&address, &to, updates, pace, &stopped);
        Self { thread: Some(std::thread::spawn(run)), stop }
    }

    /// Whether all is reported and answered, or it failed.
    pub(crate) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the last answer; gives the stamp of the last update.
    pub(crate) fn finish(mut self) -> Result<Stamp, Error> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(Error::Server("a reporter's thread panicked".into())),
        }
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Only on the way out with another error, which is the one to return.
            let _ = thread.join();
        }
    }
}

fn report_paced(
    address: &Address,
    to: &[Endpoint],
    mut updates: Updates,
    pace: Pace,
    stop: &AtomicBool,
) -> Result<Stamp, Error> {
    let mut poll = Poll::new().map_err(doing("making a poll"))?;
    let mut events = Events::with_capacity(16);
    let mut reporter = Reporter::connect(address, poll.registry(), Token(0))?;
    let interval = Duration::from_secs_f64(1.0 / pace.rate);
    let start = Instant::now();
    let mut due = start;
    let mut last = Stamp { number: 0, at: 0 };
    let mut end_left = pace.end;
    let mut to = to.iter().cycle();
    let mut next = || to.next().ok_or_else(|| Error::Limit("there is no job to report".into()));
    let deadline = start + pace.time + Duration::from_secs(60);
    loop {
        let now = Instant::now();
        if stop.load(Ordering::Relaxed) || now > deadline {
            return Err(Error::Late("the last report was not answered within 60 s".into()));
        }
        let over = now >= start + pace.time;
        if over && end_left {
            end_left = false;
            let (stamp, json) = updates.next(true);
            last = stamp;
            reporter.queue(next()?, &json);
        }
        while !over && due <= now && reporter.in_flight() < pace.depth {
            let (stamp, json) = updates.next(false);
            last = stamp;
            reporter.queue(next()?, &json);
            due += interval;
        }
        // A server that holds the reporter up has lost the turns that passed meanwhile.
        due = due.max(now.checked_sub(Duration::from_millis(20)).unwrap_or(now));
        reporter.flush()?;
        if over && !end_left && reporter.in_flight() == 0 {
            return Ok(last);
        }
        let wait = if reporter.in_flight() < pace.depth {
            due.saturating_duration_since(Instant::now())
        } else {
            Duration::from_millis(100)
        };
        match poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(Error::Io("waiting for answers".into(), error));
            }
            _ => {}
        }
        if !events.is_empty() {
            reporter.take_answers()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_distinguished_and_refusals_are_not_accepted() {
        let two = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\n!";
        let first = answer(two).unwrap().unwrap();
        assert!(first.is_accepted() && first.body == b"ok");
        let rest = &two[first.length..];
        assert_eq!(answer(rest).unwrap().unwrap().length, rest.len());
        assert_eq!(answer(&two[..first.length - 1]).unwrap(), None);
        assert_eq!(answer(&two[..10]).unwrap(), None);

        let refused = b"HTTP/1.1 409 Conflict\r\ncontent-length: 5\r\n\r\nended";
        let refused = answer(refused).unwrap().unwrap();
        assert!(!refused.is_accepted() && refused.status == 409 && refused.body == b"ended");
        assert!(matches!(answer(b"nonsense\r\n\r\n"), Err(Error::Protocol(_))));
    }
}
