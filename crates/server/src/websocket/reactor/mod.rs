mod closing;
mod conversation;

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use milepost_broker::{Clock, Unavailable};
use milepost_hub::{CloseReason, Hub, Lease, Shard, Subscribe, TopicMailbox, WatcherKey};
use milepost_protocol::{CloseCode, JobId};
use mio::{Events, Interest, Poll, Token};
use tokio::io::Interest as TokioInterest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use super::connection::{Connection, Many, Phase, Unread};
use super::message;
use crate::config::{Config, seconds};
use crate::drain::Drain;
use crate::instance::{Counters, WatchingSocket};
use crate::response::problem::Refused;

/// What a shard's task needs of the server.
pub(crate) struct Context {
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) drain: Drain,
}

/// A socket on its way from the handshake to its shard.
pub(super) struct Admission {
    pub(super) stream: std::net::TcpStream,
    /// What came right behind the handshake.
    pub(super) read: Bytes,
    pub(super) greeting: Greeting,
    pub(super) watching: WatchingSocket,
}

/// What a new watcher is told.
pub(super) enum Greeting {
    /// One job from now on.
    One(Lease, Subscribe),
    /// Nothing before it subscribes.
    Many,
    /// Why it is closed at once.
    Refused(CloseCode, Refused),
}

/// How the rest of the server reaches a shard's task.
#[derive(Clone)]
pub(crate) struct ShardHandle(mpsc::Sender<Request>);

enum Request {
    Admit(Box<Admission>),
    Probe(oneshot::Sender<()>),
}

/// So many sockets may wait for their shard; the handshakes of more wait with them.
const ADMISSIONS: usize = 1024;
/// So many bytes are read from a client before others get their turn.
const READ: usize = 16 << 10;

/// A shard's handle and its task, which runs until the server has gone down.
pub(crate) fn shard(
    index: usize,
    mailbox: Arc<TopicMailbox>,
    context: Context,
    config: &Config,
) -> io::Result<(ShardHandle, impl Future<Output = ()> + Send + use<>)> {
    let (requests, requested) = mpsc::channel(ADMISSIONS);
    let poll = Poll::new()?;
    let ping_interval = seconds(config.ping_interval);
    let shard = Shard::new(index, Arc::clone(&mailbox), Arc::clone(&context.clock), ping_interval);
    let reactor = Reactor {
        shard,
        mailbox,
        sockets: register(Sockets(poll))?,
        events: Events::with_capacity(256),
        requested,
        subscribing: JoinSet::new(),
        unread: VecDeque::new(),
        closing: VecDeque::new(),
        draining: Vec::new(),
        buffer: vec![0; READ].into(),
        next_serial: 0,
        max_subscriptions: config.max_subscriptions,
        drain_period: seconds(config.drain_period),
        context,
    };
    Ok((ShardHandle(requests), reactor.run()))
}

impl ShardHandle {
    /// Brings a socket to the shard; waits while too many do.
    pub(super) async fn admit(&self, admission: Admission) {
        // If the shard is gone, the server is going down, and the socket with it.
        let _ = self.0.send(Request::Admit(Box::new(admission))).await;
    }

    /// Whether the shard's task answers.
    pub(crate) async fn probe(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(Request::Probe(answer)).await.is_ok() && answered.await.is_ok()
    }
}

/// The shard's sockets: an epoll instance of their own, itself a file in the runtime's. So a watcher is an
/// entry in the kernel's table and in the hub's shard, and not a task.
struct Sockets(Poll);

/// Has the runtime watch a shard's sockets.
#[expect(
    deprecated,
    reason = "its successor is the same but `unsafe`; here the file is the Poll's own"
)]
fn register(sockets: Sockets) -> io::Result<AsyncFd<Sockets>> {
    AsyncFd::with_interest(sockets, TokioInterest::READABLE)
}

impl AsRawFd for Sockets {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The task of one shard: owns its watchers' sockets, and nobody else touches them.
struct Reactor {
    shard: Shard<Connection>,
    mailbox: Arc<TopicMailbox>,
    sockets: AsyncFd<Sockets>,
    events: Events,
    requested: mpsc::Receiver<Request>,
    /// Subscriptions that wait for the broker: at most `max_subscriptions` for each connection.
    subscribing: JoinSet<Attached>,
    /// Connections of which there may be more to read.
    unread: VecDeque<WatcherKey>,
    /// Connections that were sent a close frame, by when they are given up.
    closing: VecDeque<(Duration, WatcherKey, u64)>,
    /// While going down: who is to be told yet, and when.
    draining: Vec<(Duration, WatcherKey, u64)>,
    /// For reading, whoever is read from: a connection that says nothing has no buffer.
    buffer: Box<[u8]>,
    next_serial: u64,
    max_subscriptions: usize,
    drain_period: Duration,
    context: Context,
}

/// A topic that a connection subscribed to, now attached to the broker.
struct Attached {
    key: WatcherKey,
    serial: u64,
    request: u64,
    job: JobId,
    subscribe: Subscribe,
    lease: Result<Lease, Unavailable>,
}

impl Reactor {
    async fn run(mut self) {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        let mut timer_at = None;
        let drain = self.context.drain.clone();
        let mut drain_begun = Box::pin(async move { drain.begun().await });
        let mut going_down = false;
        let drain = self.context.drain.clone();
        let mut last_admitted = Box::pin(async move { drain.last_admitted().await });
        let mut complete = false;
        loop {
            let more = self.shard.serve() | self.read_unread();
            self.settle();
            if complete && self.is_down() {
                return;
            }
            if more {
                self.poll_sockets();
                self.take_requests();
                tokio::task::yield_now().await;
                continue;
            }
            let has_timer = self.set_timer(&mut timer, &mut timer_at);
            tokio::select! {
                () = self.mailbox.arrived() => {}
                ready = self.sockets.readable() => {
                    if let Ok(mut ready) = ready {
                        ready.clear_ready();
                    }
                    self.poll_sockets();
                }
                Some(request) = self.requested.recv() => {
                    self.take_request(request);
                    self.take_requests();
                }
                Some(attached) = self.subscribing.join_next() => {
                    if let Ok(attached) = attached {
                        self.attached(attached);
                    }
                }
                () = timer.as_mut(), if has_timer => timer_at = None,
                () = drain_begun.as_mut(), if !going_down => {
                    going_down = true;
                    self.begin_drain();
                }
                () = last_admitted.as_mut(), if !complete => complete = true,
            }
        }
    }

    fn now(&self) -> Duration {
        self.context.clock.elapsed()
    }

    /// Sets the timer to when there is something to do even if nothing comes in; false if there is not.
    fn set_timer(&self, timer: &mut Pin<Box<Sleep>>, set: &mut Option<Duration>) -> bool {
        let closing = self.closing.front().map(|(until, ..)| *until);
        let draining = self.draining.last().map(|(at, ..)| *at);
        let Some(at) = [self.shard.wake_at(), closing, draining].into_iter().flatten().min() else {
            return false;
        };
        if *set != Some(at) {
            *set = Some(at);
            timer.as_mut().reset(Instant::now() + at.saturating_sub(self.now()));
        }
        true
    }

    // Sockets come and go.

    fn take_requests(&mut self) {
        for _ in 0..64 {
            let Ok(request) = self.requested.try_recv() else { break };
            self.take_request(request);
        }
    }

    fn take_request(&mut self, request: Request) {
        match request {
            Request::Admit(admission) => self.admit(*admission),
            // Who asked may have gone.
            Request::Probe(answer) => drop(answer.send(())),
        }
    }

    fn admit(&mut self, admission: Admission) {
        let Admission { stream, read, greeting, watching } = admission;
        self.next_serial += 1;
        let many = matches!(greeting, Greeting::Many);
        let connection = Connection {
            stream: mio::net::TcpStream::from_std(stream),
            reader: crate::websocket::inbound::Reader::default(),
            phase: Phase::Open,
            unread: Unread::Nothing,
            is_read_closed: false,
            many: many.then(Box::<Many>::default),
            serial: self.next_serial,
            watching,
        };
        let key = self.shard.admit(connection, many);
        let now = self.context.clock.now();
        match greeting {
            Greeting::One(lease, subscribe) => {
                let known = lease.state().is_some();
                self.say(key, &message::connected(Some((lease.job(), known)), now));
                self.shard.subscribe(key, lease, subscribe);
            }
            Greeting::Many => self.say(key, &message::connected(None, now)),
            Greeting::Refused(code, refused) => {
                if code == CloseCode::InternalError {
                    self.context.counters.errors.fetch_add(1, Ordering::Relaxed);
                }
                self.say_problem(key, &refused.0, None);
                self.close(key, code, &refused.0.detail);
            }
        }
        if !read.is_empty() {
            self.hear(key, &read);
        }
        let Some(connection) = self.shard.wire(key) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.sockets.get_ref().0.registry();
        if let Err(error) = registry.register(&mut connection.stream, Token(key.0), interest) {
            tracing::warn!(%error, "cannot watch a socket");
            self.remove(key);
        } else if self.context.drain.has_begun() {
            self.close_for_restart(key);
        }
    }

    fn remove(&mut self, key: WatcherKey) {
        if let Some(mut connection) = self.shard.remove(key) {
            // Closing the socket takes it out of the kernel's table, whatever this says.
            let _ = self.sockets.get_ref().0.registry().deregister(&mut connection.stream);
        }
    }

    /// Removes who is gone, and gives up who does not answer a close frame.
    fn settle(&mut self) {
        let counters = &self.context.counters;
        counters.messages_sent.fetch_add(self.shard.take_frames_sent(), Ordering::Relaxed);
        for (key, gone) in self.shard.take_closed() {
            match gone {
                CloseReason::Finished => self.close(key, CloseCode::Done, "the job has ended"),
                CloseReason::Failed(_) => self.remove(key),
            }
        }
        let now = self.now();
        while let Some((until, key, serial)) = self.closing.front().copied()
            && until <= now
        {
            self.closing.pop_front();
            if self.is_same(key, serial) {
                self.remove(key);
            }
        }
        while let Some((at, key, serial)) = self.draining.last().copied()
            && at <= now
        {
            self.draining.pop();
            if self.is_same(key, serial) {
                self.close_for_restart(key);
            }
        }
    }

    fn is_same(&mut self, key: WatcherKey, serial: u64) -> bool {
        self.shard.wire(key).is_some_and(|connection| connection.serial == serial)
    }

    // The kernel says which sockets have something to read, or take something again.

    fn poll_sockets(&mut self) {
        loop {
            match self.sockets.get_mut().0.poll(&mut self.events, Some(Duration::ZERO)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!(%error, "cannot poll a shard's sockets");
                    return;
                }
            }
            let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            let mut seen = 0;
            for event in &events {
                seen += 1;
                let key = WatcherKey(event.token().0);
                if event.is_writable() {
                    self.writable(key);
                }
                if event.is_read_closed()
                    && let Some(connection) = self.shard.wire(key)
                {
                    connection.is_read_closed = true;
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.readable(key);
                }
            }
            self.events = events;
            if seen < self.events.capacity() {
                return;
            }
        }
    }

    fn writable(&mut self, key: WatcherKey) {
        self.shard.writable(key);
        if self.shard.is_blocked(key) {
            return;
        }
        let Some(connection) = self.shard.wire(key) else { return };
        if connection.phase != Phase::Open {
            // Our close frame is out. If the socket is gone already, reading will say so.
            let _ = connection.stream.shutdown(Shutdown::Write);
        }
        if connection.unread == Unread::Parked {
            connection.unread = Unread::Queued;
            self.unread.push_back(key);
        }
    }

    fn readable(&mut self, key: WatcherKey) {
        let Some(connection) = self.shard.wire(key) else { return };
        if connection.unread == Unread::Nothing {
            connection.unread = Unread::Queued;
            self.unread.push_back(key);
        }
    }

    /// Reads from those of whom there is more to read, once each; true if there is more still.
    fn read_unread(&mut self) -> bool {
        for _ in 0..self.unread.len() {
            let Some(key) = self.unread.pop_front() else { break };
            let blocked = self.shard.is_blocked(key);
            let Some(connection) = self.shard.wire(key) else { continue };
            // Who does not read its answers is not heard until it does: they would pile up.
            if blocked && connection.phase == Phase::Open {
                connection.unread = Unread::Parked;
            } else {
                connection.unread = Unread::Nothing;
                self.read(key);
            }
        }
        !self.unread.is_empty()
    }

    fn read(&mut self, key: WatcherKey) {
        let Some(connection) = self.shard.wire(key) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        match connection.stream.read(&mut buffer) {
            // The client has closed its half without a close frame, or after ours.
            Ok(0) => self.remove(key),
            Ok(len) => {
                self.hear(key, &buffer[..len]);
                // A buffer that was not filled has emptied the socket; the kernel tells of more, but not
                // of an end that it has told of already.
                let is_read_closed = self.shard.wire(key).is_some_and(|wire| wire.is_read_closed);
                if len == buffer.len() || is_read_closed {
                    self.readable(key);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.readable(key),
            Err(_) => self.remove(key),
        }
        self.buffer = buffer;
    }
}
