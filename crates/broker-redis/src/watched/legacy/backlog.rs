use std::collections::VecDeque;
use std::time::Duration;

use milepost_protocol::{JobId, Update};
use milepost_redis::Source;

/// An update of a legacy worker that is not folded yet.
#[derive(Clone, Debug)]
pub(crate) enum LegacyUpdate {
    /// Published on the job's channel.
    Published {
        json: String,
        /// When it arrived, by the clock's `elapsed`.
        at: Duration,
        /// The serial of the publish before it. Set when it is sent to be folded.
        after: u64,
    },
    /// Found under the job's key.
    Set { json: String },
}

impl LegacyUpdate {
    pub(crate) fn json(&self) -> &str {
        let (Self::Published { json, .. } | Self::Set { json }) = self;
        json
    }

    pub(crate) fn source(&self) -> Source<'_> {
        match self {
            Self::Published { after, .. } => Source::Publish(*after),
            Self::Set { json } => Source::Key(json),
        }
    }

    fn is_end_of(&self, job: &JobId) -> bool {
        Update::parse(Some(job), self.json().as_bytes())
            .is_ok_and(|update| update.status().is_end())
    }
}

/// The updates of a job's legacy workers that are not folded yet, oldest first.
///
/// Bounded: if an update has waited longer than [`MAX_WAIT`], or there are more than [`MAX_UPDATES`], only ends and the newest
/// update stay. If there are still too many, the caller drops all of them and reads the job instead.
#[derive(Default)]
pub(super) struct Backlog {
    updates: VecDeque<LegacyUpdate>,
}

/// The longest wait of an update. A longer one means that Redis or this instance cannot keep up.
pub(in super::super) const MAX_WAIT: Duration = Duration::from_millis(500);
/// The most updates of a job.
pub(in super::super) const MAX_UPDATES: usize = 64;

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    pub(super) fn first(&self) -> Option<&LegacyUpdate> {
        self.updates.front()
    }

    pub(super) fn clear(&mut self) {
        self.updates.clear();
    }

    pub(super) fn pop(&mut self) -> Option<LegacyUpdate> {
        self.updates.pop_front()
    }

    pub(super) fn push(&mut self, update: LegacyUpdate) {
        self.updates.push_back(update);
    }

    /// If the backlog is at its bound, drops updates of `job` that a later one replaces. The first one stays if it is being
    /// folded. Returns false if there are still too many.
    pub(super) fn coalesce(&mut self, job: &JobId, is_folding: bool, now: Duration) -> bool {
        let is_late = self.updates.get(usize::from(is_folding)).is_some_and(
            |next| matches!(next, LegacyUpdate::Published { at, .. } if now.saturating_sub(*at) > MAX_WAIT),
        );
        if is_late || self.updates.len() > MAX_UPDATES {
            let newest = self.updates.len() - 1;
            let mut number = 0;
            self.updates.retain(|update| {
                let stays = number == newest || number == 0 && is_folding || update.is_end_of(job);
                number += 1;
                stays
            });
        }
        self.updates.len() <= MAX_UPDATES
    }
}
