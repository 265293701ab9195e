//! Jobs with children: `spec/README.md`, section 18. In a Cluster, a parent and its child may be on different servers, so one
//! script cannot write both. After the child's report, a second script writes the child's summary into its parent's keys.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use milepost_protocol::{Ancestors, ChildSummary, InvalidParent, JobId, State, Timestamp, Update};

use super::Client;
use crate::Failure;
use crate::call::Call;
use crate::connection::wall_clock;
use crate::names::PARENTS;
use crate::reply::{Accepted, Reply};
use crate::report::{ChildChange, JobRequest, Report, Source};

/// What a client remembers about children.
#[derive(Default)]
pub(super) struct Children(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// By child: the summaries that Redis has not acknowledged, and their parents. At most [`MAX_PENDING`]. Beyond that,
    /// summaries are dropped. A server finds a child again later if its parent knew it before.
    pending: HashMap<JobId, (JobId, ChildSummary)>,
    /// Pairs of a child and its parent that passed [`Client::check_parent`]. At [`MAX_CHECKED`] the set is cleared, and all
    /// are checked again.
    checked: HashSet<(JobId, JobId)>,
}

const MAX_PENDING: usize = 10_000;
const MAX_CHECKED: usize = 10_000;

/// How often a parent is checked until all of its children have ended.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// A child whose worker has been silent for this time is read. Longer than a heartbeat.
const SILENCE: Duration = Duration::from_secs(30);

impl Inner {
    fn keep_pending(&mut self, parent: &JobId, job: &JobId, child: ChildSummary) {
        let is_full = self.pending.len() >= MAX_PENDING;
        match self.pending.get(job) {
            // The later of two reports may fail first.
            Some((_, kept)) if !child.is_newer_than(kept) => {}
            None if is_full => {}
            _ => {
                self.pending.insert(job.clone(), (parent.clone(), child));
            }
        }
    }

    fn acknowledged(&mut self, job: &JobId, child: ChildSummary) {
        if self.pending.get(job).is_some_and(|(_, kept)| !kept.is_newer_than(&child)) {
            self.pending.remove(job);
        }
    }
}

impl Children {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// The job's newest state; none if it is not known, or cannot be read now.
    pub(super) async fn newest_known(&self, job: &JobId) -> Option<State> {
        self.states(job, 1, Timestamp::now()).await.ok()?.pop()
    }

    /// Whether a job may become a child of the parent that the update names. Two jobs that become each other's parents at the
    /// same moment are not noticed.
    pub(super) async fn check_parent(
        &self,
        update: &Update,
        now: Timestamp,
    ) -> Result<Result<(), InvalidParent>, Failure> {
        let Some(parent) = update.parent() else { return Ok(Ok(())) };
        let pair = (update.job().clone(), parent.clone());
        if self.children.inner().checked.contains(&pair) {
            return Ok(Ok(()));
        }
        let mut ancestors = match Ancestors::new(update.job(), parent) {
            Ok(ancestors) => ancestors,
            Err(invalid) => return Ok(Err(invalid)),
        };
        loop {
            let ancestor = match self.states(ancestors.next(), 1, now).await {
                Ok(mut states) => states.pop(),
                // An unreadable ancestor must not block its descendants.
                Err(Failure::Unreadable(_)) => None,
                Err(failure) => return Err(failure),
            };
            match ancestors.step(ancestor.and_then(|state| state.parent())) {
                Ok(true) => {}
                Ok(false) => break,
                Err(invalid) => return Ok(Err(invalid)),
            }
        }
        let checked = &mut self.children.inner().checked;
        if checked.len() >= MAX_CHECKED {
            checked.clear();
        }
        checked.insert(pair);
        Ok(Ok(()))
    }

    /// Removes a job from the children of its former parent. If that fails, a server notices when it reads the parent's silent children.
    pub(super) async fn leave_parent(&self, parent: &JobId, job: &JobId) {
        let _ = Box::pin(self.change_child(parent, job, ChildChange::Gone)).await;
    }

    /// Sends a job's summary to its parent, if it has one. If that fails, the summary stays pending until
    /// [`notify_parents`](Self::notify_parents) sends it.
    pub(super) async fn notify_parent(&self, state: &State) {
        if let Some(parent) = state.parent() {
            // Boxed, so that it does not enlarge the futures of reports without a parent.
            Box::pin(self.send_summary(&parent, state.job(), ChildSummary::of(state))).await;
        }
    }

    /// Returns whether Redis acknowledged it.
    async fn send_summary(&self, parent: &JobId, job: &JobId, child: ChildSummary) -> bool {
        let is_acknowledged =
            self.change_child(parent, job, ChildChange::Summary(child)).await.is_ok();
        let mut inner = self.children.inner();
        if is_acknowledged {
            inner.acknowledged(job, child);
        } else {
            inner.keep_pending(parent, job, child);
        }
        is_acknowledged
    }

    /// Sends all pending summaries. Those that fail again stay pending.
    pub async fn notify_parents(&self) {
        const AT_ONCE: usize = 32;
        let pending: Vec<_> = {
            let inner = self.children.inner();
            let all = inner.pending.iter();
            all.map(|(job, (parent, child))| (parent.clone(), job.clone(), *child)).collect()
        };
        let sending = futures_util::stream::iter(pending).map(|(parent, job, child)| async move {
            self.send_summary(&parent, &job, child).await
        });
        let mut answers = sending.buffer_unordered(AT_ONCE);
        while let Some(is_acknowledged) = answers.next().await {
            // In a Cluster, other parents may be on a server that does answer.
            if !is_acknowledged && !self.names().is_cluster() {
                return;
            }
        }
    }

    pub(super) async fn change_child(
        &self,
        parent: &JobId,
        job: &JobId,
        change: ChildChange,
    ) -> Result<(), Failure> {
        let call = Call::child(self.names(), parent, job, change, self.retention());
        let answer = self.run(&call).await?;
        let at = answer.0.first().filter(|at| *at != b"0");
        if let Some(at) = at.filter(|_| self.names().is_cluster()) {
            // The list of parents may be on another server.
            let mut command = redis::cmd("ZADD");
            command.arg(PARENTS).arg("LT").arg(at).arg(parent.as_str());
            self.connection.query::<usize>(&command).await?;
        }
        Ok(())
    }

    /// At most `most` jobs whose children are due to be shown. Other callers do not receive the same jobs for 10 s.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due_parents(&self, most: usize) -> Result<Vec<JobId>, Failure> {
        let answer = self.run(&Call::due_parents(most, CHECK_INTERVAL)).await?;
        let jobs = answer.0.into_iter().skip(1).filter_map(|id| String::from_utf8(id).ok());
        // A name that is no job id was not written by Milepost.
        Ok(jobs.filter_map(|id| JobId::parse(&id).ok()).collect())
    }

    /// Shows a job's children in its state, and ends the job if it is to end with them. If nothing has changed, reads the
    /// children that have been silent for a while, because their latest summaries may have been lost.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn roll_up(&self, parent: &JobId, now: Timestamp) -> Result<(), Failure> {
        let of = JobRequest { job: parent, request: None, now };
        let call = |deadline, server: Option<_>| {
            Call::request(self.names(), of, self.retention(), deadline, server.as_ref())
        };
        match self.in_time(parent, None, call).await? {
            Reply::Accepted(Accepted { state, .. }) => self.end_with_children(&state, now).await,
            Reply::Stale => {
                // A report of the job's worker may have shown that all have ended.
                if let Some(state) = self.newest_known(parent).await {
                    self.end_with_children(&state, now).await?;
                }
                self.reread_silent_children(parent, now).await
            }
            // The job is not known, or has ended.
            _ => self
                .connection
                .query::<usize>(redis::cmd("ZREM").arg(PARENTS).arg(parent.as_str()))
                .await
                .map(|_| ()),
        }
    }

    /// Ends a job if it is to end with its children. Does nothing if there is a newer state: that one makes the children due
    /// again.
    async fn end_with_children(&self, state: &State, now: Timestamp) -> Result<(), Failure> {
        if let Some(end) = state.end_with_children() {
            self.fold(&Report::new(&end, Some(Source::Lost(state.position())), now)).await?;
        }
        Ok(())
    }

    /// Reads the children of a job that have not ended and have been silent for [`SILENCE`], and updates their summaries.
    async fn reread_silent_children(&self, parent: &JobId, now: Timestamp) -> Result<(), Failure> {
        /// How many children are read in one call.
        const SLICE: usize = 64;
        let ahead = self.connection.connected().await?.ahead();
        let silence = i64::try_from(SILENCE.as_millis()).unwrap_or(i64::MAX);
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(self.names().open_children(parent)).arg("-inf");
        command.arg(wall_clock() + ahead - silence).arg("LIMIT").arg(0).arg(SLICE);
        let children: Vec<String> = self.connection.query(&command).await?;
        for child in children.iter().filter_map(|child| JobId::parse(child).ok()) {
            let state = match self.states(&child, 1, now).await {
                Ok(mut states) => states.pop(),
                // An unreadable child must not block its siblings.
                Err(Failure::Unreadable(_)) => None,
                Err(failure) => return Err(failure),
            };
            let change = match &state {
                Some(state) if state.parent().as_ref() == Some(parent) => {
                    ChildChange::Summary(ChildSummary::of(state))
                }
                Some(_) => ChildChange::Gone,
                None => ChildChange::Forgotten,
            };
            self.change_child(parent, &child, change).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::{ChildStatus, Epoch, Position};

    use super::*;

    fn id(id: &str) -> JobId {
        JobId::parse(id).unwrap()
    }

    fn child(number: u64) -> ChildSummary {
        let (status, position) = (ChildStatus::Processing, Position { epoch: Epoch(1), number });
        ChildSummary { status, progress: 0.0, weight: 1.0, attempt: 1, position }
    }

    #[test]
    fn pending_summaries_are_bounded() {
        let mut inner = Inner::default();
        for number in 0..=MAX_PENDING {
            inner.keep_pending(&id("p"), &id(&format!("c{number}")), child(1));
        }
        assert_eq!(inner.pending.len(), MAX_PENDING);
        assert!(!inner.pending.contains_key(&id(&format!("c{MAX_PENDING}"))));
        // A summary of a child that is pending already is still replaced.
        inner.keep_pending(&id("p"), &id("c0"), child(2));
        assert_eq!(inner.pending[&id("c0")].1, child(2));
    }

    #[test]
    fn the_newest_pending_summary_is_kept() {
        let mut inner = Inner::default();
        inner.keep_pending(&id("p"), &id("c"), child(2));
        inner.keep_pending(&id("p"), &id("c"), child(1));
        inner.acknowledged(&id("c"), child(1));
        assert_eq!(inner.pending[&id("c")], (id("p"), child(2)));
        inner.acknowledged(&id("c"), child(3));
        assert!(inner.pending.is_empty());
    }
}
