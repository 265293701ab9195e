//! Jobs with children: `spec/README.md`, section 18. A parent is another job than its child, and in a Cluster on another
//! server. So what it has to know of a child is told to it by a script of its own, after the child's.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost_protocol::{Ancestors, InvalidParent, JobId, State, Timestamp, Update};

use super::Client;
use crate::Failure;
use crate::call::Call;
use crate::connection::wall_clock;
use crate::names::PARENTS;
use crate::reply::{Accepted, Reply};
use crate::report::{Child, JobRequest, Source};

/// What a client remembers of children.
#[derive(Default)]
pub(super) struct Children(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The latest states of which the parent was not told, because Redis did not answer. At most [`MAX_UNTOLD`] jobs: of
    /// further ones, those that have not ended are found by [`Client::roll_up`], and the ends among them are lost.
    untold: HashMap<JobId, State>,
    /// Children, each with a parent that it may have. At most [`MAX_CHECKED`]: then all are checked anew.
    checked: HashSet<(JobId, JobId)>,
}

const MAX_UNTOLD: usize = 10_000;
const MAX_CHECKED: usize = 10_000;

/// A parent is looked at so often while not all of its children have ended.
const AGAIN: Duration = Duration::from_secs(10);

/// A child that was not heard for so long is read. It is longer than a heartbeat.
const SILENCE: Duration = Duration::from_secs(30);

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
                // That is its own trouble.
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

    /// Tells a job's parent, if it has one, what state the job is in. If that fails, [`tell_parents`](Self::tell_parents) tries
    /// again.
    pub(super) async fn tell_parent(&self, state: &State) {
        let Some(parent) = state.parent() else { return };
        if self.child(&parent, Child::State(state)).await.is_err() {
            let untold = &mut self.children.inner().untold;
            if untold.len() < MAX_UNTOLD || untold.contains_key(state.job()) {
                untold.insert(state.job().clone(), state.clone());
            }
        }
    }

    /// Tells parents what they were not told before, because Redis did not answer.
    pub async fn tell_parents(&self) {
        let untold = std::mem::take(&mut self.children.inner().untold);
        for state in untold.into_values() {
            self.tell_parent(&state).await;
        }
    }

    pub(super) async fn child(&self, parent: &JobId, child: Child<'_>) -> Result<(), Failure> {
        let call = Call::child(self.names(), parent, child, self.retention());
        let answer = self.run(&call).await?;
        let at = answer.0.first().filter(|at| *at != b"0");
        if let Some(at) = at.filter(|_| self.names().is_cluster()) {
            // The list is on another server.
            let mut command = redis::cmd("ZADD");
            command.arg(PARENTS).arg("LT").arg(at).arg(parent.as_str());
            self.connection.query::<usize>(&command).await?;
        }
        Ok(())
    }

    /// At most `most` jobs that are due to show their children. Nobody else is told of them for some seconds.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due_parents(&self, most: usize) -> Result<Vec<JobId>, Failure> {
        let answer = self.run(&Call::due_parents(most, AGAIN)).await?;
        let jobs = answer.0.into_iter().skip(1).filter_map(|id| String::from_utf8(id).ok());
        // A name that is no job id is somebody else's.
        Ok(jobs.filter_map(|id| JobId::parse(&id).ok()).collect())
    }

    /// Shows a job's children in its state, and ends the job if it is to end with them. If nothing has changed, looks for
    /// children that were not heard for a while: what was to be told of them may have been lost.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn roll_up(&self, parent: &JobId, now: Timestamp) -> Result<(), Failure> {
        let of = JobRequest { job: parent, request: None, now };
        let call = |deadline, server: Option<_>| {
            Call::request(self.names(), of, self.retention(), deadline, server.as_ref())
        };
        match self.in_time(parent, None, call).await? {
            Reply::Accepted(Accepted { state, .. }) => {
                if let Some(end) = state.end_with_children() {
                    // If there is a newer state, the children are looked at again.
                    self.fold(&end, Some(Source::Lost(state.position())), now, false).await?;
                }
                Ok(())
            }
            Reply::Stale => self.look_for_children(parent, now).await,
            // The job is not known, or has ended.
            _ => self
                .connection
                .query::<usize>(redis::cmd("ZREM").arg(PARENTS).arg(parent.as_str()))
                .await
                .map(|_| ()),
        }
    }

    /// Reads the children of a job that have not ended and were not heard for a while.
    async fn look_for_children(&self, parent: &JobId, now: Timestamp) -> Result<(), Failure> {
        /// The most of them at once.
        const SLICE: usize = 64;
        let ahead = self.connection.connected().await?.ahead();
        let silence = i64::try_from(SILENCE.as_millis()).unwrap_or(i64::MAX);
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(self.names().open_children(parent)).arg("-inf");
        command.arg(wall_clock() + ahead - silence).arg("LIMIT").arg(0).arg(SLICE);
        let children: Vec<String> = self.connection.query(&command).await?;
        for child in children.iter().filter_map(|child| JobId::parse(child).ok()) {
            let state = self.states(&child, 1, now).await?.pop();
            let told = match &state {
                Some(state) if state.parent().as_ref() == Some(parent) => Child::State(state),
                Some(_) => Child::Gone(&child),
                None => Child::Forgotten(&child),
            };
            self.child(parent, told).await?;
        }
        Ok(())
    }
}
