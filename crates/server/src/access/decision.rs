use milepost_access::Pattern;
use milepost_protocol::{JobId, State};

use super::Granted;

/// Whether a job may be watched, judged by its id alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allowed,
    Forbidden,
    /// A pattern is compared to a tag or to the parent, so the job's state decides.
    Undecided,
}

impl Decision {
    pub(crate) fn of(granted: &Granted, job: &JobId) -> Self {
        let patterns = &granted.permissions.watch;
        if patterns.iter().any(|pattern| pattern.matches(job.as_str())) {
            Self::Allowed
        } else if patterns.iter().any(Pattern::needs_state) {
            Self::Undecided
        } else {
            Self::Forbidden
        }
    }

    /// The decision with the job's state. An unknown job has no tags and no parent.
    pub(crate) fn with(self, granted: &Granted, state: Option<&State>) -> bool {
        let names = |state| granted.permissions.watch.iter().any(|p| p.matches_state(state));
        match self {
            Self::Allowed => true,
            Self::Forbidden => false,
            Self::Undecided => state.is_some_and(names),
        }
    }
}
