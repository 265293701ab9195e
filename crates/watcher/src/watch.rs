use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use milepost_protocol::{JobId, Position};
use tokio::task::JoinHandle;
use tokio::time;

use crate::event::{ConnectionError, Event};
use crate::exchange::{Exchange, FinishGuard, Request};
use crate::link::{Link, LinkEvent};
use crate::options::Options;
use crate::session::{Endpoint, Output, Session};
use crate::socket::{ConnectError, Dialer, Incoming};

/// The most jobs of one [`Watches`]. Servers allow 1,000 by default.
pub const MAX_JOBS: usize = 10_000;

/// A job that is watched. Dropping it closes the connection.
#[derive(Debug)]
pub struct Watch(pub(crate) Running);

impl Watch {
    /// The next event; none after the last one, which is [`Done`](crate::Connection::Done) or
    /// [`Rejected`](crate::Connection::Rejected). Cancel-safe.
    ///
    /// For a slow caller, 64 events wait, and 22 more for each job. When that bound is reached, the newest state and the
    /// last [eight](crate::MAX_ENDS) ends of each job are kept, and the newest event of the connection.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }

    /// Closes the connection and waits for the server to answer, at most a second.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// Jobs that are watched over one connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Watches(pub(crate) Running);

impl Watches {
    /// Watches one more job, from its present state on. Does nothing if it is watched already.
    ///
    /// # Errors
    /// When [`MAX_JOBS`] are watched. The server's own limit leads to an [`Event::JobRejected`].
    pub fn subscribe(&self, job: JobId) -> Result<(), TooManyJobs> {
        self.0.subscribe(job, None)
    }

    /// Watches one more job, from the state after `since` on.
    ///
    /// # Errors
    /// When [`MAX_JOBS`] are watched.
    pub fn subscribe_since(&self, job: JobId, since: Position) -> Result<(), TooManyJobs> {
        self.0.subscribe(job, Some(since))
    }

    /// Stops watching the job. No event of it follows.
    pub fn unsubscribe(&self, job: &JobId) {
        self.0.unsubscribe(job);
    }

    /// As [`Watch::next`].
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }

    /// As [`Watch::close`].
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// The connection watches as many jobs as one can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyJobs;

impl fmt::Display for TooManyJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one connection watches at most {MAX_JOBS} jobs")
    }
}

impl std::error::Error for TooManyJobs {}

/// The watching task, and what it shares with the caller.
pub(crate) struct Running {
    exchange: Arc<Exchange>,
    close_at_end: bool,
    task: JoinHandle<()>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}

impl Running {
    pub(crate) fn start(
        endpoint: Endpoint,
        since: Option<Position>,
        options: Options,
        dialer: &Dialer,
    ) -> Self {
        let exchange = Arc::new(Exchange::new(options.mode));
        let session = Session::new(endpoint, options, since, Instant::now());
        let task =
            tokio::spawn(run(session, dialer.clone(), FinishGuard::new(Arc::clone(&exchange))));
        Self { exchange, close_at_end: options.close_at_end, task }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut inner = self.exchange.lock();
                if let Some(event) = inner.mailbox.pop() {
                    inner.forget_ended(&event, self.close_at_end);
                    return Some(event);
                }
                if inner.finished {
                    return None;
                }
            }
            self.exchange.for_caller.notified().await;
        }
    }

    async fn close(mut self) {
        self.exchange.lock().closing = true;
        self.exchange.for_task.notify_one();
        // The task ends within `CLOSE_TIMEOUT`. Whether it panicked no longer concerns the caller.
        let _ = (&mut self.task).await;
    }

    fn subscribe(&self, job: JobId, since: Option<Position>) -> Result<(), TooManyJobs> {
        let mut inner = self.exchange.lock();
        if inner.finished || inner.jobs.contains(&job) {
            return Ok(());
        }
        // Requests may outnumber jobs only until the task takes them.
        if inner.jobs.len() >= MAX_JOBS || inner.requests.len() >= 2 * MAX_JOBS {
            return Err(TooManyJobs);
        }
        inner.jobs.insert(job.clone());
        inner.requests.insert(job, Request::Subscribe(since));
        drop(inner);
        self.exchange.for_task.notify_one();
        Ok(())
    }

    fn unsubscribe(&self, job: &JobId) {
        let mut inner = self.exchange.lock();
        if !inner.finished && inner.jobs.remove(job) {
            inner.mailbox.forget(job);
            inner.requests.insert(job.clone(), Request::Unsubscribe);
            drop(inner);
            self.exchange.for_task.notify_one();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The task owns the socket, so this closes it.
        self.task.abort();
    }
}

/// Drives the session with a socket, a clock and random numbers until it stops or the caller closes it.
async fn run(mut session: Session, dialer: Dialer, finish: FinishGuard) {
    let exchange = finish.exchange();
    let mut link = Link::Down;
    let mut renewing = None::<Renewing>;
    loop {
        while let Some(output) = session.poll() {
            match output {
                Output::Connect(path) => {
                    renewing = None;
                    link = Link::Connecting(Box::pin(dialer.clone().connect(path)));
                }
                Output::Send(text) => link.send(text),
                Output::Renew => renewing = Some(Box::pin(dialer.token.clone().ask())),
                Output::Disconnect => link = Link::Down,
                Output::Emit(event) => exchange.emit(event),
            }
        }
        if session.is_stopped() {
            break;
        }
        let deadline = session.deadline().map(time::Instant::from_std);
        tokio::select! {
            biased;
            () = exchange.for_task.notified() => {
                if exchange.lock().closing {
                    break;
                }
                apply_requests(exchange, &mut session);
            }
            token = supplied(&mut renewing) => {
                renewing = None;
                if let Ok(Some(token)) = token
                    && link.renews(&token)
                {
                    session.on_token(&token);
                }
            }
            heard = link.next() => handle(heard, &mut link, &mut session),
            () = sleep_until(deadline) => session.on_deadline(Instant::now(), fastrand::f64()),
        }
    }
    link.close().await;
}

/// The program is being asked for the next token of the connection.
type Renewing = Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>>;

/// Waits for the token; forever if none is asked for. Cancel-safe.
async fn supplied(renewing: &mut Option<Renewing>) -> Result<Option<String>, String> {
    match renewing {
        Some(renewing) => renewing.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<time::Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn handle(heard: LinkEvent, link: &mut Link, session: &mut Session) {
    let now = Instant::now();
    let draw = fastrand::f64();
    match heard {
        LinkEvent::Opened(socket) => {
            *link = Link::Up(socket);
            session.on_open();
        }
        LinkEvent::ConnectFailed(ConnectError::NoToken(detail)) => {
            session.on_lost(ConnectionError::NoToken(detail), now, draw);
        }
        LinkEvent::ConnectFailed(ConnectError::Unreachable(detail)) => {
            session.on_lost(ConnectionError::Unreachable(detail), now, draw);
        }
        LinkEvent::ConnectFailed(ConnectError::Http { status, detail, retry_after }) => {
            session.on_http(status, detail, retry_after, now, draw);
        }
        LinkEvent::Incoming(Incoming::Text(text)) => session.on_text(&text, now),
        LinkEvent::Incoming(Incoming::Activity) => session.on_activity(now),
        LinkEvent::Incoming(Incoming::Closed { code, reason }) => {
            session.on_close(code, &reason, now, draw);
        }
        LinkEvent::Incoming(Incoming::Failed(reason)) => session.on_lost(reason, now, draw),
    }
    // While frames arrive without a pause, the loop never polls its own timer.
    session.on_deadline(now, draw);
}

fn apply_requests(exchange: &Exchange, session: &mut Session) {
    let requests = std::mem::take(&mut exchange.lock().requests);
    for (job, request) in requests {
        match request {
            Request::Subscribe(since) => session.subscribe(job, since),
            Request::Unsubscribe => session.unsubscribe(&job),
        }
    }
}
