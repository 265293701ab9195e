use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt};
use milepost_protocol::{JobId, Position, Request, State, Timeline, Timestamp, Update};
use redis::aio::ConnectionLike;
use redis::cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo};
use redis::{Cmd, ConnectionInfo, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::sync::OnceCell;

use crate::call::{
    Answer, Call, JobRequest, Read, Reply, Report, Retention, ServerId, Source, Taken,
};
use crate::connection::{Connection, PATIENCE, connect, not_connected, primary, wall_clock};
use crate::failure::{is_elsewhere, spoils_connection};
use crate::names::{INDEX, Names};
use crate::slots::Slots;
use crate::{Address, Failure};

/// Runs Milepost's scripts on Redis, over one connection that all callers share.
///
/// It connects when it is first asked for something, and again after a connection was lost or turned out to lead
/// to a server that takes no writes. A connection, and each answer, may take 2 s, or what
/// [`with_patience`](Client::with_patience) says.
pub struct Client {
    address: Address,
    names: Names,
    retention: Retention,
    patience: Duration,
    /// The present connection, or the making of one, for which everybody waits.
    current: Mutex<Connected>,
}

#[derive(Clone, Default)]
struct Connected(Arc<OnceCell<Live>>);

struct Live {
    connection: Connection,
    /// By how many milliseconds the server's clock is ahead of this one's.
    ahead: AtomicI64,
    /// As the report script answered over this connection. Behind a Cluster's there are many servers: none.
    server: Mutex<Option<ServerId>>,
}

impl Client {
    /// A client of the Redis at that address. Connects to nothing yet.
    pub fn new(address: Address, retention: Retention) -> Self {
        let names = Names::new(address.is_cluster());
        Self { address, names, retention, patience: PATIENCE, current: Mutex::default() }
    }

    /// With another time that a connection may take, and an answer. A report that Redis comes to later is not taken
    /// (`spec/README.md`, section 14, "Deadline"): whoever gives up earlier than that should say so here.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The names of keys and channels there.
    pub fn names(&self) -> Names {
        self.names
    }

    /// How long, and how much of, a job is kept.
    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Reports an update.
    ///
    /// # Errors
    /// When Redis does not take it, or it is not known whether it did.
    pub async fn report(&self, update: &Update, now: Timestamp) -> Result<Reply, Failure> {
        let reply = self.fold(update, None, now, false).await?;
        let Reply::Adopt(json) = reply else { return Ok(reply) };
        // A legacy worker has reported this job before, and nobody has looked at it yet.
        let readable = match self.adopt(update.job(), &json, now).await {
            // There is no room for what came before, but always for the end.
            Err(Failure::Full(_)) if update.status().is_end() => false,
            adopted => adopted?.is_some(),
        };
        self.fold(update, None, now, !readable).await
    }

    /// Takes what a legacy worker left under a job's key: the state that it led to, or that is there; none if
    /// it cannot be read or was refused.
    async fn adopt(
        &self,
        job: &JobId,
        json: &[u8],
        now: Timestamp,
    ) -> Result<Option<State>, Failure> {
        if json.len() > self.retention.max_update_bytes {
            return Ok(None);
        }
        let (Ok(update), Ok(json)) = (Update::parse(Some(job), json), std::str::from_utf8(json))
        else {
            return Ok(None);
        };
        match self.fold(&update, Some(Source::Key(json)), now, false).await? {
            Reply::Taken(Taken { state, .. }) => Ok(Some(state)),
            _ => Ok(None),
        }
    }

    async fn fold(
        &self,
        update: &Update,
        source: Option<Source<'_>>,
        now: Timestamp,
        ignore_key: bool,
    ) -> Result<Reply, Failure> {
        let named = update.attempt().map(u32::from);
        let report = Report { ignore_key, ..Report::new(update, source, now) };
        let call = |deadline, server| {
            let report = Report { deadline, server, ..report.clone() };
            Call::report(self.names, &report, &self.retention)
        };
        self.in_time(update.job(), named, call).await
    }

    /// Puts a request into a job's state, for its worker. The job's newest state if it is known.
    ///
    /// # Errors
    /// When Redis does not do it, or it is not known whether it did.
    pub async fn request(
        &self,
        job: &JobId,
        request: &Request,
        now: Timestamp,
    ) -> Result<Reply, Failure> {
        let of = JobRequest { job, request, now };
        let call = |deadline, server: Option<ServerId>| {
            Call::request(self.names, of, &self.retention, deadline, server.as_ref())
        };
        self.in_time(job, None, call).await
    }

    /// Runs the report script before the caller gives up. `call` makes it, with the deadline and the server's identity.
    async fn in_time(
        &self,
        job: &JobId,
        named: Option<u32>,
        call: impl Fn(Option<i64>, Option<ServerId>) -> Call,
    ) -> Result<Reply, Failure> {
        for last in [false, true] {
            let connected = self.connected().await?;
            let sent = wall_clock() + connected.ahead();
            // Somewhat before the caller gives up, since clocks are read in whole milliseconds: what it was told is lost
            // must not be folded a moment later.
            let patience = self.patience.mul_f64(0.95).as_millis();
            let deadline = Some(sent + i64::try_from(patience).unwrap_or(i64::MAX));
            let call = call(deadline, connected.server());
            let reply = Reply::parse(self.run_on(connected.clone(), &call).await?, named)?;
            match reply {
                Reply::Late(theirs) if !last => {
                    // It was not late by this clock: then the other one was set since, or is another server's.
                    connected.is_ahead(theirs - wall_clock());
                }
                Reply::Late(_) => break,
                Reply::Taken(ref taken) => {
                    if let Some(id) = &taken.server {
                        connected.is_server(id, sent);
                    }
                    if let Some(index) = &taken.index {
                        self.index(job, index).await;
                    }
                    return Ok(reply);
                }
                reply => return Ok(reply),
            }
        }
        Err(Failure::Unavailable("Redis did not answer in time".to_owned()))
    }

    /// A job's newest `most` states, oldest first. What a legacy worker set under the job's key is folded first.
    ///
    /// # Errors
    /// When Redis does not answer, or [`Failure::Unreadable`].
    pub async fn states(
        &self,
        job: &JobId,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<State>, Failure> {
        let call = Call::read(self.names, job, None, most);
        let mut read = Read::parse(self.run_again(&call).await?, job)?;
        if let Some(value) = &read.legacy_value
            && let Some(state) = self.adopt(job, value, now).await?
        {
            read.states.push(state);
            let surplus = read.states.len().saturating_sub(most);
            read.states.drain(..surplus);
        }
        Ok(read.states)
    }

    /// A job's newest `most` states, as [`states`](Self::states) has them, and its timeline.
    ///
    /// # Errors
    /// When Redis does not answer, or [`Failure::Unreadable`].
    pub async fn history(
        &self,
        job: &JobId,
        most: usize,
        now: Timestamp,
    ) -> Result<(Vec<State>, Timeline), Failure> {
        let call = Call::history(self.names, job, most);
        let mut answer = Read::with_timeline(self.run_again(&call).await?, job)?;
        if let Some(value) = &answer.0.legacy_value
            && self.adopt(job, value, now).await?.is_some()
        {
            answer = Read::with_timeline(self.run_again(&call).await?, job)?;
        }
        let (read, timeline) = answer;
        let begun = || read.states.last().map(Timeline::begun_with).unwrap_or_default();
        let timeline = timeline.unwrap_or_else(begun);
        Ok((read.states, timeline))
    }

    /// The newest state of each job, many at once; none of those that are not known, or cannot be read.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn newest(
        &self,
        jobs: Vec<JobId>,
        now: Timestamp,
    ) -> Result<Vec<Option<State>>, Failure> {
        /// So many questions are under way at once.
        const AT_ONCE: usize = 64;
        let newest = jobs.into_iter().map(|job| async move {
            match self.states(&job, 1, now).await {
                Ok(mut states) => Ok(states.pop()),
                Err(Failure::Unreadable(_)) => Ok(None),
                Err(failure) => Err(failure),
            }
        });
        futures_util::stream::iter(newest).buffered(AT_ONCE).try_collect().await
    }

    /// Forgets a job; false if it was not known.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn forget(&self, job: &JobId) -> Result<bool, Failure> {
        let answer = self.run(&Call::forget(self.names, job)).await?;
        if self.names.is_cluster() {
            let mut pipeline = redis::pipe();
            for key in INDEX {
                pipeline.zrem(key, job.as_str()).ignore();
            }
            self.pipeline(&pipeline).await?;
        }
        Ok(answer.0.first().is_some_and(|keys| keys != b"0"))
    }

    /// Jobs of the index, the most recently begun first, each with when it began: at most `most` that began
    /// before `before`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn begun(
        &self,
        before: Option<u64>,
        most: usize,
    ) -> Result<Vec<(JobId, u64)>, Failure> {
        let before = before.map_or_else(|| "+inf".to_owned(), |before| format!("({before}"));
        let mut command = redis::cmd("ZREVRANGEBYSCORE");
        command.arg(INDEX[0]).arg(before).arg("-inf").arg("WITHSCORES");
        command.arg("LIMIT").arg(0).arg(most);
        let listed: Vec<(String, f64)> = self.query(&command).await?;
        // A name in the index that is no job id is somebody else's.
        let job = |(id, begun): (String, f64)| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "microseconds since 1970 are whole, and below 2^53"
            )]
            Some((JobId::parse(&id).ok()?, begun as u64))
        };
        Ok(listed.into_iter().filter_map(job).collect())
    }

    /// How many jobs the index has.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn count(&self) -> Result<usize, Failure> {
        self.query(redis::cmd("ZCARD").arg(INDEX[0])).await
    }

    /// What `INFO` answers, of each server.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn info(&self) -> Result<Vec<String>, Failure> {
        let value: Value = self.query(&redis::cmd("INFO")).await?;
        let answers = match value {
            // A Cluster answers for each of its servers.
            Value::Map(answers) => answers.into_iter().map(|(_, info)| info).collect(),
            value => vec![value],
        };
        Ok(answers.into_iter().filter_map(text).collect())
    }

    /// Drops from the index at most `most` jobs whose time is over; how many.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn expire(&self, most: usize) -> Result<usize, Failure> {
        let answer = self.run(&Call::expire(most)).await?;
        let count = answer.0.into_iter().next().and_then(|count| String::from_utf8(count).ok());
        Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    /// What the server's clock says, in milliseconds, and at most `most` jobs whose health may have to change by then.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due(&self, most: usize) -> Result<(i64, Vec<JobId>), Failure> {
        let answer = self.run(&Call::due(most)).await?;
        let mut parts = answer.0.into_iter().map(String::from_utf8);
        let now = parts.next().and_then(Result::ok).and_then(|now| now.parse().ok());
        let now = now.ok_or_else(|| Failure::nonsense("a time"))?;
        // A name that is no job id is somebody else's.
        let jobs = parts.filter_map(|id| JobId::parse(&id.ok()?).ok()).collect();
        Ok((now, jobs))
    }

    /// Changes a job's health, or ends the job because its worker is lost, if it is time to. No clock counts from before `from`; nothing is done if the script runs much
    /// later than `asked`. Both are moments by the server's clock, in milliseconds.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn clock(
        &self,
        job: &JobId,
        from: i64,
        asked: i64,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let answer = self.run(&Call::clock(self.names, job, from, asked, now)).await?;
        let parts: Option<Vec<_>> =
            answer.0.iter().map(|part| std::str::from_utf8(part).ok()).collect();
        // Otherwise there is nothing to end.
        let Some([position, attempt, silence]) = parts.as_deref() else { return Ok(()) };
        let lost = Position::parse(position).zip(attempt.parse().ok()).zip(silence.parse().ok());
        let ((position, attempt), silence) = lost.ok_or_else(|| Failure::nonsense("a lost job"))?;
        let end = Update::end_of_lost(job, attempt, Duration::from_millis(silence));
        // A worker that reported in between, or another instance, came first: then there is nothing more to do.
        self.fold(&end, Some(Source::Lost(position)), now, false).await.map(|_| ())
    }

    /// Writes to the server that has `channel`, looks for jobs there, and publishes `token`.
    ///
    /// # Errors
    /// When it takes no writes, or does not answer.
    pub async fn probe(&self, channel: &str, token: &str) -> Result<(), Failure> {
        self.run(&Call::probe(self.names, channel, token)).await.map(|_| ())
    }

    /// Asks whether anybody is there: of a Cluster, any primary. The one that a job is on may still be away.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn ping(&self) -> Result<(), Failure> {
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
            self.judge(&connected, &error);
            Failure::from(&error)
        })
    }

    /// Which server has which slots.
    ///
    /// # Errors
    /// When none answers.
    pub async fn slots(&self) -> Result<Slots, Failure> {
        if self.address.is_cluster() {
            let value: Value = self.query(redis::cmd("CLUSTER").arg("SLOTS")).await?;
            return Slots::parse(&value).ok_or_else(|| Failure::nonsense("CLUSTER SLOTS"));
        }
        let primary = primary(&self.address).await.map_err(|error| Failure::from(&error))?;
        Slots::one(primary.addr()).ok_or_else(|| Failure::nonsense("a host and a port"))
    }

    /// How to connect to a server of the Cluster, or to the one that there is.
    ///
    /// # Errors
    /// When that is no host.
    pub fn node(&self, host: &str, port: u16) -> Result<ConnectionInfo, Failure> {
        let nodes = self.address.nodes().map_err(|error| Failure::from(&error))?;
        let settings = nodes.into_iter().next().map(|node| node.redis_settings().clone());
        let info =
            redis::IntoConnectionInfo::into_connection_info(self.address.address(host, port))
                .map_err(|error| Failure::from(&error))?;
        Ok(info.set_redis_settings(settings.unwrap_or_default()))
    }

    /// In a Cluster the index is told apart. What is lost here is told again before long.
    async fn index(&self, job: &JobId, [begun, expires]: &[String; 2]) {
        let mut pipeline = redis::pipe();
        for (key, score) in INDEX.iter().zip([begun, expires]) {
            pipeline.cmd("ZADD").arg(key).arg(score).arg(job.as_str()).ignore();
        }
        let _ = self.pipeline(&pipeline).await;
    }

    /// Runs a script.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn run(&self, call: &Call) -> Result<Answer, Failure> {
        self.run_on(self.connected().await?, call).await
    }

    /// Runs a script that changes nothing; once more if the connection was lost, which may have been long ago.
    async fn run_again(&self, call: &Call) -> Result<Answer, Failure> {
        let (connected, begun) = (self.connected().await?, Instant::now());
        match self.run_on(connected.clone(), call).await {
            Err(Failure::Unavailable(_)) if self.was_lost(&connected, begun) => {
                self.run(call).await
            }
            answer => answer,
        }
    }

    async fn run_on(&self, connected: Connected, call: &Call) -> Result<Answer, Failure> {
        let command = call.command();
        let mut result = self.send(connected, &command).await;
        if let Err(error) = &result
            && error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
        {
            let connected = self.connected().await?;
            result = match self.send(connected.clone(), &call.script().load()).await {
                Ok(_) => self.send(connected, &command).await,
                Err(error) => Err(error),
            };
        }
        let value = result.map_err(|error| Failure::of_script(&error))?;
        let Value::Array(parts) = value else {
            return Ok(Answer(bytes(value).into_iter().collect()));
        };
        let parts: Option<Vec<_>> = parts.into_iter().map(bytes).collect();
        parts.map(Answer).ok_or_else(|| Failure::nonsense("text"))
    }

    async fn query<T: redis::FromRedisValue>(&self, command: &Cmd) -> Result<T, Failure> {
        let (connected, begun) = (self.connected().await?, Instant::now());
        let mut value = self.send(connected.clone(), command).await;
        // Nothing that is asked here changes anything.
        if value.is_err() && self.was_lost(&connected, begun) {
            value = self.send(self.connected().await?, command).await;
        }
        let value = value.and_then(|value| Ok(T::from_redis_value(value)?));
        value.map_err(|error| Failure::from(&error))
    }

    async fn pipeline(&self, pipeline: &Pipeline) -> Result<(), Failure> {
        let connected = self.connected().await?;
        let result: RedisResult<()> = match connected.connection() {
            Some(Connection::Node(mut node)) => pipeline.query_async(&mut node).await,
            Some(Connection::Cluster(mut cluster)) => pipeline.query_async(&mut cluster).await,
            None => Err(not_connected()),
        };
        result.map_err(|error| {
            self.judge(&connected, &error);
            Failure::from(&error)
        })
    }

    /// Sends a command; once more over a new connection where the first server takes no writes.
    async fn send(&self, connected: Connected, command: &Cmd) -> RedisResult<Value> {
        let error = match send(&connected, command).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        self.judge(&connected, &error);
        if !is_elsewhere(&error) {
            return Err(error);
        }
        let Ok(connected) = self.connected().await else { return Err(error) };
        let result = send(&connected, command).await;
        if let Err(error) = &result {
            self.judge(&connected, error);
        }
        result
    }

    /// Gives the connection up if what it said makes it useless.
    fn judge(&self, connected: &Connected, error: &RedisError) {
        if spoils_connection(error) {
            let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&current.0, &connected.0) {
                *current = Connected::default();
            }
        }
    }

    /// Whether this connection turned out to be lost. After a timeout it is given up too, but there is no time to try
    /// again.
    fn was_lost(&self, connected: &Connected, begun: Instant) -> bool {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        !Arc::ptr_eq(&current.0, &connected.0) && begun.elapsed() < self.patience / 2
    }

    async fn connected(&self) -> Result<Connected, Failure> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let made = tokio::time::timeout(
            self.patience,
            current.0.get_or_try_init(|| async {
                let (connection, ahead) = connect(&self.address, self.patience).await?;
                Ok(Live { connection, ahead: ahead.into(), server: Mutex::default() })
            }),
        );
        match made.await {
            Ok(Ok(_)) => Ok(current),
            Ok(Err(error)) => Err(Failure::to_connect(&error)),
            Err(_) => Err(Failure::Unavailable("no connection to Redis in time".to_owned())),
        }
    }
}

impl Connected {
    fn connection(&self) -> Option<Connection> {
        self.0.get().map(|live| live.connection.clone())
    }

    /// By how many milliseconds the server's clock is ahead of this one's.
    fn ahead(&self) -> i64 {
        self.0.get().map_or(0, |live| live.ahead.load(Ordering::Relaxed))
    }

    fn is_ahead(&self, by: i64) {
        if let Some(live) = self.0.get() {
            live.ahead.fetch_max(by, Ordering::Relaxed);
        }
    }

    fn server(&self) -> Option<ServerId> {
        self.0.get()?.server.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The report script answered this when it was sent at `sent`, by the server's clock.
    fn is_server(&self, id: &str, sent: i64) {
        if let Some(live) = self.0.get()
            && matches!(live.connection, Connection::Node(_))
        {
            let server = Some(ServerId::new(id, sent));
            *live.server.lock().unwrap_or_else(PoisonError::into_inner) = server;
        }
    }
}

async fn send(connected: &Connected, command: &Cmd) -> RedisResult<Value> {
    let value = match connected.connection() {
        Some(Connection::Node(mut node)) => node.req_packed_command(command).await,
        Some(Connection::Cluster(mut cluster)) => cluster.req_packed_command(command).await,
        None => Err(not_connected()),
    };
    value.and_then(Value::extract_error)
}

fn text(value: Value) -> Option<String> {
    bytes(value).and_then(|bytes| String::from_utf8(bytes).ok())
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}
