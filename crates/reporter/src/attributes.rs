use milepost_protocol::MAX_UNIT_BYTES;
use serde::Serialize;

use crate::artifact::Artifacts;
use crate::stage::DeclaredStages;

/// The fields of an update that describe the attempt rather than the moment: `spec/README.md`, section 2.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// In seconds; `None` for a job without heartbeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heartbeat: Option<f64>,
    #[serde(skip_serializing_if = "is_no_unit")]
    pub(crate) unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) children_expected: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stages: Option<DeclaredStages>,
    /// Whether the worker answers requests.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) cancellable: bool,
    #[serde(skip_serializing_if = "Artifacts::is_empty")]
    pub(crate) artifacts: Artifacts,
}

#[expect(clippy::ref_option, reason = "serde's signature")]
fn is_no_unit(unit: &Option<String>) -> bool {
    unit.as_ref().is_none_or(|unit| !(1..=MAX_UNIT_BYTES).contains(&unit.len()))
}
