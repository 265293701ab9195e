use std::time::Duration;

use milepost_protocol::{JobId, Position, Timestamp, Update};

use super::Client;
use crate::Failure;
use crate::call::Call;
use crate::names::{CLOCKS, STARTED_OVER};
use crate::report::{Report, Source};

impl Client {
    /// The time by the server's clock, in milliseconds, and at most `most` jobs whose health may have to change by then.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due(&self, most: usize) -> Result<(i64, Vec<JobId>), Failure> {
        let answer = self.run(&Call::due(self.names, most)).await?;
        let mut parts = answer.0.into_iter().map(String::from_utf8);
        let now = parts.next().and_then(Result::ok).and_then(|now| now.parse().ok());
        let now = now.ok_or_else(|| Failure::unexpected("a time"))?;
        // A name that is no job id was not written by Milepost.
        let jobs = parts.filter_map(|id| JobId::parse(&id.ok()?).ok()).collect();
        Ok((now, jobs))
    }

    /// Writes when jobs that were [due](Self::due) at `asked` are due next, as [`clock`](Self::clock) said. Only a Cluster needs it.
    ///
    /// # Errors
    /// When Redis does not answer: then they are due again after 2 s.
    pub async fn due_next(&self, asked: i64, jobs: &[(JobId, Option<i64>)]) -> Result<(), Failure> {
        if !jobs.is_empty() {
            self.run(&Call::clock_next(asked, jobs)).await?;
        }
        Ok(())
    }

    /// Of the jobs that may become lost, or end, because their worker is silent: how many there are, and how many of those
    /// workers have been silent for two thirds of the time for that. Time before `from` does not count as silence. If there are
    /// many jobs, a random sample stands for all: those that are due next are more often silent than others.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn silent(&self, from: i64) -> Result<(usize, usize), Failure> {
        /// The most jobs of the sample.
        const SAMPLE: usize = 1_024;
        /// The most in a Cluster, where each is asked for alone.
        const SAMPLE_IN_CLUSTER: usize = 128;
        /// So many in one script, so that Redis is not busy with it for long.
        const SLICE: usize = 128;
        let (sample, slice) =
            if self.names.is_cluster() { (SAMPLE_IN_CLUSTER, 1) } else { (SAMPLE, SLICE) };
        let mut command = redis::cmd("ZRANDMEMBER");
        command.arg(CLOCKS).arg(sample);
        let jobs = self.connection.query::<Vec<String>>(&command).await?;
        let jobs: Vec<_> = jobs.iter().filter_map(|id| JobId::parse(id).ok()).collect();
        let (mut known, mut silent) = (0, 0);
        for slice in jobs.chunks(slice) {
            let answer = self.run(&Call::silent(self.names, slice, from)).await?;
            let numbers = answer.0.iter().map(|part| std::str::from_utf8(part).ok()?.parse().ok());
            let numbers: Option<Vec<usize>> = numbers.collect();
            let Some(&[its_known, its_silent]) = numbers.as_deref() else {
                return Err(Failure::unexpected("two numbers"));
            };
            (known, silent) = (known + its_known, silent + its_silent);
        }
        Ok((known, silent))
    }

    /// Starts the clocks of all jobs over, for all servers: no silence before `at` counts, by the server's clock in milliseconds.
    ///
    /// # Errors
    /// When Redis does not accept it, or it is not known whether it did.
    pub async fn start_over(&self, at: i64) -> Result<(), Failure> {
        /// No job may be silent for longer: the most seconds of a `lost_after`.
        const KEPT: u32 = 2_592_000;
        let mut command = redis::cmd("SET");
        command.arg(STARTED_OVER).arg(at).arg("EX").arg(KEPT);
        self.connection.query(&command).await
    }

    /// When a server last did; 0 if none has.
    ///
    /// # Errors
    /// When Redis does not answer, or with [`Failure::Refused`] if something else is there.
    pub async fn started_over(&self) -> Result<i64, Failure> {
        let mut command = redis::cmd("GET");
        command.arg(STARTED_OVER);
        let at = self.connection.query::<Option<Vec<u8>>>(&command).await?;
        // Another program may have written anything.
        let number = |at: Vec<u8>| String::from_utf8(at).ok()?.parse().ok();
        Ok(at.and_then(number).unwrap_or(0))
    }

    /// Changes a job's health if it is due, or ends the job because its worker is lost. Time before `from` does not count as
    /// silence. The script does nothing if it runs much later than `asked`. Both are by the server's clock, in milliseconds. With
    /// `holds`, no job becomes lost or ends.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn clock(
        &self,
        job: &JobId,
        (from, asked): (i64, i64),
        holds: bool,
        now: Timestamp,
    ) -> Result<Checked, Failure> {
        let call = Call::clock(self.names, job, (from, asked), holds, now);
        let answer = self.run(&call).await?;
        let parts: Option<Vec<_>> =
            answer.0.iter().map(|part| std::str::from_utf8(part).ok()).collect();
        let mut parts = parts.unwrap_or_default();
        let mut checked = Checked::default();
        if self.names.is_cluster() && parts.len() > 1 {
            checked.next = Some(parts.remove(0).parse().ok());
        }
        match *parts.as_slice() {
            ["1"] => {
                if let Some(state) = self.newest_known(job).await {
                    self.notify_parent(&state).await;
                }
            }
            ["held"] => checked.is_held = true,
            [position, attempt, silence] => {
                let lost =
                    Position::parse(position).zip(attempt.parse().ok()).zip(silence.parse().ok());
                let ((position, attempt), silence) =
                    lost.ok_or_else(|| Failure::unexpected("a lost job"))?;
                let end = Update::end_of_lost(job, attempt, Duration::from_millis(silence));
                // Another answer than an accepted end means that a report or another instance came first.
                self.fold(&Report::new(&end, Some(Source::Lost(position)), now)).await?;
            }
            _ => {}
        }
        Ok(checked)
    }
}

/// What came of the check of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Whether it would have become lost, or ended, if it was not held.
    pub is_held: bool,
    /// In a Cluster, when it is due next, in milliseconds by the server's clock, for [`due_next`](Client::due_next): none if it is not
    /// any more.
    pub next: Option<Option<i64>>,
}
