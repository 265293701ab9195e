use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crate::delays::now_micros;

/// How a job's worker reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// `POST /jobs/{id}`, to any instance that answers. What was not acknowledged is reported again.
    Http,
    /// `POST /updates`, many jobs of one worker at a time; likewise.
    Batch,
    /// As the workers of the service before Milepost: `PUBLISH` and `SETEX`, straight to Redis; what fails is lost.
    Plain,
}

/// What a job's worker is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Report at the load's rate.
    Report = 0,
    /// Report the end, and be done.
    End = 1,
    /// Be gone in the middle of a report.
    Die = 2,
    /// Be done.
    Stop = 3,
}

/// One job: what its worker is to do and has done.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    order: AtomicU8,
    sent: AtomicU64,
    confirmed: AtomicU64,
    ended: AtomicBool,
    lost: AtomicU64,
    refused: AtomicU64,
    attempt: AtomicU8,
}

impl Job {
    pub(crate) fn new(id: String, kind: Kind) -> Self {
        Self {
            id,
            kind,
            order: AtomicU8::new(Order::Report as u8),
            sent: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            attempt: AtomicU8::new(1),
        }
    }

    pub(crate) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Report,
            1 => Order::End,
            2 => Order::Die,
            _ => Order::Stop,
        }
    }

    pub(crate) fn give(&self, order: Order) {
        self.order.store(order as u8, Ordering::Release);
    }

    /// The number of the next update. A job's worker is one task, so nothing else counts meanwhile.
    pub(crate) fn next(&self) -> u64 {
        self.sent.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The server has acknowledged update `number`.
    pub(crate) fn confirm(&self, number: u64, is_end: bool) {
        self.confirmed.fetch_max(number, Ordering::AcqRel);
        if is_end {
            self.ended.store(true, Ordering::Release);
        }
    }

    /// The highest number that the server has acknowledged.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Whether the end is confirmed.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// An update will never be reported again: its worker does not do so.
    pub(crate) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Acquire)
    }

    /// The server has rejected an update for good.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Acquire)
    }

    /// Another worker takes over, as a queue's next attempt.
    pub(crate) fn retry(&self) {
        self.attempt.fetch_add(1, Ordering::AcqRel);
        self.give(Order::Report);
    }

    /// Update `number` as its worker writes it, of some 250 bytes.
    pub(crate) fn update(&self, number: u64, is_end: bool) -> String {
        let status = if is_end { "completed" } else { "processing" };
        let stage = if is_end { "complete" } else { "rendering" };
        let (id, at) = (&self.id, now_micros());
        // Legacy workers know no attempts.
        let attempt = match self.attempt.load(Ordering::Acquire) {
            2.. if self.kind == Kind::Plain => String::new(),
            1 => String::new(),
            attempt => format!(r#""attempt":{attempt},"#),
        };
        let progress = if is_end { 10_000 } else { number % 10_000 };
        let (whole, part) = (progress / 10_000, progress % 10_000);
        format!(
            r#"{{"job_id":"{id}","status":"{status}",{attempt}"stage":"{stage}","progress":{whole}.{part:04},"message":"Rendering frame {number} of a video that is somewhat long","timestamp":"2026-01-01T00:00:00.000000","metadata":{{"n":{number},"at":{at},"frames":10000}}}}"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_json_and_say_their_number() {
        let job = Job::new("a".into(), Kind::Http);
        let read = |job: &Job, n, end| -> serde_json::Value {
            serde_json::from_str(&job.update(n, end)).expect("it is JSON")
        };
        assert_eq!(read(&job, 7, false)["metadata"]["n"], 7);
        assert_eq!(read(&job, 7, false)["attempt"], serde_json::Value::Null);
        assert_eq!(read(&job, 8, true)["status"], "completed");
        assert_eq!(read(&job, 8, true)["progress"], 1.0);
        job.retry();
        assert_eq!(read(&job, 9, false)["attempt"], 2);
    }
}
