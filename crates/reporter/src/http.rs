use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use milepost_protocol::{JobId, Problem, ProblemType, sendable, without_password};
use serde::Deserialize;
use serde_json::Value;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use crate::cause::Cause;
use crate::invalid_url::InvalidUrl;
use crate::outcome::Outcome;
use crate::requested::Requested;
use crate::tls::{connection_problem, speaks_https, tls_config};
use crate::transport::{Failure, LogOutcome, Outgoing, Transport};

/// Reports by `POST`: `spec/README.md`, section 10.
#[derive(Clone)]
pub(crate) struct Http {
    agent: Agent,
    /// Without a trailing slash.
    base: String,
    /// A key or a token, for this server only.
    token: Option<String>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the token, which is secret.
        f.debug_struct("Http").field("base", &self.base).finish_non_exhaustive()
    }
}

/// A request with updates.
#[derive(Clone, Copy)]
struct Post<'a> {
    path: &'a str,
    content_type: &'a str,
    body: &'a str,
    /// How many updates the body has, which bounds the response.
    updates: usize,
}

/// The server's response for one update: section 10's answer, or a problem.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Accepted {
        job_id: String,
        #[serde(rename = "position")]
        _position: String,
        #[serde(default)]
        requested: Option<Value>,
    },
    Problem(Problem),
}

/// A server's response, with its whole body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// In seconds. A date, the header's other form, is ignored: the backoff serves as well.
    pub(crate) retry_after: Option<Duration>,
    /// The target of a redirect.
    pub(crate) location: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// The most redirects of one request that are followed.
const MAX_REDIRECTS: usize = 5;

/// The most bytes of a body that are read, and for a batch, the most for each update.
const MAX_ANSWER: u64 = 65_536;

impl Http {
    /// # Errors
    /// If `url` is not `http(s)://host[:port][/path]`, the token cannot be sent, or the authorities of `SSL_CERT_FILE` cannot be read.
    pub(crate) fn new(url: &str, token: Option<&str>) -> Result<Self, InvalidUrl> {
        let given = || without_password(url);
        let uri: Uri = url.parse().map_err(|_| InvalidUrl::Malformed { given: given() })?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(InvalidUrl::Scheme { given: given() });
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(InvalidUrl::NoHost { given: given() });
        }
        if uri.query().is_some() || url.contains('#') {
            return Err(InvalidUrl::Query { given: given() });
        }
        let tls_config = tls_config(url).map_err(|reason| InvalidUrl::Certificates { reason })?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(tls_config)
            .max_idle_connections(1)
            .user_agent(concat!("milepost-reporter/", env!("CARGO_PKG_VERSION")))
            .build();
        let base = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.into(), base, token: token_to_send(token)? })
    }

    /// The `Authorization` for a URL, if the token is for its server: a redirect may lead to another one.
    fn authorization(&self, url: &str) -> Option<String> {
        let token = self.token.as_ref()?;
        let origin = |url: &str| {
            let uri = url.parse::<Uri>().ok()?;
            Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_ascii_lowercase()))
        };
        (origin(url)? == origin(&self.base)?).then(|| format!("Bearer {token}"))
    }

    /// A job's state; `None` if the server does not know the job.
    ///
    /// # Errors
    /// If the server does not answer, or not with a state.
    pub(crate) fn state(&self, job: &JobId, timeout: Duration) -> Result<Option<Value>, Failure> {
        let mut request = self.agent.get(format!("{}/jobs/{job}/status", self.base));
        if let Some(authorization) = self.authorization(&self.base) {
            request = request.header("authorization", authorization);
        }
        let mut response =
            request.config().timeout_global(Some(timeout)).build().call().map_err(|e| lost(&e))?;
        match response.status().as_u16() {
            200 => {
                let body = read(&mut response, 1).map_err(|e| lost(&e))?;
                serde_json::from_slice(&body).map(Some).map_err(|_| nonsense(200))
            }
            404 => Ok(None),
            status => Err(nonsense(status)),
        }
    }

    fn post(&self, post: Post<'_>, timeout: Duration) -> Result<Reply, ureq::Error> {
        let begun = Instant::now();
        let mut url = format!("{}{}", self.base, post.path);
        let mut hops = 0;
        loop {
            let left = timeout.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
            let mut request = self.agent.post(&url).content_type(post.content_type);
            if let Some(authorization) = self.authorization(&url) {
                request = request.header("authorization", authorization);
            }
            let mut response =
                request.config().timeout_global(Some(left)).build().send(post.body)?;
            let location = redirected(&url, &response).filter(|_| hops < MAX_REDIRECTS);
            let Some(location) = location else {
                let body = read(&mut response, post.updates)?;
                return Ok(Reply::new(&response, body));
            };
            url = location;
            hops += 1;
        }
    }

    /// Sends the request again on a new connection if it failed because the server has just closed a kept connection.
    fn post_fresh(&self, post: Post<'_>, timeout: Duration) -> Result<Reply, Failure> {
        let begun = Instant::now();
        self.post(post, timeout)
            .or_else(|error| {
                let left = timeout.saturating_sub(begun.elapsed());
                if was_closed(&error) && !left.is_zero() {
                    self.post(post, left)
                } else {
                    Err(error)
                }
            })
            .map_err(|error| lost(&error))
    }

    /// Appends lines to a job's log: `spec/README.md`, section 17.
    ///
    /// # Errors
    /// If it is not known whether they were appended, or the server asks to retry later.
    pub(crate) fn append_log(
        &self,
        job: &JobId,
        lines: &str,
        timeout: Duration,
    ) -> Result<LogOutcome, Failure> {
        let path = format!("/jobs/{job}/log");
        let content_type = "application/x-ndjson";
        let reply =
            self.post_fresh(Post { path: &path, content_type, body: lines, updates: 1 }, timeout)?;
        reply.log_outcome()
    }

    fn send_one(&self, update: Outgoing<'_>, timeout: Duration) -> Result<Outcome, Failure> {
        let path = format!("/jobs/{}", update.job);
        let content_type = "application/json";
        let post = Post { path: &path, content_type, body: update.json, updates: 1 };
        let reply = self.post_fresh(post, timeout)?;
        reply.outcome(update)
    }

    fn send_batch(
        &self,
        updates: &[Outgoing<'_>],
        timeout: Duration,
    ) -> Result<Vec<Outcome>, Failure> {
        let mut lines = String::with_capacity(updates.iter().map(|u| u.json.len() + 1).sum());
        for update in updates {
            lines.push_str(update.json);
            lines.push('\n');
        }
        let content_type = "application/x-ndjson";
        let post = Post { path: "/updates", content_type, body: &lines, updates: updates.len() };
        let reply = self.post_fresh(post, timeout)?;
        reply.outcomes(updates)
    }
}

impl Reply {
    fn new(response: &Response<Body>, body: Vec<u8>) -> Self {
        let header = |name| response.headers().get(name)?.to_str().ok();
        let seconds = header("retry-after").and_then(|seconds| seconds.trim().parse().ok());
        Self {
            status: response.status().as_u16(),
            retry_after: seconds.map(Duration::from_secs),
            location: header("location").map(str::to_owned),
            body,
        }
    }

    /// The outcome of the one update that was sent.
    ///
    /// # Errors
    /// If the response concerns the whole server, or is not valid.
    pub(crate) fn outcome(&self, update: Outgoing<'_>) -> Result<Outcome, Failure> {
        let answer = serde_json::from_slice::<Answer>(&self.body).ok();
        match (self.status, answer) {
            (200, Some(Answer::Accepted { job_id, requested, .. }))
                if job_id == update.job.as_str() =>
            {
                Ok(accepted(requested.as_ref()))
            }
            (401 | 403, answer) => self.credential_refused(answer),
            (_, Some(Answer::Problem(problem))) if is_about_the_job(&problem) => {
                Ok(outcome(&problem, self.retry_after))
            }
            // Usually a proxy's limit on bodies.
            (413, _) => Ok(Outcome::Reducible {
                reason: not_milepost(self.status),
                too_large: true,
                foreign: true,
            }),
            (status, _) if speaks_https(status, &self.body) => Err(needs_https()),
            (status, _) if is_about_content(status) => Ok(Outcome::Busy {
                retry_after: self.retry_after,
                reason: not_milepost(status),
                full: false,
                cause: Cause::NoAnswer,
            }),
            (_, answer) => Err(self.failure(answer)),
        }
    }

    /// The outcome of the lines of a log that were sent.
    fn log_outcome(&self) -> Result<LogOutcome, Failure> {
        let rejected =
            || LogOutcome::Rejected { reason: format!("the server answered {}", self.status) };
        match (self.status, serde_json::from_slice::<Answer>(&self.body).ok()) {
            (200, _) => Ok(LogOutcome::Accepted),
            (401 | 403, _) => {
                let reason = credential_refused(self.status, "the job's log");
                let cause = Cause::Credential;
                Err(Failure::Busy { retry_after: self.retry_after, reason, cause })
            }
            (404, Some(Answer::Problem(problem)))
                if problem.uri == ProblemType::UnknownJob.uri() =>
            {
                Ok(LogOutcome::UnknownJob)
            }
            (_, Some(Answer::Problem(problem))) if is_about_the_job(&problem) => Ok(rejected()),
            // Usually a proxy's limit on bodies.
            (413, _) => Ok(rejected()),
            (_, answer) => Err(self.failure(answer)),
        }
    }

    /// The outcome of each update of a batch, in order.
    ///
    /// # Errors
    /// If the response concerns the whole server or batch, or is not valid.
    pub(crate) fn outcomes(&self, updates: &[Outgoing<'_>]) -> Result<Vec<Outcome>, Failure> {
        match self.status {
            200 => read_outcomes(updates, &self.body, self.retry_after)
                .ok_or_else(|| nonsense(self.status)),
            401 | 403 => self
                .credential_refused(serde_json::from_slice(&self.body).ok())
                .map(|outcome| vec![outcome; updates.len()]),
            status if speaks_https(status, &self.body) => Err(needs_https()),
            status => match serde_json::from_slice(&self.body).ok() {
                Some(Answer::Problem(problem)) if is_about_the_job(&problem) => {
                    Err(Failure::BatchRejected)
                }
                _ if status == 413 || is_about_content(status) => Err(Failure::BatchRejected),
                answer => Err(self.failure(answer)),
            },
        }
    }

    /// The credential was rejected, not the job. It may be renewed, or be granted more. So updates stay
    /// pending, as during an outage: those of every job if the credential is not valid (401), or of this job
    /// if it does not suffice (403).
    fn credential_refused(&self, answer: Option<Answer>) -> Result<Outcome, Failure> {
        let retry_after = self.retry_after;
        let detail = match answer {
            Some(Answer::Problem(problem)) => detail(&problem),
            _ => "no reason is given".to_owned(),
        };
        let reason = credential_refused(self.status, &detail);
        let cause = Cause::Credential;
        if self.status == 401 {
            return Err(Failure::Busy { retry_after, reason, cause });
        }
        Ok(Outcome::Busy { retry_after, reason, full: false, cause })
    }

    /// Timeout and too many requests: 4xx that do not concern the update.
    fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 429)
    }

    fn failure(&self, answer: Option<Answer>) -> Failure {
        let status = self.status;
        if status >= 500 || self.is_passing() {
            let reason = match answer {
                Some(Answer::Problem(problem)) => format!("{status}: {}", problem.detail),
                _ => format!("the server answered {status}"),
            };
            return Failure::Busy { retry_after: self.retry_after, reason, cause: Cause::Busy };
        }
        if (300..400).contains(&status) {
            let location = self.location.as_deref().unwrap_or("an address that it does not name");
            let reason = format!(
                "the server answered {status} and redirects to {location}: report to that address"
            );
            return Failure::Lost { reason };
        }
        nonsense(status)
    }
}

impl Transport for Http {
    fn send(
        &mut self,
        updates: &[Outgoing<'_>],
        timeout: Duration,
    ) -> Result<Vec<Outcome>, Failure> {
        match updates {
            [update] => Ok(vec![self.send_one(*update, timeout)?]),
            updates => self.send_batch(updates, timeout),
        }
    }
}

/// One outcome for each update, in order; otherwise the server does not speak our protocol.
fn read_outcomes(
    updates: &[Outgoing<'_>],
    body: &[u8],
    retry_after: Option<Duration>,
) -> Option<Vec<Outcome>> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let answers: Vec<Answer> = lines.map(serde_json::from_slice).collect::<Result<_, _>>().ok()?;
    if answers.len() != updates.len() {
        return None;
    }
    let read = |(update, answer): (&Outgoing<'_>, Answer)| match answer {
        Answer::Accepted { job_id, requested, .. } => {
            (job_id == update.job.as_str()).then(|| accepted(requested.as_ref()))
        }
        Answer::Problem(problem) => Some(outcome(&problem, retry_after)),
    };
    updates.iter().zip(answers).map(read).collect()
}

fn accepted(requested: Option<&Value>) -> Outcome {
    Outcome::Accepted { requested: requested.and_then(Requested::read) }
}

/// Whether a 4xx of another program than Milepost, as a proxy, may be about what was sent: then it concerns this job alone. After any
/// other one, the server is not there, as while it is replaced.
fn is_about_content(status: u16) -> bool {
    matches!(status, 400 | 406 | 422)
}

/// Problems of this job or this update; all others concern the server, or are another program's.
fn is_about_the_job(problem: &Problem) -> bool {
    if !ProblemType::is_uri(&problem.uri) {
        return false;
    }
    let broker_full = ProblemType::from_uri(&problem.uri) == Some(ProblemType::BrokerFull);
    broker_full || ((400..500).contains(&problem.status) && !matches!(problem.status, 408 | 429))
}

fn outcome(problem: &Problem, retry_after: Option<Duration>) -> Outcome {
    let reason = detail(problem);
    let kind = ProblemType::from_uri(&problem.uri);
    match kind {
        Some(ProblemType::AttemptEnded | ProblemType::AttemptSuperseded) => {
            Outcome::AttemptOver { reason }
        }
        _ if matches!(problem.status, 401 | 403) => {
            let reason = credential_refused(problem.status, &reason);
            Outcome::Busy { retry_after, reason, full: false, cause: Cause::Credential }
        }
        _ if problem.status >= 500 || matches!(problem.status, 408 | 429) => {
            let full = kind == Some(ProblemType::BrokerFull);
            Outcome::Busy { retry_after, reason, full, cause: Cause::Busy }
        }
        _ if matches!(problem.status, 400 | 413 | 422) => {
            Outcome::Reducible { reason, too_large: problem.status == 413, foreign: false }
        }
        _ => Outcome::Rejected { reason },
    }
}

/// The problem in words, at most 300 characters.
fn detail(problem: &Problem) -> String {
    let reason = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
    reason.chars().take(300).collect()
}

fn credential_refused(status: u16, detail: &str) -> String {
    format!("the server refuses the credential ({status}): {detail}")
}

/// The target for the same request after a redirect that keeps method and body. A redirect that would turn
/// the report into a GET is not followed. `url` is the address that redirects.
fn redirected(url: &str, response: &Response<Body>) -> Option<String> {
    if !matches!(response.status().as_u16(), 307 | 308) {
        return None;
    }
    let location = response.headers().get("location")?.to_str().ok()?;
    if location.starts_with('/') {
        let (scheme, rest) = url.split_once("://")?;
        let authority = rest.split('/').next()?;
        return Some(match location.strip_prefix("//") {
            Some(other) => format!("{scheme}://{other}"),
            None => format!("{scheme}://{authority}{location}"),
        });
    }
    let uri: Uri = location.parse().ok()?;
    matches!(uri.scheme_str(), Some("http" | "https")).then(|| location.to_owned())
}

fn read(response: &mut Response<Body>, updates: usize) -> Result<Vec<u8>, ureq::Error> {
    let limit = MAX_ANSWER.saturating_mul(u64::try_from(updates).unwrap_or(u64::MAX)).min(16 << 20);
    response.body_mut().with_config().limit(limit.max(4 * MAX_ANSWER)).read_to_vec()
}

/// The token that was given, or else that of the environment.
fn token_to_send(given: Option<&str>) -> Result<Option<String>, InvalidUrl> {
    let known = |token: &str, name| {
        let sendable = sendable(token).map_err(|_| InvalidUrl::Token { name })?;
        Ok(sendable.map(str::to_owned))
    };
    if let Some(token) = given {
        return known(token, "token");
    }
    let variable = std::env::var_os("MILEPOST_TOKEN").unwrap_or_default();
    known(&variable.to_string_lossy(), "MILEPOST_TOKEN")
}

fn needs_https() -> Failure {
    Failure::Lost { reason: "the server speaks HTTPS: use an https URL".to_owned() }
}

fn nonsense(status: u16) -> Failure {
    Failure::Lost { reason: not_milepost(status) }
}

fn not_milepost(status: u16) -> String {
    format!("what answers ({status}) is not a Milepost server")
}

fn lost(error: &ureq::Error) -> Failure {
    let reason = match error {
        ureq::Error::Timeout(_) => "the server did not answer in time".to_owned(),
        other => connection_problem(other),
    };
    Failure::Lost { reason }
}

fn was_closed(error: &ureq::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let ureq::Error::Io(error) = error else { return false };
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_outcome(status: u16, body: &str) -> Result<LogOutcome, Failure> {
        let body = body.as_bytes().to_vec();
        Reply { status, retry_after: None, location: None, body }.log_outcome()
    }

    #[test]
    fn lines_that_another_program_refused_are_kept() {
        for status in [400, 404, 405, 409, 422] {
            let outcome = log_outcome(status, "<html>no</html>");
            assert!(matches!(outcome, Err(Failure::Lost { .. })), "{status}");
        }
        let problem = |kind: ProblemType| {
            let problem = Problem::new(kind, "no".to_owned());
            log_outcome(problem.status, &serde_json::to_string(&problem).unwrap())
        };
        assert!(matches!(problem(ProblemType::UnknownJob), Ok(LogOutcome::UnknownJob)));
        assert!(matches!(problem(ProblemType::InvalidUpdate), Ok(LogOutcome::Rejected { .. })));
        assert!(matches!(log_outcome(413, "<html>"), Ok(LogOutcome::Rejected { .. })));
        assert!(matches!(log_outcome(200, ""), Ok(LogOutcome::Accepted)));
    }

    #[test]
    fn a_token_is_trimmed_or_refused_without_its_value() {
        let url = "http://127.0.0.1:1";
        let authorization = |token| Http::new(url, Some(token)).map(|http| http.authorization(url));
        assert_eq!(authorization(" abc\n"), Ok(Some("Bearer abc".to_owned())));
        assert_eq!(authorization("\n"), Ok(None));
        let refused = authorization("abc\ndef").unwrap_err();
        assert_eq!(refused, InvalidUrl::Token { name: "token" });
        assert_eq!(
            refused.to_string(),
            "token has a character that no key or token has: only printable ASCII can be sent"
        );
    }

    #[test]
    fn a_server_that_does_not_answer_is_said_in_words() {
        let reason = "the server did not answer in time".to_owned();
        assert_eq!(lost(&ureq::Error::Timeout(ureq::Timeout::Global)), Failure::Lost { reason });
    }
}
