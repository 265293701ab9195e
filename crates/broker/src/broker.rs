use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use milepost_protocol::{JobId, Refusal, Request, RequestRefusal, State, Timeline, Update};

use crate::jobs::{Jobs, JobsQuery};

/// Keeps states, orders updates and notifies listeners.
///
/// What every backend guarantees:
///
/// 1. **One order.** All updates of a job, whoever reports them, are folded one after the other
///    ([`milepost_protocol::fold`]), and every listener hears the states in that order.
/// 2. **No gap.** A listener first hears the job's present state ([`Listener::attached`]), then each state
///    that comes after it. It may hear a state again (after a lost connection to the backend), never an
///    older one after a newer one of the same epoch.
/// 3. **Acknowledged means kept.** Once `report` has answered, `state` answers with that state or a newer
///    one. An acknowledged end outlives whatever the backend promises to outlive.
/// 4. **Ends are latched**: see the fold.
/// 5. **Unreadable is not unavailable.** If a backend cannot read one job, that job's listener is notified
///    ([`Listener::unreadable`]); other jobs are not affected.
/// 6. **Bounded.** At its bound a backend gives up jobs that have ended, those first that would expire first.
///    If that is not enough it refuses what is new ([`ReportError::Full`]), but never an end of a job that
///    it knows.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Folds an update into its job's state and tells the listener.
    ///
    /// # Errors
    /// When the fold refuses it, the broker is full, or the backend does not answer. Nothing has changed
    /// then, but for [`ReportError::Unavailable`], where it may have.
    async fn report(&self, update: Update) -> Result<Reported, ReportError>;

    /// Puts a request into the job's state for its worker, as [`milepost_protocol::request`] has it, and notifies the
    /// listener. Of several that request the same at once, the first counts.
    ///
    /// # Errors
    /// When it is refused, the broker is full, or the backend does not answer. Nothing has changed then, but for
    /// [`RequestError::Unavailable`], where it may have.
    async fn request(&self, job: &JobId, request: Request) -> Result<Reported, RequestError>;

    /// The job's present state; none if it is not known.
    ///
    /// # Errors
    /// When the backend does not answer.
    async fn state(&self, job: &JobId) -> Result<Option<Arc<State>>, Unavailable>;

    /// What is kept of the job. Empty if it is not known.
    ///
    /// # Errors
    /// When the backend does not answer.
    async fn history(&self, job: &JobId) -> Result<History, Unavailable>;

    /// Tells `listener` the job's latest states, and from then on every state, until it is detached or
    /// another listener is attached to the job in its place.
    ///
    /// # Errors
    /// When the backend does not answer; the listener is not attached then.
    async fn attach(&self, job: &JobId, listener: Arc<dyn Listener>) -> Result<(), Unavailable>;

    /// Ends what `attach` began. Does nothing if another listener has taken its place.
    async fn detach(&self, job: &JobId, listener: &Arc<dyn Listener>);

    /// Forgets a job; false if it was not known.
    ///
    /// # Errors
    /// When the backend does not answer.
    async fn forget(&self, job: &JobId) -> Result<bool, Unavailable>;

    /// A page of the jobs known, the most recently begun first.
    ///
    /// # Errors
    /// When the backend does not answer.
    async fn jobs(&self, query: &JobsQuery) -> Result<Jobs, Unavailable>;

    /// Proves that an update reported now would be kept and delivered.
    ///
    /// # Errors
    /// When it would not: why.
    async fn probe(&self) -> Result<(), Unavailable>;

    /// What an operator should change about the backend, though it works.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// What the broker holds now.
    fn stats(&self) -> Stats;

    /// Does the broker's own work (expiry, keeping states on disk, …) until `stop` is done, then brings to
    /// an end what is under way. Whoever makes a broker runs this, and waits for it.
    async fn run(&self, stop: tokio::sync::watch::Receiver<bool>);
}

/// Who hears of a job's states. Called in the job's order and while the broker holds a lock: it must
/// return at once.
pub trait Listener: Send + Sync + 'static {
    /// The latest states, oldest first, the present one last; empty if the job is not known.
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

/// What is kept of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The latest states, oldest first, the present one last.
    pub states: Vec<Arc<State>>,
    /// Of the whole attempt, and of those before it.
    pub timeline: Timeline,
}

/// What became of an update.
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
    /// It belongs to an attempt that is over.
    Refused(Refusal),
    /// The broker holds as much as it may: how much that is.
    Full(String),
    /// The backend does not answer.
    Unavailable(Unavailable),
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Full(bound) => write!(f, "the broker is full: {bound}"),
            Self::Unavailable(unavailable) => unavailable.fmt(f),
        }
    }
}

impl std::error::Error for ReportError {}

/// Why a request was not put to the job's worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The job, or its attempt, takes no such request.
    Refused(RequestRefusal),
    /// The broker holds as much as it may: how much that is.
    Full(String),
    /// The backend does not answer.
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

/// The backend does not answer; with its last error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the broker does not answer: {}", self.0)
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
    /// Jobs given up early because the broker was full, since start.
    pub evicted: u64,
    /// Updates refused that nobody else counts, since nobody waits for an answer: those of legacy workers, since start.
    pub refused: u64,
    /// How often the backend held something for a job that is not a state of it, since start.
    pub unreadable: u64,
}
