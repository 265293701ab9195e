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
    /// The first of them is on its way.
    taking: Option<TakeKey>,
    /// What was left under the key is taken before the listener is told: it may be all that is known.
    left_first: bool,
    /// Who waits for `told`.
    waiting: Vec<oneshot::Sender<()>>,
}

/// A plain PUBLISH, or what a plain SETEX left.
struct Publish {
    json: String,
    /// Whether it may have been taken already.
    found: bool,
    /// What is heard at a link goes with it: the next one reads what is newer.
    link: LinkKey,
}

/// Tells one link from another.
pub(super) type LinkKey = u64;

/// A publish on its way: at which link, and which of those there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TakeKey(pub(super) LinkKey, pub(super) u64);

/// At most so many publishes of a job wait to be taken; then the oldest is given up.
const PUBLISHES: usize = 64;

/// What is to be done about a job.
pub(super) enum Wish {
    /// Nobody listens to it any more.
    Leave,
    /// It is to be read, as far as it comes after that position.
    Read { after: Option<Position> },
}

/// What came in means for whoever received it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was told, or is no news.
    Done,
    /// States are missing: the job has to be read.
    Gap,
    /// There is a publish to be taken.
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
        let job_now = Job {
            listener,
            told: false,
            latest: None,
            left: None,
            publishes: VecDeque::new(),
            taking: None,
            left_first: false,
            waiting: vec![told],
        };
        self.jobs().insert(job.clone(), job_now);
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

    /// What a link has to do about a job.
    pub(super) fn wish(&self, job: &JobId) -> Wish {
        match self.jobs().get(job) {
            None => Wish::Leave,
            Some(Job { told: true, latest, .. }) => Wish::Read { after: *latest },
            Some(_) => Wish::Read { after: None },
        }
    }

    /// The job as it was read over a link.
    pub(super) fn read(&self, id: &JobId, read: Read, link: LinkKey) -> Heard {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return Heard::Done };
        if let Some(json) = read.left {
            // What was heard over this link came after it.
            let before = job.publishes.iter().take_while(|publish| publish.link != link).count();
            let at = before.max(usize::from(job.taking.is_some()));
            job.publishes.insert(at, Publish { json, found: true, link });
            if !job.told && !job.left_first {
                job.left_first = true;
                return Heard::Publish;
            }
        }
        let states: Vec<_> = read.states.into_iter().map(Arc::new).collect();
        if job.told {
            for state in &states {
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
            let _ = waiting.send(());
        });
        job.next_publish()
    }

    /// A message on the job's channel.
    pub(super) fn message(&self, id: &JobId, json: &str, link: LinkKey) -> Heard {
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
                    let oldest = usize::from(job.taking.is_some());
                    job.publishes.remove(oldest);
                }
                let found = !job.told;
                job.publishes.push_back(Publish { json: json.to_owned(), found, link });
                job.next_publish()
            }
        }
    }

    /// The publish to be taken next, if none is on its way; it stays until [`taken`](Self::taken).
    pub(super) fn take(&self, id: &JobId, key: TakeKey) -> Option<(String, Left)> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(id)?;
        if job.next_publish() != Heard::Publish {
            return None;
        }
        let publish = job.publishes.front()?;
        job.taking = Some(key);
        let left = if publish.found { Left::Found } else { Left::Heard(job.latest) };
        Some((publish.json.clone(), left))
    }

    /// What became of a publish that was on its way.
    pub(super) fn taken(&self, id: &JobId, key: TakeKey, state: Option<State>) -> Heard {
        let mut jobs = self.jobs();
        let Some(job) = jobs.get_mut(id) else { return Heard::Done };
        if job.taking != Some(key) {
            // Whoever listened then is gone.
            return Heard::Done;
        }
        job.taking = None;
        job.publishes.pop_front();
        if !job.told {
            return Heard::Gap;
        }
        if let Some(state) = state.filter(|state| job.is_news(state.position())) {
            if job.misses_some_before(state.position()) {
                return Heard::Gap;
            }
            job.tell(&Arc::new(state));
        }
        job.next_publish()
    }

    /// It did not get on its way: it is to be taken once more.
    pub(super) fn not_taken(&self, id: &JobId) {
        if let Some(job) = self.jobs().get_mut(id) {
            job.taking = None;
        }
    }

    /// A link is gone, over which these jobs were heard. What was heard there and not taken is given up: the next
    /// link reads what is newer, and taken after that it would be a step back.
    pub(super) fn lost<'a>(&self, ids: impl Iterator<Item = &'a JobId>, link: LinkKey) {
        let mut jobs = self.jobs();
        for id in ids {
            if let Some(job) = jobs.get_mut(id) {
                job.publishes.retain(|publish| publish.link != link);
                job.taking = job.taking.filter(|taking| taking.0 != link);
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

    /// Whether there is a publish to be taken now.
    fn next_publish(&self) -> Heard {
        let may = self.told || self.left_first;
        if may && self.taking.is_none() && !self.publishes.is_empty() {
            Heard::Publish
        } else {
            Heard::Done
        }
    }
}

/// What the script that forgets publishes: `spec/README.md`, section 14.
fn is_forgotten(json: &str) -> bool {
    json.starts_with(r#"{"type":"forgotten","job_id":"#)
}
