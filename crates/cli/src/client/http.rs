use std::time::Duration;

use milepost_protocol::{JobId, Problem, ProblemType, State, Status, without_password};
use milepost_reporter::{speaks_https, tls_config};
use serde_json::Value;
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, RequestBuilder};

use super::{Appended, Pending, RequestError};

/// An answer larger than that is not read: 1,000 states of 64 KiB, and more.
const MAX_ANSWER_BYTES: u64 = 80 * 1024 * 1024;

/// A Milepost server.
pub(crate) struct Http {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token and a password, which are secrets.
        f.debug_struct("Http").field("url", &without_password(&self.url)).finish_non_exhaustive()
    }
}

impl Http {
    pub(super) fn new(
        url: &str,
        timeout: Duration,
        token: Option<&str>,
    ) -> Result<Self, RequestError> {
        let usable = url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|h| !h.is_empty())
                && uri.query().is_none()
        });
        if !usable {
            return Err(RequestError::InvalidUrl { url: without_password(url) });
        }
        let tls_config =
            tls_config(url).map_err(|reason| RequestError::NoCertificates { reason })?;
        let agent = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            // Followed, a POST becomes a GET, and nothing is reported.
            .max_redirects(0)
            .tls_config(tls_config)
            .build()
            .into();
        let authorization = token.map(|token| format!("Bearer {token}"));
        Ok(Self { agent, url: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// The job's state; none if the server does not know the job.
    pub(super) fn state(&self, job: &JobId) -> Result<Option<State>, RequestError> {
        let request = self.agent.get(format!("{}/jobs/{job}", self.url));
        let answer = self.authorized(request).call();
        match self.text(answer) {
            Ok(json) => State::parse(&json).map(Some).map_err(RequestError::InvalidState),
            Err(RequestError::Refused(problem)) if is_unknown_job(&problem) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reports an update; its position.
    pub(super) fn report(&self, job: &JobId, update: &str) -> Result<String, RequestError> {
        let request =
            self.agent.post(format!("{}/jobs/{job}", self.url)).content_type("application/json");
        let answer = self.text(self.authorized(request).send(update))?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        Ok(answer["position"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) fn request(&self, job: &JobId, request: &Value) -> Result<String, RequestError> {
        let post = self.agent.post(format!("{}/jobs/{job}/requests", self.url));
        let post = self.authorized(post).content_type("application/json");
        let answer = self.text(post.send(request.to_string()))?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        Ok(answer["position"].as_str().unwrap_or_default().to_owned())
    }

    pub(super) fn requested(
        &self,
        job: &JobId,
        after: Option<&str>,
        wait: Duration,
    ) -> Result<Option<Pending>, RequestError> {
        let get = self.agent.get(format!("{}/jobs/{job}/requests", self.url));
        let wait = wait.as_secs().to_string();
        let query = [("wait", wait.as_str())].into_iter().chain(after.map(|at| ("after", at)));
        let answer = match self.text(self.authorized(get).query_pairs(query).call()) {
            Ok(answer) => answer,
            Err(RequestError::Refused(problem)) if is_unknown_job(&problem) => return Ok(None),
            Err(error) => return Err(error),
        };
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let status = answer["status"].as_str().and_then(Status::from_name);
        let attempt = answer["attempt"].as_u64().and_then(|attempt| attempt.try_into().ok());
        Ok(status.zip(attempt).map(|(status, attempt)| Pending {
            attempt,
            has_ended: status.is_end(),
            requested: answer.get("requested").filter(|it| !it.is_null()).map(Value::to_string),
        }))
    }

    pub(super) fn append_log(&self, job: &JobId, lines: &str) -> Appended {
        let post = self.agent.post(format!("{}/jobs/{job}/log", self.url));
        let answer = self.authorized(post).content_type("application/x-ndjson").send(lines);
        // Where the rest of the answer breaks off, the lines are there all the same.
        let is_accepted = answer.as_ref().is_ok_and(|answer| is_success(answer.status()));
        match self.text(answer) {
            Err(error) if !is_accepted => Appended::not(&error),
            _ => Appended::Yes,
        }
    }

    pub(super) fn log(&self, job: &JobId, query: &[(&str, &str)]) -> Result<String, RequestError> {
        let get = self.agent.get(format!("{}/jobs/{job}/log", self.url));
        self.text(self.authorized(get).query_pairs(query.iter().copied()).call())
    }

    pub(super) fn history(&self, job: &JobId) -> Result<String, RequestError> {
        let get = self.agent.get(format!("{}/jobs/{job}/history", self.url));
        self.text(self.authorized(get).call())
    }

    /// A page of the jobs known; the answer's JSON.
    pub(super) fn jobs(&self, query: &[(&str, &str)]) -> Result<String, RequestError> {
        let request =
            self.agent.get(format!("{}/jobs", self.url)).query_pairs(query.iter().copied());
        self.text(self.authorized(request).call())
    }

    fn authorized<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("authorization", authorization),
            None => request,
        }
    }

    fn text(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<String, RequestError> {
        let url = || without_password(&self.url);
        let mut answer = answer
            .map_err(|source| RequestError::Unreachable { url: url(), source: Box::new(source) })?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = text.map_err(|source| RequestError::BrokenAnswer {
            url: url(),
            source: Box::new(source),
        })?;
        if status.is_redirection() {
            let location = answer.headers().get("location").and_then(|l| l.to_str().ok());
            return Err(RequestError::Redirected {
                url: url(),
                location: location.unwrap_or("elsewhere").to_owned(),
            });
        }
        if is_success(status) {
            return Ok(text);
        }
        Err(match serde_json::from_str::<Problem>(&text) {
            Ok(problem) => RequestError::Refused(Box::new(problem)),
            Err(_) if speaks_https(status.as_u16(), text.as_bytes()) => {
                RequestError::NeedsHttps { url: url() }
            }
            Err(_) => RequestError::NotMilepost { url: url(), status: status.as_u16() },
        })
    }
}

fn is_success(status: StatusCode) -> bool {
    matches!(status, StatusCode::OK | StatusCode::ACCEPTED)
}

fn is_unknown_job(problem: &Problem) -> bool {
    ProblemType::from_uri(&problem.uri) == Some(ProblemType::UnknownJob)
}
