use serde::Deserialize;
use serde_json::value::RawValue;

use crate::JobId;
use crate::json::{is_text, number, text};
use crate::stages::{self, MAX_LIST};

/// The longest name, and the longest tag, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The most tags.
pub const MAX_TAGS: usize = 16;
/// The longest unit, in bytes.
pub const MAX_UNIT_BYTES: usize = 32;
/// The longest attribute, in bytes of JSON. It is part of every later state of the attempt.
pub const MAX_ATTRIBUTE_BYTES: usize = 8_192;
/// The longest time that `heartbeat`, `stall_after` or `lost_after` may name, in seconds: 30 days.
const MAX_SECONDS: f64 = 2_592_000.0;

/// Defines the attributes, in one row each: the name on the wire, and the description for this documentation and `/openapi.json`.
macro_rules! attributes {
    ($($attribute:ident = $name:literal: $description:literal)*) => {
        /// A field that describes the attempt rather than the moment: `spec/README.md`, section 2.
        ///
        /// It stays until the attempt ends or an update sets it again; `null` clears it. The same rule holds for all of them:
        /// to add one, add it here, with its type in [`accepts`](Self::accepts), and the fold carries it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Attribute {
            $(#[doc = $description] $attribute,)*
            /// How long the declared stages usually take: see [`Runs::stage_weights`](crate::Runs::stage_weights). Only the fold adds it.
            StageWeights,
        }

        impl Attribute {
            /// Every attribute that updates may set.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$attribute),*];

            /// The field's name on the wire.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$attribute => $name,)*
                    Self::StageWeights => "stage_weights",
                }
            }

            /// The attribute of that name on the wire.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$attribute),)*
                    "stage_weights" => Some(Self::StageWeights),
                    _ => None,
                }
            }

            /// What it says about the job.
            #[cfg(feature = "openapi")]
            pub(crate) const fn description(self) -> &'static str {
                match self {
                    $(Self::$attribute => $description,)*
                    Self::StageWeights => "How long each stage usually takes, in seconds, if `stages` has no weights.",
                }
            }
        }
    };
}

attributes! {
    Name = "name": "The kind of job: 1 to 64 bytes."
    Tags = "tags": "Words to find the job by: at most 16, of 1 to 64 bytes each."
    Stages = "stages": "The stages that the job goes through: ids, or objects with `id`, `label`, `weight` and `skipped`."
    ParentId = "parent_id": "The job that this one is a part of."
    Weight = "weight": "How much of its parent this job is: a number above 0."
    ChildrenExpected = "children_expected": "How many children the job is going to have."
    CompleteWhen = "complete_when": "Whether the server ends the job once all expected children have ended: `all_ended`."
    Unit = "unit": "What `current` and `total` count: 1 to 32 bytes."
    Cancellable = "cancellable": "Whether the worker answers requests to cancel: true or false."
    Heartbeat = "heartbeat": "The longest time between two reports of the worker, in seconds."
    StallAfter = "stall_after": "The job is stalled after this many seconds without progress."
    LostAfter = "lost_after": "The server ends the attempt after this many seconds without a report."
    Artifacts = "artifacts": "Links to what the job made: objects with `name`, `url`, `media_type` and `size`."
    Traceparent = "traceparent": "The W3C trace context that the job belongs to."
}

impl Attribute {
    /// Whether a value is of the attribute's type and within its bounds. Other values are a worker's own field of that name, and
    /// pass through.
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
            Self::StageWeights => json.starts_with('{'),
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
