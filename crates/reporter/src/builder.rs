use std::fmt;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use crate::environment::misspelt;
use crate::inbox::Inbox;
use crate::invalid_url::InvalidUrl;
use crate::job_log::JobLogs;
use crate::notice::{Notice, NoticeHook};
use crate::owner::Owner;
use crate::reporter::Reporter;
use crate::schedule::{Pace, Schedule};
use crate::sender::Sender;
use crate::server::Server;

/// The settings of a [`Reporter`].
#[derive(Clone)]
#[must_use = "a builder does nothing until it has a server"]
pub struct Builder {
    interval: Duration,
    heartbeat: Duration,
    flush_timeout: Duration,
    max_jobs: usize,
    notices: NoticeHook,
    token: Option<String>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token, which is secret.
        f.debug_struct("Builder")
            .field("interval", &self.interval)
            .field("heartbeat", &self.heartbeat)
            .field("flush_timeout", &self.flush_timeout)
            .field("max_jobs", &self.max_jobs)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(200),
            heartbeat: Duration::from_secs(10),
            flush_timeout: Duration::from_secs(2),
            max_jobs: 10_000,
            notices: NoticeHook::default(),
            token: None,
        }
    }
}

impl Builder {
    /// The shortest time between two routine updates of a job: 200 ms by default, at least 20 ms. Changes of
    /// stage or status do not wait.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Schedule::GAP);
        self
    }

    /// The longest time between two updates of a job that does not change: 10 s by default, at least the
    /// interval.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// How long the drop of the last handle, or [`Reporter::close`], waits for the last states to be
    /// acknowledged: 2 s by default. It also bounds each request to the server.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// The most jobs that are kept, running or with an unacknowledged end: 10,000 by default. Each takes at
    /// most about 64 KiB. Beyond that, jobs are not reported, and a [`Notice`] says so once.
    pub fn max_jobs(mut self, jobs: usize) -> Self {
        self.max_jobs = jobs;
        self
    }

    /// Receives [`Notice`]s, instead of `tracing` or standard error. The hook is called by the sending thread
    /// or by a thread that begins a job. It should neither block nor panic.
    pub fn on_notice(mut self, hook: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.notices = NoticeHook::new(hook);
        self
    }

    /// The key or token for a Milepost server, sent as `Authorization: Bearer`; by default `MILEPOST_TOKEN`.
    /// It is sent only to that server, not to servers that it redirects to, and without white space around it.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Reports to the server at `url`: a Milepost server, `http(s)://host[:port][/path]`, or the Redis or
    /// Valkey that servers share: `redis://`, `rediss://` (TLS), `redis+sentinel://` or `redis+cluster://`
    /// (`spec/README.md`, section 14; the crate's feature `redis`). This sends nothing yet, so it does not
    /// fail if the server is down.
    ///
    /// # Errors
    /// If `url` has none of these forms, or the token has a character that no header may have.
    pub fn connect(self, url: &str) -> Result<Reporter, InvalidUrl> {
        let server = Server::at(url, self.token.as_deref())?;
        Ok(self.report_to(server))
    }

    /// Reports to the server that the environment names: [`Reporter::from_env`].
    pub fn from_env(self) -> Reporter {
        let url = self.url_in_environment();
        match url.and_then(|url| self.server_or_notice(&url)) {
            Some(server) => self.report_to(server),
            None => Reporter::silent(),
        }
    }

    /// The URL that the environment names. The first call notifies of misspelt variables.
    pub(crate) fn url_in_environment(&self) -> Option<String> {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            for (variable, meant) in misspelt() {
                self.notices.notify(&Notice::MisspeltVariable { variable, meant });
            }
        });
        url_of(|name| std::env::var(name).ok())
    }

    /// The server at `url`. If the URL or the token is not valid, `None`, with a notice.
    pub(crate) fn server_or_notice(&self, url: &str) -> Option<Server> {
        Server::at(url, self.token.as_deref())
            .map_err(|error| {
                self.notices.notify(&Notice::UnusableUrl { reason: error.to_string() });
            })
            .ok()
    }

    pub(crate) fn report_to(self, server: Server) -> Reporter {
        let heartbeat = self.heartbeat.max(self.interval);
        let inbox = Arc::new(Inbox::new(self.max_jobs, heartbeat));
        let pace = Pace { interval: self.interval, heartbeat };
        let logs = JobLogs::new(server.http(), self.notices.clone(), self.flush_timeout);
        let schedule = Schedule::new(pace, Instant::now(), fastrand::Rng::new());
        let sender = Sender::new(
            Arc::clone(&inbox),
            schedule,
            server.transport(self.flush_timeout),
            self.notices.clone(),
            self.flush_timeout,
            Box::new(Instant::now),
        );
        Reporter::new(Owner::new(
            inbox,
            sender,
            logs,
            self.notices,
            self.flush_timeout,
            self.max_jobs,
        ))
    }
}

/// Constructors.
impl Reporter {
    /// Reports to `MILEPOST_URL`, or else to `REDIS_URL`. If neither is set (or both are empty), nothing is
    /// reported, without a notice. If the URL is not valid, nothing is reported, and a [`Notice`] says so.
    pub fn from_env() -> Self {
        Builder::default().from_env()
    }

    /// Reports to the server at `url`, like [`Builder::connect`]. This sends nothing yet, so it does not fail
    /// if the server is down.
    ///
    /// # Errors
    /// If `url` has none of the forms that [`Builder::connect`] accepts.
    pub fn connect(url: &str) -> Result<Self, InvalidUrl> {
        Builder::default().connect(url)
    }

    /// Settings for a reporter. Choose the server last.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// The server that the environment names.
fn url_of(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    set("MILEPOST_URL").or_else(|| set("REDIS_URL"))
}

#[cfg(test)]
mod tests {
    use super::url_of;

    #[test]
    fn milepost_url_goes_before_redis_url_and_an_empty_one_is_none() {
        let both = |name: &str| Some(format!("<{name}>"));
        assert_eq!(url_of(both).as_deref(), Some("<MILEPOST_URL>"));
        let emptied = |name: &str| Some(if name == "REDIS_URL" { "r" } else { "" }.to_owned());
        assert_eq!(url_of(emptied).as_deref(), Some("r"));
        assert_eq!(url_of(|_| None), None);
    }
}
