use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json::{self, Fields, number, text};
use crate::layout::{Layout, Span};
use crate::pace::Pace;
use crate::{Attribute, Children, InvalidJobId, JobId, Position, Status, Usual};

/// Stands for no pace: none begins with what is not a number.
const NO_PACE: [u8; Pace::ENCODED] = [0xff; Pace::ENCODED];

/// A job as its updates so far describe it. Every watcher receives the same JSON, on every transport.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) job: JobId,
    pub(crate) status: Status,
    pub(crate) attempt: u32,
    pub(crate) ttl: Option<u32>,
    pub(crate) position: Position,
    pub(crate) json: Box<str>,
    /// Where in `json` the values stand that the next fold needs.
    pub(crate) layout: Layout,
    /// What the next estimate is computed from, beside the JSON. Boxed: a job that was reported once has none.
    pub(crate) pace: Option<Box<Pace>>,
}

/// All that watchers see of a state is its JSON.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for State {}

impl State {
    /// Parses a state that a server sent or a store kept.
    ///
    /// # Errors
    /// When it is not JSON, or a field that every state has is missing.
    pub fn parse(json: &str) -> Result<Self, InvalidState> {
        let json = json::on_one_line(json);
        let fields: Fields<'_> =
            serde_json::from_str(&json).map_err(|error| InvalidState::Json(error.to_string()))?;
        if let Some(name) = json::duplicate(&fields) {
            return Err(InvalidState::Json(format!("{name} is given twice")));
        }
        let mut layout = Layout::default();
        let mut required = Required::default();
        for (name, value) in &fields.0 {
            if !required.note(name, value) {
                layout.note(name, value, Span::of(value, &json));
            }
        }
        let Required { job, status, attempt, ttl, position } = required;
        Ok(Self {
            job: JobId::parse(&text_of("job_id", job)?).map_err(InvalidState::JobId)?,
            status: Status::from_name(&text_of("status", status)?)
                .ok_or_else(|| InvalidState::Json("status is none that is known".to_owned()))?,
            attempt: integer_of::<NonZeroU32>("attempt", attempt)?.get(),
            ttl: ttl.map(|ttl| integer_of("ttl", Some(ttl))).transpose()?,
            position: Position::parse(&text_of("position", position)?)
                .ok_or(InvalidState::Position)?,
            layout,
            json: json.into(),
            pace: None,
        })
    }

    /// The job that it is the state of.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The same state, which shares the text of its job's id with `job`. If that is another id, nothing changes.
    #[must_use]
    pub fn sharing_id(mut self, job: &JobId) -> Self {
        if self.job == *job {
            self.job = job.clone();
        }
        self
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

    /// The value of an attribute as JSON, if the attempt has it.
    pub fn attribute(&self, attribute: Attribute) -> Option<&str> {
        self.layout.attribute(attribute).get(&self.json)
    }

    /// The text, or the texts, that are the value of an attribute; none if the attempt does not have it.
    pub fn texts(&self, attribute: Attribute) -> Vec<Box<str>> {
        let Some(json) = self.attribute(attribute) else { return Vec::new() };
        match text(json) {
            Some(text) => vec![text.into()],
            None => serde_json::from_str(json).unwrap_or_default(),
        }
    }

    /// Whether there is an [`encoded_pace`](Self::encoded_pace).
    pub fn has_pace(&self) -> bool {
        self.pace.is_some() || self.layout.usual.is_some()
    }

    /// How many bytes the pace has when it is encoded; 0 if there is none.
    pub fn pace_len(&self) -> usize {
        if self.pace.is_some() { Pace::ENCODED } else { 0 }
    }

    /// How many bytes is what attempts of the job's name usually take. All states of an attempt share it.
    pub fn usual_len(&self) -> usize {
        self.layout.usual.as_ref().map_or(0, |usual| usual.encoded_len())
    }

    /// What the next estimate of the job's `eta` is computed from, as a store keeps it beside the JSON; none if there is nothing to keep.
    pub fn encoded_pace(&self) -> Option<Vec<u8>> {
        self.has_pace().then(|| {
            let pace = self.pace.as_ref().map_or(NO_PACE, |pace| pace.encode());
            pace.into_iter()
                .chain(self.layout.usual.iter().flat_map(|usual| usual.encode()))
                .collect()
        })
    }

    /// The same state with what [`encoded_pace`](Self::encoded_pace) returned for it. Bytes that are of another state are ignored: a version
    /// that knows no estimates may have written the states since.
    #[must_use]
    pub fn with_encoded_pace(mut self, bytes: &[u8]) -> Self {
        let Some((pace, usual)) = bytes.split_at_checked(Pace::ENCODED) else { return self };
        let progress = self.progress_json().and_then(number);
        let pace = Pace::decode(pace).filter(|pace| Some(pace.progress()) == progress);
        self.pace = pace.map(Box::new);
        if self.attribute(Attribute::Name).is_some() && !usual.is_empty() {
            self.layout.usual = Usual::decode(usual).map(Arc::new);
        }
        self
    }

    /// The same state with its pace, and with what attempts of its name usually take, as a broker stores them apart. None if they are not
    /// bytes that a fold has stored.
    pub fn with_pace_and_usual(
        mut self,
        pace: Option<&[u8]>,
        usual: Option<&[u8]>,
    ) -> Option<Self> {
        self.pace = match pace {
            Some(pace) => Some(Box::new(Pace::decode(pace)?)),
            None => None,
        };
        if let Some(usual) = usual {
            self.layout.usual = Some(Arc::new(Usual::decode(usual)?));
        }
        Some(self)
    }

    /// The stage as JSON.
    pub fn stage_json(&self) -> Option<&str> {
        self.layout.stage.get(&self.json)
    }

    /// The same state with what attempts of the job's name usually take: it was made of `other`.
    pub(crate) fn with_usual_of(mut self, other: &Self) -> Self {
        if let Some(usual) = &other.layout.usual {
            self.layout.usual = Some(Arc::clone(usual));
        }
        self
    }

    /// For how many milliseconds the attempt was paused, up to its latest pause that is over.
    pub(crate) fn paused_millis(&self) -> u64 {
        paused_millis(&self.layout, &self.json)
    }

    /// The fields that a person looks at.
    pub fn view(&self) -> StateView<'_> {
        // These fields were checked with these types when the state was made.
        serde_json::from_str(&self.json).unwrap_or_default()
    }
}

/// `paused_seconds` of a state in milliseconds; 0 without it.
pub(crate) fn paused_millis(layout: &Layout, json: &str) -> u64 {
    // As the fold writes it: with three decimals.
    let paused = layout.paused_seconds.get(json).and_then(|seconds| seconds.split_once('.'));
    let [whole, decimals] =
        paused.map_or(["0"; 2], |(whole, decimals)| [whole, decimals]).map(str::parse::<u64>);
    match (whole, decimals) {
        (Ok(whole), Ok(decimals)) => whole.saturating_mul(1_000).saturating_add(decimals),
        _ => 0,
    }
}

/// As its JSON, untouched.
impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue =
            serde_json::from_str(&self.json).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
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
    /// The kind of job.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub name: Option<Cow<'a, str>>,
    /// Words to find the job by.
    #[serde(borrow, default, deserialize_with = "texts_or_none")]
    pub tags: Vec<Cow<'a, str>>,
    /// How much is done, in `unit`s.
    #[serde(default, deserialize_with = "number_or_none")]
    pub current: Option<f64>,
    /// How much there is to do, in `unit`s.
    #[serde(default, deserialize_with = "number_or_none")]
    pub total: Option<f64>,
    /// What `current` and `total` count.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub unit: Option<Cow<'a, str>>,
    /// When the attempt began, by the server's clock; none while it is queued.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub started_at: Option<Cow<'a, str>>,
    /// When the worker was heard last, by the server's clock; none after the end.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub last_seen_at: Option<Cow<'a, str>>,
    /// When its status, stage, progress or `current` changed last, by the server's clock; none after the end.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub progressed_at: Option<Cow<'a, str>>,
    /// When the attempt ended, by the server's clock.
    #[serde(borrow, default, deserialize_with = "text_or_none")]
    pub ended_at: Option<Cow<'a, str>>,
    /// How many children the job has; none if it has had none in this attempt.
    #[serde(default)]
    pub children: Option<Children>,
}

// A worker may have fields of its own by these names, of another type: to people they are as good as none.

fn text_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Cow<'de, str>>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    Ok(text(value.get()))
}

fn texts_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Cow<'de, str>>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    let texts = serde_json::from_str::<Vec<Text<'de>>>(value.get()).unwrap_or_default();
    Ok(texts.into_iter().map(|Text(text)| text).collect())
}

fn number_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let value = <&RawValue>::deserialize(deserializer)?;
    Ok(number(value.get()))
}

/// The float nearest to the digits, as other languages parse it. `serde_json`'s own may be the one next to it.
fn nearest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let text = Option::<&RawValue>::deserialize(deserializer)?;
    text.map(|text| text.get().parse().map_err(D::Error::custom)).transpose()
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The fields that every state has, and `ttl`, as its JSON has them.
#[derive(Default)]
struct Required<'a> {
    job: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    attempt: Option<&'a RawValue>,
    ttl: Option<&'a RawValue>,
    position: Option<&'a RawValue>,
}

impl<'a> Required<'a> {
    /// Whether the field is one of them.
    fn note(&mut self, name: &str, value: &'a RawValue) -> bool {
        let place = match name {
            "job_id" => &mut self.job,
            "status" => &mut self.status,
            "attempt" => &mut self.attempt,
            "ttl" => &mut self.ttl,
            "position" => &mut self.position,
            _ => return false,
        };
        *place = Some(value);
        true
    }
}

fn text_of<'a>(name: &str, value: Option<&'a RawValue>) -> Result<Cow<'a, str>, InvalidState> {
    let value = value.ok_or_else(|| InvalidState::Json(format!("{name} is missing")))?;
    text(value.get()).ok_or_else(|| InvalidState::Json(format!("{name} is not a string")))
}

fn integer_of<T: FromStr>(name: &str, value: Option<&RawValue>) -> Result<T, InvalidState> {
    let value = value.ok_or_else(|| InvalidState::Json(format!("{name} is missing")))?;
    let integer = value.get().parse();
    integer.map_err(|_| InvalidState::Json(format!("{name} is not a positive integer")))
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
            Self::Position => f.write_str("not a state: its position is not valid"),
        }
    }
}

impl std::error::Error for InvalidState {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_takes_little_beside_its_json() {
        // With the counters of an `Arc`, it fits the allocator's class of 128 bytes. The next one has 160.
        assert!(size_of::<State>() <= 112, "{} bytes", size_of::<State>());
    }

    #[test]
    fn a_state_shares_its_own_job_id_and_no_other() {
        let json = r#"{"job_id":"a","status":"failed","stage":"s","attempt":2,"position":"1-7"}"#;
        let state = State::parse(json).unwrap();
        let [same, other] = ["a", "b"].map(|id| JobId::parse(id).unwrap());
        let shared = state.clone().sharing_id(&same);
        assert_eq!(shared, state);
        assert_eq!(shared.job().as_str().as_ptr(), same.as_str().as_ptr());
        assert_eq!(state.clone().sharing_id(&other), state);
    }
}
