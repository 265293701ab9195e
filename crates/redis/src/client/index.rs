use milepost_protocol::JobId;

use super::Client;
use crate::Failure;
use crate::call::Call;
use crate::names::{CLOCKS, INDEX};
use crate::report::ChildChange;

impl Client {
    /// Forgets a job. Returns false if it was not known.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn forget(&self, job: &JobId) -> Result<bool, Failure> {
        let parent = self.newest_known(job).await.and_then(|state| state.parent());
        let answer = self.run(&Call::forget(self.names, job)).await?;
        if self.names.is_cluster() {
            let mut pipeline = redis::pipe();
            for key in INDEX.into_iter().chain([CLOCKS]) {
                pipeline.zrem(key, job.as_str()).ignore();
            }
            self.connection.pipeline(&pipeline).await?;
        }
        if let Some(parent) = parent {
            // If this fails, a server notices when it reads the parent's silent children.
            let _ = self.change_child(&parent, job, ChildChange::Forgotten).await;
        }
        Ok(answer.0.first().is_some_and(|keys| keys != b"0"))
    }

    /// At most `most` jobs of the index that began before `before`, the most recently begun first. Each comes with the time at
    /// which it began, in microseconds since 1970.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn begun(
        &self,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<(JobId, u64)>, Failure> {
        let before = before.map_or_else(|| "+inf".to_owned(), |before| format!("({before}"));
        let mut command = redis::cmd("ZREVRANGEBYSCORE");
        command.arg(INDEX[0]).arg(before).arg("-inf").arg("WITHSCORES");
        command.arg("LIMIT").arg(0).arg(most);
        let listed: Vec<(String, f64)> = self.connection.query(&command).await?;
        // A name that is no job id was not written by Milepost.
        let job = |(id, begun): (String, f64)| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "microseconds since 1970 are whole, and below 2^53"
            )]
            Some((JobId::parse(&id).ok()?, begun as u64))
        };
        Ok(listed.into_iter().filter_map(job).collect())
    }

    /// The number of jobs in the index.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn count(&self) -> Result<usize, Failure> {
        self.connection.query(redis::cmd("ZCARD").arg(INDEX[0])).await
    }

    /// Drops at most `most` expired jobs from the index. Returns their number.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn expire(&self, most: usize) -> Result<usize, Failure> {
        let answer = self.run(&Call::expire(most)).await?;
        let count = answer.0.into_iter().next().and_then(|count| String::from_utf8(count).ok());
        Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    /// Updates the index of a Cluster, which may be on another server than the job. A lost update is repeated by the job's
    /// next report.
    pub(super) async fn update_index(&self, job: &JobId, [begun, expires]: &[String; 2]) {
        let mut pipeline = redis::pipe();
        for (key, score) in INDEX.iter().zip([begun, expires]) {
            pipeline.cmd("ZADD").arg(key).arg(score).arg(job.as_str()).ignore();
        }
        let _ = self.connection.pipeline(&pipeline).await;
    }

    /// Updates the list of clocks of a Cluster, in the same way.
    pub(super) async fn update_clock(&self, job: &JobId, score: &str) {
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZADD").arg(CLOCKS).arg(score).arg(job.as_str()).ignore();
        let _ = self.connection.pipeline(&pipeline).await;
    }
}
