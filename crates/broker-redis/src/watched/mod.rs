//! The jobs that are watched on this instance.

mod followed;
mod legacy;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
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
/// Each is made of two parts: [`Followed`] notifies the listener and knows positions alone; [`Legacy`] turns what legacy
/// workers wrote into states, and hands those over.
#[derive(Default)]
pub(crate) struct Watched {
    jobs: Mutex<HashMap<JobId, Job>>,
}

struct Job {
    followed: Followed,
    legacy: Legacy,
    /// The callers of `attach` that wait for the present states.
    attaching: Vec<oneshot::Sender<Result<(), Unavailable>>>,
}

/// Identifies one subscription of this process.
pub(crate) type SubscriptionKey = u64;

/// Identifies a legacy update that was sent to be folded: by the subscription, and a number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoldKey(pub(crate) SubscriptionKey, pub(crate) u64);

/// What this instance wants of a job.
pub(crate) enum Interest {
    /// Nothing: it has no listener.
    None,
    /// The states after that position; without one, all that are kept.
    States { after: Option<Position> },
}

/// What has to be done next about a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Nothing,
    /// States may be missing: read the job.
    Read,
    /// A legacy update waits: [`next_update`](Watched::next_update) has it.
    Fold,
}

impl Watched {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Job>> {
        // Only a listener can panic under this lock, and the map is intact then.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job's listener, or replaces it. The receiver is notified when the listener has the present states, or why the
    /// job cannot be read.
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
        self.jobs().insert(job.clone(), watched);
        receiver
    }

    /// Removes a job's listener; false if it has another one, or none.
    pub(crate) fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) -> bool {
        let mut jobs = self.jobs();
        let is_attached = jobs.get(job).is_some_and(|job| job.followed.is_for(listener));
        if is_attached {
            jobs.remove(job);
        }
        is_attached
    }

    pub(crate) fn contains(&self, job: &JobId) -> bool {
        self.jobs().contains_key(job)
    }

    pub(crate) fn all(&self) -> Vec<JobId> {
        self.jobs().keys().cloned().collect()
    }

    pub(crate) fn interest(&self, job: &JobId) -> Interest {
        match self.jobs().get(job) {
            None => Interest::None,
            Some(job) => Interest::States { after: job.followed.latest() },
        }
    }

    /// The job cannot be read: notifies its listener, and fails the calls of `attach` that wait for it. False if all of them
    /// know already.
    pub(crate) fn unreadable(&self, id: &JobId, reason: &str) -> bool {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return false };
        let is_new = job.followed.unreadable();
        job.fail_attach(&Unavailable::Unreadable(reason.to_owned())) || is_new
    }

    /// The job's channel cannot be subscribed to: fails the calls of `attach` that wait for it. A listener that is attached
    /// already goes on with what is read.
    pub(crate) fn unsubscribable(&self, id: &JobId, reason: &str) {
        if let Some(job) = self.jobs().get_mut(id) {
            job.fail_attach(&Unavailable::Backend(reason.to_owned()));
        }
    }

    /// The job as it was read over a subscription, and what a legacy worker set under its key. Returns what to do next, and
    /// whether the job has to be read again soon.
    pub(crate) fn read(
        &self,
        id: &JobId,
        read: Read,
        legacy_value: Option<String>,
        subscription: SubscriptionKey,
    ) -> (Next, bool) {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return (Next::Nothing, false) };
        job.followed.set_secret(read.secret);
        let legacy_value = job.legacy.unfolded(legacy_value);
        let is_all_known = job.followed.latest().is_none() && read.states.is_empty();
        if is_all_known
            && let Some(json) = &legacy_value
            && job.legacy.adopt(json)
        {
            // Once it is folded, the job is read again.
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

    /// A message on the job's channel, which anybody may have published.
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
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return Ok(Next::Nothing) };
        match Published::parse(json) {
            Some(published) if published.state.job() != id => {
                Err("it names another job than its channel")
            }
            Some(published) => Ok(job.followed.published(published).into()),
            // A read finds out whether it is true.
            None if is_forgotten(json) => Ok(Next::Read),
            None if job.legacy.published(id, json, subscription, now) => Ok(job.next()),
            None => Ok(Next::Nothing),
        }
    }

    /// The legacy update to be folded next, unless one is being folded. [`folded`](Self::folded) or
    /// [`not_sent`](Self::not_sent) has to follow.
    pub(crate) fn next_update(&self, id: &JobId, key: FoldKey) -> Option<LegacyUpdate> {
        self.jobs().get_mut(id)?.legacy.next(key)
    }

    /// What the script answered to a legacy update; none if it cannot be folded.
    pub(crate) fn folded(&self, id: &JobId, key: FoldKey, reply: Option<Reply>) -> Next {
        let mut jobs = self.jobs();
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

    /// The legacy update was not sent after all.
    pub(crate) fn not_sent(&self, id: &JobId) {
        if let Some(job) = self.jobs().get_mut(id) {
            job.legacy.not_sent();
        }
    }
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

    /// What legacy updates ask for next. If their publishes are not followed, only a read can tell.
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

/// Whether it is what the script publishes that forgets a job: `spec/README.md`, section 14.
fn is_forgotten(json: &str) -> bool {
    json.starts_with(r#"{"type":"forgotten","job_id":"#)
}
