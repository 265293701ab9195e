use serde::Deserialize;
use serde_json::value::RawValue;

use crate::JobId;
use crate::json::{is_text, number, text};
use crate::stages::{self, MAX_LIST};

/// The longest name, and the longest tag, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// At most so many tags.
pub const MAX_TAGS: usize = 16;
/// The longest unit, in bytes.
pub const MAX_UNIT_BYTES: usize = 32;
/// The longest attribute, in bytes of JSON. It is part of every later state of the attempt.
pub const MAX_ATTRIBUTE_BYTES: usize = 8_192;
/// The longest time that `heartbeat`, `stall_after` or `lost_after` may name, in seconds: 30 days.
const MAX_SECONDS: f64 = 2_592_000.0;

/// A field that describes the attempt rather than the moment: `spec/README.md`, section 2.
///
/// It stays until the attempt ends or an update sets it again; `null` clears it. The same rule holds for all of them:
/// whoever adds one adds it here, with its type, and the fold carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// The kind of job, such as `export`.
    Name,
    /// Words to find jobs by.
    Tags,
    /// The stages that the job goes through, with their weights.
    Stages,
    /// The job that this one is a part of.
    ParentId,
    /// How much of its parent this job is.
    Weight,
    /// How many children the job is going to have.
    ChildrenExpected,
    /// Whether the job ends with its children.
    CompleteWhen,
    /// What `current` and `total` count.
    Unit,
    /// Whether the worker answers requests to cancel.
    Cancellable,
    /// How often the worker reports at least, in seconds.
    Heartbeat,
    /// After so many seconds without progress the job is stalled.
    StallAfter,
    /// After so many seconds of silence the server ends the job.
    LostAfter,
    /// Links to what the job made.
    Artifacts,
    /// The W3C trace context that the job belongs to.
    Traceparent,
}

impl Attribute {
    /// Every attribute.
    pub const ALL: [Self; 14] = [
        Self::Name,
        Self::Tags,
        Self::Stages,
        Self::ParentId,
        Self::Weight,
        Self::ChildrenExpected,
        Self::CompleteWhen,
        Self::Unit,
        Self::Cancellable,
        Self::Heartbeat,
        Self::StallAfter,
        Self::LostAfter,
        Self::Artifacts,
        Self::Traceparent,
    ];

    /// The field's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Tags => "tags",
            Self::Stages => "stages",
            Self::ParentId => "parent_id",
            Self::Weight => "weight",
            Self::ChildrenExpected => "children_expected",
            Self::CompleteWhen => "complete_when",
            Self::Unit => "unit",
            Self::Cancellable => "cancellable",
            Self::Heartbeat => "heartbeat",
            Self::StallAfter => "stall_after",
            Self::LostAfter => "lost_after",
            Self::Artifacts => "artifacts",
            Self::Traceparent => "traceparent",
        }
    }

    /// The attribute of that name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "tags" => Self::Tags,
            "stages" => Self::Stages,
            "parent_id" => Self::ParentId,
            "weight" => Self::Weight,
            "children_expected" => Self::ChildrenExpected,
            "complete_when" => Self::CompleteWhen,
            "unit" => Self::Unit,
            "cancellable" => Self::Cancellable,
            "heartbeat" => Self::Heartbeat,
            "stall_after" => Self::StallAfter,
            "lost_after" => Self::LostAfter,
            "artifacts" => Self::Artifacts,
            "traceparent" => Self::Traceparent,
            _ => return None,
        })
    }

    /// Whether a value is of the attribute's type and within its bounds. A worker's own field of that name, of another type, is none
    /// of our business: it passes through.
    pub fn accepts(self, value: &RawValue) -> bool {
        let json = value.get();
        if json.len() > MAX_ATTRIBUTE_BYTES {
            return false;
        }
        match self {
            Self::Name | Self::Traceparent => is_text(json, MAX_NAME_BYTES),
            Self::Unit => is_text(json, MAX_UNIT_BYTES),
            Self::Tags => all(json, MAX_TAGS, |tag| is_text(tag, MAX_NAME_BYTES)),
            Self::ParentId => text(json).is_some_and(|id| JobId::parse(&id).is_ok()),
            Self::Weight => number(json).is_some_and(|weight| weight > 0.0),
            Self::ChildrenExpected => serde_json::from_str::<u32>(json).is_ok(),
            Self::CompleteWhen => text(json).as_deref() == Some("all_ended"),
            Self::Cancellable => matches!(json, "true" | "false"),
            Self::Heartbeat | Self::StallAfter | Self::LostAfter => {
                number(json).is_some_and(|seconds| seconds > 0.0 && seconds <= MAX_SECONDS)
            }
            Self::Stages => stages::parse(json).is_some(),
            Self::Artifacts => all(json, MAX_LIST, is_artifact),
        }
    }
}

fn all(json: &str, most: usize, is_such: impl Fn(&str) -> bool) -> bool {
    serde_json::from_str::<Vec<&RawValue>>(json)
        .is_ok_and(|list| list.len() <= most && list.iter().all(|value| is_such(value.get())))
}

fn is_artifact(json: &str) -> bool {
    #[derive(Deserialize)]
    struct Artifact {
        #[serde(rename = "name")]
        _name: String,
        #[serde(rename = "url")]
        _url: String,
        #[serde(rename = "media_type")]
        _media_type: Option<String>,
        #[serde(rename = "size")]
        _size: Option<f64>,
    }
    json.starts_with('{') && serde_json::from_str::<Artifact>(json).is_ok()
}
