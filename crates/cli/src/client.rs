//! One-off requests to a server.

use std::fmt;
use std::time::Duration;

use milepost_protocol::{InvalidState, JobId, Problem, State};
use ureq::Agent;
use ureq::http::{Response, StatusCode, Uri};

use crate::exit::ExitCode;

const DEFAULT_URL: &str = "http://127.0.0.1:8084";

/// How long a request may take, all in all.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An answer larger than that is not read: 1,000 states of 64 KiB, and more.
const MAX_ANSWER_BYTES: u64 = 80 * 1024 * 1024;

/// Which server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerArgs {
    /// The server's URL
    #[arg(long = "server", value_name = "URL", env = "MILEPOST_URL", default_value = DEFAULT_URL)]
    url: String,
}

impl ServerArgs {
    /// Without a slash at the end. An empty one is none.
    pub(crate) fn url(&self) -> &str {
        let url = self.url.trim().trim_end_matches('/');
        if url.is_empty() { DEFAULT_URL } else { url }
    }
}

/// A request that came to nothing.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// Not an `http(s)://` URL.
    InvalidUrl {
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
    /// Something else than a Milepost server answers there.
    NotMilepost {
        url: String,
        status: u16,
    },
    InvalidState(InvalidState),
}

impl RequestError {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::InvalidUrl { .. } => ExitCode::Usage,
            Self::Unreachable { .. } | Self::BrokenAnswer { .. } => ExitCode::Unreachable,
            Self::Refused(_) | Self::NotMilepost { .. } | Self::InvalidState(_) => {
                ExitCode::Failure
            }
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUrl { url } => {
                write!(f, "the server's URL {url:?} is not one of http(s)://host[:port][/path]")
            }
            Self::Unreachable { url, source } => {
                write!(f, "the server at {url} cannot be reached: {source}")
            }
            Self::BrokenAnswer { url, source } => {
                write!(f, "the answer of {url} broke off: {source}")
            }
            Self::Refused(problem) if problem.detail.is_empty() => f.write_str(&problem.title),
            Self::Refused(problem) => f.write_str(&problem.detail),
            Self::NotMilepost { url, status } => {
                write!(f, "{url} answers with HTTP status {status}, which is not Milepost")
            }
            Self::InvalidState(error) => write!(f, "the server's state cannot be read: {error}"),
        }
    }
}

impl std::error::Error for RequestError {}

/// One server.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    pub(crate) fn new(url: &str) -> Result<Self, RequestError> {
        Self::with_timeout(url, TIMEOUT)
    }

    pub(crate) fn with_timeout(url: &str, timeout: Duration) -> Result<Self, RequestError> {
        let usable = url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|h| !h.is_empty())
                && uri.query().is_none()
        });
        if !usable {
            return Err(RequestError::InvalidUrl { url: url.to_owned() });
        }
        let agent = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .build()
            .into();
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned() })
    }

    /// The job's state; none if the server does not know the job.
    pub(crate) fn state(&self, job: &JobId) -> Result<Option<State>, RequestError> {
        let answer = self.agent.get(format!("{}/jobs/{job}", self.url)).call();
        match self.text(answer) {
            Ok(json) => State::parse(&json).map(Some).map_err(RequestError::InvalidState),
            Err(RequestError::Refused(problem))
                if problem.uri == "urn:milepost:problem:unknown-job" =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reports an update; the answer's JSON.
    pub(crate) fn report(&self, job: &JobId, update: &str) -> Result<String, RequestError> {
        let request =
            self.agent.post(format!("{}/jobs/{job}", self.url)).content_type("application/json");
        self.text(request.send(update))
    }

    /// A page of the jobs known; the answer's JSON.
    pub(crate) fn jobs(&self, query: &[(&str, &str)]) -> Result<String, RequestError> {
        let request =
            self.agent.get(format!("{}/jobs", self.url)).query_pairs(query.iter().copied());
        self.text(request.call())
    }

    fn text(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, RequestError> {
        let url = || self.url.clone();
        let mut answer = answer
            .map_err(|source| RequestError::Unreachable { url: url(), source: Box::new(source) })?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = text.map_err(|source| RequestError::BrokenAnswer {
            url: url(),
            source: Box::new(source),
        })?;
        if status == StatusCode::OK {
            return Ok(text);
        }
        Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => RequestError::Refused(Box::new(problem)),
            Err(_) => RequestError::NotMilepost { url: url(), status: status.as_u16() },
        })
    }
}
