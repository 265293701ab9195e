use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use milepost_protocol::{Epoch, JobId, Position, State};
use milepost_redis::{Left, Read};
use tokio::sync::oneshot;

use crate::Listener;

/// The jobs that somebody here listens to, and what each has been told.
///
/// Invariant: a listener hears a state only if it is news: a higher number in the epoch heard last, or an epoch that
/// the job has not left.
#[derive(Default)]
pub(super) struct Watched {
    jobs: Mutex<HashMap<JobId, Job>>,
}

struct Job {
    listener: Arc<dyn Listener>,
    /// Whether the listener has been told the present; what comes before that is in the present.
    told: bool,
    latest: Option<Position>,
    /// The epoch before the latest one: a server that was away may still show it.
    left: Option<Epoch>,
    /// What today's workers published and nobody has taken yet, oldest first.
    publishes: VecDeque<Publish>,
    /// Whether the first of them is on its way.
    taking: bool,
    /// Who waits for `told`.
    waiting: Vec<oneshot::Sender<()>>,
}

/// A plain PUBLISH, or what a plain SETEX left.
#[derive(Clone, Debug)]
pub(super) struct Publish {
    pub(super) json: String,
    /// Whether it may have been taken already.
    pub(super) found: bool,
}

/// At most so many publishes of a job wait to be taken; then the oldest is given up.
const PUBLISHES: usize = 64;

/// What a message means for whoever received it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was told, or is no news.
    Done,
    /// States are missing before it: the job has to be read.
    Gap,
    /// It is a publish that waits to be taken.
    Publish,
}

impl Watched {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Job>> {
        // What may panic under this lock is a listener, and then the map is as it was.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a listener in place; the answer comes when it has been told the present.
    pub(super) fn attach(&self, job: &JobId, listener: Arc<dyn Listener>) -> oneshot::Receiver<()> {
        let (told, receiver) = oneshot::channel();
        let mut jobs = self.jobs();
        let entry = Job {
            listener,
            told: false,
            latest: None,
            left: None,
            publishes: VecDeque::new(),
            taking: false,
            waiting: vec![told],
        };
        match jobs.get_mut(job) {
            None => {
                jobs.insert(job.clone(), entry);
            }
            Some(job) => {
                // A publish that is on its way answers to this job, whoever listens.
                *job = Job {
                    taking: job.taking,
                    publishes: std::mem::take(&mut job.publishes),
                    ..entry
                };
            }
        }
        receiver
    }

    /// Ends what `attach` began; whether nobody listens to the job any more.
    pub(super) fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>) -> bool {
        let mut jobs = self.jobs();
        let attached = jobs.get(job).is_some_and(|job| Arc::ptr_eq(&job.listener, listener));
        if attached {
            jobs.remove(job);
        }
        attached
    }

    pub(super) fn contains(&self, job: &JobId) -> bool {
        self.jobs().contains_key(job)
    }

    pub(super) fn all(&self) -> Vec<JobId> {
        self.jobs().keys().cloned().collect()
    }

    /// After which position the job is to be read; `None` within if all of it. None if nobody listens.
    pub(super) fn wants(&self, job: &JobId) -> Option<Option<Position>> {
        self.jobs().get(job).map(|job| if job.told { job.latest } else { None })
    }

    /// The job as it was read. Whether there is a publish to be taken now.
    pub(super) fn read(&self, id: &JobId, read: Read) -> bool {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return false };
        let states: Vec<_> = read.states.into_iter().map(Arc::new).collect();
        if job.told {
            states.iter().for_each(|state| job.tell(state));
            if !read.known && job.latest.is_some() {
                job.forget();
            }
        } else {
            job.latest = states.last().map(|state| state.position());
            job.told = true;
            job.listener.attached(&states);
        }
        if let Some(json) = read.left {
            // Older than what was heard since.
            job.publishes.push_front(Publish { json, found: true });
        }
        job.waiting.drain(..).for_each(|waiting| {
            let _ = waiting.send(());
        });
        job.has_publish()
    }

    /// A message on the job's channel.
    pub(super) fn message(&self, id: &JobId, json: &str) -> Heard {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return Heard::Done };
        match State::parse(json) {
            Ok(state) => {
                let state = Arc::new(state);
                if !job.told || !job.is_news(state.position()) {
                    return Heard::Done;
                }
                if job.misses_some_before(state.position()) {
                    return Heard::Gap;
                }
                job.tell(&state);
                Heard::Done
            }
            Err(_) if is_forgotten(json) => {
                if job.told {
                    job.forget();
                }
                Heard::Done
            }
            Err(_) => {
                if job.publishes.len() == PUBLISHES {
                    let oldest = usize::from(job.taking);
                    job.publishes.remove(oldest);
                }
                let found = !job.told;
                job.publishes.push_back(Publish { json: json.to_owned(), found });
                Heard::Publish
            }
        }
    }

    /// The publish to be taken next, if none is on its way; it stays until [`taken`](Self::taken).
    pub(super) fn take(&self, id: &JobId) -> Option<(Publish, Left)> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(id)?;
        if !job.has_publish() {
            return None;
        }
        job.taking = true;
        let publish = job.publishes.front()?.clone();
        let left = if publish.found { Left::Found } else { Left::Heard(job.latest) };
        Some((publish, left))
    }

    /// What became of the publish that was on its way.
    pub(super) fn taken(&self, id: &JobId, state: Option<State>) -> Heard {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return Heard::Done };
        if !std::mem::take(&mut job.taking) {
            return Heard::Done;
        }
        job.publishes.pop_front();
        let Some(state) = state.filter(|state| job.is_news(state.position())) else {
            return Heard::Done;
        };
        if job.misses_some_before(state.position()) {
            return Heard::Gap;
        }
        job.tell(&Arc::new(state));
        Heard::Done
    }

    /// The connection is gone: what was on its way is to be taken once more.
    pub(super) fn lost(&self, ids: impl IntoIterator<Item = JobId>) {
        let mut jobs = self.jobs();
        for id in ids {
            if let Some(job) = jobs.get_mut(&id) {
                job.taking = false;
                job.publishes.iter_mut().for_each(|publish| publish.found = true);
            }
        }
    }
}

impl Job {
    fn is_news(&self, position: Position) -> bool {
        match self.latest {
            None => true,
            Some(latest) if latest.epoch == position.epoch => position.number > latest.number,
            Some(_) => self.left != Some(position.epoch),
        }
    }

    fn misses_some_before(&self, position: Position) -> bool {
        match self.latest {
            Some(latest) if latest.epoch == position.epoch => position.number > latest.number + 1,
            _ => position.number > 1,
        }
    }

    fn tell(&mut self, state: &Arc<State>) {
        let position = state.position();
        if !self.told || !self.is_news(position) {
            return;
        }
        self.leave(Some(position));
        self.listener.update(state);
    }

    fn forget(&mut self) {
        self.leave(None);
        self.listener.forgotten();
    }

    fn leave(&mut self, for_position: Option<Position>) {
        if let Some(latest) = self.latest
            && for_position.is_none_or(|position| position.epoch != latest.epoch)
        {
            self.left = Some(latest.epoch);
        }
        self.latest = for_position;
    }

    fn has_publish(&self) -> bool {
        self.told && !self.taking && !self.publishes.is_empty()
    }
}

/// What the script that forgets publishes: `spec/README.md`, section 14.
fn is_forgotten(json: &str) -> bool {
    json.starts_with(r#"{"type":"forgotten","job_id":"#)
}
