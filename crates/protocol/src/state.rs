use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json;
use crate::{InvalidJobId, JobId, Position, Status};

/// A job as its updates so far describe it. Every watcher receives the same JSON, on every transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(crate) job: JobId,
    pub(crate) status: Status,
    pub(crate) attempt: u32,
    pub(crate) ttl: Option<u32>,
    pub(crate) position: Position,
    pub(crate) json: Box<str>,
}

impl State {
    /// Parses a state that a server sent or a store kept.
    ///
    /// # Errors
    /// When it is not JSON, or a field that every state has is missing.
    pub fn parse(json: &str) -> Result<Self, InvalidState> {
        let head: Head<'_> =
            serde_json::from_str(json).map_err(|error| InvalidState::Json(error.to_string()))?;
        Ok(Self {
            job: JobId::parse(&head.job_id).map_err(InvalidState::JobId)?,
            status: head.status,
            attempt: head.attempt.get(),
            ttl: head.ttl,
            position: Position::parse(&head.position).ok_or(InvalidState::Position)?,
            json: json::on_one_line(json).into(),
        })
    }

    /// The job that it is the state of.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The job's status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The state's position in the job's life.
    pub fn position(&self) -> Position {
        self.position
    }

    /// For how many seconds to keep the job, if its worker said so.
    pub fn ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// The state as every watcher receives it: one line of JSON.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The fields that a person looks at.
    pub fn view(&self) -> StateView<'_> {
        // These fields were checked with these types when the state was made.
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// The fields of a [`State`] that a person looks at.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct StateView<'a> {
    /// What the job is doing.
    #[serde(borrow, default)]
    pub stage: Cow<'a, str>,
    /// 0…1, or none if the total is unknown.
    #[serde(default, deserialize_with = "nearest")]
    pub progress: Option<f64>,
    /// For people.
    #[serde(borrow, default)]
    pub message: Option<Cow<'a, str>>,
    /// Why the job failed.
    #[serde(borrow, default)]
    pub error: Option<Cow<'a, str>>,
    /// The worker's clock when it reported; see [`Timestamp::parse`](crate::Timestamp::parse).
    #[serde(borrow, default)]
    pub timestamp: Option<Cow<'a, str>>,
    /// What the job made, as JSON.
    #[serde(borrow, default)]
    pub result: Option<&'a RawValue>,
    /// The worker's own, as JSON.
    #[serde(borrow, default)]
    pub metadata: Option<&'a RawValue>,
}

/// The float nearest to the digits, as other languages parse it. `serde_json`'s own may be the one next to it.
fn nearest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let text = Option::<&RawValue>::deserialize(deserializer)?;
    text.map(|text| text.get().parse().map_err(D::Error::custom)).transpose()
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    job_id: Cow<'a, str>,
    status: Status,
    attempt: NonZeroU32,
    #[serde(default)]
    ttl: Option<u32>,
    #[serde(borrow)]
    position: Cow<'a, str>,
}

/// Why a text is not a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidState {
    /// It is not JSON, or a field is missing or of another type.
    Json(String),
    /// Its `job_id` is not a job id.
    JobId(InvalidJobId),
    /// Its `position` is not a position.
    Position,
}

impl fmt::Display for InvalidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(detail) => write!(f, "not a state: {detail}"),
            Self::JobId(invalid) => write!(f, "not a state: job_id: {invalid}"),
            Self::Position => f.write_str("not a state: its position is none"),
        }
    }
}

impl std::error::Error for InvalidState {}
