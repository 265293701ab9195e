use milepost_broker::Reported;
use milepost_protocol::{JobId, Position, Requested, State};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// The update was accepted.
#[derive(Serialize, ToSchema)]
#[schema(examples(
    json!({"job_id": "job_12345", "attempt": 1, "position": "8f3a6c01d2e4b597-42"}),
    json!({"job_id": "job_12345", "attempt": 1, "position": "8f3a6c01d2e4b597-43", "repeated": true}),
))]
pub(crate) struct Accepted {
    job_id: JobId,
    /// The attempt that the update belongs to.
    #[schema(minimum = 1)]
    attempt: u32,
    /// The position of the state that the update led to.
    position: Position,
    /// The very same end was reported before: this is its answer again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    repeated: Option<bool>,
    /// What was requested of the worker in this attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Requested<'_>>, nullable = false)]
    requested: Option<Box<RawValue>>,
}

impl From<&Reported> for Accepted {
    fn from(reported: &Reported) -> Self {
        let state = &reported.state;
        Self {
            job_id: state.job().clone(),
            attempt: state.attempt(),
            position: state.position(),
            repeated: reported.repeated.then_some(true),
            requested: requested(state),
        }
    }
}

/// The request in a state, for an answer.
pub(super) fn requested(state: &State) -> Option<Box<RawValue>> {
    RawValue::from_string(state.requested()?.to_owned()).ok()
}
