use futures_util::{StreamExt, TryStreamExt};
use milepost_protocol::{JobId, State, Timeline, Timestamp};

use super::Client;
use crate::Failure;
use crate::call::Call;
use crate::read::Read;

impl Client {
    /// A job's newest `most` states, oldest first. A value that a legacy worker set under the job's key is folded first.
    ///
    /// # Errors
    /// When Redis does not answer, or [`Failure::Unreadable`].
    pub async fn states(
        &self,
        job: &JobId,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<State>, Failure> {
        let call = Call::read(self.names, job, None, most);
        let mut read = Read::parse(self.connection.run_again(&call).await?, job)?;
        if let Some(value) = &read.legacy_value
            && let Some(state) = self.adopt(job, value, now).await?
        {
            read.states.push(state);
            let surplus = read.states.len().saturating_sub(most);
            read.states.drain(..surplus);
        }
        Ok(read.states)
    }

    /// A job's newest `most` states, as [`states`](Self::states) returns them, and its timeline.
    ///
    /// # Errors
    /// When Redis does not answer, or [`Failure::Unreadable`].
    pub async fn history(
        &self,
        job: &JobId,
        most: usize,
        now: Timestamp,
    ) -> Result<(Vec<State>, Timeline), Failure> {
        let call = Call::history(self.names, job, most);
        let mut answer = Read::with_timeline(self.connection.run_again(&call).await?, job)?;
        if let Some(value) = &answer.0.legacy_value
            && self.adopt(job, value, now).await?.is_some()
        {
            answer = Read::with_timeline(self.connection.run_again(&call).await?, job)?;
        }
        let (read, timeline) = answer;
        let begun = || read.states.last().map(Timeline::begun_with).unwrap_or_default();
        let timeline = timeline.unwrap_or_else(begun);
        Ok((read.states, timeline))
    }

    /// The newest state of each job; none for a job that is unknown or unreadable.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn newest(
        &self,
        jobs: Vec<JobId>,
        now: Timestamp,
    ) -> Result<Vec<Option<State>>, Failure> {
        /// How many reads are in flight at once.
        const AT_ONCE: usize = 64;
        let newest = jobs.into_iter().map(|job| async move {
            match self.states(&job, 1, now).await {
                Ok(mut states) => Ok(states.pop()),
                Err(Failure::Unreadable(_)) => Ok(None),
                Err(failure) => Err(failure),
            }
        });
        futures_util::stream::iter(newest).buffered(AT_ONCE).try_collect().await
    }
}
