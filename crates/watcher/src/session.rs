use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use milepost_protocol::{CloseCode, JobId, Position, ProblemType, Reconnect, State};

use crate::cursor::Cursor;
use crate::event::{Connection, ConnectionError, Event, Rejection};
use crate::message::{self, Message, RetryHint};
use crate::options::Options;

/// The longest wait that a server can ask for. If it asks for more, the watcher reconnects after this.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// A connection that lasted this long resets the backoff.
const STABLE: Duration = Duration::from_secs(5);
/// How long until a job is subscribed to again that the server could not serve.
const RESUBSCRIBE: Duration = Duration::from_secs(2);
/// A program that was asked for a token no longer ago than this …
const RECENTLY: Duration = Duration::from_secs(5);
/// … waits so long before it is asked again.
const MOMENT: Duration = Duration::from_secs(1);
/// How long the server has to close the socket after the end, if it was asked to.
const GRACE: Duration = Duration::from_secs(2);

/// The logic of a watcher, without sockets, clock or random numbers. The caller passes in what happened, the time and a
/// random `draw` from 0 to 1, and then does what [`poll`](Self::poll) returns.
pub(crate) struct Session {
    endpoint: Endpoint,
    options: Options,
    jobs: HashMap<JobId, Cursor>,
    phase: Phase,
    /// Whether a server has ever sent `connected`. Then it exists, and a 404 may be caused by a restart.
    ever_connected: bool,
    /// Jobs that the server could not serve for the moment, and when they are subscribed to again.
    unserved: HashSet<JobId>,
    resubscribe_at: Option<Instant>,
    /// When the program is asked for the next token of this connection.
    renew_at: Option<Instant>,
    /// When the program was last asked for a token.
    asked_at: Instant,
    /// Connections in a row that were refused for their token.
    rejected_tokens: u32,
    /// The latest `error` message on this socket. It explains why the socket closes afterwards.
    fault: Option<String>,
    /// What the caller has to do. Each input adds at most two outputs more than there are jobs.
    output: VecDeque<Output>,
}

#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    /// `/ws/jobs/{job}`
    One(JobId),
    /// `/ws`
    Many,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Until it is time to connect.
    Waiting { until: Instant },
    /// Until the socket is open and the server has sent `connected`.
    Connecting { deadline: Instant, open: bool },
    /// While messages arrive.
    Connected { since: Instant, heard: Instant, ended: Option<Instant> },
    /// For good.
    Stopped,
}

/// What the caller has to do for the session.
#[derive(Debug, PartialEq)]
pub(crate) enum Output {
    /// Open a socket at this path, with its query.
    Connect(String),
    /// Send this text on the open socket.
    Send(String),
    /// Ask the program for another token, and pass it to [`Session::on_token`].
    Renew,
    /// Drop the socket, or the attempt to open it.
    Disconnect,
    /// Report this event to the program that watches.
    Emit(Event),
}

impl Session {
    pub(crate) fn new(
        endpoint: Endpoint,
        options: Options,
        since: Option<Position>,
        now: Instant,
    ) -> Self {
        let jobs = match &endpoint {
            Endpoint::One(job) => HashMap::from([(job.clone(), Cursor::new(since))]),
            Endpoint::Many => HashMap::new(),
        };
        Self {
            endpoint,
            options,
            jobs,
            phase: Phase::Waiting { until: now },
            ever_connected: false,
            unserved: HashSet::new(),
            resubscribe_at: None,
            renew_at: None,
            asked_at: now,
            rejected_tokens: 0,
            fault: None,
            output: VecDeque::new(),
        }
    }

    /// What to do next; none until something happens or the [deadline](Self::deadline) passes.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When to call [`on_deadline`](Self::on_deadline), unless something happens earlier.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let again = [self.resubscribe_at, self.renew_at].into_iter().flatten().min();
        let of_phase = self.phase_deadline()?;
        Some(again.filter(|_| self.is_open()).map_or(of_phase, |again| again.min(of_phase)))
    }

    fn phase_deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Connecting { deadline, .. } => Some(deadline),
            Phase::Connected { heard, ended, .. } => {
                let silent = heard + self.options.silence;
                Some(ended.map_or(silent, |at| silent.min(at + GRACE)))
            }
            Phase::Stopped => None,
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.phase == Phase::Stopped
    }

    /// The deadline may have passed. If it has not, this does nothing.
    pub(crate) fn on_deadline(&mut self, now: Instant, draw: f64) {
        if self.is_open() && self.resubscribe_at.is_some_and(|at| at <= now) {
            self.resubscribe();
        }
        if self.is_open() && self.renew_at.is_some_and(|at| at <= now) {
            self.renew_at = None;
            self.asked_at = now;
            self.output.push_back(Output::Renew);
        }
        if self.phase_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            Phase::Waiting { .. } => self.connect(now),
            Phase::Connected { ended: Some(_), .. } => self.stop(Connection::Done),
            Phase::Connecting { .. } | Phase::Connected { .. } => {
                self.on_lost(ConnectionError::Timeout(self.options.silence), now, draw);
            }
            Phase::Stopped => {}
        }
    }

    fn resubscribe(&mut self) {
        self.resubscribe_at = None;
        for job in std::mem::take(&mut self.unserved) {
            if let Some(cursor) = self.jobs.get(&job) {
                let text = message::subscribe(&job, cursor.latest(), &self.options);
                self.output.push_back(Output::Send(text));
            }
        }
    }

    fn connect(&mut self, now: Instant) {
        let path = match &self.endpoint {
            Endpoint::One(job) => {
                let since = self.jobs.get(job).and_then(Cursor::latest);
                message::one_job_path(job, since, &self.options)
            }
            Endpoint::Many => "/ws".to_owned(),
        };
        self.fault = None;
        // All jobs are subscribed to anew.
        self.unserved.clear();
        self.resubscribe_at = None;
        self.renew_at = None;
        self.asked_at = now;
        self.phase = Phase::Connecting { deadline: now + self.options.silence, open: false };
        self.output.push_back(Output::Connect(path));
    }

    /// The socket is open.
    pub(crate) fn on_open(&mut self) {
        let Phase::Connecting { open, .. } = &mut self.phase else { return };
        *open = true;
        if matches!(self.endpoint, Endpoint::Many) {
            for (job, cursor) in &self.jobs {
                let text = message::subscribe(job, cursor.latest(), &self.options);
                self.output.push_back(Output::Send(text));
            }
        }
    }

    /// A frame without meaning arrived: a WebSocket ping, or a binary message.
    pub(crate) fn on_activity(&mut self, now: Instant) {
        if let Phase::Connected { heard, .. } = &mut self.phase {
            *heard = now;
        }
    }

    /// A text frame arrived.
    pub(crate) fn on_text(&mut self, text: &str, now: Instant) {
        self.on_activity(now);
        match Message::parse(text) {
            Message::Connected { known } => self.on_connected(known, now),
            Message::State(state) => self.on_state(state, now),
            Message::Subscribed { job, known: false } if self.jobs.contains_key(&job) => {
                self.emit(Event::Unknown(job));
            }
            Message::Rejected { job, problem, message }
                if problem == ProblemType::UnreadableJob.name() =>
            {
                // The server keeps the subscription.
                if self.jobs.contains_key(&job) {
                    self.emit(Event::Unreadable { job, message });
                }
            }
            Message::Rejected { job, problem, .. } if problem == ProblemType::UnknownJob.name() => {
                // It was forgotten before it ended. The server keeps the subscription.
                if self.jobs.contains_key(&job) {
                    self.emit(Event::Unknown(job));
                }
            }
            Message::Rejected { job, problem, .. } if is_temporary(&problem) => {
                // The server's own trouble, such as a broker that restarts: the job stays watched.
                if matches!(self.endpoint, Endpoint::Many) && self.jobs.contains_key(&job) {
                    self.unserved.insert(job);
                    self.resubscribe_at.get_or_insert(now + RESUBSCRIBE);
                }
            }
            Message::Rejected { job, problem, message } => {
                if matches!(self.endpoint, Endpoint::Many) && self.jobs.remove(&job).is_some() {
                    self.emit(Event::JobRejected { job, problem, message });
                    self.stop_if_all_ended();
                }
            }
            Message::Error { message } => self.fault = Some(message),
            // Not at once, so that short tokens are not asked for all the time.
            Message::TokenExpiring { left } if self.options.renewable => {
                self.renew_at = Some(now + (left / 3).min(LONGEST_WAIT));
            }
            Message::Subscribed { .. } | Message::TokenExpiring { .. } | Message::Other => {}
        }
    }

    /// The program has supplied another token for this connection. Without one, the server closes the socket when the present token
    /// expires.
    pub(crate) fn on_token(&mut self, token: &str) {
        if self.is_open() {
            self.output.push_back(Output::Send(message::auth(token)));
        }
    }

    fn on_connected(&mut self, known: Option<bool>, now: Instant) {
        let Phase::Connecting { open: true, .. } = self.phase else { return };
        self.phase = Phase::Connected { since: now, heard: now, ended: None };
        self.ever_connected = true;
        self.rejected_tokens = 0;
        self.emit(Event::Connection(Connection::Connected));
        if let (Endpoint::One(job), Some(false)) = (&self.endpoint, known) {
            self.emit(Event::Unknown(job.clone()));
        }
    }

    fn on_state(&mut self, state: State, now: Instant) {
        let Phase::Connected { ended, .. } = &mut self.phase else { return };
        let Some(cursor) = self.jobs.get_mut(state.job()) else { return };
        if !cursor.advance(state.position()) {
            return;
        }
        let ends = state.status().is_end() && self.options.close_at_end;
        let job = state.job().clone();
        self.output.push_back(Output::Emit(Event::State(Arc::new(state))));
        match self.endpoint {
            // The server closes after the end. A later attempt may be on its way already.
            Endpoint::One(_) => *ended = ends.then_some(now),
            Endpoint::Many if ends => {
                self.unsubscribe(&job);
                self.stop_if_all_ended();
            }
            Endpoint::Many => {}
        }
    }

    fn stop_if_all_ended(&mut self) {
        if self.options.close_at_end && self.jobs.is_empty() {
            self.stop(Connection::Done);
        }
    }

    /// The server closed the socket, with this code and reason.
    pub(crate) fn on_close(&mut self, code: Option<u16>, reason: &str, now: Instant, draw: f64) {
        if self.is_waiting() {
            return;
        }
        let hint = RetryHint::parse(reason);
        let text = match (&hint, self.fault.take()) {
            (_, Some(fault)) => fault,
            (Some(hint), None) => hint.reason.clone().into_owned(),
            (None, None) => reason.to_owned(),
        };
        if code == Some(CloseCode::Unauthenticated.code())
            && let Some(wait) = self.wait_for_token(now)
        {
            return self.lose(
                ConnectionError::Closed { code, reason: text },
                Some(wait),
                now,
                draw,
            );
        }
        let wait = match code.map_or(Reconnect::Backoff, Reconnect::for_code) {
            Reconnect::No => {
                return self.stop(match code {
                    Some(1000) | None => Connection::Done,
                    Some(code) => Connection::Rejected(Rejection::Closed { code, reason: text }),
                });
            }
            Reconnect::After { min, max } => Some(min + max.saturating_sub(min).mul_f64(draw)),
            Reconnect::AsRequested => {
                hint.map(|hint| Duration::from_millis(hint.retry_ms).min(LONGEST_WAIT))
            }
            Reconnect::Backoff => None,
        };
        self.lose(ConnectionError::Closed { code, reason: text }, wait, now, draw);
    }

    /// How long until the program is asked for another token, now that one was refused; none if that is for good.
    fn wait_for_token(&mut self, now: Instant) -> Option<Duration> {
        self.rejected_tokens += 1;
        // A new one that is refused as well is not a matter of time.
        if !self.options.renewable || self.rejected_tokens > 1 {
            return None;
        }
        let is_recent = now.saturating_duration_since(self.asked_at) < RECENTLY;
        Some(if is_recent { MOMENT } else { Duration::ZERO })
    }

    /// The server answered the attempt to connect with this HTTP status. `retry_after` is its header.
    pub(crate) fn on_http(
        &mut self,
        status: u16,
        detail: String,
        retry_after: Option<Duration>,
        now: Instant,
        draw: f64,
    ) {
        if self.is_waiting() {
            return;
        }
        // By their definition, 408, 425 and 429 mean that the same request may succeed later.
        let for_good = status < 500 && !matches!(status, 408 | 425 | 429);
        if for_good && !self.ever_connected {
            return self.stop(Connection::Rejected(Rejection::Http { status, detail }));
        }
        // All watchers get the same header, so the backoff's jitter is added to it.
        let wait = retry_after
            .map(|after| after.min(LONGEST_WAIT).saturating_add(self.options.backoff.next(draw)));
        self.lose(ConnectionError::HttpStatus { status, detail }, wait, now, draw);
    }

    /// The connection broke, or could not be made.
    pub(crate) fn on_lost(&mut self, reason: ConnectionError, now: Instant, draw: f64) {
        if !self.is_waiting() {
            self.lose(reason, None, now, draw);
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. } | Phase::Stopped)
    }

    /// Waits and reconnects: after `wait`, or else with the backoff.
    fn lose(&mut self, reason: ConnectionError, wait: Option<Duration>, now: Instant, draw: f64) {
        if let Phase::Connected { since, ended, .. } = self.phase {
            if ended.is_some() {
                return self.stop(Connection::Done);
            }
            if now.saturating_duration_since(since) >= STABLE {
                self.options.backoff.reset();
            }
        }
        let retry_in = wait.unwrap_or_else(|| self.options.backoff.next(draw));
        self.phase = Phase::Waiting { until: now + retry_in };
        self.output.push_back(Output::Disconnect);
        self.emit(Event::Connection(Connection::Lost { reason, retry_in }));
    }

    /// Watches one more job, from the state after `since`. One that is watched already starts anew.
    pub(crate) fn subscribe(&mut self, job: JobId, since: Option<Position>) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        if self.is_open() {
            self.output.push_back(Output::Send(message::subscribe(&job, since, &self.options)));
        }
        self.jobs.insert(job, Cursor::new(since));
    }

    /// Stops watching the job.
    pub(crate) fn unsubscribe(&mut self, job: &JobId) {
        if self.jobs.remove(job).is_some() && self.is_open() {
            self.output.push_back(Output::Send(message::unsubscribe(job)));
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Connected { .. } | Phase::Connecting { open: true, .. })
    }

    fn stop(&mut self, how: Connection) {
        self.phase = Phase::Stopped;
        self.emit(Event::Connection(how));
    }

    fn emit(&mut self, event: Event) {
        self.output.push_back(Output::Emit(event));
    }
}

/// Whether the same request may succeed later.
fn is_temporary(problem: &str) -> bool {
    ProblemType::ALL.iter().any(|known| known.name() == problem && known.status() >= 500)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
