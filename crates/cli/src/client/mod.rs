//! One-off requests: to a server, or straight to the Redis that servers share, as far as that has the answer.

mod appended;
mod http;
mod page;
mod redis;

use std::fmt;
use std::time::Duration;

use milepost_protocol::{
    InvalidCredential, InvalidState, JobId, Problem, ProblemType, Refusal, State, Update, sendable,
};
use milepost_redis::{Address, Failure, InvalidAddress};
use milepost_reporter::connection_problem;
use serde_json::Value;

use crate::exit::ExitCode;
pub(crate) use appended::Appended;
use http::Http;
pub(crate) use page::{JobsPage, listed};
use redis::Redis;

pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8084";

/// How long a request may take, all in all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server's URL. `run`, `report` and `status` also accept the URL of a Redis: redis://…
    #[arg(long = "server", value_name = "URL", env = "MILEPOST_URL", default_value = DEFAULT_URL)]
    url: String,
}

impl ServerArgs {
    /// Without a slash at the end. An empty one counts as absent.
    pub(crate) fn url(&self) -> &str {
        let url = self.url.trim().trim_end_matches('/');
        if url.is_empty() { DEFAULT_URL } else { url }
    }

    /// The URL of a server that is watched.
    pub(crate) fn http_url(&self) -> Result<&str, RequestError> {
        let url = self.url();
        if Address::is_meant(url) { Err(needs_server(url)) } else { Ok(url) }
    }
}

/// The key or token that servers are sent: `MILEPOST_TOKEN`.
pub(crate) fn token() -> Result<Option<String>, RequestError> {
    let variable = std::env::var_os("MILEPOST_TOKEN").unwrap_or_default();
    let token = sendable(&variable.to_string_lossy())?.map(str::to_owned);
    Ok(token)
}

/// A request that came to nothing.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// Not an `http(s)://` URL.
    InvalidUrl {
        url: String,
    },
    /// `MILEPOST_TOKEN` cannot be sent.
    InvalidToken(InvalidCredential),
    /// The authorities to check a server's certificate by cannot be read.
    NoCertificates {
        reason: String,
    },
    /// The server, or a proxy before it, answers requests over TLS only.
    NeedsHttps {
        url: String,
    },
    Unreachable {
        url: String,
        source: Box<ureq::Error>,
    },
    /// The server's answer broke off.
    BrokenAnswer {
        url: String,
        source: Box<ureq::Error>,
    },
    Refused(Box<Problem>),
    /// The attempt is over.
    AttemptOver(Refusal),
    /// A `redis://` URL that is wrong.
    InvalidRedisUrl(InvalidAddress),
    /// Redis did not do it.
    Redis {
        address: Box<Address>,
        failure: Failure,
    },
    /// Redis was asked for what only a Milepost server has.
    NeedsServer(Box<Address>),
    /// Something else than a Milepost server answers there.
    NotMilepost {
        url: String,
        status: u16,
    },
    InvalidState(InvalidState),
    UnreadableList,
    UnreadableLog,
    /// The server is at another address.
    Redirected {
        url: String,
        location: String,
    },
}

impl RequestError {
    /// Whether the same update might be taken if it were smaller.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Self::Refused(problem)
            if ProblemType::from_uri(&problem.uri) == Some(ProblemType::UpdateTooLarge))
    }

    /// Whether the server does not know the job.
    pub(crate) fn is_unknown_job(&self) -> bool {
        matches!(self, Self::Refused(problem)
            if ProblemType::from_uri(&problem.uri) == Some(ProblemType::UnknownJob))
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        self.exit_code() == ExitCode::Unreachable
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::InvalidUrl { .. }
            | Self::InvalidToken(_)
            | Self::NoCertificates { .. }
            | Self::InvalidRedisUrl(_)
            | Self::NeedsServer(_) => ExitCode::Usage,
            Self::Unreachable { .. }
            | Self::BrokenAnswer { .. }
            // Nothing is wrong with the request: later, it may be accepted.
            | Self::Redis {
                failure: Failure::Unavailable(_) | Failure::Full(_) | Failure::Unreadable(_),
                ..
            } => ExitCode::Unreachable,
            Self::Refused(problem) if may_pass(problem.status) => ExitCode::Unreachable,
            Self::NotMilepost { status, .. } if may_pass(*status) => ExitCode::Unreachable,
            Self::Refused(problem) if matches!(problem.status, 401 | 403) => ExitCode::Forbidden,
            Self::Refused(_)
            | Self::AttemptOver(_)
            | Self::Redis { .. }
            | Self::NotMilepost { .. }
            | Self::Redirected { .. }
            | Self::NeedsHttps { .. }
            | Self::UnreadableList
            | Self::UnreadableLog
            | Self::InvalidState(_) => ExitCode::Failure,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUrl { url } => {
                write!(f, "the server's URL {url:?} is not one of http(s)://host[:port][/path]")
            }
            Self::InvalidToken(error) => write!(f, "MILEPOST_TOKEN has {error}"),
            Self::NoCertificates { reason } => f.write_str(reason),
            Self::NeedsHttps { url } => {
                write!(f, "the server at {url} speaks HTTPS: use an https URL")
            }
            Self::Unreachable { url, source } if matches!(**source, ureq::Error::Timeout(_)) => {
                write!(f, "the server at {url} did not answer in time")
            }
            Self::Unreachable { url, source } => {
                write!(f, "the server at {url} cannot be reached: {}", connection_problem(source))
            }
            Self::BrokenAnswer { url, source } if matches!(**source, ureq::Error::Timeout(_)) => {
                write!(f, "the answer of {url} did not arrive in time")
            }
            Self::BrokenAnswer { url, source } => {
                write!(f, "the answer of {url} broke off: {source}")
            }
            Self::Refused(problem) if problem.detail.is_empty() => f.write_str(&problem.title),
            // The details of a server's own trouble say what to do, not what has happened.
            Self::Refused(problem) if may_pass(problem.status) => {
                write!(f, "{}: {}", problem.title, problem.detail)
            }
            Self::Refused(problem) => f.write_str(&problem.detail),
            Self::AttemptOver(refusal) => refusal.fmt(f),
            Self::InvalidRedisUrl(error) => error.fmt(f),
            Self::Redis { address, failure } => write!(f, "{address}: {failure}"),
            Self::NeedsServer(address) => {
                write!(
                    f,
                    "{address} is Redis, and only a Milepost server knows this: name one with --server \
                     http(s)://host[:port]"
                )
            }
            Self::NotMilepost { url, status } if may_pass(*status) => {
                write!(f, "{url} answered with HTTP status {status}")
            }
            Self::NotMilepost { url, status } => {
                write!(f, "{url} answered with HTTP status {status}: it is not a Milepost server")
            }
            Self::Redirected { url, location } => {
                write!(f, "{url} redirects to {location}: use that server's URL")
            }
            Self::UnreadableLog => f.write_str("the job's log cannot be read"),
            Self::UnreadableList => f.write_str("the server's list of jobs cannot be read"),
            Self::InvalidState(error) => write!(f, "the server's state cannot be read: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<InvalidCredential> for RequestError {
    fn from(error: InvalidCredential) -> Self {
        Self::InvalidToken(error)
    }
}

/// Whether a response of this status may be another one later: the server, or a proxy before it, is in trouble or busy.
fn may_pass(status: u16) -> bool {
    status >= 500 || matches!(status, 408 | 429)
}

/// What a worker is to know of its job.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) attempt: u32,
    pub(crate) has_ended: bool,
    /// The request, as JSON.
    pub(crate) requested: Option<String>,
}

impl Pending {
    fn of(state: &State) -> Self {
        Self {
            attempt: state.attempt(),
            has_ended: state.status().is_end(),
            requested: state.requested().map(str::to_owned),
        }
    }
}

/// The server or Redis that is queried.
#[derive(Debug)]
pub(crate) enum Client {
    Http(Http),
    Redis(Redis),
}

impl Client {
    pub(crate) fn new(url: &str) -> Result<Self, RequestError> {
        Self::with_timeout(url, TIMEOUT)
    }

    /// With another credential than the environment's; for a server, not for Redis.
    pub(crate) fn with_token(url: &str, token: Option<&str>) -> Result<Self, RequestError> {
        Http::new(url, TIMEOUT, token).map(Self::Http)
    }

    pub(crate) fn with_timeout(url: &str, timeout: Duration) -> Result<Self, RequestError> {
        if Address::is_meant(url) {
            Redis::new(url, timeout).map(Self::Redis)
        } else {
            Http::new(url, timeout, token()?.as_deref()).map(Self::Http)
        }
    }

    /// The job's state; none if it is not known.
    pub(crate) fn state(&self, job: &JobId) -> Result<Option<State>, RequestError> {
        match self {
            Self::Http(http) => http.state(job),
            Self::Redis(redis) => redis.state(job),
        }
    }

    /// Reports an update; its position.
    pub(crate) fn report(&self, update: &Update, json: &str) -> Result<String, RequestError> {
        match self {
            Self::Http(http) => http.report(update.job(), json),
            Self::Redis(redis) => redis.report(update),
        }
    }

    /// Requests something of the job's worker: `spec/README.md`, section 16. Returns the position of the state that has
    /// the request.
    pub(crate) fn request(&self, job: &JobId, request: &Value) -> Result<String, RequestError> {
        match self {
            Self::Http(http) => http.request(job, request),
            Self::Redis(redis) => Err(RequestError::NeedsServer(Box::new(redis.address().clone()))),
        }
    }

    /// Whether it takes lines of logs. Only a server does.
    pub(crate) fn takes_logs(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Appends lines, as JSON, to the job's log: `spec/README.md`, section 17.
    pub(crate) fn append_log(&self, job: &JobId, lines: &str) -> Appended {
        match self {
            Self::Http(http) => http.append_log(job, lines),
            Self::Redis(redis) => {
                let error = RequestError::NeedsServer(Box::new(redis.address().clone()));
                Appended::Never(error.to_string())
            }
        }
    }

    /// A part of the job's log; the answer's JSON.
    pub(crate) fn log(&self, job: &JobId, query: &[(&str, &str)]) -> Result<String, RequestError> {
        match self {
            Self::Http(http) => http.log(job, query),
            Self::Redis(redis) => Err(RequestError::NeedsServer(Box::new(redis.address().clone()))),
        }
    }

    /// What is kept of the job's attempt; the answer's JSON.
    pub(crate) fn history(&self, job: &JobId) -> Result<String, RequestError> {
        match self {
            Self::Http(http) => http.history(job),
            Self::Redis(redis) => Err(RequestError::NeedsServer(Box::new(redis.address().clone()))),
        }
    }

    /// Whether an answer is held until there is something new.
    pub(crate) fn holds_answers(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// What is requested of the job's worker, once it is another request than at `after`, or after `wait`. None if the job
    /// is not known.
    pub(crate) fn requested(
        &self,
        job: &JobId,
        after: Option<&str>,
        wait: Duration,
    ) -> Result<Option<Pending>, RequestError> {
        match self {
            Self::Http(http) => http.requested(job, after, wait),
            Self::Redis(redis) => Ok(redis.state(job)?.as_ref().map(Pending::of)),
        }
    }

    /// A page of the jobs known; the answer's JSON.
    pub(crate) fn jobs(&self, query: &[(&str, &str)]) -> Result<String, RequestError> {
        match self {
            Self::Http(http) => http.jobs(query),
            Self::Redis(redis) => Err(RequestError::NeedsServer(Box::new(redis.address().clone()))),
        }
    }
}

fn needs_server(url: &str) -> RequestError {
    match Address::parse(url) {
        Ok(address) => RequestError::NeedsServer(Box::new(address)),
        Err(error) => RequestError::InvalidRedisUrl(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_in_trouble_has_not_rejected_anything() {
        let of = |kind, detail: &str| {
            let error = RequestError::Refused(Box::new(Problem::new(kind, detail)));
            (error.exit_code(), error.to_string())
        };
        assert_eq!(
            of(ProblemType::BrokerUnavailable, "try again"),
            (ExitCode::Unreachable, "The broker does not answer: try again".to_owned())
        );
        assert_eq!(of(ProblemType::TooManyRequests, "").0, ExitCode::Unreachable);
        let invalid = of(ProblemType::InvalidUpdate, "progress: not a number");
        assert_eq!(invalid, (ExitCode::Failure, "progress: not a number".to_owned()));
        assert_eq!(of(ProblemType::Unauthenticated, "").0, ExitCode::Forbidden);
        assert_eq!(of(ProblemType::Forbidden, "").0, ExitCode::Forbidden);
        let proxy = |status| RequestError::NotMilepost { url: "http://p".to_owned(), status };
        assert_eq!(proxy(502).exit_code(), ExitCode::Unreachable);
        assert_eq!(proxy(502).to_string(), "http://p answered with HTTP status 502");
        assert_eq!(proxy(418).exit_code(), ExitCode::Failure);
        let redis = |failure| {
            let address = Box::new(Address::parse("redis://r").unwrap());
            RequestError::Redis { address, failure }.exit_code()
        };
        assert_eq!(redis(Failure::Full("OOM".to_owned())), ExitCode::Unreachable);
        assert_eq!(redis(Failure::Refused("NOPERM".to_owned())), ExitCode::Failure);
        let timeout = Box::new(ureq::Error::Timeout(ureq::Timeout::Global));
        let frozen = RequestError::Unreachable { url: "http://s".to_owned(), source: timeout };
        assert_eq!(frozen.to_string(), "the server at http://s did not answer in time");
    }
}
