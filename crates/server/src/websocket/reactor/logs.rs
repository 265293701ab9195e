//! Jobs' logs over a socket: `spec/README.md`, section 17.
//!
//! Nothing is queued for a follower. A task waits until its log has grown, and reads a part. Once the shard has sent
//! it, the task waits for the next part. A part that was read for a blocked socket is dropped, and read again once the
//! socket is free.

use std::sync::Arc;
use std::time::Duration;

use milepost_broker::{Broker, JobLogs, LogPage, LogPart, Unavailable};
use milepost_hub::WatcherKey;
use milepost_protocol::{JobId, Position, Problem, ProblemType, State, View};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::conversation::TOO_OFTEN;
use super::sockets::Sockets;
use crate::access::Decision;
use crate::counters::count;
use crate::response::problem::Refused;
use crate::watching::log_page;
use crate::websocket::connection::Phase;
use crate::websocket::log_subscription::{LogSubscription, LogWait, Until, Waiting};
use crate::websocket::message;

/// The newest lines with which a log begins for a follower that names no position.
const FIRST_LINES: usize = 1_000;
/// The most bytes in a part, unless it is a single line. A part fits into a socket's buffer.
const MAX_PART: usize = 64 << 10;
/// How long a socket's logs wait before it is checked again whether the socket is still blocked.
const BLOCKED: Duration = Duration::from_millis(100);
/// The most parts that a shard reads at once. Each may be a whole log before it is cut to size.
pub(super) const MAX_READS: usize = 16;

/// The source that the tasks of a shard read from.
#[derive(Clone)]
pub(super) struct LogSource {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) logs: Arc<dyn JobLogs>,
    /// How many may read at once.
    pub(super) reads: Arc<Semaphore>,
    /// A log that has not grown for this time is read again, because its job may have been forgotten.
    pub(super) patience: Duration,
}

/// The end of a wait.
pub(super) struct LogRead {
    wait: LogWait,
    /// None if the socket was blocked, and may accept bytes again.
    part: Option<Part>,
}

/// What was read.
struct Part {
    page: Result<Option<LogPage>, Unavailable>,
    /// The job's state, if it decides whether the connection may watch it.
    state: Option<Result<Option<Arc<State>>, Unavailable>>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Waits for lines and reads them.
pub(super) async fn read(wait: LogWait, source: LogSource) -> LogRead {
    if wait.is_blocked {
        tokio::time::sleep(BLOCKED).await;
        return LogRead { wait, part: None };
    }
    let LogSource { broker, logs, reads, patience } = source;
    let most = wait.after.map_or(FIRST_LINES, |_| MAX_PART / 64);
    let part = LogPart { after: wait.after, most };
    let mut until = wait.until;
    loop {
        match until {
            Until::Begun => {}
            Until::Grown => {
                // Either way the log is read.
                let _ = tokio::time::timeout(patience, logs.log_grown(&wait.job, wait.after)).await;
            }
        }
        // It is never closed.
        let permit = Arc::clone(&reads).acquire_owned().await.ok();
        let page = logs.log(&wait.job, part).await;
        let has_grown = !matches!(&page, Ok(Some(page)) if page.lines.is_empty() && !page.gap);
        if has_grown || matches!(until, Until::Begun) {
            let state = if wait.is_undecided { Some(broker.state(&wait.job).await) } else { None };
            return LogRead { wait, part: Some(Part { page, state, _permit: permit }) };
        }
        until = Until::Grown;
    }
}

impl Sockets {
    pub(super) fn subscribe_log(&mut self, key: WatcherKey, job: JobId, since: Option<Position>) {
        if self.admission(key, &job) == Decision::Forbidden {
            return self.forbid_log(key, &job);
        }
        if self.view_of(key) == View::Public {
            let detail = "the credential's view is public: it has no job logs";
            return self.refuse_log(key, &job, &Problem::new(ProblemType::Forbidden, detail));
        }
        let is_known = self.has_log(key, &job);
        if !is_known && self.subscriptions(key) >= self.max_subscriptions {
            let detail = format!("at most {} jobs are allowed on a socket", self.max_subscriptions);
            count(&self.context.counters.subscriptions_refused);
            let problem = Problem::new(ProblemType::TooManySubscriptions, detail);
            return self.refuse_log(key, &job, &problem);
        }
        let Some(request) = self.next_request(key) else {
            count(&self.context.counters.subscriptions_refused);
            let problem = Problem::new(ProblemType::TooManySubscriptions, TOO_OFTEN);
            return self.refuse_log(key, &job, &problem);
        };
        self.wait_for_log(key, job, request, since, Until::Begun);
    }

    fn wait_for_log(
        &mut self,
        key: WatcherKey,
        job: JobId,
        request: u64,
        after: Option<Position>,
        until: Until,
    ) {
        let is_undecided = self.admission(key, &job) == Decision::Undecided;
        let Some(connection) = self.shard.wire(key) else { return };
        let serial = connection.serial;
        let Some(many) = &mut connection.many else { return };
        many.logs.insert(job.clone(), LogSubscription { request, after, until, waiting: None });
        let is_blocked = false;
        let wait = LogWait { key, serial, request, job, after, until, is_blocked, is_undecided };
        self.waiting_for_logs.push(wait);
    }

    pub(super) fn unsubscribe_log(&mut self, key: WatcherKey, job: &JobId) {
        self.drop_log(key, job);
        self.send_text(key, &message::unsubscribed(job, true, self.context.clock.now()));
    }

    pub(super) fn drop_log(&mut self, key: WatcherKey, job: &JobId) {
        if let Some(many) = self.shard.wire(key).and_then(|wire| wire.many.as_mut()) {
            many.logs.remove(job);
        }
    }

    /// Decides again, by the connection's new credential, which logs it may follow.
    pub(super) fn recheck_logs(&mut self, key: WatcherKey) {
        let many = self.shard.wire(key).and_then(|wire| wire.many.as_ref());
        let logs = many.into_iter().flat_map(|many| &many.logs);
        let logs: Vec<_> = logs.map(|(job, log)| (job.clone(), log.after, log.until)).collect();
        for (job, after, until) in logs {
            match self.admission(key, &job) {
                Decision::Allowed => {}
                Decision::Undecided => {
                    // A part that was read under the previous credential is for the previous number, so it is dropped.
                    let Some(request) = self.own_request(key) else { return };
                    self.wait_for_log(key, job, request, after, until);
                }
                Decision::Forbidden => {
                    self.drop_log(key, &job);
                    self.forbid_log(key, &job);
                }
            }
        }
    }

    fn has_log(&mut self, key: WatcherKey, job: &JobId) -> bool {
        let many = self.shard.wire(key).and_then(|wire| wire.many.as_ref());
        many.is_some_and(|many| many.logs.contains_key(job))
    }

    /// The subscription that a part is for, unless it or its socket has ended.
    fn log_subscription(&mut self, wait: &LogWait) -> Option<&mut LogSubscription> {
        let connection = self.shard.wire(wait.key)?;
        if connection.serial != wait.serial || connection.phase != Phase::Open {
            return None;
        }
        let subscription = connection.many.as_mut()?.logs.get_mut(&wait.job)?;
        (subscription.request == wait.request).then_some(subscription)
    }

    /// Starts the task that waits for a subscription's lines, unless the subscription has ended. It ends with it.
    pub(super) fn start_log_wait(
        &mut self,
        wait: LogWait,
        start: impl FnOnce(LogWait) -> AbortHandle,
    ) {
        if let Some(subscription) = self.log_subscription(&wait) {
            subscription.waiting = Some(Waiting(start(wait)));
        }
    }

    pub(super) fn log_read(&mut self, read: LogRead) {
        let LogRead { mut wait, part } = read;
        if self.log_subscription(&wait).is_none() {
            return;
        }
        wait.is_blocked = self.shard.is_blocked(wait.key);
        let Some(Part { page, state, _permit }) = part else {
            self.waiting_for_logs.push(wait);
            return;
        };
        let (key, job) = (wait.key, &wait.job);
        let (page, state) = match (page, state.transpose()) {
            (Ok(page), Ok(state)) => (page, state),
            (Err(error), _) | (_, Err(error)) => {
                self.drop_log(key, job);
                return self.refuse_log(key, job, &Refused::from(error).0);
            }
        };
        if state.is_some_and(|state| !self.admits(key, job, state.as_deref())) {
            self.drop_log(key, job);
            return self.forbid_log(key, job);
        }
        let Some(page) = page else {
            self.drop_log(key, job);
            return self.refuse_log(key, job, &Refused::unknown_job(job).0);
        };
        wait.is_undecided = false;
        if !wait.is_blocked {
            let page = cut(page);
            self.send_text(wait.key, &log_page::message(&wait.job, &page, wait.after));
            wait.after = log_page::next(&page, wait.after);
            wait.until = Until::Grown;
            if let Some(subscription) = self.log_subscription(&wait) {
                (subscription.after, subscription.until) = (wait.after, wait.until);
            }
        }
        self.waiting_for_logs.push(wait);
    }

    fn forbid_log(&mut self, key: WatcherKey, job: &JobId) {
        let detail = "the credential does not allow watching this job";
        self.refuse_log(key, job, &Problem::new(ProblemType::Forbidden, detail));
    }

    fn refuse_log(&mut self, key: WatcherKey, job: &JobId, problem: &Problem) {
        self.send_problem_of(key, problem, Some(job.as_str()), true);
    }
}

/// As many of the lines as fit into a part. The next part has the rest.
fn cut(mut page: LogPage) -> LogPage {
    let mut bytes = 0;
    let fitting = page.lines.iter().take_while(|line| {
        bytes += line.json().len() + 32;
        bytes <= MAX_PART
    });
    let fitting = fitting.count().max(1);
    page.lines.truncate(fitting);
    page
}
