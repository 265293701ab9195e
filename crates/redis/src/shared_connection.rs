//! One connection to Redis that all callers share, and that is replaced when it is lost.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::ConnectionLike;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::{Cmd, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::OnceCell;

use crate::answer::Answer;
use crate::call::Call;
use crate::connection::{Connection, PATIENCE, connect, not_connected};
use crate::failure::{is_elsewhere, spoils_connection};
use crate::report::ServerId;
use crate::{Address, Failure};

/// Connects on first use, and again after the connection was lost or its server turned out to accept no writes.
pub(crate) struct SharedConnection {
    address: Address,
    patience: Duration,
    /// The present connection, or the attempt to connect, for which all callers wait.
    current: Mutex<Connected>,
}

/// One connection. It stays valid for those that hold it after another one has replaced it.
#[derive(Clone, Default)]
pub(crate) struct Connected(Arc<OnceCell<Live>>);

struct Live {
    connection: Connection,
    /// By how many milliseconds the server's clock is ahead of this machine's.
    ahead: AtomicI64,
    /// The server's identity, as the report script answered it over this connection. None for a Cluster, which has many servers.
    server: Mutex<Option<ServerId>>,
    /// Whether a script has been sent that asks for the identity anew.
    asks: AtomicBool,
}

/// The identity is asked for anew when it is valid for no longer than this, in milliseconds.
const SOON: i64 = 50;

impl SharedConnection {
    /// Does not connect yet.
    pub(crate) fn new(address: Address) -> Self {
        Self { address, patience: PATIENCE, current: Mutex::default() }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// How long connecting, and each reply, may take.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The present connection, or a new one.
    pub(crate) async fn connected(&self) -> Result<Connected, Failure> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let made = tokio::time::timeout(
            self.patience,
            current.0.get_or_try_init(|| async {
                let (connection, ahead) = connect(&self.address, self.patience).await?;
                Ok(Live {
                    connection,
                    ahead: ahead.into(),
                    server: Mutex::default(),
                    asks: AtomicBool::new(false),
                })
            }),
        );
        match made.await {
            Ok(Ok(_)) => Ok(current),
            Ok(Err(error)) => Err(Failure::to_connect(&error)),
            Err(_) => Err(Failure::Unavailable("no connection to Redis in time".to_owned())),
        }
    }

    /// Runs a script, over a new connection if the first server accepts no writes.
    pub(crate) async fn run(&self, call: &Call) -> Result<Answer, Failure> {
        let value = match self.run_on(&self.connected().await?, call).await {
            Err(error) if is_elsewhere(&error) => self.run_on(&self.connected().await?, call).await,
            value => value,
        };
        Answer::of(value.map_err(|error| Failure::of_script(&error))?)
    }

    /// Runs a script that changes nothing. Runs it again if the connection turns out to be lost; that may have happened long ago.
    pub(crate) async fn run_again(&self, call: &Call) -> Result<Answer, Failure> {
        let (connected, begun) = (self.connected().await?, Instant::now());
        match self.run(call).await {
            Err(Failure::Unavailable(_)) if self.was_lost(&connected, begun) => {
                self.run(call).await
            }
            answer => answer,
        }
    }

    /// Runs a script over that connection and no other, and loads it first if the server does not know it. A call that has the
    /// server's identity is for this connection only.
    pub(crate) async fn run_on(&self, connected: &Connected, call: &Call) -> RedisResult<Value> {
        let command = call.command();
        let mut result = connected.send(&command).await;
        if let Err(error) = &result
            && error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
        {
            result = match connected.send(&call.script().load()).await {
                Ok(_) => connected.send(&command).await,
                Err(error) => Err(error),
            };
        }
        result.inspect_err(|error| self.give_up_if_useless(connected, error))
    }

    /// Sends a command that changes nothing. Sends it again if the connection was lost.
    pub(crate) async fn query<T: redis::FromRedisValue>(
        &self,
        command: &Cmd,
    ) -> Result<T, Failure> {
        let (connected, begun) = (self.connected().await?, Instant::now());
        let mut value = self.send(connected.clone(), command).await;
        if value.is_err() && self.was_lost(&connected, begun) {
            value = self.send(self.connected().await?, command).await;
        }
        let value = value.and_then(|value| Ok(T::from_redis_value(value)?));
        value.map_err(|error| Failure::from(&error))
    }

    pub(crate) async fn pipeline(&self, pipeline: &Pipeline) -> Result<(), Failure> {
        let connected = self.connected().await?;
        let result: RedisResult<()> = match connected.connection() {
            Some(Connection::Node(mut node)) => pipeline.query_async(&mut node).await,
            Some(Connection::Cluster(mut cluster)) => pipeline.query_async(&mut cluster).await,
            None => Err(not_connected()),
        };
        result.map_err(|error| {
            self.give_up_if_useless(&connected, &error);
            Failure::from(&error)
        })
    }

    /// Checks that the server answers; in a Cluster, that any primary does.
    pub(crate) async fn ping(&self) -> Result<(), Failure> {
        let connected = self.connected().await?;
        let ping = redis::cmd("PING");
        let Some(Connection::Cluster(mut cluster)) = connected.connection() else {
            let answer = self.send(connected, &ping).await;
            return answer.map(|_| ()).map_err(|error| Failure::from(&error));
        };
        let any = RoutingInfo::MultiNode((
            MultipleNodeRoutingInfo::AllMasters,
            Some(ResponsePolicy::OneSucceeded),
        ));
        let answer = cluster.route_command(ping, any).await;
        answer.map(|_| ()).map_err(|error| {
            self.give_up_if_useless(&connected, &error);
            Failure::from(&error)
        })
    }

    /// Sends a command. Sends it again over a new connection if the first server accepts no writes.
    async fn send(&self, connected: Connected, command: &Cmd) -> RedisResult<Value> {
        let error = match connected.send(command).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        self.give_up_if_useless(&connected, &error);
        if !is_elsewhere(&error) {
            return Err(error);
        }
        let Ok(connected) = self.connected().await else { return Err(error) };
        let result = connected.send(command).await;
        if let Err(error) = &result {
            self.give_up_if_useless(&connected, error);
        }
        result
    }

    /// Gives the connection up if the error means that it cannot be used any more.
    fn give_up_if_useless(&self, connected: &Connected, error: &RedisError) {
        if spoils_connection(error) {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&current.0, &connected.0) {
                *current = Connected::default();
            }
        }
    }

    /// Whether this connection was given up and there is still time for another attempt. After a timeout there is none.
    fn was_lost(&self, connected: &Connected, begun: Instant) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        !Arc::ptr_eq(&current.0, &connected.0) && begun.elapsed() < self.patience / 2
    }
}

impl Connected {
    fn connection(&self) -> Option<Connection> {
        self.0.get().map(|live| live.connection.clone())
    }

    /// By how many milliseconds the server's clock is ahead of this machine's.
    pub(crate) fn ahead(&self) -> i64 {
        self.0.get().map_or(0, |live| live.ahead.load(Ordering::Relaxed))
    }

    /// Records that the server's clock is ahead by at least this many milliseconds.
    pub(crate) fn raise_ahead(&self, by: i64) {
        if let Some(live) = self.0.get() {
            live.ahead.fetch_max(by, Ordering::Relaxed);
        }
    }

    /// The server's identity for a script that is sent at `now`, in milliseconds by the server's clock; none if the script has to ask.
    /// Shortly before the identity is no longer valid, one caller gets none, and the others need not wait for its answer.
    pub(crate) fn server_at(&self, now: i64) -> Option<ServerId> {
        self.server_unless(now, |asks| asks.swap(true, Ordering::Relaxed))
    }

    /// The same, but the caller does not ask.
    pub(crate) fn known_server_at(&self, now: i64) -> Option<ServerId> {
        self.server_unless(now, |asks| asks.load(Ordering::Relaxed))
    }

    fn server_unless(
        &self,
        now: i64,
        is_asked_for: impl Fn(&AtomicBool) -> bool,
    ) -> Option<ServerId> {
        let live = self.0.get()?;
        let server = live.server.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let left = server.until().saturating_sub(now);
        (left > 0 && (left > SOON || is_asked_for(&live.asks))).then_some(server)
    }

    /// Remembers the identity that the report script answered. The script was sent at `sent`, in milliseconds by the
    /// server's clock.
    pub(crate) fn set_server(&self, id: &str, sent: i64) {
        if let Some(live) = self.0.get()
            && matches!(live.connection, Connection::Node(_))
        {
            let server = Some(ServerId::new(id, sent));
            *live.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
            live.asks.store(false, Ordering::Relaxed);
        }
    }

    async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let value = match self.connection() {
            Some(Connection::Node(mut node)) => node.req_packed_command(command).await,
            Some(Connection::Cluster(mut cluster)) => cluster.req_packed_command(command).await,
            None => Err(not_connected()),
        };
        value.and_then(Value::extract_error)
    }
}
