use std::time::Duration;

use milepost_protocol::{JobId, Position, Timestamp, Update};

use super::Client;
use crate::Failure;
use crate::call::Call;
use crate::report::Source;

impl Client {
    /// The time by the server's clock, in milliseconds, and at most `most` jobs whose health may have to change by then.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due(&self, most: usize) -> Result<(i64, Vec<JobId>), Failure> {
        let answer = self.run(&Call::due(most)).await?;
        let mut parts = answer.0.into_iter().map(String::from_utf8);
        let now = parts.next().and_then(Result::ok).and_then(|now| now.parse().ok());
        let now = now.ok_or_else(|| Failure::unexpected("a time"))?;
        // A name that is no job id was not written by Milepost.
        let jobs = parts.filter_map(|id| JobId::parse(&id.ok()?).ok()).collect();
        Ok((now, jobs))
    }

    /// Changes a job's health if it is due, or ends the job because its worker is lost. Time before `from` does not count as
    /// silence. The script does nothing if it runs much later than `asked`. Both are by the server's clock, in milliseconds.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn clock(
        &self,
        job: &JobId,
        from: i64,
        asked: i64,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let answer = self.run(&Call::clock(self.names, job, from, asked, now)).await?;
        let parts: Option<Vec<_>> =
            answer.0.iter().map(|part| std::str::from_utf8(part).ok()).collect();
        if parts.as_deref() == Some(&["1"])
            && let Some(state) = self.newest_known(job).await
        {
            self.notify_parent(&state).await;
        }
        // Any other answer means that the job does not end.
        let Some([position, attempt, silence]) = parts.as_deref() else { return Ok(()) };
        let lost = Position::parse(position).zip(attempt.parse().ok()).zip(silence.parse().ok());
        let ((position, attempt), silence) =
            lost.ok_or_else(|| Failure::unexpected("a lost job"))?;
        let end = Update::end_of_lost(job, attempt, Duration::from_millis(silence));
        // Another answer than an accepted end means that a report or another instance came first.
        self.fold(&end, Some(Source::Lost(position)), now, false, None).await.map(|_| ())
    }
}
