//! The jobs that are watched on this instance.

mod followed;
mod legacy;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost_broker::{Listener, Unavailable};
use milepost_protocol::{JobId, Position};
use milepost_redis::{Published, Read, Reply};
use tokio::sync::oneshot;

use followed::{Delivery, Followed};
pub(crate) use legacy::LegacyUpdate;
use legacy::{Folded, Legacy};

/// The jobs that have a listener on this instance.
///
/// Each job has two parts: [`Followed`] notifies the listener and knows only positions. [`Legacy`] turns the updates of legacy
/// workers into states, and hands these to [`Followed`].
pub(crate) struct Watched {
    stripes: Box<[Mutex<HashMap<JobId, Job>>]>,
    hasher: RandomState,
}

/// So many that a stripe is small: it is locked while its table grows, for which the ids of all of its jobs are hashed again.
const STRIPES: u64 = 256;

struct Job {
    followed: Followed,
    legacy: Legacy,
    /// The callers of `attach` that wait for the job's states.
    attaching: Vec<oneshot::Sender<Result<(), Unavailable>>>,
}

/// Identifies one subscription of this process.
pub(crate) type SubscriptionKey = u64;

/// Identifies a legacy update that was sent to be folded: the subscription, and a number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoldKey(pub(crate) SubscriptionKey, pub(crate) u64);

/// Which states of a job this instance needs.
pub(crate) enum Interest {
    /// None: the job has no listener.
    None,
    /// The states after this position, or all that are kept.
    States { after: Option<Position> },
}

/// The next step for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing to do.
    Nothing,
    /// States may be missing: read the job.
    Read,
    /// Send a legacy update: [`next_update`](Watched::next_update) returns it.
    Fold,
}

impl Default for Watched {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Mutex::default()).collect();
        Self { stripes, hasher: RandomState::new() }
    }
}

impl Watched {
    /// The jobs among which this one is, if it has a listener.
    fn jobs_near(&self, job: &JobId) -> MutexGuard<'_, HashMap<JobId, Job>> {
        let index = usize::try_from(self.hasher.hash_one(job) % STRIPES).unwrap_or(0);
        lock(&self.stripes[index])
    }

    /// Adds or replaces a job's listener. The receiver yields once the listener has the job's states, or the reason why the job
    /// cannot be read.
    pub(crate) fn attach(
        &self,
        job: &JobId,
        listener: Arc<dyn Listener>,
    ) -> oneshot::Receiver<Result<(), Unavailable>> {
        let (attached, receiver) = oneshot::channel();
        let watched = Job {
            followed: Followed::new(listener),
            legacy: Legacy::default(),
            attaching: vec![attached],
        };
        self.jobs_near(job).insert(job.clone(), watched);
        receiver
    }

    /// Removes a job's listener. Returns false if the job has another one, or none.
    pub(crate) fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) -> bool {
        let mut jobs = self.jobs_near(job);
        let is_attached = jobs.get(job).is_some_and(|job| job.followed.is_for(listener));
        if is_attached {
            jobs.remove(job);
        }
        is_attached
    }

    pub(crate) fn contains(&self, job: &JobId) -> bool {
        self.jobs_near(job).contains_key(job)
    }

    pub(crate) fn all(&self) -> Vec<JobId> {
        let of_stripe = |jobs| lock(jobs).keys().cloned().collect::<Vec<_>>();
        self.stripes.iter().flat_map(of_stripe).collect()
    }

    pub(crate) fn interest(&self, job: &JobId) -> Interest {
        match self.jobs_near(job).get(job) {
            None => Interest::None,
            Some(job) => Interest::States { after: job.followed.latest() },
        }
    }

    /// Records that the job cannot be read: notifies its listener, and fails the calls of `attach` that wait for it. Returns
    /// false if all of them were notified before.
    pub(crate) fn unreadable(&self, id: &JobId, reason: &str) -> bool {
        let mut jobs = self.jobs_near(id);
        let Some(job) = jobs.get_mut(id) else { return false };
        let is_new = job.followed.unreadable();
        job.fail_attach(&Unavailable::Unreadable(reason.to_owned())) || is_new
    }

    /// Records that the job's channel cannot be subscribed to: fails the calls of `attach` that wait for it. A listener that is
    /// attached already continues with the states that are read.
    pub(crate) fn unsubscribable(&self, id: &JobId, reason: &str) {
        if let Some(job) = self.jobs_near(id).get_mut(id) {
            job.fail_attach(&Unavailable::Backend(reason.to_owned()));
        }
    }

    /// Handles a read over a subscription, including the legacy key. Returns the next step, and whether the job has to be read
    /// again soon.
    pub(crate) fn read(
        &self,
        id: &JobId,
        read: Read,
        legacy_value: Option<String>,
        subscription: SubscriptionKey,
    ) -> (Next, bool) {
        let mut jobs = self.jobs_near(id);
        let Some(job) = jobs.get_mut(id) else { return (Next::Nothing, false) };
        job.followed.set_secret(read.secret);
        let legacy_value = job.legacy.unfolded(legacy_value);
        let is_all_known = job.followed.latest().is_none() && read.states.is_empty();
        if is_all_known
            && let Some(json) = &legacy_value
            && job.legacy.adopt(json)
        {
            // After it was folded, the job is read again.
            return (Next::Fold, true);
        }
        job.legacy.follow(subscription, read.serial);
        job.followed.read(read.states, read.known);
        job.attaching.drain(..).for_each(|attaching| {
            let _ = attaching.send(Ok(()));
        });
        let read_soon = job.legacy.key_read(legacy_value);
        (job.next(), read_soon)
    }

    /// Handles a message on the job's channel. Anybody may have published it.
    ///
    /// # Errors
    /// When it is a state of another job.
    pub(crate) fn message(
        &self,
        id: &JobId,
        json: &str,
        subscription: SubscriptionKey,
        now: Duration,
    ) -> Result<Next, &'static str> {
        let mut jobs = self.jobs_near(id);
        let Some(job) = jobs.get_mut(id) else { return Ok(Next::Nothing) };
        match Published::parse(json) {
            Some(published) if published.state.job() != id => {
                Err("it names another job than its channel")
            }
            Some(published) => Ok(job.followed.published(published).into()),
            // A read finds out whether the job was really forgotten.
            None if is_forgotten(json) => Ok(Next::Read),
            None if job.legacy.published(id, json, subscription, now) => Ok(job.next()),
            None => Ok(Next::Nothing),
        }
    }

    /// The next legacy update to send, unless one is being folded. [`folded`](Self::folded) or [`not_sent`](Self::not_sent)
    /// has to follow.
    pub(crate) fn next_update(&self, id: &JobId, key: FoldKey) -> Option<LegacyUpdate> {
        self.jobs_near(id).get_mut(id)?.legacy.next(key)
    }

    /// Handles the script's reply to a legacy update; none if the update cannot be folded.
    pub(crate) fn folded(&self, id: &JobId, key: FoldKey, reply: Option<Reply>) -> Next {
        let mut jobs = self.jobs_near(id);
        let Some(job) = jobs.get_mut(id) else { return Next::Nothing };
        match job.legacy.folded(key, reply) {
            Folded::Abandoned => Next::Nothing,
            Folded::Nothing => job.next(),
            Folded::State(state) => match job.followed.folded(state) {
                Delivery::Gap => Next::Read,
                Delivery::Done => job.next(),
            },
        }
    }

    /// Records that the legacy update was not sent after all.
    pub(crate) fn not_sent(&self, id: &JobId) {
        if let Some(job) = self.jobs_near(id).get_mut(id) {
            job.legacy.not_sent();
        }
    }
}

fn lock(jobs: &Mutex<HashMap<JobId, Job>>) -> MutexGuard<'_, HashMap<JobId, Job>> {
    // Only a listener can panic under this lock, and that leaves the map intact.
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    /// Returns whether a call was waiting.
    fn fail_attach(&mut self, reason: &Unavailable) -> bool {
        let is_waiting = !self.attaching.is_empty();
        self.attaching.drain(..).for_each(|attaching| {
            let _ = attaching.send(Err(reason.clone()));
        });
        is_waiting
    }

    /// The next step for the job's legacy updates. While publishes are not followed, only a read finds the job's states.
    fn next(&self) -> Next {
        if !self.legacy.is_following() {
            Next::Read
        } else if self.legacy.has_next() {
            Next::Fold
        } else {
            Next::Nothing
        }
    }
}

impl From<Delivery> for Next {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Done => Self::Nothing,
            Delivery::Gap => Self::Read,
        }
    }
}

/// Whether it is the message that `forget.lua` publishes: `spec/README.md`, section 14.
fn is_forgotten(json: &str) -> bool {
    json.starts_with(r#"{"type":"forgotten","job_id":"#)
}
