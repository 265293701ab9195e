use std::collections::BTreeMap;

use milepost_hub::Subscribe;
use milepost_protocol::{JobId, Position, Problem};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use crate::request::parameter;
use crate::response::problem::{Outcome, Refused};

/// A client's text message: `spec/README.md`, sections 5 and 6.
pub(super) enum Command {
    Ping,
    Subscribe(JobId, Subscribe),
    Unsubscribe(JobId),
    /// To the job's log, from after that line.
    SubscribeLog(JobId, Option<Position>),
    UnsubscribeLog(JobId),
    /// A new token.
    Auth(String),
    /// An invalid command, with the job id as the client wrote it.
    Refused(Box<Problem>, Option<String>),
}

/// A client's request to be sent a job's states. `described.rs` compares these with `spec/asyncapi.yaml`.
#[derive(Deserialize, ToSchema)]
pub(super) struct SubscribeFields {
    #[serde(default)]
    #[schema(value_type = JobId, required = true)]
    job_id: Value,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    max_rate: Option<f64>,
    #[serde(default)]
    log: Option<bool>,
    #[serde(flatten)]
    #[schema(ignore)]
    others: Others,
}

/// A client's request to be sent no more states of a job.
#[derive(Deserialize, ToSchema)]
pub(super) struct UnsubscribeFields {
    #[serde(default)]
    #[schema(value_type = JobId, required = true)]
    job_id: Value,
    #[serde(default)]
    log: Option<bool>,
    #[serde(flatten)]
    #[schema(ignore)]
    others: Others,
}

/// A client's new token.
#[derive(Deserialize, ToSchema)]
pub(super) struct AuthFields {
    token: String,
}

/// Every other field, the message's `type` among them.
type Others = BTreeMap<String, Value>;

impl Command {
    /// Parses a message. `many` says whether the connection is for many jobs. On one for a single job there is nothing to subscribe to,
    /// and what is not a command is ignored, as the Python service did: none.
    pub(super) fn parse(text: &str, many: bool) -> Option<Self> {
        #[derive(Deserialize)]
        struct Kind {
            r#type: String,
            #[serde(default)]
            job_id: Value,
        }
        let Ok(Kind { r#type: kind, job_id }) = serde_json::from_str(text) else {
            let problem = || Self::unknown("is missing: a message is a JSON object with one");
            return many.then(|| Self::Refused(problem(), None));
        };
        let command = match kind.as_str() {
            "ping" => return Some(Self::Ping),
            "auth" => {
                // What is not a token is refused as an invalid one.
                let token = serde_json::from_str(text).map(|AuthFields { token }| token);
                return Some(Self::Auth(token.unwrap_or_default()));
            }
            "subscribe" if many => fields(&kind, text).and_then(SubscribeFields::command),
            "unsubscribe" if many => fields(&kind, text).and_then(UnsubscribeFields::command),
            _ => {
                return many.then(|| {
                    Self::Refused(Self::unknown(&format!("{kind:?} is not known")), None)
                });
            }
        };
        let named = match job_id {
            Value::Null => None,
            Value::String(job) => Some(job),
            other => Some(other.to_string()),
        };
        Some(command.unwrap_or_else(|refused| Self::Refused(refused.0, named)))
    }

    /// A message that is no command.
    pub(super) fn unknown(why: &str) -> Box<Problem> {
        let known = "known here: ping, auth, subscribe, unsubscribe";
        Refused::parameter("type", format!("{why}; {known}")).0
    }
}

fn fields<T: DeserializeOwned>(kind: &str, text: &str) -> Outcome<T> {
    serde_json::from_str(text)
        .map_err(|error| Refused::parameter(kind, format!("cannot be read: {error}")))
}

/// Refuses unknown fields: only the client would know that it misspelt one.
fn check_known(others: &Others, known: &str) -> Outcome<()> {
    match others.keys().find(|name| *name != "type") {
        Some(name) => {
            Err(Refused::parameter(name, format!("{name:?} is not known; known here: {known}")))
        }
        None => Ok(()),
    }
}

fn job(job_id: &Value) -> Outcome<JobId> {
    match job_id {
        Value::String(job) => Ok(JobId::parse(job)?),
        Value::Null => Err(Refused::parameter("job_id", "is missing")),
        _ => Err(Refused::parameter("job_id", "is not a string")),
    }
}

impl SubscribeFields {
    fn command(self) -> Outcome<Command> {
        check_known(&self.others, "job_id, since, mode, max_rate, log")?;
        if self.log == Some(true) {
            return self.log_command();
        }
        let max_rate = self.max_rate.map(|rate| parameter::max_rate(Some(rate), &rate.to_string()));
        let subscribe = Subscribe {
            since: parameter::since(self.since.as_deref()),
            mode: parameter::mode(self.mode.as_deref())?,
            max_rate: max_rate.transpose()?,
            close_at_end: false,
            ..Subscribe::default()
        };
        Ok(Command::Subscribe(job(&self.job_id)?, subscribe))
    }

    /// A subscription to a log has no pace: its lines are sent as fast as the client reads.
    fn log_command(self) -> Outcome<Command> {
        let pace = [("mode", self.mode.is_some()), ("max_rate", self.max_rate.is_some())];
        if let Some((name, _)) = pace.into_iter().find(|(_, given)| *given) {
            return Err(Refused::parameter(name, "is not known with \"log\""));
        }
        let since = self.since.map(|since| parameter::log_position("since", &since)).transpose()?;
        Ok(Command::SubscribeLog(job(&self.job_id)?, since))
    }
}

impl UnsubscribeFields {
    fn command(self) -> Outcome<Command> {
        check_known(&self.others, "job_id, log")?;
        let job = job(&self.job_id)?;
        let is_log = self.log == Some(true);
        Ok(if is_log { Command::UnsubscribeLog(job) } else { Command::Unsubscribe(job) })
    }
}
