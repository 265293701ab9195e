//! A model of Redis with its scripts: jobs, each with its latest states; channels and their subscribers.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use milepost_protocol::{
    Epoch, Fold, JobId, Origin, Position, Refusal, State, Timestamp, Update, fold,
};
use milepost_redis::{Read, Secret};

use crate::network::{End, Sender};
use crate::planted::Planted;

/// So many states of each job are kept.
const HISTORY: usize = 64;

/// The requests of an instance on its subscription connection.
pub(crate) enum Request {
    Subscribe(JobId),
    Unsubscribe(JobId),
    Read(JobId, Option<Position>),
}

/// What comes on that connection.
pub(crate) enum Answer {
    Subscribed,
    Read(JobId, Read),
    Message(JobId, String),
}

#[derive(Default)]
struct Job {
    state: Option<Arc<State>>,
    history: VecDeque<Arc<State>>,
}

/// A state that was folded, in the order in which that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folded {
    pub(crate) position: Position,
    pub(crate) number: u64,
    pub(crate) is_end: bool,
}

pub(crate) struct Redis {
    inner: RefCell<Inner>,
    planted: Option<Planted>,
}

#[derive(Default)]
struct Inner {
    jobs: BTreeMap<String, Job>,
    /// Counts restarts.
    run: u64,
    subscribers: BTreeMap<u64, (Sender<Answer>, BTreeSet<String>)>,
    next_subscriber: u64,
    /// All that was ever folded, by job.
    folded: BTreeMap<String, Vec<Folded>>,
    /// The jobs that ended before Redis lost its data.
    lost: BTreeSet<String>,
    reports: u64,
}

impl Redis {
    pub(crate) fn new(planted: Option<Planted>) -> Rc<Self> {
        let inner = Inner { run: 1, ..Inner::default() };
        Rc::new(Self { inner: RefCell::new(inner), planted })
    }

    /// As after a crash. The caller cuts the connections.
    pub(crate) fn restart(&self, keeps_data: bool) {
        let mut inner = self.inner.borrow_mut();
        inner.run += 1;
        inner.subscribers.clear();
        if !keeps_data {
            let lost = std::mem::take(&mut inner.jobs);
            let ended = lost
                .into_iter()
                .filter(|(_, job)| job.state.as_ref().is_some_and(|state| state.status().is_end()));
            inner.lost.extend(ended.map(|(id, _)| id));
        }
    }

    /// Folds an update, and publishes the state.
    pub(crate) fn report(&self, update: &Update) -> Result<Arc<State>, Refusal> {
        let inner = &mut *self.inner.borrow_mut();
        let id = update.job().to_string();
        let job = inner.jobs.entry(id.clone()).or_default();
        let mut previous = job.state.as_deref();
        inner.reports += 1;
        if self.planted == Some(Planted::LostUpdate)
            && inner.reports.is_multiple_of(20)
            && let Some(state) = &job.state
        {
            return Ok(Arc::clone(state));
        }
        let unlatched = previous
            .filter(|state| self.planted == Some(Planted::NoLatch) && state.status().is_end());
        let unlatched = unlatched.map(|end| {
            let text = end.json().replace("completed", "processing");
            State::parse(&text.replace("failed", "processing"))
        });
        if let Some(Ok(state)) = &unlatched {
            previous = Some(state);
        }
        let state = match fold(
            previous,
            update,
            Origin::Report,
            Epoch(inner.run),
            Timestamp::from_micros(0),
        )? {
            Fold::New(state) => Arc::new(state),
            Fold::Repeated => return Ok(job.state.clone().unwrap_or_else(|| unreachable!())),
        };
        job.state = Some(Arc::clone(&state));
        job.history.push_back(Arc::clone(&state));
        if job.history.len() > HISTORY {
            job.history.pop_front();
        }
        inner.folded.entry(id.clone()).or_default().push(Folded {
            position: state.position(),
            number: number(&state),
            is_end: state.status().is_end(),
        });
        for (sender, channels) in inner.subscribers.values() {
            if channels.contains(&id) {
                sender.send(Answer::Message(update.job().clone(), published(&state)));
            }
        }
        Ok(state)
    }

    /// The job's present state.
    pub(crate) fn state(&self, job: &JobId) -> Option<Arc<State>> {
        self.inner.borrow().jobs.get(job.as_str())?.state.clone()
    }

    /// Whether that attempt of the job is over.
    pub(crate) fn has_ended(&self, job: &str, attempt: u32) -> bool {
        let inner = self.inner.borrow();
        let state = inner.jobs.get(job).and_then(|job| job.state.as_ref());
        state.is_some_and(|state| {
            state.attempt() > attempt || (state.attempt() == attempt && state.status().is_end())
        })
    }

    /// All that was folded for a job, in order.
    pub(crate) fn folded(&self, job: &str) -> Vec<Folded> {
        self.inner.borrow().folded.get(job).cloned().unwrap_or_default()
    }

    /// Whether Redis has lost the end of this job.
    pub(crate) fn has_lost(&self, job: &str) -> bool {
        self.inner.borrow().lost.contains(job)
    }

    /// Serves one connection with subscriptions.
    pub(crate) async fn serve(self: Rc<Self>, mut end: End<Answer, Request>) {
        let key = {
            let mut inner = self.inner.borrow_mut();
            inner.next_subscriber += 1;
            let key = inner.next_subscriber;
            inner.subscribers.insert(key, (end.sender(), BTreeSet::new()));
            key
        };
        while let Some(request) = end.receive().await {
            let mut inner = self.inner.borrow_mut();
            let Some((_, channels)) = inner.subscribers.get_mut(&key) else { return };
            match request {
                Request::Subscribe(job) => {
                    channels.insert(job.to_string());
                    end.send(Answer::Subscribed);
                }
                Request::Unsubscribe(job) => {
                    channels.remove(job.as_str());
                    end.send(Answer::Subscribed);
                }
                Request::Read(job, after) => {
                    let read = read(inner.jobs.get(job.as_str()), after);
                    end.send(Answer::Read(job, read));
                }
            }
        }
        self.inner.borrow_mut().subscribers.remove(&key);
    }
}

/// All jobs have the same here.
fn secret() -> Secret {
    Secret::new("a secret")
}

/// A state as the script publishes it.
fn published(state: &State) -> String {
    let fields = state.json().trim_end_matches('}');
    let braces = &state.json()[fields.len()..state.json().len() - 1];
    format!(r#"{fields}{braces},"proof":"{}"}}"#, secret().proof(state.position()))
}

/// As the read script: the states after that position, or all that are kept if it is of another epoch.
fn read(job: Option<&Job>, after: Option<Position>) -> Read {
    let Some(job) = job else { return Read::default() };
    let newest = job.state.as_ref().map(|state| state.position());
    let is_after = |position: Position, after: Position| {
        position.epoch == after.epoch && position.number > after.number
    };
    let same_epoch = after.filter(|after| newest.is_some_and(|newest| newest.epoch == after.epoch));
    let states = job.history.iter();
    let states =
        states.filter(|state| same_epoch.is_none_or(|after| is_after(state.position(), after)));
    let states = states.map(|state| State::clone(state)).collect();
    Read { known: job.state.is_some(), states, secret: Some(secret()), ..Read::default() }
}

/// The worker's own count.
pub(crate) fn number(state: &State) -> u64 {
    let json: serde_json::Value = serde_json::from_str(state.json()).unwrap_or_default();
    json["metadata"]["n"].as_u64().unwrap_or(0)
}
