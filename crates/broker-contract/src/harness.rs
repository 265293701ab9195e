use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use milepost_broker::{Broker, JobLogs, Listener, ReportError, Reported};
use milepost_protocol::{JobId, State, Timeline, Update};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The settings of the backend that a case needs.
pub struct Settings {
    /// How long a job is kept after an update.
    pub ttl: Duration,
    /// How long a job is kept after its end.
    pub ttl_after_end: Duration,
    /// The most states in a job's history.
    pub history: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self { ttl: hour, ttl_after_end: hour, history: 32 }
    }
}

/// A running backend under test.
pub struct Harness {
    broker: Arc<dyn Broker>,
    logs: Arc<dyn JobLogs>,
    prefix: String,
    /// Lets time pass: moves the backend's clock, or waits if it has only the real one.
    pass: Box<dyn Fn(Duration) + Send + Sync>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
    /// Kept alive as long as the broker, such as a server.
    _backend: Option<Box<dyn Send + Sync>>,
}

impl Harness {
    /// Runs `broker`. `pass` lets time pass; `backend` is dropped after the broker.
    pub fn new(
        broker: Arc<impl Broker + JobLogs>,
        pass: impl Fn(Duration) + Send + Sync + 'static,
        backend: Option<Box<dyn Send + Sync>>,
    ) -> Self {
        static CASES: AtomicUsize = AtomicUsize::new(0);
        let case = CASES.fetch_add(1, Ordering::Relaxed);
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn({
            let broker = Arc::clone(&broker);
            async move { broker.run(stopped).await }
        });
        Self {
            logs: broker.clone(),
            broker,
            prefix: format!("t{}.{case}.", std::process::id()),
            pass: Box::new(pass),
            stop,
            running,
            _backend: backend,
        }
    }

    /// The broker under test.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// The broker's job logs.
    pub fn logs(&self) -> &Arc<dyn JobLogs> {
        &self.logs
    }

    /// The prefix of the ids of this case's jobs.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The id of a job of this case.
    pub fn job(&self, name: &str) -> JobId {
        JobId::parse(&format!("{}{name}", self.prefix)).expect("a job id")
    }

    /// Lets time pass for the broker.
    pub fn pass(&self, seconds: u64) {
        (self.pass)(Duration::from_secs(seconds));
    }

    /// Lets milliseconds pass for the broker.
    pub fn pass_millis(&self, millis: u64) {
        (self.pass)(Duration::from_millis(millis));
    }

    /// Reports an update.
    ///
    /// # Errors
    /// When the broker does not accept it.
    pub async fn try_report(&self, job: &JobId, json: &str) -> Result<Reported, ReportError> {
        self.broker.report(update(job, json)).await
    }

    /// Reports an update that has to be accepted.
    pub async fn report(&self, job: &JobId, json: &str) -> Arc<State> {
        let reported = self.try_report(job, json).await.expect("the update is taken");
        assert!(!reported.repeated, "{json} is no repetition");
        reported.state
    }

    /// The job's present state.
    pub async fn state(&self, job: &JobId) -> Option<Arc<State>> {
        self.broker.state(job).await.expect("the backend answers")
    }

    /// The job's kept states, oldest first.
    pub async fn history(&self, job: &JobId) -> Vec<Arc<State>> {
        self.broker.history(job).await.expect("the backend answers").states
    }

    /// The timeline of a known job.
    pub async fn timeline(&self, job: &JobId) -> Timeline {
        self.broker.history(job).await.expect("the backend answers").timeline
    }

    /// Attaches a listener that records its notifications.
    pub async fn attach(&self, job: &JobId) -> Arc<Recorder> {
        let recorder = Arc::new(Recorder::default());
        self.broker.attach(job, recorder.clone()).await.expect("the backend answers");
        recorder
    }

    /// Detaches such a listener.
    pub async fn detach(&self, job: &JobId, recorder: &Arc<Recorder>) {
        let listener: Arc<dyn Listener> = recorder.clone();
        self.broker.detach(job, &listener).await;
    }

    /// Stops the backend as an instance does at shutdown.
    pub async fn close(self) {
        self.stop.send_replace(true);
        self.running.await.expect("the broker ends in peace");
    }
}

/// Parses a valid update.
pub fn update(job: &JobId, json: &str) -> Update {
    Update::parse(Some(job), json.as_bytes()).expect("an update")
}

/// The numbers of the states' positions.
pub fn numbers<'a>(states: impl IntoIterator<Item = &'a Arc<State>>) -> Vec<u64> {
    states.into_iter().map(|state| state.position().number).collect()
}

/// Waits, for at most two minutes, until the condition holds. With Redis, it takes up to 50 seconds until a child that has left
/// its parent is found.
pub async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !holds().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A listener that records its notifications.
#[derive(Default)]
pub struct Recorder(Mutex<Vec<Notification>>);

/// A notification of a [`Listener`].
#[derive(Clone, Debug)]
pub enum Notification {
    /// It was attached, with these states.
    Attached(Vec<Arc<State>>),
    /// The job has a new state.
    Update(Arc<State>),
    /// The job was forgotten.
    Forgotten,
    /// The job cannot be read.
    Unreadable,
    /// The job can be read again.
    Readable,
}

impl Recorder {
    /// All notifications so far.
    pub fn notifications(&self) -> Vec<Notification> {
        self.0.lock().expect("no panic while it was held").clone()
    }

    /// The latest state, unless the job was forgotten since.
    pub fn latest(&self) -> Option<Arc<State>> {
        let all = self.notifications();
        let is_about_states =
            |one: &&Notification| !matches!(one, Notification::Unreadable | Notification::Readable);
        match all.iter().rfind(is_about_states)? {
            Notification::Attached(states) => states.last().cloned(),
            Notification::Update(state) => Some(Arc::clone(state)),
            Notification::Forgotten | Notification::Unreadable | Notification::Readable => None,
        }
    }

    /// The states received after the attachment.
    pub fn updates(&self) -> Vec<Arc<State>> {
        let update = |notification| {
            if let Notification::Update(state) = notification { Some(state) } else { None }
        };
        self.notifications().into_iter().filter_map(update).collect()
    }

    /// The states received at the attachment.
    pub fn attached(&self) -> Vec<Arc<State>> {
        match self.notifications().first() {
            Some(Notification::Attached(states)) => states.clone(),
            other => panic!("the first thing heard is the present, not {other:?}"),
        }
    }

    /// Waits until this state is the latest.
    pub async fn hears(self: &Arc<Self>, state: &State) {
        let position = state.position();
        eventually("the listener hears of the state", || async {
            self.latest().is_some_and(|latest| latest.position() == position)
        })
        .await;
    }

    /// Waits until the listener has been notified that the job is forgotten.
    pub async fn is_notified_of_forgetting(self: &Arc<Self>) {
        eventually("the listener hears that the job is forgotten", || async {
            matches!(self.notifications().last(), Some(Notification::Forgotten))
        })
        .await;
    }

    /// How often the listener was notified that the job is unreadable, and that it is readable again.
    pub fn unreadable(&self) -> (usize, usize) {
        let all = self.notifications();
        let count =
            |wanted: fn(&Notification) -> bool| all.iter().filter(|one| wanted(one)).count();
        (
            count(|one| matches!(one, Notification::Unreadable)),
            count(|one| matches!(one, Notification::Readable)),
        )
    }

    fn push(&self, notification: Notification) {
        self.0.lock().expect("no panic while it was held").push(notification);
    }
}

impl Listener for Recorder {
    fn attached(&self, states: &[Arc<State>]) {
        self.push(Notification::Attached(states.to_vec()));
    }

    fn update(&self, state: &Arc<State>) {
        self.push(Notification::Update(Arc::clone(state)));
    }

    fn forgotten(&self) {
        self.push(Notification::Forgotten);
    }

    fn unreadable(&self) {
        self.push(Notification::Unreadable);
    }

    fn readable(&self) {
        self.push(Notification::Readable);
    }
}
