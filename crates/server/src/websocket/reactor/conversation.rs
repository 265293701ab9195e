//! Messages from clients, and the answers to them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use milepost_hub::{Subscribe, WatcherKey};
use milepost_protocol::{JobId, Problem, ProblemType};

use super::sockets::Sockets;
use super::{Attach, Attached};
use crate::access::Decision;
use crate::counters::count;
use crate::response::problem::Refused;
use crate::websocket::command::Command;
use crate::websocket::connection::Phase;
use crate::websocket::inbound::Inbound;
use crate::websocket::{frame, message};

/// The largest message accepted from a client.
const MAX_MESSAGE: usize = 64 << 10;

/// The time in which a socket may subscribe twice as often as it may have subscriptions.
const WINDOW: Duration = Duration::from_secs(10);
pub(super) const TOO_OFTEN: &str = "more subscriptions in 10 s than twice what a socket may hold";

impl Sockets {
    pub(super) fn receive(&mut self, key: WatcherKey, input: &[u8]) {
        let Some(connection) = self.shard.wire(key) else { return };
        if let Phase::Closing { allowance } = &mut connection.phase {
            let len = u32::try_from(input.len()).unwrap_or(u32::MAX);
            match allowance.checked_sub(len) {
                Some(remaining) => *allowance = remaining,
                None => self.remove(key),
            }
            return;
        }
        let serial = connection.serial;
        let mut reader = std::mem::take(&mut connection.reader);
        let earlier = reader.deadline();
        let result = reader.read(input, MAX_MESSAGE, |message| {
            self.answer(key, message);
            !self.is_closing(key)
        });
        self.set_deadline(key, serial, &mut reader, earlier);
        if let Some(connection) = self.shard.wire(key) {
            connection.reader = reader;
        }
        if let Err(violation) = result {
            self.close(key, violation.code, violation.reason);
        }
    }

    fn answer(&mut self, key: WatcherKey, message: Inbound) {
        let mut frame = Vec::new();
        match message {
            Inbound::Ping(payload) => {
                frame::pong(&payload, &mut frame);
                self.shard.send(key, &frame);
            }
            Inbound::Close(code) => {
                frame::close_reply(code, &mut frame);
                if let Some(connection) = self.shard.wire(key) {
                    tracing::debug!(
                        request_id = connection.id,
                        ?code,
                        "the client closes the socket"
                    );
                }
                self.begin_close(key, &frame);
            }
            Inbound::Binary => {
                if self.shard.wire(key).is_some_and(|wire| wire.many.is_some()) {
                    let problem = Command::unknown("is missing: a message is a text");
                    self.send_problem(key, &problem, None);
                }
            }
            Inbound::Text(text) => {
                let many = self.shard.wire(key).is_some_and(|wire| wire.many.is_some());
                match Command::parse(&text, many) {
                    None => {}
                    Some(Command::Ping) => {
                        self.send_text(key, &message::pong(self.context.clock.now()));
                    }
                    Some(Command::Subscribe(job, options)) => self.subscribe(key, job, options),
                    Some(Command::SubscribeLog(job, since)) => self.subscribe_log(key, job, since),
                    Some(Command::UnsubscribeLog(job)) => self.unsubscribe_log(key, &job),
                    Some(Command::Auth(token)) => self.authenticate(key, &token),
                    Some(Command::Unsubscribe(job)) => self.unsubscribe(key, &job),
                    Some(Command::Refused(problem, job)) => {
                        self.send_problem(key, &problem, job.as_deref());
                    }
                }
            }
        }
    }

    fn subscribe(&mut self, key: WatcherKey, job: JobId, subscribe: Subscribe) {
        if self.admission(key, &job) == Decision::Forbidden {
            self.forbid(key, &job);
            return;
        }
        let max = self.max_subscriptions;
        let is_full = self.subscriptions(key) >= max;
        let Some(connection) = self.shard.wire(key) else { return };
        let serial = connection.serial;
        let Some(many) = &mut connection.many else { return };
        // Subscribing again adds no subscription, because it ends the earlier one.
        if is_full && !many.pending.contains_key(&job) && !self.shard.unsubscribe(key, &job) {
            let detail = format!("at most {max} jobs are allowed on a socket");
            count(&self.context.counters.subscriptions_refused);
            let problem = Problem::new(ProblemType::TooManySubscriptions, detail);
            self.send_problem(key, &problem, Some(job.as_str()));
            return;
        }
        let Some(request) = self.next_request(key) else {
            count(&self.context.counters.subscriptions_refused);
            let problem = Problem::new(ProblemType::TooManySubscriptions, TOO_OFTEN);
            self.send_problem(key, &problem, Some(job.as_str()));
            return;
        };
        let Some(many) = self.shard.wire(key).and_then(|wire| wire.many.as_mut()) else { return };
        many.pending.insert(job.clone(), request);
        self.remember_job(key, &job);
        self.attaching.push(Attach { key, serial, request, job, subscribe });
    }

    /// How many jobs and logs a socket for many jobs is subscribed to, or about to be.
    pub(super) fn subscriptions(&mut self, key: WatcherKey) -> usize {
        let subscribed = self.shard.subscribed(key);
        let many = self.shard.wire(key).and_then(|wire| wire.many.as_ref());
        subscribed + many.map_or(0, |many| many.pending.len() + many.logs.len())
    }

    /// Numbers a socket's request to subscribe; none if it makes too many.
    pub(super) fn next_request(&mut self, key: WatcherKey) -> Option<u64> {
        let (now, max) = (self.now(), self.max_subscriptions);
        let many = self.shard.wire(key)?.many.as_mut()?;
        if now.saturating_sub(many.window.0) >= WINDOW {
            many.window = (now, many.requests);
        }
        // A job that was unsubscribed still lingers, so these are bounded as well.
        if many.requests - many.window.1 >= 2 * max as u64 {
            return None;
        }
        many.requests += 1;
        Some(many.requests)
    }

    /// Numbers a request that the server makes for a socket. It does not count against the socket.
    pub(super) fn own_request(&mut self, key: WatcherKey) -> Option<u64> {
        let many = self.shard.wire(key)?.many.as_mut()?;
        many.requests += 1;
        many.window.1 += 1;
        Some(many.requests)
    }

    pub(super) fn attached(&mut self, attached: Attached) {
        let Attached { attach, lease } = attached;
        let Attach { key, serial, request, job, subscribe } = attach;
        let Some(connection) = self.shard.wire(key).filter(|wire| wire.serial == serial) else {
            return;
        };
        let Some(many) = &mut connection.many else { return };
        // The client has unsubscribed, or subscribed again, in the meantime.
        if many.pending.get(&job) != Some(&request) {
            return;
        }
        many.pending.remove(&job);
        let state = lease.as_ref().ok().and_then(|lease| lease.state());
        // Its state may decide, and a token that arrived meanwhile may allow less.
        if lease.is_ok() && !self.admits(key, &job, state.as_deref()) {
            self.forget_job(key, &job);
            self.forbid(key, &job);
            return;
        }
        let Some(connection) = self.shard.wire(key) else { return };
        if connection.phase != Phase::Open {
            return;
        }
        match lease {
            Ok(lease) => {
                let known = state.is_some();
                self.send_text(key, &message::subscribed(&job, known, self.context.clock.now()));
                let view = self.view_of(key);
                let subscribe = Subscribe { view, expects_known: known, ..subscribe };
                self.shard.subscribe(key, lease, subscribe);
            }
            Err(error) => {
                self.context.counters.errors.fetch_add(1, Ordering::Relaxed);
                self.send_problem(key, &Refused::from(error).0, Some(job.as_str()));
            }
        }
    }

    fn forbid(&mut self, key: WatcherKey, job: &JobId) {
        let detail = "the credential does not allow watching this job";
        let problem = Problem::new(ProblemType::Forbidden, detail);
        self.send_problem(key, &problem, Some(job.as_str()));
    }

    fn unsubscribe(&mut self, key: WatcherKey, job: &JobId) {
        self.drop_subscription(key, job);
        self.send_text(key, &message::unsubscribed(job, false, self.context.clock.now()));
    }

    pub(super) fn drop_subscription(&mut self, key: WatcherKey, job: &JobId) {
        if let Some(many) = self.shard.wire(key).and_then(|wire| wire.many.as_mut()) {
            many.pending.remove(job);
        }
        self.forget_job(key, job);
        self.shard.unsubscribe(key, job);
    }

    pub(super) fn send_text(&mut self, key: WatcherKey, message: &str) {
        let mut frame = Vec::with_capacity(message.len() + 4);
        frame::text(message, &mut frame);
        self.shard.send(key, &frame);
    }

    pub(super) fn send_problem(&mut self, key: WatcherKey, problem: &Problem, job: Option<&str>) {
        self.send_problem_of(key, problem, job, false);
    }

    /// `log`: whether it concerns the job's log.
    pub(super) fn send_problem_of(
        &mut self,
        key: WatcherKey,
        problem: &Problem,
        job: Option<&str>,
        log: bool,
    ) {
        let name = ProblemType::from_uri(&problem.uri).map_or("internal", ProblemType::name);
        let now = self.context.clock.now();
        self.send_text(key, &message::error(name, &problem.detail, job, log, now));
    }
}
