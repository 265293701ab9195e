use std::fmt;
use std::time::Duration;

use milepost_protocol::{JobId, Position};

use crate::address::InvalidUrl;
use crate::backoff::Backoff;
use crate::options::{Mode, Options};
use crate::session::Endpoint;
use crate::socket::Dialer;
use crate::token::TokenSource;
use crate::watch::{Running, Watch, Watches};

/// A server, and how to watch jobs there. Cheap to clone; it holds no connection itself.
#[derive(Clone)]
pub struct Watcher {
    dialer: Dialer,
    options: Options,
}

impl Watcher {
    /// A server by its base URL, such as `https://example.com/milepost`: `http://`, `https://`, `ws://` or
    /// `wss://`. Nothing is connected yet. For TLS, this system's root certificates are read here.
    ///
    /// # Errors
    /// When it is not such a URL, has a query, or names a user; or when TLS finds no root certificate.
    pub fn new(base_url: &str) -> Result<Self, InvalidUrl> {
        Ok(Self { dialer: Dialer::new(base_url)?, options: Options::default() })
    }

    /// The key or token that the server is sent, as `Authorization: Bearer`, without white space around it. While it has a character that
    /// no header may have, there is no connection: [`ConnectionError::NoToken`](crate::ConnectionError::NoToken).
    pub fn token(mut self, token: &str) -> Self {
        self.dialer.token = TokenSource::Fixed(token.to_owned());
        self.options.renewable = false;
        self
    }

    /// A function that supplies the token, such as a request to your application. It is called for each connection, and again before
    /// the token expires; then the connection stays, with its jobs. If the server refuses a token (4401), the watcher comes back with
    /// another; if that is refused as well, it gives up.
    ///
    /// ```no_run
    /// # use milepost_watcher::Watcher;
    /// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # fn example() -> Result<(), milepost_watcher::InvalidUrl> {
    /// let watcher = Watcher::new("https://progress.example.com")?.token_from(fetch_token);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// If it fails, the watcher tries again as after a connection that could not be made. It may take as long as
    /// [`silence`](Self::silence).
    pub fn token_from<F, S, E>(mut self, supply: F) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        self.dialer.token = TokenSource::function(supply);
        self.options.renewable = true;
        self
    }

    /// Which states to receive. All of them by default.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.options.mode = mode;
        self
    }

    /// The most states per second of each job, each the newest at that moment. Ends are sent at once.
    ///
    /// Servers accept 0.01 to 1000. Other values are clamped; NaN means no limit.
    pub fn max_rate(mut self, states_per_second: f64) -> Self {
        self.options.max_rate =
            (!states_per_second.is_nan()).then(|| states_per_second.clamp(0.01, 1000.0));
        self
    }

    /// Whether to stop with [`Connection::Done`](crate::Connection::Done) when every job watched has ended.
    /// Off by default: a job that has ended may be tried again.
    pub fn close_at_end(mut self, close: bool) -> Self {
        self.options.close_at_end = close;
        self
    }

    /// How long nothing may arrive before the watcher reconnects; also how long connecting may take. 15 seconds by default,
    /// which is three of the server's pings. At least 1 ms.
    pub fn silence(mut self, limit: Duration) -> Self {
        self.options.silence = limit.max(Duration::from_millis(1));
        self
    }

    /// The longest wait after the first failure in a row, and after many. It doubles in between, and each wait is drawn
    /// at random from zero to that. 1 and 30 seconds by default. A server that sets the time to reconnect overrides it.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.options.backoff = Backoff::new(first, longest);
        self
    }

    /// Watches one job, from its present state on.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn watch(&self, job: JobId) -> Watch {
        self.watch_one(job, None)
    }

    /// Watches one job from the state after `since` on, if the server still has what came then, and from
    /// its present state on otherwise.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn watch_since(&self, job: JobId, since: Position) -> Watch {
        self.watch_one(job, Some(since))
    }

    fn watch_one(&self, job: JobId, since: Option<Position>) -> Watch {
        Watch(Running::start(Endpoint::One(job), since, self.options, &self.dialer))
    }

    /// Watches many jobs over one connection, which are then named by [`Watches::subscribe`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn watch_many(&self) -> Watches {
        Watches(Running::start(Endpoint::Many, None, self.options, &self.dialer))
    }
}
