use std::fmt;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::HeaderValue;
use milepost_broker::{Broker, Clock, JobLogs, SystemClock};
use milepost_broker_embedded::{Embedded, StoreError};
use milepost_broker_redis::Redis;
use milepost_hub::Hub;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::access::{Audit, Gate, Hosts, Origins};
use crate::config::{Config, seconds};
use crate::config_error::ConfigError;
use crate::connection::operators::serve as serve_operators;
use crate::connection::tls::Tls;
use crate::connection::{Listener, accept, listen};
use crate::counters::{Counters, DroppedLogLines};
use crate::drain::{Drain, Stage};
use crate::instance::Instance;
use crate::limits::Limits;
use crate::memory::{self, Budget, ProcessMemory};
use crate::operators;
use crate::router::router;
use crate::supervisor::Supervisor;
use crate::websocket::{self, ShardHandle};

/// Signals to a running server to stop, and its view of the process around it.
pub struct Control<S, H> {
    /// Done when the server has to shut down.
    pub shutdown: S,
    /// Done when the server has to stop waiting for work in progress.
    pub hurry: H,
    /// Counts the log lines that were dropped because the log was not read, for `/metrics`.
    pub dropped_log_lines: DroppedLogLines,
    /// The memory of the process. Without it, freed memory is given back when the allocator likes, however much there is.
    pub memory: Option<Arc<dyn ProcessMemory>>,
}

/// Serves on `listener` until `shutdown` is done. Then asks every watcher to reconnect elsewhere, waits for work in
/// progress for the configured time, and returns.
///
/// # Errors
/// If the data directory cannot be used, or the system refuses what a server needs; then nothing was served. Or if an
/// essential task failed.
pub async fn run(
    config: Config,
    listener: impl Into<Listener>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let dropped_log_lines: DroppedLogLines = Arc::new(|| 0);
    let control = Control { shutdown, hurry: pending(), dropped_log_lines, memory: None };
    run_with(config, listener, control).await
}

/// Like [`run`], with all signals to a running server.
///
/// # Errors
/// As of [`run`].
pub async fn run_with(
    config: Config,
    listener: impl Into<Listener>,
    control: Control<impl Future<Output = ()>, impl Future<Output = ()>>,
) -> Result<(), RunError> {
    let listener = listener.into();
    let operators = listen_for_operators(&config).await?;
    let mut server = Server::build(config, &listener, control.dropped_log_lines, control.memory)?;
    server.start(listener, operators);
    let failed = tokio::select! {
        () = control.shutdown => None,
        task = server.instance.supervisor.fatal() => Some(task),
    };
    server.shut_down(control.hurry).await;
    failed.map_or(Ok(()), |task| Err(RunError::Task(task)))
}

/// A server and all of its long-lived tasks. Dropping it aborts them, and ends its connections.
struct Server {
    instance: Arc<Instance>,
    stage: watch::Sender<Stage>,
    /// The tasks of the shards, not started yet.
    reactors: Vec<Reactor>,
    /// The accept loop and the shards' tasks: they end while the server shuts down.
    serving: JoinSet<()>,
    hub: JoinSet<()>,
    /// Read the files of credentials, and of the certificate, again when they change; watch the process' memory.
    upkeep: JoinSet<()>,
    broker: JoinSet<()>,
    stop_broker: watch::Sender<bool>,
}

/// The handles of the shards, and their tasks.
type Shards = (Box<[ShardHandle]>, Vec<Reactor>);
type Reactor = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Server {
    /// Does everything that may fail, before any task starts.
    fn build(
        config: Config,
        listener: &Listener,
        dropped_log_lines: DroppedLogLines,
        process_memory: Option<Arc<dyn ProcessMemory>>,
    ) -> Result<Self, RunError> {
        let address = listener.describe().map_err(RunError::Io)?;
        let ip = listener.ip().map_err(RunError::Io)?;
        if let Some(ip) = ip {
            config.check_exposure(ip).map_err(RunError::Exposed)?;
        }
        let gate = Gate::open(&config).map_err(RunError::Access)?.map(Arc::new);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
        let limits = Limits::new(&config).map_err(RunError::Access)?;
        let tls = Tls::open(&config, Arc::clone(&clock)).map_err(RunError::Tls)?;
        // A Unix socket's clients are on this machine.
        let tls = tls.filter(|_| ip.is_some()).map(Arc::new);
        let memory = config.budget();
        let (stage, drain) = Drain::new();
        let supervisor = Supervisor::new(drain.clone());
        let context = open_hub(&config, &memory, clock, gate, drain)?;
        let (shards, reactors) = open_shards(&context, &config).map_err(RunError::Io)?;
        let most = || accept::most_connections(open_files(), tls.is_some());
        let max_connections = config.max_connections.unwrap_or_else(most);
        let websocket::Context { hub, broker, logs, clock, counters, drain, gate } = context;
        let instance = Arc::new(Instance {
            started: clock.now(),
            tasks: TaskTracker::new(),
            next_shard: AtomicUsize::new(0),
            hosts: Hosts::new(&config.hosts, config.asks_for_credentials(), config.insecure),
            origins: Origins::new(&config),
            limits,
            gate,
            tls,
            hsts: hsts(&config),
            audit: Audit::default(),
            config,
            broker,
            logs,
            hub,
            clock,
            shards,
            counters,
            dropped_log_lines,
            memory,
            process_memory,
            max_connections,
            drain,
            supervisor,
        });
        tracing::info!(%address, tls = instance.tls.is_some(), memory_limit = instance.memory.limit, "listening");
        let (serving, hub, broker, upkeep) =
            (JoinSet::new(), JoinSet::new(), JoinSet::new(), JoinSet::new());
        let stop_broker = watch::Sender::new(false);
        Ok(Self { instance, stage, reactors, serving, hub, upkeep, broker, stop_broker })
    }

    /// Starts every long-lived task, supervised. `ARCHITECTURE.md` describes what happens when one fails, and why.
    fn start(&mut self, listener: Listener, operators: Option<TcpListener>) {
        let supervisor = &self.instance.supervisor;
        for reactor in self.reactors.drain(..) {
            // Its sockets are lost with it, so it cannot be restarted.
            self.serving.spawn(supervisor.clone().critical("shard", reactor));
        }
        let (broker, stop) = (Arc::clone(&self.instance.broker), self.stop_broker.clone());
        self.broker.spawn(supervisor.clone().restarting("broker", move || {
            let (broker, stop) = (Arc::clone(&broker), stop.subscribe());
            async move { broker.run(stop).await }
        }));
        let hub = Arc::clone(&self.instance.hub);
        self.hub.spawn(supervisor.clone().restarting("hub", move || {
            let hub = Arc::clone(&hub);
            async move { hub.run().await }
        }));
        if let Some(gate) = &self.instance.gate {
            let gate = Arc::clone(gate);
            self.upkeep
                .spawn(supervisor.clone().restarting("access", move || Arc::clone(&gate).run()));
        }
        if let Some(tls) = &self.instance.tls {
            let tls = Arc::clone(tls);
            self.upkeep.spawn(supervisor.clone().restarting("tls", move || Arc::clone(&tls).run()));
        }
        if let Some(memory) = &self.instance.process_memory {
            let (memory, limit) = (Arc::clone(memory), self.instance.memory.limit);
            self.upkeep.spawn(
                supervisor
                    .clone()
                    .restarting("memory", move || memory::watch(Arc::clone(&memory), limit)),
            );
        }
        if let Some(listener) = operators.map(Arc::new) {
            let instance = Arc::clone(&self.instance);
            let router = operators::router(Arc::clone(&instance));
            self.serving.spawn(supervisor.clone().restarting("metrics", move || {
                serve_operators(Arc::clone(&listener), router.clone(), Arc::clone(&instance))
            }));
        }
        let instance = Arc::clone(&self.instance);
        let (router, listener) = (router(Arc::clone(&instance)), Arc::new(listener));
        self.serving.spawn(supervisor.clone().restarting("accept", move || {
            accept::accept(Arc::clone(&listener), router.clone(), Arc::clone(&instance))
        }));
    }

    async fn shut_down(mut self, hurry: impl Future<Output = ()>) {
        tracing::info!("shutting down");
        let config = &self.instance.config;
        let patience = seconds(config.grace_period) + seconds(config.drain_period);
        tokio::select! {
            finished = tokio::time::timeout(patience, finish(&self.instance, &self.stage, &mut self.serving)) => {
                if finished.is_err() {
                    tracing::warn!("the grace period is over; closing the remaining connections");
                }
            }
            () = hurry => tracing::warn!("second signal; closing the remaining connections"),
        }
        self.stage.send_replace(Stage::Over);
        self.serving.shutdown().await;
        self.instance.tasks.close();
        self.instance.tasks.wait().await;
        self.hub.shutdown().await;
        self.upkeep.shutdown().await;
        self.stop_broker.send_replace(true);
        if tokio::time::timeout(CLOSE_BROKER, self.broker.join_next()).await.is_err() {
            tracing::error!("the broker did not stop in time");
        }
        tracing::info!("stopped");
    }
}

/// None if operators have no port of their own.
async fn listen_for_operators(config: &Config) -> Result<Option<TcpListener>, RunError> {
    let Some(address) = config.metrics_address else { return Ok(None) };
    let listener = listen(address).await.map_err(|error| RunError::Metrics(address, error))?;
    Ok(Some(listener))
}

/// How long the broker may take to write its last states.
const CLOSE_BROKER: Duration = Duration::from_secs(10);

/// Waits until all work in progress has finished.
async fn finish(instance: &Instance, stage: &watch::Sender<Stage>, serving: &mut JoinSet<()>) {
    stage.send_replace(Stage::GoingDown);
    instance.tasks.close();
    instance.tasks.wait().await;
    stage.send_replace(Stage::LastAdmitted);
    while serving.join_next().await.is_some() {}
}

/// How many shards the hub has.
fn shards(config: &Config) -> usize {
    let shards = config.shards.or_else(|| std::thread::available_parallelism().ok());
    shards.map_or(1, NonZeroUsize::get)
}

/// The broker and the hub, with the rest of what the shards share.
fn open_hub(
    config: &Config,
    memory: &Budget,
    clock: Arc<dyn Clock>,
    gate: Option<Arc<Gate>>,
    drain: Drain,
) -> Result<websocket::Context, RunError> {
    let (broker, logs) = open_broker(config, memory, Arc::clone(&clock))?;
    let hub = Arc::new(Hub::new(Arc::clone(&broker), shards(config), config.hub_limits(memory)));
    let counters = Arc::<Counters>::default();
    Ok(websocket::Context { hub, broker, logs, clock, counters, drain, gate })
}

/// The handles of the hub's shards, and their tasks, which are not started yet.
fn open_shards(context: &websocket::Context, config: &Config) -> io::Result<Shards> {
    let mut handles = Vec::new();
    let mut reactors = Vec::<Reactor>::new();
    for (index, mailbox) in context.hub.mailboxes().iter().enumerate() {
        let (handle, reactor) =
            websocket::shard(index, Arc::clone(mailbox), context.clone(), config)?;
        handles.push(handle);
        reactors.push(Box::pin(reactor));
    }
    Ok((handles.into(), reactors))
}

/// The broker, and again as the keeper of job logs.
type OpenBroker = (Arc<dyn Broker>, Arc<dyn JobLogs>);

fn open_broker(
    config: &Config,
    memory: &Budget,
    clock: Arc<dyn Clock>,
) -> Result<OpenBroker, RunError> {
    if let Some(url) = &config.redis_url {
        tracing::info!(address = %url.0, "states are kept in Redis");
        let redis = Redis::new(url.0.clone(), config.retention(), clock);
        let redis = Arc::new(redis.remembering(memory.reported));
        return Ok((redis.clone(), redis));
    }
    let limits = config.broker_limits(memory);
    let embedded = Arc::new(match &config.data_dir {
        Some(directory) => Embedded::open(limits, clock, directory).map_err(RunError::Store)?,
        None => Embedded::with_clock(limits, clock),
    });
    Ok((embedded.clone(), embedded))
}

/// None if the server does not send the header.
fn hsts(config: &Config) -> Option<HeaderValue> {
    let seconds = seconds(config.hsts_max_age).as_secs();
    (seconds > 0).then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok()).flatten()
}

/// Raises the limit of open files as far as possible, and returns it.
fn open_files() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024)
}

/// Why the server does not start, or has stopped.
#[derive(Debug)]
pub enum RunError {
    /// The data directory cannot be used.
    Store(StoreError),
    /// A file of credentials cannot be read, or is wrong.
    Access(ConfigError),
    /// The certificate or its key cannot be used.
    Tls(ConfigError),
    /// Other machines would reach a server without credentials.
    Exposed(ConfigError),
    /// The server cannot listen on `metrics_address`.
    Metrics(SocketAddr, io::Error),
    /// The system refuses a resource that the server needs.
    Io(io::Error),
    /// The name of an essential task that failed.
    Task(&'static str),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "data_dir: {error}"),
            Self::Exposed(error) | Self::Access(error) | Self::Tls(error) => error.fmt(f),
            Self::Metrics(address, error) => {
                write!(f, "metrics_address: cannot listen on {address}: {error}")
            }
            Self::Io(error) => error.fmt(f),
            Self::Task(name) => {
                write!(f, "the essential task {name} failed")
            }
        }
    }
}

impl std::error::Error for RunError {}
