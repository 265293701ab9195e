use serde::{Deserialize, Serialize};

/// The children of a job, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Children {
    /// How many there are going to be, or are known.
    pub expected: u32,
    /// How many wait.
    pub queued: u32,
    /// How many run.
    pub processing: u32,
    /// How many have completed.
    pub completed: u32,
    /// How many have failed.
    pub failed: u32,
    /// How many were cancelled.
    pub cancelled: u32,
    /// How many have not ended, and are silent or forgotten.
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
