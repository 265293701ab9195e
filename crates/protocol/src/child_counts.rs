use serde::{Deserialize, Serialize};

/// The children of a job, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Children {
    /// How many there are going to be, or are known.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub expected: u32,
    /// How many wait.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub queued: u32,
    /// How many run.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub processing: u32,
    /// How many have completed.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub completed: u32,
    /// How many have failed.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub failed: u32,
    /// How many were cancelled.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub cancelled: u32,
    /// How many have not ended, and are silent or forgotten.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub lost: u32,
    /// Whether there are more children, which are not counted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// How far they are, 0…1, if the job follows them: then this is its progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false, minimum = 0, maximum = 1))]
    pub progress: Option<f64>,
}

impl Children {
    /// How many have ended.
    pub fn ended(&self) -> u32 {
        self.completed + self.failed + self.cancelled
    }
}
