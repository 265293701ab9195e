use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use milepost_protocol::{
    InvalidParent, JobId, Refusal, Request, RequestRefusal, State, Timeline, Update,
};

use crate::jobs::{Jobs, JobsQuery};

/// Keeps states, orders updates and notifies listeners.
///
/// Every backend guarantees:
///
/// 1. **One order.** All updates of a job are folded one after the other ([`milepost_protocol::fold`]), and its listener is
///    notified of the states in that order.
/// 2. **No gap.** A listener first receives the job's present states ([`Listener::attached`]), then each later state. After a
///    lost connection to the backend it may receive a state again, but never an older one after a newer one of the same
///    epoch.
/// 3. **Acknowledged means kept.** Once `report` has returned, `state` returns that state or a newer one. An acknowledged end
///    survives whatever the backend promises to survive.
/// 4. **Ends are latched**: see the fold.
/// 5. **Unreadable is not unavailable.** If a backend cannot read one job, that job's listener is notified
///    ([`Listener::unreadable`]); other jobs are not affected.
/// 6. **Children.** A job's children are shown in its state, at most five times a second, the last change included:
///    `spec/README.md`, section 18.
/// 7. **Bounded.** At its bound a backend evicts ended jobs, in the order of their expiry. If that is not enough, it rejects
///    updates ([`ReportError::Full`]), but never the end of a known job.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Folds an update into its job's state and notifies the listener.
    ///
    /// # Errors
    /// If the fold rejects it, the broker is full, or the backend is unavailable. After [`ReportError::Unavailable`] the
    /// update may have been folded; after other errors it has not.
    async fn report(&self, update: Update) -> Result<Reported, ReportError>;

    /// Puts a request to the job's worker into the job's state ([`milepost_protocol::request`]), and notifies the listener. Of
    /// several equal requests at once, the first counts.
    ///
    /// # Errors
    /// If it is rejected, the broker is full, or the backend is unavailable. After [`RequestError::Unavailable`] the state may
    /// have changed; after other errors it has not.
    async fn request(&self, job: &JobId, request: Request) -> Result<Reported, RequestError>;

    /// The job's present state, if the job is known.
    ///
    /// # Errors
    /// If the backend is unavailable.
    async fn state(&self, job: &JobId) -> Result<Option<Arc<State>>, Unavailable>;

    /// The job's history. Empty if the job is not known.
    ///
    /// # Errors
    /// If the backend is unavailable.
    async fn history(&self, job: &JobId) -> Result<History, Unavailable>;

    /// Notifies `listener` of the job's latest states, and from then on of every state, until it is detached or
    /// another listener is attached to the job in its place.
    ///
    /// # Errors
    /// If the backend is unavailable. Then the listener is not attached.
    async fn attach(&self, job: &JobId, listener: Arc<dyn Listener>) -> Result<(), Unavailable>;

    /// Stops notifying `listener`. Does nothing if another listener has taken its place.
    async fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>);

    /// Forgets a job; false if it was not known.
    ///
    /// # Errors
    /// If the backend is unavailable.
    async fn forget(&self, job: &JobId) -> Result<bool, Unavailable>;

    /// A page of the known jobs, the most recently begun first.
    ///
    /// # Errors
    /// If the backend is unavailable.
    async fn jobs(&self, query: &JobsQuery) -> Result<Jobs, Unavailable>;

    /// Proves that an update reported now would be kept and delivered.
    ///
    /// # Errors
    /// If it would not: the reason.
    async fn probe(&self) -> Result<(), Unavailable>;

    /// What an operator should change about the backend, though it works.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the broker holds now.
    fn stats(&self) -> Stats;

    /// Does the broker's own work, such as expiry and storage, until `stop` is true; then finishes what is in progress. The
    /// owner of a broker runs this, and waits for it.
    async fn run(&self, stop: tokio::sync::watch::Receiver<bool>);
}

/// Receives a job's states. The broker calls it in the job's order and while it holds a lock, so it must return at once.
pub trait Listener: Send + Sync + 'static {
    /// The latest states, oldest first; empty if the job is not known.
    fn attached(&self, states: &[Arc<State>]);

    /// The job's new state.
    fn update(&self, state: &Arc<State>);

    /// The job was forgotten, on request or by expiry.
    fn forgotten(&self);

    /// What the backend holds for the job can no longer be read, so that states may be missing. Not repeated until
    /// [`readable`](Self::readable) has followed.
    fn unreadable(&self);

    /// The job can be read again. The states that were missed follow.
    fn readable(&self);
}

/// A job's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The latest states, oldest first, the present one last.
    pub states: Vec<Arc<State>>,
    /// The course of the whole attempt, and of the attempts before it.
    pub timeline: Timeline,
}

/// The result of an accepted update.
#[derive(Clone, Debug)]
pub struct Reported {
    /// The state that it led to.
    pub state: Arc<State>,
    /// Whether it is an end reported again, which changed nothing.
    pub repeated: bool,
}

/// Why an update was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportError {
    /// The fold rejected it: its attempt has ended.
    Refused(Refusal),
    /// The job cannot be a child of the parent that the update names.
    Parent(InvalidParent),
    /// The broker is at its bound; the text names the bound.
    Full(String),
    /// The backend is unavailable.
    Unavailable(Unavailable),
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Parent(invalid) => write!(f, "parent_id {invalid}"),
            Self::Full(bound) => write!(f, "the broker is full: {bound}"),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl std::error::Error for ReportError {}

/// Why a request to a job's worker was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The job, or its attempt, does not accept it.
    Refused(RequestRefusal),
    /// The broker is at its bound; the text names the bound.
    Full(String),
    /// The backend is unavailable.
    Unavailable(Unavailable),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Full(bound) => write!(f, "the broker is full: {bound}"),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<Unavailable> for ReportError {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

/// Why the backend did not do what it was asked to, with its last error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// It does not answer.
    Backend(String),
    /// What it holds for the job cannot be read. Other jobs are not affected.
    Unreadable(String),
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(reason) => write!(f, "the broker does not answer: {reason}"),
            Self::Unreadable(reason) => write!(f, "the job cannot be read: {reason}"),
        }
    }
}

impl std::error::Error for Unavailable {}

/// What a broker holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Jobs known.
    pub jobs: usize,
    /// Bytes held for them, as the broker counts them.
    pub bytes: usize,
    /// Ended jobs evicted because the broker was full, since start.
    pub evicted: u64,
    /// Rejected updates of legacy workers, since start. Their workers wait for no answer, so only the broker can count them.
    pub refused: u64,
    /// How often a job could not be read, since start.
    pub unreadable: u64,
    /// How often most workers were silent at once, so that none was lost, since start.
    pub mass_losses: u64,
}
