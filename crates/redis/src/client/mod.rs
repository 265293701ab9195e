//! The client that runs Milepost's scripts. Reports and requests are in this file; the other calls are in files by noun.

mod children;
mod health;
mod index;
mod job_log;
mod recent;
mod runs;
mod servers;
mod states;

use std::time::Duration;

use milepost_protocol::{JobId, Request, State, Timestamp, Update};

use self::children::Children;
use self::recent::{Folded, RecentJobs};
use self::runs::KnownRuns;
use crate::answer::Answer;
use crate::call::Call;
use crate::connection::wall_clock;
use crate::failure::is_elsewhere;
use crate::names::Names;
use crate::reply::{Accepted, Reply};
use crate::report::{JobRequest, Past, Report, ServerId, Source};
use crate::retention::Retention;
use crate::shared_connection::SharedConnection;
use crate::{Address, Failure};

pub use health::Checked;
pub use job_log::LogRead;

/// Runs Milepost's scripts on Redis, over one connection that all callers share.
///
/// It connects on first use, and again after the connection was lost or its server turned out to accept no writes.
/// Connecting, and each reply, may take 2 s, or what [`with_patience`](Client::with_patience) says.
pub struct Client {
    connection: SharedConnection,
    names: Names,
    retention: Retention,
    /// Boxed, so that a client is small.
    children: Box<Children>,
    runs: Box<KnownRuns>,
    recent: Box<RecentJobs>,
}

impl Client {
    /// A client of the Redis at that address. Does not connect yet.
    pub fn new(address: Address, retention: Retention) -> Self {
        let names = Names::new(address.is_cluster());
        Self {
            connection: SharedConnection::new(address),
            names,
            retention,
            children: Box::default(),
            runs: Box::default(),
            recent: Box::default(),
        }
    }

    /// Replaces the time that connecting, and each reply, may take. Redis rejects a report that it reaches later
    /// (`spec/README.md`, section 14, "Deadline"), so a caller that gives up earlier should say so here.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.connection.set_patience(patience);
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

    /// Where Redis is.
    pub fn address(&self) -> &Address {
        self.connection.address()
    }

    /// Runs a script.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn run(&self, call: &Call) -> Result<Answer, Failure> {
        self.connection.run(call).await
    }

    /// Reports an update.
    ///
    /// # Errors
    /// When Redis does not accept it, or it is not known whether it did.
    pub async fn report(&self, update: &Update, now: Timestamp) -> Result<Reply, Failure> {
        if let Err(invalid) = self.check_parent(update, now).await? {
            return Ok(Reply::InvalidParent(invalid));
        }
        let wants_meta = match self.fold_here(update).await? {
            Folded::Stored(state) => return Ok(Reply::Accepted(Accepted::plain(state, false))),
            Folded::Not => !update.status().is_end() && !self.names.is_cluster(),
            Folded::Changed => false,
        };
        let runs = self.runs_for(update, now).await;
        let weights = Self::weights_for(update, runs.as_deref());
        let past = Past { runs: runs.as_deref(), stage_weights: weights.as_deref() };
        let report = Report { past, wants_meta, ..Report::new(update, None, now) };
        let reply = self.fold(&report).await?;
        let Reply::Adopt(json) = reply else { return Ok(reply) };
        // A legacy worker has reported this job, and no server has folded its value yet.
        let readable = match self.adopt(update.job(), &json, now).await {
            // An end is accepted even if there is no room to fold the value first.
            Err(Failure::Full(_)) if update.status().is_end() => false,
            adopted => adopted?.is_some(),
        };
        self.fold(&Report { ignore_key: !readable, ..report }).await
    }

    /// Folds the value that a legacy worker set under a job's key. Returns the state that it led to; none if it is unreadable
    /// or was refused.
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
        match self.fold(&Report::new(&update, Some(Source::Key(json)), now)).await? {
            Reply::Accepted(Accepted { state, .. }) => Ok(Some(state)),
            _ => Ok(None),
        }
    }

    async fn fold(&self, report: &Report<'_>) -> Result<Reply, Failure> {
        let named = report.update.attempt().map(u32::from);
        let call = |deadline, server| {
            let report = Report { deadline, server, ..report.clone() };
            Call::report(self.names, &report, &self.retention)
        };
        self.in_time(report.update.job(), named, call).await
    }

    /// Puts a request for a job's worker into the job's state.
    ///
    /// # Errors
    /// When Redis does not accept it, or it is not known whether it did.
    pub async fn request(
        &self,
        job: &JobId,
        request: &Request,
        now: Timestamp,
    ) -> Result<Reply, Failure> {
        let of = JobRequest { job, request: Some(request), now };
        let call = |deadline, server: Option<ServerId>| {
            Call::request(self.names, of, &self.retention, deadline, server.as_ref())
        };
        self.in_time(job, None, call).await
    }

    /// Runs the report script with a deadline shortly before the caller gives up. `call` encodes it, given the deadline and the
    /// server's identity.
    async fn in_time(
        &self,
        job: &JobId,
        named: Option<u32>,
        call: impl Fn(Option<i64>, Option<ServerId>) -> Call,
    ) -> Result<Reply, Failure> {
        for last in [false, true] {
            let connected = self.connection.connected().await?;
            let sent = wall_clock() + connected.ahead();
            // Clocks are read in whole milliseconds. Without a margin, Redis could fold an update just after the caller gave
            // it up as lost.
            let patience = self.connection.patience().mul_f64(0.95).as_millis();
            let deadline = Some(sent + i64::try_from(patience).unwrap_or(i64::MAX));
            let call = call(deadline, connected.server_at(sent));
            let value = match self.connection.run_on(&connected, &call).await {
                // The next connection leads to another server, whose identity is not known yet.
                Err(error) if is_elsewhere(&error) && !last => continue,
                value => value.map_err(|error| Failure::of_script(&error))?,
            };
            let mut reply = Reply::parse(Answer::of(value)?, named)?;
            match reply {
                Reply::Late(theirs) if !last => {
                    // It was not late by this clock, so the server's clock was set since, or this is another server.
                    connected.raise_ahead(theirs - wall_clock());
                }
                Reply::Late(_) => break,
                Reply::Accepted(ref mut accepted) => {
                    if let Some(id) = &accepted.server {
                        connected.set_server(id, sent);
                    }
                    if let Some(index) = &accepted.index {
                        self.update_index(job, index).await;
                    }
                    if let Some(clock) = &accepted.clock {
                        self.update_clock(job, clock).await;
                    }
                    if let Some(left) = &accepted.left {
                        self.leave_parent(left, job).await;
                    }
                    self.notify_parent(&accepted.state).await;
                    if !accepted.repeated {
                        self.record_run(&accepted.state).await;
                    }
                    self.remember(accepted);
                    return Ok(reply);
                }
                reply => return Ok(reply),
            }
        }
        Err(Failure::Unavailable("Redis did not answer in time".to_owned()))
    }
}
