use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use milepost_broker::embedded::Limits;
use milepost_broker::redis::{Address, Keeping};
use milepost_broker::{
    Broker, Embedded, Listener, ManualClock, Redis, ReportError, Reported, SystemClock,
};
use milepost_protocol::{JobId, State, Update};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a case needs its backend to be set to.
pub(crate) struct Settings {
    pub(crate) ttl: Duration,
    pub(crate) ttl_after_end: Duration,
    pub(crate) history: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self { ttl: hour, ttl_after_end: hour, history: 32 }
    }
}

/// A backend under test: a broker that is running, and what a case needs beside it.
pub(crate) struct Harness {
    broker: Arc<dyn Broker>,
    prefix: String,
    /// Lets time pass: moves the backend's clock, or waits where there is only the real one.
    pass: Box<dyn Fn(Duration) + Send + Sync>,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
    /// What has to live as long as the broker.
    _backend: Option<Box<dyn Send + Sync>>,
}

impl Harness {
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
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
            broker,
            prefix: format!("t{}.{case}.", std::process::id()),
            pass: Box::new(pass),
            stop,
            running,
            _backend: backend,
        }
    }

    pub(crate) fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// What the ids of this case's jobs begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn job(&self, name: &str) -> JobId {
        JobId::parse(&format!("{}{name}", self.prefix)).expect("a job id")
    }

    pub(crate) fn pass(&self, seconds: u64) {
        (self.pass)(Duration::from_secs(seconds));
    }

    pub(crate) async fn try_report(
        &self,
        job: &JobId,
        json: &str,
    ) -> Result<Reported, ReportError> {
        self.broker.report(update(job, json)).await
    }

    pub(crate) async fn report(&self, job: &JobId, json: &str) -> Arc<State> {
        let reported = self.try_report(job, json).await.expect("the update is taken");
        assert!(!reported.repeated, "{json} is no repetition");
        reported.state
    }

    pub(crate) async fn state(&self, job: &JobId) -> Option<Arc<State>> {
        self.broker.state(job).await.expect("the backend answers")
    }

    pub(crate) async fn history(&self, job: &JobId) -> Vec<Arc<State>> {
        self.broker.history(job).await.expect("the backend answers")
    }

    pub(crate) async fn attach(&self, job: &JobId) -> Arc<Recorder> {
        let recorder = Arc::new(Recorder::default());
        self.broker.attach(job, recorder.clone()).await.expect("the backend answers");
        recorder
    }

    pub(crate) async fn detach(&self, job: &JobId, recorder: &Arc<Recorder>) {
        let listener: Arc<dyn Listener> = recorder.clone();
        self.broker.detach(job, &listener).await;
    }

    /// Ends the backend as an instance does at shutdown.
    pub(crate) async fn close(self) {
        self.stop.send_replace(true);
        self.running.await.expect("the broker ends in peace");
    }
}

pub(crate) fn update(job: &JobId, json: &str) -> Update {
    Update::parse(Some(job), json.as_bytes()).expect("an update")
}

/// The numbers of the states' positions.
pub(crate) fn numbers<'a>(states: impl IntoIterator<Item = &'a Arc<State>>) -> Vec<u64> {
    states.into_iter().map(|state| state.position().number).collect()
}

/// Waits until something holds that a backend brings about in its own time; a minute at most.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A listener that remembers what it heard.
#[derive(Default)]
pub(crate) struct Recorder(Mutex<Vec<Heard>>);

#[derive(Clone, Debug)]
pub(crate) enum Heard {
    Attached(Vec<Arc<State>>),
    Update(Arc<State>),
    Forgotten,
}

impl Recorder {
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.0.lock().expect("no panic while it was held").clone()
    }

    /// The state heard last, if the job was not forgotten since.
    pub(crate) fn latest(&self) -> Option<Arc<State>> {
        match self.heard().last()? {
            Heard::Attached(states) => states.last().cloned(),
            Heard::Update(state) => Some(Arc::clone(state)),
            Heard::Forgotten => None,
        }
    }

    /// The states heard live.
    pub(crate) fn updates(&self) -> Vec<Arc<State>> {
        let update = |heard| if let Heard::Update(state) = heard { Some(state) } else { None };
        self.heard().into_iter().filter_map(update).collect()
    }

    /// The states told first.
    pub(crate) fn attached(&self) -> Vec<Arc<State>> {
        match self.heard().first() {
            Some(Heard::Attached(states)) => states.clone(),
            other => panic!("the first thing heard is the present, not {other:?}"),
        }
    }

    pub(crate) async fn hears(self: &Arc<Self>, state: &State) {
        let position = state.position();
        eventually("the listener hears of the state", || async {
            self.latest().is_some_and(|latest| latest.position() == position)
        })
        .await;
    }

    pub(crate) async fn hears_forgotten(self: &Arc<Self>) {
        eventually("the listener hears that the job is forgotten", || async {
            matches!(self.heard().last(), Some(Heard::Forgotten))
        })
        .await;
    }

    fn push(&self, heard: Heard) {
        self.0.lock().expect("no panic while it was held").push(heard);
    }
}

impl Listener for Recorder {
    fn attached(&self, states: &[Arc<State>]) {
        self.push(Heard::Attached(states.to_vec()));
    }

    fn update(&self, state: &Arc<State>) {
        self.push(Heard::Update(Arc::clone(state)));
    }

    fn forgotten(&self) {
        self.push(Heard::Forgotten);
    }
}

/// The embedded broker, with a clock that the case moves.
pub(crate) fn embedded(settings: &Settings, directory: Option<TempDir>) -> Harness {
    let clock = Arc::new(ManualClock::at(Duration::from_secs(1_780_000_000)));
    let limits = Limits {
        history: NonZeroUsize::new(settings.history).expect("a history of one state or more"),
        ttl: settings.ttl,
        ttl_after_end: settings.ttl_after_end,
        ..Limits::default()
    };
    let embedded = Arc::new(match &directory {
        None => Embedded::with_clock(limits, clock.clone()),
        Some(directory) => {
            Embedded::open(limits, clock.clone(), directory.path()).expect("an empty directory")
        }
    });
    let pass = {
        let embedded = Arc::clone(&embedded);
        move |by| {
            clock.advance(by);
            embedded.expire();
        }
    };
    Harness::new(embedded, pass, directory.map(|directory| Box::new(directory) as _))
}

/// The Redis broker on that server, with the real clock.
pub(crate) async fn redis(
    settings: &Settings,
    url: &str,
    servers: impl Send + Sync + 'static,
) -> Harness {
    let it = redis_unproven(settings, url, servers);
    eventually("Redis is ready", || async { it.broker.probe().await.is_ok() }).await;
    it
}

/// The same, which may never be ready.
pub(crate) fn redis_unproven(
    settings: &Settings,
    url: &str,
    servers: impl Send + Sync + 'static,
) -> Harness {
    let keeping = Keeping {
        history: NonZeroUsize::new(settings.history).expect("a history of one state or more"),
        ttl: settings.ttl,
        ttl_after_end: settings.ttl_after_end,
        ..Keeping::default()
    };
    let address = Address::parse(url).expect("an address");
    let broker = Arc::new(Redis::new(address, keeping, Arc::new(SystemClock::default())));
    Harness::new(broker, std::thread::sleep, Some(Box::new(servers)))
}
