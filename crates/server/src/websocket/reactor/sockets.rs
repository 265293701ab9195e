use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read};
use std::net::Shutdown;
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use milepost_hub::{CloseReason, Shard, Subscribe, WatcherKey};
use milepost_protocol::CloseCode;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};
use socket2::Socket;

use super::{Admission, Attach, Context, Welcome};
use crate::config::{Config, seconds};
use crate::websocket::connection::{Connection, Many, Phase, Unread};
use crate::websocket::log_subscription::LogWait;
use crate::websocket::message;

/// How many bytes are read from a client before others get their turn.
const READ: usize = 16 << 10;

/// A shard and the sockets of its watchers.
///
/// It is behind a lock. Its task holds the lock while it works, and a thread that reported something holds it while it
/// serves the shard in place. Nothing waits while it holds the lock.
pub(super) struct Sockets {
    pub(super) shard: Shard<Connection>,
    registry: Registry,
    /// Subscriptions whose topics the task has to attach to the broker.
    pub(super) attaching: Vec<Attach>,
    /// Subscriptions to logs for whose lines the task has to wait.
    pub(super) waiting_for_logs: Vec<LogWait>,
    /// Connections from which there may be more to read.
    unread: VecDeque<WatcherKey>,
    /// Connections that were sent a close frame, by when they are dropped.
    pub(super) closing: VecDeque<(Duration, WatcherKey, u64)>,
    /// While draining: the watchers to ask to reconnect elsewhere, and when; the last one first.
    pub(super) draining: Vec<(Duration, WatcherKey, u64)>,
    /// Credentials that expire, by when they are checked: (when, watcher, serial).
    pub(super) expiring: BTreeSet<(Duration, usize, u64)>,
    /// Connections with an incomplete message, by when it has to be complete: (when, watcher, serial).
    pub(super) unfinished: BTreeSet<(Duration, usize, u64)>,
    /// The buffer for reading, shared by all connections.
    buffer: Box<[u8]>,
    next_serial: u64,
    pub(super) max_subscriptions: usize,
    pub(super) drain_period: Duration,
    /// How long a client's message may take.
    pub(super) message_timeout: Duration,
    pub(super) context: Context,
    /// When the task wakes up by itself; none while it does not wait.
    alarm: Option<Duration>,
}

impl Sockets {
    pub(super) fn new(
        shard: Shard<Connection>,
        registry: Registry,
        context: Context,
        config: &Config,
    ) -> Self {
        Self {
            shard,
            registry,
            attaching: Vec::new(),
            waiting_for_logs: Vec::new(),
            unread: VecDeque::new(),
            closing: VecDeque::new(),
            draining: Vec::new(),
            expiring: BTreeSet::new(),
            unfinished: BTreeSet::new(),
            buffer: vec![0; READ].into(),
            next_serial: 0,
            max_subscriptions: config.max_subscriptions,
            drain_period: seconds(config.drain_period),
            message_timeout: seconds(config.body_timeout),
            context,
            alarm: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.context.clock.elapsed()
    }

    /// Does one slice of the pending work; true if there is more.
    pub(super) fn serve(&mut self) -> bool {
        let more = self.shard.serve() | self.read_unread();
        self.expire_unfinished();
        self.settle();
        more || !self.unread.is_empty()
    }

    /// For other threads than the task's: does the pending work if it is little. False if the task has to be woken.
    pub(super) fn serve_in_place(&mut self) -> bool {
        let done = self.shard.serve_in_place();
        self.settle();
        done && self.is_left_to_the_alarm()
    }

    /// Whether the task need not be woken before its alarm.
    pub(super) fn is_left_to_the_alarm(&self) -> bool {
        let is_idle = self.attaching.is_empty()
            && self.waiting_for_logs.is_empty()
            && self.unread.is_empty()
            && !self.context.drain.has_begun();
        is_idle && self.wake_at().is_none_or(|at| self.alarm.is_some_and(|alarm| alarm <= at))
    }

    /// When there is work even without an event.
    fn wake_at(&self) -> Option<Duration> {
        let closing = self.closing.front().map(|(until, ..)| *until);
        let draining = self.draining.last().map(|(at, ..)| *at);
        let expiring = self.expiring.first().map(|(at, ..)| *at);
        let unfinished = self.unfinished.first().map(|(at, ..)| *at);
        let all = [self.shard.wake_at(), closing, draining, expiring, unfinished];
        all.into_iter().flatten().min()
    }

    /// The task is about to wait: returns until when, at most.
    pub(super) fn set_alarm(&mut self) -> Option<Duration> {
        self.alarm = self.wake_at();
        self.alarm
    }

    pub(super) fn admit(&mut self, admission: Admission) {
        let Admission { stream, id, response, read, welcome, granted, watching } = admission;
        self.next_serial += 1;
        let many = matches!(welcome, Welcome::Many);
        let connection = Connection {
            stream,
            id,
            reader: crate::websocket::inbound::Reader::default(),
            phase: Phase::Open,
            unread: Unread::Nothing,
            is_read_closed: false,
            many: many.then(Box::<Many>::default),
            session: None,
            serial: self.next_serial,
            watching,
        };
        let key = self.shard.admit(connection, many);
        // The rest of the handshake, the first message and the present state leave in one write.
        self.shard.cork(key, response);
        if let Some(granted) = granted {
            self.begin_session(key, &granted);
        }
        let now = self.context.clock.now();
        match welcome {
            Welcome::One(lease, subscribe, ignored) => {
                let known = lease.state().is_some();
                // The handshake has decided that it may watch the job.
                self.remember_job(key, lease.job());
                let job = Some((lease.job(), known));
                self.send_text(key, &message::connected(job, &ignored, now));
                let view = self.view_of(key);
                let subscribe = Subscribe { view, expects_known: known, ..subscribe };
                self.shard.subscribe(key, lease, subscribe);
            }
            Welcome::Many => self.send_text(key, &message::connected(None, &[], now)),
            Welcome::Refused(code, refused) => {
                if code == CloseCode::InternalError {
                    self.context.counters.errors.fetch_add(1, Ordering::Relaxed);
                }
                self.send_problem(key, &refused.0, None);
                if code == CloseCode::TryAgainLater {
                    let why = if refused.0.status == 429 { "too-many-requests" } else { "full" };
                    self.close_for_now(key, why, refused.1);
                } else {
                    self.close(key, code, &refused.0.detail);
                }
            }
        }
        self.shard.uncork(key);
        if !read.is_empty() {
            self.receive(key, &read);
        }
        let Some(connection) = self.shard.wire(key) else { return };
        if let Err(error) = register(&self.registry, &connection.stream, Token(key.0)) {
            tracing::warn!(%error, "cannot watch a socket");
            self.remove(key);
        } else if self.context.drain.has_begun() {
            self.close_for_restart(key);
        }
    }

    /// Asks a client to reconnect once there may be room again.
    pub(super) fn close_for_now(
        &mut self,
        key: WatcherKey,
        why: &str,
        retry_after: Option<NonZeroU32>,
    ) {
        let at_least = retry_after.map_or(0, |seconds| seconds.get().saturating_mul(1_000));
        let retry_ms = fastrand::u32(1_000..=5_000).saturating_add(at_least);
        let reason = format!(r#"{{"reason":"{why}","retry_ms":{retry_ms}}}"#);
        self.close(key, CloseCode::TryAgainLater, &reason);
    }

    pub(super) fn remove(&mut self, key: WatcherKey) {
        self.unschedule(key);
        if let Some(connection) = self.shard.remove(key) {
            if let Some(deadline) = connection.reader.deadline() {
                self.unfinished.remove(&(deadline, key.0, connection.serial));
            }
            if connection.phase == Phase::Open {
                tracing::debug!(request_id = connection.id, "the socket is lost");
            }
            // Closing the socket removes it from the epoll instance even if this fails.
            let _ = self.registry.deregister(&mut SourceFd(&connection.stream.as_raw_fd()));
        }
    }

    /// Removes closed watchers, and connections that do not answer a close frame in time.
    pub(super) fn settle(&mut self) {
        let counters = &self.context.counters;
        counters.messages_sent.fetch_add(self.shard.take_frames_sent(), Ordering::Relaxed);
        for (key, reason) in self.shard.take_closed() {
            match reason {
                CloseReason::Finished => self.close(key, CloseCode::Done, "the job has ended"),
                CloseReason::Failed(_) => self.remove(key),
                CloseReason::Shed => self.close_for_now(key, "full", None),
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
        self.expire(now);
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

    /// Acts on what the kernel reports: which sockets have something to read, or accept bytes again.
    pub(super) fn take_events(&mut self, events: &Events) {
        for event in events {
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
    }

    fn writable(&mut self, key: WatcherKey) {
        self.shard.writable(key);
        if self.shard.is_blocked(key) {
            return;
        }
        let Some(connection) = self.shard.wire(key) else { return };
        if connection.phase != Phase::Open {
            // Our close frame is sent. If the peer has disconnected, the next read reports it.
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

    /// Reads once from each connection that may have unread bytes; true if some still have.
    fn read_unread(&mut self) -> bool {
        for _ in 0..self.unread.len() {
            let Some(key) = self.unread.pop_front() else { break };
            let blocked = self.shard.is_blocked(key);
            let Some(connection) = self.shard.wire(key) else { continue };
            // A client that does not read its answers is not read from: more answers would pile up.
            if blocked && connection.phase == Phase::Open {
                connection.unread = Unread::Parked;
            } else {
                connection.unread = Unread::Nothing;
                self.read(key);
            }
        }
        !self.unread.is_empty()
    }

    pub(super) fn read(&mut self, key: WatcherKey) {
        let Some(connection) = self.shard.wire(key) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        match connection.stream.read(&mut buffer) {
            // The client has closed its side without a close frame, or after ours.
            Ok(0) => self.remove(key),
            Ok(len) => {
                self.receive(key, &buffer[..len]);
                // A read that does not fill the buffer has emptied the socket. The kernel reports further bytes, but not an
                // end that it has reported already.
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

/// Makes the kernel report when a socket can be read or written.
fn register(registry: &Registry, socket: &Socket, token: Token) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut SourceFd(&socket.as_raw_fd()), token, interest)
}
