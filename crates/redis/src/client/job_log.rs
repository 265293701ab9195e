use milepost_protocol::{JobId, LogLine, Position};

use super::Client;
use crate::Failure;
use crate::answer::Answer;
use crate::call::Call;

/// Lines that were read from a job's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRead {
    /// The position of the log's last line; none if it never had one.
    pub end: Option<Position>,
    /// How many lines are no longer kept.
    pub dropped: u64,
    /// The number of the first of `lines`.
    pub first: u64,
    /// Whether lines are missing between the requested position and the first line here.
    pub gap: bool,
    /// The lines, oldest first.
    pub lines: Vec<LogLine>,
}

impl Client {
    /// Appends lines to a job's log, and drops the oldest lines beyond `most` bytes. Returns the position of the last line, and
    /// how many lines were dropped so far; none if the job is not known.
    ///
    /// # Errors
    /// When Redis does not accept them, or it is not known whether it did.
    pub async fn append_log(
        &self,
        job: &JobId,
        lines: &[LogLine],
        most: usize,
        epoch: u64,
    ) -> Result<Option<(Option<Position>, u64)>, Failure> {
        let call = Call::append_log(self.names(), job, lines, most, epoch);
        let mut parts = Parts(self.run(&call).await?.0.into_iter());
        let Some(end) = parts.0.next() else { return Ok(None) };
        Ok(Some((position(end)?, parts.number()?)))
    }

    /// At most `most` lines of a job's log after a position, or the newest ones. None if the job is not known.
    ///
    /// # Errors
    /// When Redis does not answer, or [`Failure::Unreadable`].
    pub async fn read_log(
        &self,
        job: &JobId,
        after: Option<Position>,
        most: usize,
    ) -> Result<Option<LogRead>, Failure> {
        let answer: Answer = self.run(&Call::read_log(self.names(), job, after, most)).await?;
        let mut parts = Parts(answer.0.into_iter());
        let Some(end) = parts.0.next() else { return Ok(None) };
        let (end, dropped) = (position(end)?, parts.number()?);
        let (first, gap) = (parts.number()?, parts.number()? == 1);
        let line = |line: Vec<u8>| {
            let line = String::from_utf8(line).map_err(|_| unexpected())?;
            // A line that Milepost did not write, or that was overwritten.
            if line.starts_with('{') { Ok(LogLine::from_json(line)) } else { Err(unexpected()) }
        };
        let lines = parts.0.map(line).collect::<Result<_, _>>()?;
        Ok(Some(LogRead { end, dropped, first, gap, lines }))
    }
}

struct Parts(std::vec::IntoIter<Vec<u8>>);

impl Parts {
    fn number(&mut self) -> Result<u64, Failure> {
        let text = self.0.next().and_then(|text| String::from_utf8(text).ok());
        text.and_then(|text| text.parse().ok()).ok_or_else(unexpected)
    }
}

fn position(text: Vec<u8>) -> Result<Option<Position>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8(text).map_err(|_| unexpected())?;
    Position::parse(&text).map(Some).ok_or_else(unexpected)
}

fn unexpected() -> Failure {
    Failure::unreadable("a log")
}
