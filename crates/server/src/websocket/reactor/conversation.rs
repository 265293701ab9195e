//! Messages from clients, and the answers to them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use milepost_hub::{Subscribe, WatcherKey};
use milepost_protocol::{JobId, Problem, ProblemType};

use super::sockets::Sockets;
use super::{Attach, Attached};
use crate::access::Decision;
use crate::response::problem::Refused;
use crate::websocket::command::Command;
use crate::websocket::connection::Phase;
use crate::websocket::inbound::Inbound;
use crate::websocket::{frame, message};

/// The largest message accepted from a client.
const MAX_MESSAGE: usize = 64 << 10;

/// In such a time a socket may subscribe twice as often as it may hold subscriptions.
const WINDOW: Duration = Duration::from_secs(10);

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
        let mut reader = std::mem::take(&mut connection.reader);
        let result = reader.read(input, MAX_MESSAGE, |message| {
            self.answer(key, message);
            !self.is_closing(key)
        });
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
                self.begin_close(key, &frame);
            }
            Inbound::Binary => {}
            Inbound::Text(text) => {
                let many = self.shard.wire(key).is_some_and(|wire| wire.many.is_some());
                match Command::parse(&text, many) {
                    None => {}
                    Some(Command::Ping) => {
                        self.send_text(key, &message::pong(self.context.clock.now()));
                    }
                    Some(Command::Subscribe(job, wanted)) => self.subscribe(key, job, wanted),
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
        let subscribed = self.shard.subscribed(key);
        let max = self.max_subscriptions;
        let Some(connection) = self.shard.wire(key) else { return };
        let serial = connection.serial;
        let Some(many) = &mut connection.many else { return };
        let is_full = subscribed + many.pending.len() >= max;
        // Subscribing again is not one more subscription: it ends the one before.
        if is_full && !many.pending.contains_key(&job) && !self.shard.unsubscribe(key, &job) {
            let detail = format!("at most {max} jobs are allowed on a socket");
            let problem = Problem::new(ProblemType::TooManySubscriptions, detail);
            self.send_problem(key, &problem, Some(job.as_str()));
            return;
        }
        let now = self.now();
        let Some(many) = self.shard.wire(key).and_then(|wire| wire.many.as_mut()) else { return };
        if now.saturating_sub(many.window.0) >= WINDOW {
            many.window = (now, many.requests);
        }
        // A job that was unsubscribed still lingers, so these are bounded as well.
        if many.requests - many.window.1 >= 2 * max as u64 {
            let detail = format!("at most {} subscriptions in {} s", 2 * max, WINDOW.as_secs());
            let problem = Problem::new(ProblemType::TooManySubscriptions, detail);
            self.send_problem(key, &problem, Some(job.as_str()));
            return;
        }
        many.requests += 1;
        let request = many.requests;
        many.pending.insert(job.clone(), request);
        self.remember_job(key, &job);
        self.attaching.push(Attach { key, serial, request, job, subscribe });
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
        // Its state may have to tell, and a token that came meanwhile may allow less.
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
                let subscribe = Subscribe { view: self.view_of(key), ..subscribe };
                self.shard.subscribe(key, lease, subscribe);
            }
            Err(error) => {
                self.context.counters.errors.fetch_add(1, Ordering::Relaxed);
                self.send_problem(key, &Refused::from(error).0, Some(job.as_str()));
            }
        }
    }

    fn forbid(&mut self, key: WatcherKey, job: &JobId) {
        let detail = "the credential does not allow to watch this job";
        let problem = Problem::new(ProblemType::Forbidden, detail);
        self.send_problem(key, &problem, Some(job.as_str()));
    }

    fn unsubscribe(&mut self, key: WatcherKey, job: &JobId) {
        self.drop_subscription(key, job);
        self.send_text(key, &message::unsubscribed(job, self.context.clock.now()));
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
        let name = ProblemType::from_uri(&problem.uri).map_or("internal", ProblemType::name);
        let now = self.context.clock.now();
        self.send_text(key, &message::error(name, &problem.detail, job, now));
    }
}
