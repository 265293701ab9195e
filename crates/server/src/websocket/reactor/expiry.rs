//! Credentials of open connections: they expire, are renewed, and are revoked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use milepost_hub::WatcherKey;
use milepost_protocol::{CloseCode, JobId, Problem, ProblemType, State, View};

use super::sockets::Sockets;
use crate::access::{Decision, Gate, Granted};
use crate::counters::count;
use crate::websocket::message;
use crate::websocket::session::Session;

/// The most tokens that a client may send in a window, because each costs a verification.
const MAX_TOKENS: u32 = 10;
const TOKENS_WINDOW: Duration = Duration::from_secs(10);

impl Sockets {
    /// Keeps a connection open for as long as its credential is valid.
    pub(super) fn begin_session(&mut self, key: WatcherKey, granted: &Arc<Granted>) {
        let now = self.now();
        let left = granted.left(&*self.context.clock);
        let Some(connection) = self.shard.wire(key) else { return };
        connection.session = Some(Box::new(Session::new(Arc::clone(granted), left, now)));
        self.schedule(key);
        // Its key may have been revoked before the socket got here.
        if let Some(gate) = self.context.gate.clone()
            && !gate.still_holds(granted)
        {
            self.close(key, CloseCode::Forbidden, "the key was revoked");
        }
    }

    fn session(&mut self, key: WatcherKey) -> Option<&mut Session> {
        self.shard.wire(key).and_then(|connection| connection.session.as_deref_mut())
    }

    /// Whether the connection may watch the job, judged by its id alone. `Undecided`: its state decides.
    pub(super) fn admission(&mut self, key: WatcherKey, job: &JobId) -> Decision {
        self.session(key).map_or(Decision::Allowed, |session| Decision::of(&session.granted, job))
    }

    /// Whether the connection may watch the job that has this state, if it is known.
    pub(super) fn admits(&mut self, key: WatcherKey, job: &JobId, state: Option<&State>) -> bool {
        match self.session(key) {
            Some(session) => Decision::of(&session.granted, job).with(&session.granted, state),
            None => true,
        }
    }

    /// Remembers the job as one that the connection watches, for when it sends another token.
    pub(super) fn remember_job(&mut self, key: WatcherKey, job: &JobId) {
        if let Some(session) = self.session(key) {
            session.jobs.insert(job.clone());
        }
    }

    /// Which view the connection gets. It does not change while the connection lasts.
    pub(super) fn view_of(&mut self, key: WatcherKey) -> View {
        self.session(key).map_or(View::Full, |session| session.granted.permissions.view)
    }

    pub(super) fn forget_job(&mut self, key: WatcherKey, job: &JobId) {
        if let Some(session) = self.session(key) {
            session.jobs.remove(job);
        }
    }

    fn schedule(&mut self, key: WatcherKey) {
        let Some(connection) = self.shard.wire(key) else { return };
        let serial = connection.serial;
        if let Some(due) = connection.session.as_ref().and_then(|session| session.due) {
            self.expiring.insert((due, key.0, serial));
        }
    }

    /// Removes the connection from the schedule, because it closes or its credential has changed.
    pub(super) fn unschedule(&mut self, key: WatcherKey) {
        let Some(connection) = self.shard.wire(key) else { return };
        let serial = connection.serial;
        if let Some(due) = connection.session.as_ref().and_then(|session| session.due) {
            self.expiring.remove(&(due, key.0, serial));
        }
    }

    /// Warns, and then closes, those whose credential ends.
    pub(super) fn expire(&mut self, now: Duration) {
        while let Some(first) = self.expiring.first().copied()
            && first.0 <= now
        {
            self.expiring.remove(&first);
            let key = WatcherKey(first.1);
            let Some(session) = self.session(key) else { continue };
            let Some(expires) = session.expires else { continue };
            if expires <= now {
                session.due = None;
                self.close(key, CloseCode::Unauthenticated, "the token has expired");
                continue;
            }
            session.is_warned = true;
            session.due = Some(expires);
            let left = expires.saturating_sub(now);
            let left = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            self.schedule(key);
            self.send_text(key, &message::token_expiring(left, self.context.clock.now()));
        }
    }

    /// A client's new token.
    pub(super) fn authenticate(&mut self, key: WatcherKey, token: &str) {
        let now = self.now();
        let Some(gate) = self.context.gate.clone() else { return };
        let Some(session) = self.session(key) else { return };
        if now.saturating_sub(session.tokens.0) >= TOKENS_WINDOW {
            session.tokens = (now, 0);
        }
        session.tokens.1 += 1;
        if session.tokens.1 > MAX_TOKENS {
            count(&self.context.counters.tokens_refused);
            let detail = format!("at most {MAX_TOKENS} tokens in {} s", TOKENS_WINDOW.as_secs());
            self.send_problem(key, &Problem::new(ProblemType::TooManyRequests, detail), None);
            return;
        }
        match gate.authenticate_now(token, &*self.context.clock) {
            Ok(granted) => self.take_over(key, granted),
            // The earlier one may still be valid.
            Err(error) => {
                let problem = Problem::new(ProblemType::Unauthenticated, error.to_string());
                self.send_problem(key, &problem, None);
            }
        }
    }

    fn take_over(&mut self, key: WatcherKey, granted: Arc<Granted>) {
        let now = self.now();
        let left = granted.left(&*self.context.clock);
        self.unschedule(key);
        let Some(connection) = self.shard.wire(key) else { return };
        let is_many = connection.many.is_some();
        let Some(session) = connection.session.as_deref_mut() else { return };
        if session.granted.permissions.view != granted.permissions.view {
            self.close(key, CloseCode::Forbidden, "the new token shows another view");
            return;
        }
        session.granted = granted;
        session.renew(left, now);
        let allowed = Arc::clone(&session.granted);
        let jobs: Vec<_> =
            session.jobs.iter().map(|job| (job.clone(), Decision::of(&allowed, job))).collect();
        let lost = self.lost(key, &allowed, jobs);
        if !is_many && !lost.is_empty() {
            self.close(key, CloseCode::Forbidden, "the new token does not allow watching this job");
            return;
        }
        self.schedule(key);
        self.send_text(
            key,
            &message::authenticated(left.map(|left| left.as_secs()), self.context.clock.now()),
        );
        self.recheck_logs(key);
        for job in lost {
            self.drop_subscription(key, &job);
            let problem = Problem::new(
                ProblemType::Forbidden,
                "the new token does not allow watching this job",
            );
            self.send_problem(key, &problem, Some(job.as_str()));
        }
    }

    /// The watched jobs that the new token does not allow. A job whose topic is not attached yet is decided once it is.
    fn lost(
        &mut self,
        key: WatcherKey,
        allowed: &Granted,
        jobs: Vec<(JobId, Decision)>,
    ) -> Vec<JobId> {
        let states: HashMap<_, _> =
            if jobs.iter().any(|(_, decision)| *decision == Decision::Undecided) {
                self.shard.states(key).into_iter().collect()
            } else {
                HashMap::new()
            };
        let is_lost = |(job, decision): &(JobId, Decision)| match decision {
            Decision::Undecided => {
                states.get(job).is_some_and(|state| !decision.with(allowed, state.as_deref()))
            }
            Decision::Allowed => false,
            Decision::Forbidden => true,
        };
        jobs.into_iter().filter(is_lost).map(|(job, _)| job).collect()
    }

    /// The keys have changed: closes those whose key was revoked.
    pub(super) fn recheck(&mut self, gate: &Gate) {
        for key in self.shard.keys() {
            let revoked =
                self.session(key).is_some_and(|session| !gate.still_holds(&session.granted));
            if revoked {
                self.close(key, CloseCode::Forbidden, "the key was revoked");
            }
        }
    }
}
