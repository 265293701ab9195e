use crate::counter::Count;

/// Names a job of this process. Counts up, so that a job that is begun again has another one.
pub(crate) type Key = u64;

/// Which of a job's states this is: two that are equal are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateId {
    pub(crate) version: u64,
    /// 0: none is named.
    pub(crate) attempt: u32,
    pub(crate) count: Option<Count>,
}

/// What a check of a job shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) state: StateId,
    /// Changes when watchers are to see the change at once: stage, status, attempt.
    pub(crate) urgent: u64,
    pub(crate) ended: bool,
}
