//! The updates that are reported: stamped with a number and the time, padded to one size.

use std::io::Write as _;
use std::time::Instant;

use memchr::memmem;

use crate::endpoint::Endpoint;

/// What stands before the stamp in an update: a field that a server passes through.
const MARK: &[u8] = b"\"bench\":\"";
const NUMBER_DIGITS: usize = 10;
const TIME_DIGITS: usize = 15;

/// Time since the run began. One clock for reporters and watchers, which are threads of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Number and time of an update, as it carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts from 1 within one source of updates.
    pub(crate) number: u64,
    /// When it was handed to the reporter's socket, by the run's clock.
    pub(crate) at: u64,
}

/// A source of updates, numbered one by one.
#[derive(Clone, Debug)]
pub(crate) struct Updates {
    clock: Clock,
    padding: String,
    number: u64,
}

impl Updates {
    /// `padding` is how many bytes to add so that what is *delivered* has the size wanted.
    pub(crate) fn new(clock: Clock, padding: usize) -> Self {
        Self { clock, padding: "x".repeat(padding), number: 0 }
    }

    /// The same, numbered on from `last`.
    pub(crate) fn after(&self, last: u64) -> Self {
        Self { number: last, ..self.clone() }
    }

    /// The next update's JSON. All have the same length, but for the end, which has another status.
    pub(crate) fn next(&mut self, end: bool) -> (Stamp, String) {
        self.number += 1;
        let stamp = Stamp { number: self.number, at: self.clock.now() };
        let status = if end { "completed" } else { "processing" };
        let json = format!(
            r#"{{"status":"{status}","stage":"render","progress":0.{:04},"bench":"{:0NUMBER_DIGITS$}{:0TIME_DIGITS$}","message":"{}"}}"#,
            self.number % 10_000,
            stamp.number,
            stamp.at,
            self.padding
        );
        (stamp, json)
    }
}

/// Finds the stamp in an update, starting where the last one had it.
#[derive(Debug)]
pub(crate) struct Stamps {
    finder: memmem::Finder<'static>,
    offset: usize,
}

impl Stamps {
    pub(crate) fn new() -> Self {
        Self { finder: memmem::Finder::new(MARK), offset: 0 }
    }

    /// The update's stamp; `None` for messages of other kinds.
    pub(crate) fn find(&mut self, message: &[u8]) -> Option<Stamp> {
        if !message.get(self.offset..).is_some_and(|rest| rest.starts_with(MARK)) {
            self.offset = self.finder.find(message)?;
        }
        let digits = message.get(self.offset + MARK.len()..)?.get(..NUMBER_DIGITS + TIME_DIGITS)?;
        let (number, at) = digits.split_at(NUMBER_DIGITS);
        Some(Stamp { number: decimal(number)?, at: decimal(at)? })
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// Appends one HTTP/1.1 request that reports `json`.
pub(crate) fn write_request(out: &mut Vec<u8>, to: &Endpoint, json: &str) {
    let (path, authorization) = (&to.path, to.authorization());
    let (before, after) = match &to.channel {
        Some(channel) => (format!(r#"{{"channel":"{channel}","data":"#), "}"),
        None => (String::new(), ""),
    };
    write!(
        out,
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{before}{json}{after}",
        before.len() + json.len() + after.len()
    )
    .expect("a Vec takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_found_wherever_it_stands() {
        let mut updates = Updates::new(Clock::start(), 40);
        let mut stamps = Stamps::new();
        for lead in ["", r#"{"job_id":"job-00001","#, "x"] {
            let (stamp, json) = updates.next(false);
            assert_eq!(stamps.find(format!("{lead}{json}").as_bytes()), Some(stamp));
        }
        assert_eq!(stamps.find(br#"{"type":"ping","message":"keepalive"}"#), None);
        assert_eq!(stamps.find(br#"{"bench":"123"#), None);
    }

    #[test]
    fn updates_have_one_length() {
        let mut updates = Updates::new(Clock::start(), 7);
        let lengths: Vec<_> = (0..2000).map(|_| updates.next(false).1.len()).collect();
        assert!(lengths.iter().all(|length| *length == lengths[0]));
    }
}
