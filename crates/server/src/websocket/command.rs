use std::collections::BTreeMap;

use milepost_hub::Subscribe;
use milepost_protocol::{JobId, Problem};
use serde::Deserialize;

use crate::request::parameter;
use crate::response::problem::{Outcome, Refused};

/// A client's text message: `spec/README.md`, sections 5 and 6.
pub(super) enum Command {
    Ping,
    Subscribe(JobId, Subscribe),
    Unsubscribe(JobId),
    /// A new token.
    Auth(String),
    /// An invalid command, with the job id as the client wrote it.
    Refused(Box<Problem>, Option<String>),
}

#[derive(Deserialize)]
struct Fields {
    /// Every other field.
    #[serde(flatten)]
    unknown: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    job_id: Option<serde_json::Value>,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(default)]
    max_rate: Option<f64>,
}

impl Command {
    /// Parses a message; none if it is not a command, in which case it is ignored. `many` says whether the connection is
    /// for many jobs: on one for a single job there is nothing to subscribe to.
    pub(super) fn parse(text: &str, many: bool) -> Option<Self> {
        #[derive(Deserialize)]
        struct Kind {
            r#type: String,
            #[serde(default)]
            job_id: serde_json::Value,
        }
        let Kind { r#type: kind, job_id } = serde_json::from_str(text).ok()?;
        let subscribing = match kind.as_str() {
            "ping" => return Some(Self::Ping),
            "auth" => {
                #[derive(Deserialize)]
                struct Auth {
                    token: String,
                }
                // What is no token is refused as one.
                let token = serde_json::from_str(text).map(|Auth { token }| token);
                return Some(Self::Auth(token.unwrap_or_default()));
            }
            "subscribe" if many => true,
            "unsubscribe" if many => false,
            _ => return None,
        };
        let named = match job_id {
            serde_json::Value::Null => None,
            serde_json::Value::String(job) => Some(job),
            other => Some(other.to_string()),
        };
        let fields = match serde_json::from_str::<Fields>(text) {
            Ok(fields) => fields,
            Err(error) => {
                let problem = Problem::parameter(&kind, format!("cannot be read: {error}"));
                return Some(Self::Refused(Box::new(problem), named));
            }
        };
        let command = fields.check_known().and_then(|()| {
            if subscribing { fields.subscribe() } else { fields.job().map(Self::Unsubscribe) }
        });
        Some(command.unwrap_or_else(|refused| Self::Refused(refused.0, named)))
    }
}

impl Fields {
    /// A misspelt field would be missed by its client only.
    fn check_known(&self) -> Outcome<()> {
        match self.unknown.keys().find(|name| *name != "type") {
            Some(name) => {
                let detail =
                    format!("{name:?} is not known; known here: job_id, since, mode, max_rate");
                Err(Refused::parameter(name, detail))
            }
            None => Ok(()),
        }
    }

    fn job(&self) -> Outcome<JobId> {
        match &self.job_id {
            Some(serde_json::Value::String(job)) => Ok(JobId::parse(job)?),
            Some(_) => Err(Refused::parameter("job_id", "is not a string")),
            None => Err(Refused::parameter("job_id", "is missing")),
        }
    }

    fn subscribe(&self) -> Outcome<Command> {
        let max_rate = self.max_rate.map(|rate| parameter::max_rate(Some(rate), &rate.to_string()));
        let subscribe = Subscribe {
            since: parameter::since(self.since.as_deref()),
            mode: parameter::mode(self.mode.as_deref())?,
            max_rate: max_rate.transpose()?,
            close_at_end: false,
        };
        Ok(Command::Subscribe(self.job()?, subscribe))
    }
}
