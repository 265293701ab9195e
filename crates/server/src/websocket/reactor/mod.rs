mod closing;
mod conversation;
mod expiry;
pub(super) mod logs;
mod sockets;
mod unfinished;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use milepost_broker::{Broker, Clock, JobLogs};
use milepost_hub::{Hub, Lease, Shard, Subscribe, TopicMailbox, WatchError, WatcherKey};
use milepost_protocol::{CloseCode, JobId};
use mio::{Events, Poll};
use socket2::Socket;
use tokio::io::Interest as TokioInterest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(super) use self::closing::CLOSING;
use self::logs::{LogRead, LogSource};
use self::sockets::Sockets;
use crate::access::{Gate, Granted};
use crate::config::{Config, seconds};
use crate::counters::{Counters, WatchingSocket};
use crate::drain::Drain;
use crate::response::problem::Refused;

/// The parts of the server that a shard needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) hub: Arc<Hub>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) logs: Arc<dyn JobLogs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) drain: Drain,
    /// Checks credentials; none if the server has no credentials.
    pub(crate) gate: Option<Arc<Gate>>,
}

/// A socket that is passed from the handshake to its shard.
pub(super) struct Admission {
    pub(super) stream: Socket,
    /// The handshake's request id, if it is to be logged.
    pub(super) id: Option<Box<str>>,
    /// The part of the handshake's response that is not sent yet.
    pub(super) response: Vec<u8>,
    /// Bytes that arrived right after the handshake.
    pub(super) read: Bytes,
    pub(super) welcome: Welcome,
    /// Present if credentials are required, unless the socket is rejected.
    pub(super) granted: Option<Arc<Granted>>,
    pub(super) watching: WatchingSocket,
}

/// How a new connection starts.
pub(super) enum Welcome {
    /// Subscribed to one job. These parameters of the address are ignored.
    One(Lease, Subscribe, Vec<String>),
    /// Without subscriptions, for many jobs.
    Many,
    /// Rejected: it receives the reason and is closed.
    Refused(CloseCode, Refused),
}

/// How the rest of the server reaches a shard.
#[derive(Clone)]
pub(crate) struct ShardHandle {
    sockets: Arc<Mutex<Sockets>>,
    mailbox: Arc<TopicMailbox>,
    requests: mpsc::Sender<Request>,
}

enum Request {
    Admit(Box<Admission>),
    Probe(oneshot::Sender<()>),
}

/// How many sockets may wait for their shard. The handshakes of others wait meanwhile.
const ADMISSIONS: usize = 1024;

/// A shard's handle, and its task, which runs until the server has shut down.
pub(crate) fn shard(
    index: usize,
    mailbox: Arc<TopicMailbox>,
    context: Context,
    config: &Config,
) -> io::Result<(ShardHandle, impl Future<Output = ()> + Send + use<>)> {
    let (requests, requested) = mpsc::channel(ADMISSIONS);
    let poll = Poll::new()?;
    let registry = poll.registry().try_clone()?;
    let ping_interval = seconds(config.ping_interval);
    let shard = Shard::new(index, Arc::clone(&mailbox), Arc::clone(&context.clock), ping_interval);
    let (hub, drain) = (Arc::clone(&context.hub), context.drain.clone());
    let gate = context.gate.clone();
    let log_source = LogSource {
        broker: Arc::clone(&context.broker),
        logs: Arc::clone(&context.logs),
        reads: Arc::new(Semaphore::new(logs::MAX_READS)),
        patience: ping_interval,
    };
    let sockets = Arc::new(Mutex::new(Sockets::new(shard, registry, context, config)));
    let reactor = Reactor {
        sockets: Arc::clone(&sockets),
        mailbox: Arc::clone(&mailbox),
        epoll: register(Epoll(poll))?,
        events: Events::with_capacity(256),
        requested,
        attaching: JoinSet::new(),
        reading: JoinSet::new(),
        log_source,
        hub,
        drain,
        gate,
    };
    Ok((ShardHandle { sockets, mailbox, requests }, reactor.run()))
}

/// Holds the lock for work that does not wait.
///
/// # Panics
/// If any task panicked while it served the shard. The shard's own task then panics too, and so the panic is noticed.
fn lock(sockets: &Mutex<Sockets>) -> MutexGuard<'_, Sockets> {
    sockets.lock().expect("serving a shard does not panic")
}

impl ShardHandle {
    /// Passes a socket to the shard: at once if no thread is serving it, otherwise through its task, for which sockets
    /// may have to wait.
    pub(super) async fn admit(&self, admission: Admission) {
        if let Ok(mut sockets) = self.sockets.try_lock() {
            sockets.admit(admission);
            if !sockets.is_left_to_the_alarm() {
                self.mailbox.wake();
            }
            return;
        }
        // If the task has ended, the server is shutting down, and closes the socket.
        let _ = self.requests.send(Request::Admit(Box::new(admission))).await;
    }

    /// For a thread that has new states for the shard: serves it if no other thread does and there is little to do.
    /// False if the shard's task has to be woken.
    pub(crate) fn serve_in_place(&self) -> bool {
        self.sockets.try_lock().is_ok_and(|mut sockets| sockets.serve_in_place())
    }

    /// Whether the shard's task answers.
    pub(crate) async fn probe(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Probe(answer)).await.is_ok() && answered.await.is_ok()
    }
}

/// The epoll instance of a shard's sockets, itself a file that the runtime watches. So a watcher is an entry in the
/// kernel's table and in the hub's shard, and not a task.
struct Epoll(Poll);

/// Makes the runtime watch a shard's sockets.
#[expect(
    deprecated,
    reason = "its successor is the same but `unsafe`; here the file is the Poll's own"
)]
fn register(epoll: Epoll) -> io::Result<AsyncFd<Epoll>> {
    AsyncFd::with_interest(epoll, TokioInterest::READABLE)
}

impl AsRawFd for Epoll {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Waits until the keys have changed.
async fn changed(changes: &mut Option<watch::Receiver<u64>>) {
    if let Some(changes) = changes
        && changes.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// The task of one shard. It does what was not done in place: reads from the sockets, serves the rest of a pass, and
/// acts on timers.
struct Reactor {
    sockets: Arc<Mutex<Sockets>>,
    mailbox: Arc<TopicMailbox>,
    epoll: AsyncFd<Epoll>,
    events: Events,
    requested: mpsc::Receiver<Request>,
    /// Subscriptions that wait for the broker: at most `max_subscriptions` for each connection.
    attaching: JoinSet<Attached>,
    /// Subscriptions to logs that wait for lines: together with the others at most `max_subscriptions` for each
    /// connection.
    reading: JoinSet<LogRead>,
    log_source: LogSource,
    hub: Arc<Hub>,
    drain: Drain,
    gate: Option<Arc<Gate>>,
}

/// A connection's request to subscribe to a job, whose topic has to be attached to the broker.
struct Attach {
    key: WatcherKey,
    serial: u64,
    request: u64,
    job: JobId,
    subscribe: Subscribe,
}

/// The same, with the topic.
struct Attached {
    attach: Attach,
    lease: Result<Lease, WatchError>,
}

/// What the task does next.
enum Turn {
    /// There is more to do.
    GoOn,
    /// Nothing, until an event, or until this time on the clock's `elapsed`.
    Wait(Option<Duration>),
    /// All connections are closed, and there will be no more.
    Down,
}

impl Reactor {
    async fn run(mut self) {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        let mut timer_at = None;
        let drain = self.drain.clone();
        let mut drain_begun = Box::pin(async move { drain.begun().await });
        let mut draining = false;
        let drain = self.drain.clone();
        let mut last_admitted = Box::pin(async move { drain.last_admitted().await });
        let mut complete = false;
        let gate = self.gate.clone();
        let mut changes = gate.as_ref().map(|gate| gate.changes());
        loop {
            let wake_at = match self.turn(complete) {
                Turn::Down => return,
                Turn::GoOn => {
                    tokio::task::yield_now().await;
                    continue;
                }
                Turn::Wait(until) => until,
            };
            if wake_at != timer_at {
                timer_at = wake_at;
                let now = lock(&self.sockets).now();
                let from_now = wake_at.map_or(Duration::ZERO, |at| at.saturating_sub(now));
                timer.as_mut().reset(Instant::now() + from_now);
            }
            tokio::select! {
                () = self.mailbox.arrived() => {}
                ready = self.epoll.readable() => {
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    self.poll_sockets();
                }
                Some(request) = self.requested.recv() => self.take_request(request),
                Some(attached) = self.attaching.join_next() => {
                    if let Ok(attached) = attached {
                        lock(&self.sockets).attached(attached);
                    }
                }
                Some(read) = self.reading.join_next() => {
                    // One whose subscription has ended was aborted.
                    if let Ok(read) = read {
                        lock(&self.sockets).log_read(read);
                    }
                }
                () = timer.as_mut(), if timer_at.is_some() => timer_at = None,
                () = drain_begun.as_mut(), if !draining => {
                    draining = true;
                    lock(&self.sockets).begin_drain();
                }
                () = changed(&mut changes) => {
                    if let Some(gate) = &gate {
                        lock(&self.sockets).recheck(gate);
                    }
                }
                () = last_admitted.as_mut(), if !complete => complete = true,
            }
        }
    }

    /// Does one slice of the pending work. `complete`: there will be no more sockets.
    fn turn(&mut self, complete: bool) -> Turn {
        self.take_requests();
        let sockets = Arc::clone(&self.sockets);
        let mut sockets = lock(&sockets);
        let more = sockets.serve();
        for attach in sockets.attaching.drain(..) {
            let hub = Arc::clone(&self.hub);
            self.attaching.spawn(async move {
                let lease = hub.topic_since(&attach.job, attach.subscribe.since).await;
                Attached { attach, lease }
            });
        }
        for wait in std::mem::take(&mut sockets.waiting_for_logs) {
            let (reading, source) = (&mut self.reading, self.log_source.clone());
            sockets.start_log_wait(wait, |wait| reading.spawn(logs::read(wait, source)));
        }
        if complete && sockets.shard.is_empty() && self.requested.is_empty() {
            return Turn::Down;
        }
        if more {
            drop(sockets);
            self.poll_sockets();
            return Turn::GoOn;
        }
        Turn::Wait(sockets.set_alarm())
    }

    fn take_requests(&mut self) {
        for _ in 0..64 {
            let Ok(request) = self.requested.try_recv() else { break };
            self.take_request(request);
        }
    }

    fn take_request(&mut self, request: Request) {
        match request {
            Request::Admit(admission) => lock(&self.sockets).admit(*admission),
            // The client may have disconnected.
            Request::Probe(answer) => drop(answer.send(())),
        }
    }

    /// Asks the kernel which sockets have something to read, or accept bytes again. Under the lock: a key that the
    /// kernel names is not given to another connection in between.
    fn poll_sockets(&mut self) {
        let mut sockets = lock(&self.sockets);
        loop {
            match self.epoll.get_mut().0.poll(&mut self.events, Some(Duration::ZERO)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot poll a shard's sockets");
                    return;
                }
            }
            sockets.take_events(&self.events);
            if self.events.iter().count() < self.events.capacity() {
                return;
            }
        }
    }
}
