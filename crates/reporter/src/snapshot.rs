use crate::counter::Count;

/// Names a slot. Counts up, so that a job that is begun again has another one.
pub(crate) type Key = u64;

/// Which of a job's states this is: two that are equal are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) version: u64,
    /// 0: none is named.
    pub(crate) attempt: u32,
    pub(crate) count: Option<Count>,
}

/// What a look at a job shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    pub(crate) mark: Mark,
    /// Changes when watchers are to see the change at once: stage, status, attempt.
    pub(crate) urgent: u64,
    pub(crate) ended: bool,
}
