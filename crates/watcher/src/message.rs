use std::borrow::Cow;
use std::time::Duration;

use milepost_protocol::{JobId, Position, State};
use serde::{Deserialize, Serialize};

use crate::options::{Mode, Options};

/// A text frame from a server: `spec/README.md`, sections 5 and 6.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    State(State),
    /// `known` is set if the socket is for one job.
    Connected {
        known: Option<bool>,
    },
    Subscribed {
        job: JobId,
        known: bool,
    },
    /// A subscription that was refused.
    Rejected {
        job: JobId,
        problem: String,
        message: String,
    },
    /// A fault on the server's side, or why it is about to close.
    Error {
        message: String,
    },
    /// The token expires so soon.
    TokenExpiring {
        left: Duration,
    },
    /// Pings, replies that need no reaction, and messages of later versions.
    Other,
}

impl Message {
    pub(crate) fn parse(text: &str) -> Self {
        // A state goes first: its worker may have put a `type` of its own into it.
        if let Ok(state) = State::parse(text) {
            return Self::State(state);
        }
        let Ok(head) = serde_json::from_str::<Head<'_>>(text) else { return Self::Other };
        let job = head.job_id.as_deref().and_then(|job| JobId::parse(job).ok());
        match (head.kind.as_ref(), job) {
            ("connected", _) => Self::Connected { known: head.known },
            ("subscribed", Some(job)) => {
                Self::Subscribed { job, known: head.known.unwrap_or(true) }
            }
            ("token_expiring", _) => {
                let left = Duration::try_from_secs_f64(head.left.unwrap_or_default());
                Self::TokenExpiring { left: left.unwrap_or_default() }
            }
            ("error", job) => match (job, head.problem) {
                (Some(job), Some(problem)) => {
                    let message = head.message.unwrap_or_default().into_owned();
                    Self::Rejected { job, problem: problem.into_owned(), message }
                }
                _ => Self::Error { message: head.message.unwrap_or_default().into_owned() },
            },
            _ => Self::Other,
        }
    }
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    job_id: Option<Cow<'a, str>>,
    #[serde(default)]
    known: Option<bool>,
    #[serde(borrow, default)]
    problem: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
    /// In seconds.
    #[serde(rename = "in", default)]
    left: Option<f64>,
}

/// The `retry_ms` of a close reason, and the reason in it: section 7.
#[derive(Deserialize)]
pub(crate) struct RetryHint<'a> {
    #[serde(borrow, default)]
    pub(crate) reason: Cow<'a, str>,
    pub(crate) retry_ms: u64,
}

impl<'a> RetryHint<'a> {
    pub(crate) fn parse(reason: &'a str) -> Option<Self> {
        serde_json::from_str(reason).ok()
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Command<'a> {
    Subscribe {
        job_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        since: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        mode: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_rate: Option<f64>,
    },
    Unsubscribe {
        job_id: &'a str,
    },
    Auth {
        token: &'a str,
    },
}

fn json(command: &Command<'_>) -> String {
    // Only I/O, or a map whose keys are not strings, can fail. There is neither here.
    serde_json::to_string(command).unwrap_or_default()
}

pub(crate) fn subscribe(job: &JobId, since: Option<Position>, options: &Options) -> String {
    json(&Command::Subscribe {
        job_id: job.as_str(),
        since: since.map(|position| position.to_string()),
        mode: (options.mode == Mode::Latest).then_some("latest"),
        max_rate: options.max_rate,
    })
}

pub(crate) fn unsubscribe(job: &JobId) -> String {
    json(&Command::Unsubscribe { job_id: job.as_str() })
}

pub(crate) fn auth(token: &str) -> String {
    json(&Command::Auth { token })
}

/// The path and query under which one job is watched.
pub(crate) fn one_job_path(job: &JobId, since: Option<Position>, options: &Options) -> String {
    // Neither a job id nor a position has a character that a path or a query would have to escape.
    let mut path = format!("/ws/jobs/{job}");
    let mut query = |name: &str, value: &str| {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(name);
        path.push('=');
        path.push_str(value);
    };
    if let Some(position) = since {
        query("since", &position.to_string());
    }
    if options.mode == Mode::Latest {
        query("mode", "latest");
    }
    if let Some(rate) = options.max_rate {
        query("max_rate", &rate.to_string());
    }
    if options.close_at_end {
        query("close", "end");
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobId {
        JobId::parse("user:42@x").unwrap()
    }

    #[test]
    fn a_state_is_one_even_if_its_worker_named_a_type() {
        let text =
            r#"{"job_id":"a","status":"processing","type":"ping","attempt":1,"position":"a-1"}"#;
        assert!(matches!(Message::parse(text), Message::State(state) if state.json() == text));
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        for text in ["", "null", "[]", "{}", "{\"type\":7}", r#"{"type":"later"}"#, "\u{1}"] {
            assert_eq!(Message::parse(text), Message::Other, "{text:?}");
        }
        // A message without a position is not a state.
        let text = r#"{"job_id":"a","status":"processing","attempt":1}"#;
        assert_eq!(Message::parse(text), Message::Other);
    }

    #[test]
    fn an_error_is_a_job_s_if_it_names_one_and_a_problem() {
        let refused =
            r#"{"type":"error","problem":"too-many-subscriptions","message":"m","job_id":"a"}"#;
        assert!(
            matches!(Message::parse(refused), Message::Rejected { problem, .. } if problem == "too-many-subscriptions")
        );
        let fault = Message::Error { message: "m".into() };
        assert_eq!(Message::parse(r#"{"type":"error","message":"m"}"#), fault);
    }

    #[test]
    fn commands_say_only_what_differs_from_the_defaults() {
        let plain = Options::default();
        let since = Position::parse("a-7");
        assert_eq!(one_job_path(&job(), None, &plain), "/ws/jobs/user:42@x");
        assert_eq!(subscribe(&job(), None, &plain), r#"{"type":"subscribe","job_id":"user:42@x"}"#);
        assert_eq!(unsubscribe(&job()), r#"{"type":"unsubscribe","job_id":"user:42@x"}"#);

        let all = Options { mode: Mode::Latest, max_rate: Some(2.5), close_at_end: true, ..plain };
        assert_eq!(
            one_job_path(&job(), since, &all),
            "/ws/jobs/user:42@x?since=a-7&mode=latest&max_rate=2.5&close=end"
        );
        assert_eq!(
            subscribe(&job(), since, &all),
            r#"{"type":"subscribe","job_id":"user:42@x","since":"a-7","mode":"latest","max_rate":2.5}"#
        );
    }
}
