use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use milepost_broker::embedded::StoreError;
use milepost_broker::{Broker, Clock, Embedded, Redis, SystemClock};
use milepost_hub::Hub;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::config::{Config, seconds};
use crate::connection::accept;
use crate::drain::{Drain, Stage};
use crate::instance::{Counters, Instance};
use crate::router::router;
use crate::websocket;

/// Serves on `listener` until `shutdown` is done, then tells everybody, waits for what is under way as long
/// as the configuration says, and returns.
///
/// # Errors
/// When the data directory cannot be used, or the system refuses what a server needs. Nothing was served
/// then.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let broker = open_broker(&config, Arc::clone(&clock))?;
    let shards = config.shards.or_else(|| std::thread::available_parallelism().ok());
    let shards = shards.map_or(1, std::num::NonZeroUsize::get);
    let hub = Hub::new(Arc::clone(&broker), shards, config.hub_limits());
    let hub = Arc::new(hub);
    let counters = Arc::<Counters>::default();
    let (stage, drain) = Drain::new();

    // Owns the tasks that live as long as the server; connections are owned by the instance.
    let mut tasks = JoinSet::new();
    let mut handles = Vec::new();
    for (index, mailbox) in hub.mailboxes().iter().enumerate() {
        let context = websocket::Context {
            hub: Arc::clone(&hub),
            clock: Arc::clone(&clock),
            counters: Arc::clone(&counters),
            drain: drain.clone(),
        };
        let (handle, reactor) =
            websocket::shard(index, Arc::clone(mailbox), context, &config).map_err(RunError::Io)?;
        handles.push(handle);
        tasks.spawn(reactor);
    }
    let grace = seconds(config.grace_period);
    let max = config.max_connections.unwrap_or_else(|| accept::most_connections(open_files()));
    let instance = Instance::new(
        config,
        Arc::clone(&broker),
        Arc::clone(&hub),
        clock,
        handles.into(),
        counters,
        drain.clone(),
    );
    let (stop_broker, broker_stopped) = tokio::sync::watch::channel(false);
    let broker_task = tokio::spawn(async move { broker.run(broker_stopped).await });
    let hub_task = tokio::spawn(async move { hub.run().await });
    let address = listener.local_addr().map_err(RunError::Io)?;
    tracing::info!(%address, "listening");
    tasks.spawn(accept::accept(
        listener,
        router(Arc::clone(&instance)),
        Arc::clone(&instance),
        max,
    ));

    shutdown.await;
    tracing::info!("going down");
    // The receivers live in the tasks; if all are gone there is nobody to tell.
    let _ = stage.send(Stage::GoingDown);
    instance.tasks.close();
    let finish = async {
        instance.tasks.wait().await;
        let _ = stage.send(Stage::LastAdmitted);
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the server failed");
            }
        }
    };
    if tokio::time::timeout(grace + seconds(instance.config.drain_period), finish).await.is_err() {
        tracing::warn!("gave up waiting for connections that do not end");
    }
    let _ = stage.send(Stage::Over);
    tasks.shutdown().await;
    instance.tasks.wait().await;
    hub_task.abort();
    let _ = hub_task.await;
    let _ = stop_broker.send(true);
    if let Err(error) = broker_task.await {
        tracing::error!(%error, "the broker's task failed");
    }
    tracing::info!("down");
    Ok(())
}

fn open_broker(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn Broker>, RunError> {
    if let Some(url) = &config.redis_url {
        tracing::info!(address = %url.0, "states are kept in Redis");
        return Ok(Arc::new(Redis::new(url.0.clone(), config.keeping(), clock)));
    }
    let limits = config.broker_limits();
    Ok(Arc::new(match &config.data_dir {
        Some(directory) => Embedded::open(limits, clock, directory).map_err(RunError::Store)?,
        None => Embedded::with_clock(limits, clock),
    }))
}

/// How many files the process may have open: as many as it can get.
fn open_files() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024)
}

/// Why the server does not run.
#[derive(Debug)]
pub enum RunError {
    /// The data directory cannot be used.
    Store(StoreError),
    /// The system refuses what a server needs.
    Io(io::Error),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "data_dir: {error}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}
