use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use milepost_protocol::{JobId, Position};
use tokio::task::JoinHandle;
use tokio::time;

use crate::event::{Event, Lost};
use crate::exchange::{Exchange, Finish, Wish};
use crate::link::{Heard, Link};
use crate::options::Options;
use crate::session::{Endpoint, Output, Session};
use crate::socket::{ConnectError, Dialer, Incoming};

/// How many jobs one [`Watches`] takes. A server takes fewer unless its operator says otherwise: 1,000.
pub const MAX_JOBS: usize = 10_000;

/// A job that is watched. Dropping it closes the connection.
#[derive(Debug)]
pub struct Watch(pub(crate) Running);

impl Watch {
    /// The next event; none after the last one, which is [`Done`](crate::Connection::Done) or
    /// [`Refused`](crate::Connection::Refused). Cancel-safe.
    ///
    /// For a caller that is slow, 64 events wait, and 22 more for each job. When that is full, each job's
    /// newest state is kept, its last [eight](crate::MAX_ENDS) ends, and the connection's newest condition.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.next().await
    }

    /// Says goodbye to the server and waits until the connection is closed, at most a second.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// Jobs that are watched over one connection. Dropping it closes the connection.
#[derive(Debug)]
pub struct Watches(pub(crate) Running);

impl Watches {
    /// Watches one more job, from its present state on. One that is watched already is left as it is.
    ///
    /// # Errors
    /// When [`MAX_JOBS`] are watched. The server's own limit shows as an [`Event::JobRefused`].
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

    /// Watches the job no more. No event of it follows.
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

/// As many jobs are watched as can be over one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyJobs;

impl fmt::Display for TooManyJobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "one connection watches at most {MAX_JOBS} jobs")
    }
}

impl std::error::Error for TooManyJobs {}

/// The task that watches, and what it shares with the caller.
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
        let task = tokio::spawn(run(session, dialer.clone(), Finish::new(Arc::clone(&exchange))));
        Self { exchange, close_at_end: options.close_at_end, task }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut inner = self.exchange.lock();
                if let Some(event) = inner.mailbox.pop() {
                    inner.leave_what_is_over(&event, self.close_at_end);
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
        // It ends by itself within `GOODBYE`. That it may have panicked is not the caller's concern any more.
        let _ = (&mut self.task).await;
    }

    fn subscribe(&self, job: JobId, since: Option<Position>) -> Result<(), TooManyJobs> {
        let mut inner = self.exchange.lock();
        if inner.finished || inner.jobs.contains(&job) {
            return Ok(());
        }
        // Wishes may outnumber jobs only while the task has not come to look at them.
        if inner.jobs.len() >= MAX_JOBS || inner.wishes.len() >= 2 * MAX_JOBS {
            return Err(TooManyJobs);
        }
        inner.jobs.insert(job.clone());
        inner.wishes.insert(job, Wish::Watch(since));
        drop(inner);
        self.exchange.for_task.notify_one();
        Ok(())
    }

    fn unsubscribe(&self, job: &JobId) {
        let mut inner = self.exchange.lock();
        if !inner.finished && inner.jobs.remove(job) {
            inner.mailbox.forget(job);
            inner.wishes.insert(job.clone(), Wish::Leave);
            drop(inner);
            self.exchange.for_task.notify_one();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The task holds the socket, so this closes it. There is nothing else to wait for.
        self.task.abort();
    }
}

/// Gives the session its socket, its clock and its dice, until it has stopped or the caller wants it closed.
async fn run(mut session: Session, dialer: Dialer, finish: Finish) {
    let exchange = finish.exchange();
    let mut link = Link::Down;
    loop {
        while let Some(output) = session.poll() {
            match output {
                Output::Connect(path) => {
                    link = Link::Connecting(Box::pin(dialer.clone().connect(path)));
                }
                Output::Send(text) => link.send(text),
                Output::Disconnect => link = Link::Down,
                Output::Tell(event) => exchange.tell(event),
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
                grant_wishes(exchange, &mut session);
            }
            heard = link.next() => pass_on(heard, &mut link, &mut session),
            () = sleep_until(deadline) => session.on_deadline(Instant::now(), fastrand::f64()),
        }
    }
    link.close().await;
}

async fn sleep_until(deadline: Option<time::Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn pass_on(heard: Heard, link: &mut Link, session: &mut Session) {
    let now = Instant::now();
    let draw = fastrand::f64();
    match heard {
        Heard::Opened(socket) => {
            *link = Link::Up(socket);
            session.on_open();
        }
        Heard::NotOpened(ConnectError::Unreachable(detail)) => {
            session.on_lost(Lost::Unreachable(detail), now, draw);
        }
        Heard::NotOpened(ConnectError::Http { status, detail, retry_after }) => {
            session.on_http(status, detail, retry_after, now, draw);
        }
        Heard::Incoming(Incoming::Text(text)) => session.on_text(&text, now),
        Heard::Incoming(Incoming::SignOfLife) => session.on_sign_of_life(now),
        Heard::Incoming(Incoming::Closed { code, reason }) => {
            session.on_close(code, &reason, now, draw);
        }
        Heard::Incoming(Incoming::Lost(reason)) => session.on_lost(reason, now, draw),
    }
    // While frames come without a pause, the loop's own timer is never looked at.
    session.on_deadline(now, draw);
}

fn grant_wishes(exchange: &Exchange, session: &mut Session) {
    let wishes = std::mem::take(&mut exchange.lock().wishes);
    for (job, wish) in wishes {
        match wish {
            Wish::Watch(since) => session.subscribe(job, since),
            Wish::Leave => session.unsubscribe(&job),
        }
    }
}
