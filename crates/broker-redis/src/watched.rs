use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost_protocol::{Epoch, JobId, Position, State, Update};
use milepost_redis::{Published, Read, Reply, Secret, Source, Taken};
use tokio::sync::oneshot;

use milepost_broker::Listener;

/// The jobs that somebody here listens to, and what each has been told.
///
/// Invariant: a listener hears a state only if it is news: a higher number in the epoch heard last, or an epoch that
/// the job has not left.
///
/// Invariant: what today's workers publish is taken in the order in which it was heard, one at a time, from the read
/// on with which a link began to follow the job. `serial` is what the script answered to the one before; so it can tell
/// whether another instance was faster, and what is too old to be taken.
#[derive(Default)]
pub(crate) struct Watched {
    jobs: Mutex<HashMap<JobId, Job>>,
}

struct Job {
    listener: Arc<dyn Listener>,
    /// Whether the listener has been told the present; what comes before that is in the present.
    told: bool,
    latest: Option<Position>,
    /// The epoch before the latest one: a server that was away may still show it.
    left_epoch: Option<Epoch>,
    /// What the proofs of the states that the script publishes are made with.
    secret: Option<Secret>,
    /// Over which link the job's publishes are followed; none from when some were missed until the next read.
    follows: Option<LinkKey>,
    /// Of the publish taken last.
    serial: u64,
    /// What was published and not taken yet, oldest first.
    publishes: VecDeque<Publish>,
    /// The first of them is on its way.
    taking: Option<TakeKey>,
    /// Something was published that is not to be taken here: others may take it after the read that follows.
    missed: bool,
    /// What the last read found under the key, and nobody has published since.
    legacy_value: Option<String>,
    /// Whether what was found under the key was taken before the listener was told: once.
    left_first: bool,
    /// A digest of the publish taken last, which the worker will have written under the key.
    last: u64,
    /// Who waits for `told`.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Publish {
    Heard {
        json: String,
        /// When, by the clock's `elapsed`.
        at: Duration,
        /// The serial of the one before it, once it is to be taken.
        after: u64,
    },
    /// What a plain SETEX left.
    Found { json: String },
}

impl Publish {
    pub(crate) fn json(&self) -> &str {
        let (Self::Heard { json, .. } | Self::Found { json }) = self;
        json
    }

    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Self::Heard { after, .. } => Source::Publish(*after),
            Self::Found { json } => Source::Key(json),
        }
    }

    fn is_end_of(&self, job: &JobId) -> bool {
        Update::parse(Some(job), self.json().as_bytes())
            .is_ok_and(|update| update.status().is_end())
    }
}

/// Tells one link from another.
pub(crate) type LinkKey = u64;

/// A publish on its way: at which link, and which of those there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakeKey(pub(crate) LinkKey, pub(crate) u64);

/// If a publish waits so long to be taken, Redis or this instance cannot keep up: of those that wait, only ends and the
/// newest stay.
const LATE: Duration = Duration::from_millis(500);
/// At most so many wait, or the same happens. If all of them are ends, they are given up for a read.
const PUBLISHES: usize = 64;

/// What a link has to do about a job.
pub(crate) enum Wish {
    /// Nobody listens to it any more.
    Leave,
    /// It is to be read, as far as it comes after that position.
    Read { after: Option<Position> },
}

/// What came in means for whoever received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was told, or is no news.
    Done,
    /// States may be missing: the job has to be read now.
    Gap,
    /// There is a publish to be taken.
    Publish,
}

impl Watched {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Job>> {
        // What may panic under this lock is a listener, and then the map is as it was.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a listener in place; the answer comes when it has been told the present, or the job cannot be read.
    pub(crate) fn attach(
        &self,
        job: &JobId,
        listener: Arc<dyn Listener>,
    ) -> oneshot::Receiver<Result<(), String>> {
        let (told, receiver) = oneshot::channel();
        let job_now = Job {
            listener,
            told: false,
            latest: None,
            left_epoch: None,
            secret: None,
            follows: None,
            serial: 0,
            publishes: VecDeque::new(),
            taking: None,
            missed: false,
            legacy_value: None,
            left_first: false,
            last: 0,
            waiting: vec![told],
        };
        self.jobs().insert(job.clone(), job_now);
        receiver
    }

    /// Ends what `attach` began; whether nobody listens to the job any more.
    pub(crate) fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) -> bool {
        let mut jobs = self.jobs();
        let attached = jobs.get(job).is_some_and(|job| Arc::ptr_eq(&job.listener, listener));
        if attached {
            jobs.remove(job);
        }
        attached
    }

    pub(crate) fn contains(&self, job: &JobId) -> bool {
        self.jobs().contains_key(job)
    }

    pub(crate) fn all(&self) -> Vec<JobId> {
        self.jobs().keys().cloned().collect()
    }

    pub(crate) fn wish(&self, job: &JobId) -> Wish {
        match self.jobs().get(job) {
            None => Wish::Leave,
            Some(Job { told: true, latest, .. }) => Wish::Read { after: *latest },
            Some(_) => Wish::Read { after: None },
        }
    }

    /// The job cannot be read: whoever waits for it learns why.
    pub(crate) fn unreadable(&self, id: &JobId, reason: &str) {
        if let Some(job) = self.jobs().get_mut(id) {
            job.waiting.drain(..).for_each(|waiting| {
                let _ = waiting.send(Err(reason.to_owned()));
            });
        }
    }

    /// The job as it was read over a link, and what a legacy worker set under its key. Whether something is left that
    /// only the next read can tell.
    pub(crate) fn read(
        &self,
        id: &JobId,
        read: Read,
        legacy_value: Option<String>,
        link: LinkKey,
    ) -> (Heard, bool) {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return (Heard::Done, false) };
        job.secret.clone_from(&read.secret);
        let legacy_value = legacy_value.filter(|json| digest(json) != job.last);
        if let Some(json) = &legacy_value
            && job.latest.is_none()
            && read.states.is_empty()
            && !std::mem::replace(&mut job.left_first, true)
        {
            // It is all that is known: it is taken, then the job is read again.
            job.publishes = VecDeque::from([Publish::Found { json: json.clone() }]);
            job.taking = None;
            return (Heard::Publish, true);
        }
        if job.follows != Some(link) {
            // What was published before is in what was read, or older.
            job.follows = Some(link);
            job.serial = read.serial;
            job.publishes.clear();
            job.taking = None;
            job.legacy_value = None;
        }
        let states: Vec<_> = read.states.into_iter().map(Arc::new).collect();
        if job.told {
            for state in job.unheard(&states) {
                job.tell(state);
            }
            if !read.known && job.latest.is_some() {
                job.forget();
            }
        } else {
            job.latest = states.last().map(|state| state.position());
            job.told = true;
            job.listener.attached(&states);
        }
        job.waiting.drain(..).for_each(|waiting| {
            let _ = waiting.send(Ok(()));
        });
        // A worker writes the key after it has published: the key may be older than what was heard. If it is the same
        // at the next read, and nothing was heard meanwhile, it is not.
        let has_legacy_value = legacy_value.is_some();
        let read_soon = std::mem::take(&mut job.missed) || has_legacy_value;
        if has_legacy_value && job.legacy_value == legacy_value && job.publishes.is_empty() {
            job.publishes.extend(job.legacy_value.take().map(|json| Publish::Found { json }));
        } else {
            job.legacy_value = legacy_value;
        }
        (job.next_publish(), read_soon)
    }

    /// A message on the job's channel.
    ///
    /// # Errors
    /// When it names another job.
    pub(crate) fn message(
        &self,
        id: &JobId,
        json: &str,
        link: LinkKey,
        now: Duration,
    ) -> Result<Heard, &'static str> {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return Ok(Heard::Done) };
        Ok(match Published::parse(json) {
            Some(published) if published.state.job() != id => {
                return Err("it names another job than its channel");
            }
            Some(published) => {
                if job.told {
                    job.tell_heard(published)
                } else {
                    Heard::Done
                }
            }
            // Anybody may say so. A read knows.
            None if is_forgotten(json) => Heard::Gap,
            None if job.follows != Some(link) => {
                job.missed = true;
                Heard::Done
            }
            None => {
                job.legacy_value = None;
                job.publishes.push_back(Publish::Heard {
                    json: json.to_owned(),
                    at: now,
                    after: 0,
                });
                job.thin_out(id, now);
                if job.publishes.len() > PUBLISHES {
                    return Ok(job.lose_track());
                }
                job.next_publish()
            }
        })
    }

    /// The publish to be taken next, if none is on its way; it stays until [`taken`](Self::taken).
    pub(crate) fn take(&self, id: &JobId, key: TakeKey) -> Option<Publish> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(id).filter(|job| job.taking.is_none())?;
        let mut publish = job.publishes.front()?.clone();
        if let Publish::Heard { after, .. } = &mut publish {
            *after = job.serial;
        }
        job.taking = Some(key);
        Some(publish)
    }

    /// What became of a publish that was on its way; none if it cannot be read, or there was no room for it.
    pub(crate) fn taken(&self, id: &JobId, key: TakeKey, reply: Option<Reply>) -> Heard {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id).filter(|job| job.taking == Some(key)) else {
            // Whoever listened then is gone, or it was given up.
            return Heard::Done;
        };
        job.taking = None;
        let Some(publish) = job.publishes.pop_front() else { return Heard::Done };
        let is_found = matches!(publish, Publish::Found { .. });
        if reply == Some(Reply::Stale) {
            // Others know more.
            return job.lose_track();
        }
        job.last = digest(publish.json());
        if !job.told {
            return Heard::Gap;
        }
        let (state, serial) = match reply {
            Some(Reply::Taken(Taken { repeated: false, state, serial, .. })) => {
                (state, serial.unwrap_or(job.serial))
            }
            Some(Reply::Heard { state, serial }) => {
                if is_found {
                    // It was taken long ago, and is no news.
                    return job.next_publish();
                }
                (state, serial)
            }
            // It came after the end, or is the end again.
            _ => return job.next_publish(),
        };
        let heard = job.tell_next(&Arc::new(state));
        if is_found {
            // What was heard meanwhile may be the same, or older.
            return job.lose_track();
        }
        job.serial = serial;
        if heard == Heard::Done { job.next_publish() } else { heard }
    }

    /// It did not get on its way: it is to be taken once more.
    pub(crate) fn not_taken(&self, id: &JobId) {
        if let Some(job) = self.jobs().get_mut(id) {
            job.taking = None;
        }
    }
}

impl Job {
    /// Of a job's latest states, oldest first, those after the one heard last. If that is not among them, Redis has lost
    /// it: then those of the newest epoch. Kept states may be of many epochs, if Redis restarted several times.
    fn unheard<'s>(&self, states: &'s [Arc<State>]) -> &'s [Arc<State>] {
        let Some(newest) = states.last().map(|state| state.position()) else { return states };
        let Some(latest) = self.latest else { return states };
        let is_heard = |state: &Arc<State>| {
            let position = state.position();
            position.epoch == latest.epoch && position.number <= latest.number
        };
        let is_newest_epoch = |state: &Arc<State>| state.position().epoch == newest.epoch;
        let after_heard = states.iter().rposition(is_heard).map(|index| index + 1);
        let from = after_heard.or_else(|| states.iter().position(is_newest_epoch)).unwrap_or(0);
        &states[from..]
    }

    fn is_news(&self, position: Position) -> bool {
        match self.latest {
            None => true,
            Some(latest) if latest.epoch == position.epoch => position.number > latest.number,
            Some(_) => self.left_epoch != Some(position.epoch),
        }
    }

    fn misses_some_before(&self, position: Position) -> bool {
        match self.latest {
            Some(latest) if latest.epoch == position.epoch => position.number > latest.number + 1,
            _ => position.number > 1,
        }
    }

    /// Tells a state that came alone; if some before it did not come, it is for a read to tell them all.
    fn tell_next(&mut self, state: &Arc<State>) -> Heard {
        if self.is_news(state.position()) && self.misses_some_before(state.position()) {
            return Heard::Gap;
        }
        self.tell(state);
        Heard::Done
    }

    /// Tells a state that was heard, if it comes right after the one before it and the script has published it. What else
    /// it may be, a read knows: anybody may publish.
    fn tell_heard(&mut self, published: Published) -> Heard {
        let position = published.state.position();
        if !self.is_news(position) {
            return Heard::Done;
        }
        let is_proven = self.secret.as_ref().is_some_and(|secret| published.is_proven(secret));
        if !is_proven || self.latest.map(Position::next) != Some(position) {
            return Heard::Gap;
        }
        self.tell(&Arc::new(published.state));
        Heard::Done
    }

    fn tell(&mut self, state: &Arc<State>) {
        let position = state.position();
        if self.is_news(position) {
            self.leave_for(Some(position));
            self.listener.update(state);
        }
    }

    fn forget(&mut self) {
        self.leave_for(None);
        self.listener.forgotten();
    }

    fn leave_for(&mut self, position: Option<Position>) {
        if let Some(latest) = self.latest
            && position.is_none_or(|position| position.epoch != latest.epoch)
        {
            self.left_epoch = Some(latest.epoch);
        }
        self.latest = position;
    }

    /// Gives up, of publishes that wait too long, or are too many, those that another one has replaced.
    fn thin_out(&mut self, id: &JobId, now: Duration) {
        let first_stays = self.taking.is_some();
        let is_late = self.publishes.get(usize::from(first_stays)).is_some_and(
            |next| matches!(next, Publish::Heard { at, .. } if now.saturating_sub(*at) > LATE),
        );
        if !is_late && self.publishes.len() <= PUBLISHES {
            return;
        }
        let newest = self.publishes.len() - 1;
        let mut number = 0;
        self.publishes.retain(|publish| {
            let stays = number == newest || number == 0 && first_stays || publish.is_end_of(id);
            number += 1;
            stays
        });
    }

    /// Follows the job's publishes no more until it is read.
    fn lose_track(&mut self) -> Heard {
        self.follows = None;
        self.missed = true;
        self.publishes.clear();
        self.taking = None;
        Heard::Gap
    }

    /// Whether there is a publish to be taken now.
    fn next_publish(&self) -> Heard {
        if self.taking.is_none() && !self.publishes.is_empty() {
            Heard::Publish
        } else {
            Heard::Done
        }
    }
}

fn digest(json: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    hasher.finish()
}

/// What the script that forgets publishes: `spec/README.md`, section 14.
fn is_forgotten(json: &str) -> bool {
    json.starts_with(r#"{"type":"forgotten","job_id":"#)
}

#[cfg(test)]
#[path = "watched/tests.rs"]
mod tests;
