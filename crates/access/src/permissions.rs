use milepost_protocol::View;
use serde::{Deserialize, Serialize};

use crate::Pattern;

/// What a credential allows: the claim `milepost` of a token, or the fields of a key.
///
/// Unknown fields are rejected, because their restrictions would be ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// The jobs that may be watched and listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Pattern>,
    /// The jobs that may be reported. Only by id, because a report itself sets the tags of its job.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub report: Vec<Pattern>,
    /// The jobs that may be deleted, and whose workers may be sent requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub control: Vec<Pattern>,
    /// Which fields of a job are shown.
    #[serde(skip_serializing_if = "is_full")]
    pub view: View,
    /// Whether metrics, counts and details of the server's health may be read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub operate: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_full(view: &View) -> bool {
    *view == View::Full
}

/// The most patterns in a list. Each request is compared to all of them.
pub(crate) const MAX_PATTERNS: usize = 100;

impl Permissions {
    /// Permission for everything.
    pub fn all() -> Self {
        let all = || vec![Pattern::all()];
        Self { watch: all(), report: all(), control: all(), view: View::Full, operate: true }
    }

    /// Whether the job may be reported.
    pub fn may_report(&self, job: &str) -> bool {
        self.report.iter().any(|pattern| pattern.matches(job))
    }

    /// Checks that no list is too long, and that something is allowed. The error says what is wrong.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let lists = [&self.watch, &self.report, &self.control];
        if lists.iter().any(|list| list.len() > MAX_PATTERNS) {
            return Err("a list has more than 100 patterns");
        }
        if self.report.iter().any(Pattern::needs_state) {
            return Err("report: a job may be reported by its id, not by its tags or parent");
        }
        if lists.iter().all(|list| list.is_empty()) && !self.operate {
            return Err("it allows nothing");
        }
        Ok(())
    }
}
