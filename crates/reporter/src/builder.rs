use std::fmt;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use crate::environment::misspelt;
use crate::inbox::Inbox;
use crate::notice::{Notice, NoticeHook};
use crate::owner::Owner;
use crate::reporter::Reporter;
use crate::schedule::{Pace, Schedule};
use crate::sender::Sender;
use crate::server::{InvalidUrl, Server};

/// How a [`Reporter`] works.
#[derive(Clone)]
#[must_use = "a builder does nothing until it is told where to report to"]
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
        // Without the token, which is a secret.
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
    /// Between two routine updates of a job, at least: 200 ms; 20 ms is the shortest. What changes stage or
    /// status does not wait.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(Schedule::GAP);
        self
    }

    /// Between two updates of a job that does not change, at most: 10 s; the interval is the shortest.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// How long the drop of the last handle, or [`Reporter::close`], waits at most until the last states
    /// have arrived: 2 s. A request to the server takes no longer than that either.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// How many jobs are kept at most, those under way and those whose end has not arrived yet: 10,000. Each
    /// takes at most about 64 KiB. At the bound, further jobs are not reported, and a [`Notice`] says so once.
    pub fn max_jobs(mut self, jobs: usize) -> Self {
        self.max_jobs = jobs;
        self
    }

    /// Where [`Notice`]s go, instead of to `tracing` or standard error. The hook is called by the thread that
    /// sends or by one that begins a job; it should neither block nor panic.
    pub fn on_notice(mut self, hook: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.notices = NoticeHook::new(hook);
        self
    }

    /// The key or token that a Milepost server is sent, as `Authorization: Bearer`; otherwise `MILEPOST_TOKEN`. It is sent
    /// to that server alone, and to none that it redirects to.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Reports to the server at `url`: `http(s)://host[:port][/path]` of a Milepost server, or straight to the Redis or
    /// Valkey that it shares, `redis://`, `rediss://` (TLS), `redis+sentinel://` or `redis+cluster://`
    /// (`spec/README.md`, section 14; the crate's feature `redis`). Nothing is sent yet: a server that is down is found
    /// by the jobs.
    ///
    /// # Errors
    /// When `url` is none of these.
    pub fn connect(self, url: &str) -> Result<Reporter, InvalidUrl> {
        let server = Server::at(url)?.with_token(self.token.clone());
        Ok(self.report_to(server))
    }

    /// Reports to where the environment says: [`Reporter::from_env`].
    pub fn from_env(self) -> Reporter {
        let url = self.url_in_environment();
        match url.and_then(|url| self.server_or_notice(&url)) {
            Some(server) => self.report_to(server),
            None => Reporter::silent(),
        }
    }

    /// The URL that the environment names. Misspelt variables are told of, the first time.
    pub(crate) fn url_in_environment(&self) -> Option<String> {
        static TOLD: Once = Once::new();
        TOLD.call_once(|| {
            for (variable, meant) in misspelt() {
                self.notices.tell(&Notice::MisspeltVariable { variable, meant });
            }
        });
        url_of(|name| std::env::var(name).ok())
    }

    /// The server at `url`; none if there is no such URL, which a notice says.
    pub(crate) fn server_or_notice(&self, url: &str) -> Option<Server> {
        let server = Server::at(url).map(|server| server.with_token(self.token.clone()));
        server
            .map_err(|error| self.notices.tell(&Notice::UnusableUrl { reason: error.to_string() }))
            .ok()
    }

    pub(crate) fn report_to(self, server: Server) -> Reporter {
        let heartbeat = self.heartbeat.max(self.interval);
        let inbox = Arc::new(Inbox::new(self.max_jobs, heartbeat));
        let pace = Pace { interval: self.interval, heartbeat };
        let schedule = Schedule::new(pace, Instant::now(), fastrand::Rng::new());
        let sender = Sender::new(
            Arc::clone(&inbox),
            schedule,
            server.transport(self.flush_timeout),
            self.notices.clone(),
            self.flush_timeout,
            Box::new(Instant::now),
        );
        Reporter::new(Owner::new(inbox, sender, self.notices, self.flush_timeout, self.max_jobs))
    }
}

/// Its beginnings.
impl Reporter {
    /// Reports to `MILEPOST_URL`, else to `REDIS_URL`. With neither set (or empty) nothing is reported,
    /// quietly; with one that cannot be used nothing is reported either, and a [`Notice`] says so.
    pub fn from_env() -> Self {
        Builder::default().from_env()
    }

    /// Reports to the server at `url`, as [`Builder::connect`] does. Nothing is sent yet: a server that is down is found
    /// by the jobs.
    ///
    /// # Errors
    /// When `url` is none that [`Builder::connect`] knows.
    pub fn connect(url: &str) -> Result<Self, InvalidUrl> {
        Builder::default().connect(url)
    }

    /// To set how, before where.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// Where the environment says to report to.
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
