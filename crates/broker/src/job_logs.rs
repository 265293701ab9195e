use std::fmt;

use async_trait::async_trait;
use milepost_protocol::{JobId, LogLine, Position, Standing};

use crate::Unavailable;

/// Keeps each job's log: the latest lines that its worker wrote. The log is separate from the state.
///
/// Every backend guarantees:
///
/// 1. **One order.** The lines of a log are numbered from 1, in the order in which they were appended.
/// 2. **Bounded.** A log has at most [`MAX_JOB_LOG_BYTES`], counted by [`line_cost`]. The oldest lines are dropped first;
///    pages mark the gap.
/// 3. **As long as the job.** A log is forgotten with its job. A backend may forget it earlier, to make room or after a
///    restart. Later lines are then numbered from 1 in another epoch.
#[async_trait]
pub trait JobLogs: Send + Sync + 'static {
    /// Appends lines to the log of a known job.
    ///
    /// # Errors
    /// If the job is not known, there is no memory, or the backend is unavailable.
    async fn append_log(&self, job: &JobId, lines: Vec<LogLine>) -> Result<Appended, LogError>;

    /// A part of a job's log; none if the job is not known.
    ///
    /// # Errors
    /// If the backend is unavailable.
    async fn log(&self, job: &JobId, part: LogPart) -> Result<Option<LogPage>, Unavailable>;

    /// Waits until the log may have lines after `seen`. May return too early. Cancel-safe.
    async fn log_grown(&self, job: &JobId, seen: Option<Position>);

    /// The memory that logs take in this process.
    fn log_stats(&self) -> LogStats;
}

/// The maximum size of a job's log in bytes, counted by [`line_cost`].
pub const MAX_JOB_LOG_BYTES: usize = 256 << 10;

/// The bytes that a line counts for: its JSON and an allowance for bookkeeping.
pub fn line_cost(line: &LogLine) -> usize {
    const OVERHEAD: usize = 64;
    line.json().len() + OVERHEAD
}

/// How many lines a log has ever had, and how many of them were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// The position of the last line; none if there has never been one.
    pub end: Option<Position>,
    /// How many lines were dropped.
    pub dropped: u64,
}

impl Appended {
    /// How many lines were ever appended.
    pub fn lines(self) -> u64 {
        self.end.map_or(0, |end| end.number)
    }
}

/// Selects lines of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPart {
    /// Selects the lines after this position, the oldest first; none: the newest lines.
    pub after: Option<Position>,
    /// The most lines to return.
    pub most: usize,
}

/// A part of a job's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// The whole log.
    pub log: Appended,
    /// Whether lines between the requested position and the first line here were dropped.
    pub gap: bool,
    /// The number of the first of `lines`.
    pub first: u64,
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
}

impl LogPage {
    /// The position after which the next page begins; none if the log has never had a line.
    pub fn next(&self) -> Option<Position> {
        let end = self.log.end?;
        Some(Position { number: self.first + self.lines.len() as u64 - 1, ..end })
    }
}

/// The numbers of the lines that a [`LogPart`] selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogWindow {
    /// The first of them.
    pub first: u64,
    /// The one after the last.
    pub end: u64,
    /// As in [`LogPage`].
    pub gap: bool,
}

impl LogWindow {
    /// The lines of `log` that `part` selects.
    pub fn of(part: LogPart, log: Appended) -> Self {
        let (oldest, end) = (log.dropped + 1, log.lines() + 1);
        let most = u64::try_from(part.most).unwrap_or(u64::MAX);
        let Some(after) = part.after else {
            return Self { first: oldest.max(end.saturating_sub(most)), end, gap: false };
        };
        let (first, gap) = match log.end.map(|last| last.standing_of(after)) {
            Some(Standing::Behind | Standing::Current) => {
                let next = after.next().number;
                (next.max(oldest), next < oldest)
            }
            // The log of `after` was forgotten, or lost its last lines. How many lines are missing is unknown.
            Some(Standing::Ahead | Standing::Foreign) | None => (oldest, true),
        };
        Self { first, end: end.min(first.saturating_add(most)), gap }
    }
}

/// The memory that logs take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes in this process.
    pub bytes: usize,
    /// Logs evicted to make room, since start.
    pub evicted: u64,
}

/// Why lines were not appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The job is not known.
    UnknownJob,
    /// The backend is at its bound; the text names the bound.
    Full(String),
    /// The backend is unavailable.
    Unavailable(Unavailable),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownJob => f.write_str("the job is not known"),
            Self::Full(bound) => write!(f, "the broker is full: {bound}"),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl std::error::Error for LogError {}

#[cfg(test)]
mod tests {
    use milepost_protocol::Epoch;

    use super::*;

    fn at(epoch: u64, number: u64) -> Position {
        Position { epoch: Epoch(epoch), number }
    }

    #[test]
    fn a_window_is_of_kept_lines_and_marks_a_gap() {
        let log = Appended { end: Some(at(1, 10)), dropped: 4 };
        let window = |after, most| {
            let LogWindow { first, end, gap } = LogWindow::of(LogPart { after, most }, log);
            (first, end, gap)
        };
        assert_eq!(window(None, 100), (5, 11, false));
        assert_eq!(window(None, 2), (9, 11, false));
        assert_eq!(window(Some(at(1, 3)), 100), (5, 11, true));
        assert_eq!(window(Some(at(1, 4)), 2), (5, 7, false));
        assert_eq!(window(Some(at(1, 10)), 100), (11, 11, false));
        assert_eq!(window(Some(at(1, u64::MAX)), 100), (5, 11, true));
        assert_eq!(window(Some(at(2, 7)), 100), (5, 11, true));
        let empty = LogWindow::of(LogPart { after: None, most: 9 }, Appended::default());
        assert_eq!(empty, LogWindow { first: 1, end: 1, gap: false });
    }
}
