//! What legacy workers need: their updates carry no numbers, so each instance folds what it hears, in order.

mod backlog;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use milepost_protocol::{JobId, State};
use milepost_redis::{Accepted, Reply};

use backlog::Backlog;
pub(crate) use backlog::LegacyUpdate;
#[cfg(test)]
pub(super) use backlog::{MAX_UPDATES, MAX_WAIT};

use super::{FoldKey, SubscriptionKey};

/// What legacy workers wrote about a job: their publishes, and the value under its key.
///
/// Invariant: publishes are folded in the order in which they arrived, one at a time, beginning with the read after which
/// a subscription follows the job. `serial` is the script's answer to the publish before. With it, the script finds out
/// whether another instance was faster, and which publishes are too old to be folded.
#[derive(Default)]
pub(super) struct Legacy {
    /// The subscription whose publishes are followed; none from when some were missed until the next read.
    follows: Option<SubscriptionKey>,
    /// Of the publish folded last.
    serial: u64,
    backlog: Backlog,
    /// The first of the backlog was sent to be folded.
    folding: Option<FoldKey>,
    /// A publish arrived that is not folded here: another instance may fold it after the read that follows.
    has_missed: bool,
    /// What the last read found under the key, if nothing was published since.
    key: Option<String>,
    /// Whether a value was sent to be folded before the listener was attached. That happens once.
    has_adopted: bool,
    /// A digest of the update folded last, which the worker will also have written under the key.
    last: u64,
}

/// What became of an update that was sent to be folded.
pub(super) enum Folded {
    /// Nobody waits for it any more.
    Abandoned,
    /// It led to no new state.
    Nothing,
    /// It led to this state.
    State(State),
}

impl Legacy {
    /// The value under the key, unless it is the update that was folded last.
    pub(super) fn unfolded(&self, value: Option<String>) -> Option<String> {
        value.filter(|json| digest(json) != self.last)
    }

    /// Has a value folded that is all that is known of the job; false if that was tried before.
    pub(super) fn adopt(&mut self, json: &str) -> bool {
        if std::mem::replace(&mut self.has_adopted, true) {
            return false;
        }
        self.backlog.clear();
        self.backlog.push(LegacyUpdate::Set { json: json.to_owned() });
        self.folding = None;
        true
    }

    /// The job was read over that subscription, and `serial` was the latest publish then. From here on its publishes are
    /// followed; those before are part of what was read, or older.
    pub(super) fn follow(&mut self, subscription: SubscriptionKey, serial: u64) {
        if self.follows != Some(subscription) {
            self.follows = Some(subscription);
            self.serial = serial;
            self.backlog.clear();
            self.folding = None;
            self.key = None;
        }
    }

    /// What the read found under the key. True if the job has to be read again soon.
    ///
    /// A worker publishes first and writes the key then, so the key may be older than the publish. If the next read finds
    /// the same value, and nothing was published meanwhile, it is not, and is folded.
    pub(super) fn key_read(&mut self, value: Option<String>) -> bool {
        let has_value = value.is_some();
        let read_soon = std::mem::take(&mut self.has_missed) || has_value;
        if has_value && self.key == value && self.backlog.is_empty() {
            if let Some(json) = self.key.take() {
                self.backlog.push(LegacyUpdate::Set { json });
            }
        } else {
            self.key = value;
        }
        read_soon
    }

    /// A publish arrived over that subscription. False if it is not followed: a read has to tell what it led to.
    pub(super) fn published(
        &mut self,
        job: &JobId,
        json: &str,
        subscription: SubscriptionKey,
        now: Duration,
    ) -> bool {
        if self.follows != Some(subscription) {
            self.has_missed = true;
            return false;
        }
        self.key = None;
        let json = json.to_owned();
        self.backlog.push(LegacyUpdate::Published { json, at: now, after: 0 });
        if !self.backlog.coalesce(job, self.folding.is_some(), now) {
            self.lose_track();
        }
        true
    }

    /// Whether the subscription's publishes are followed.
    pub(super) fn is_following(&self) -> bool {
        self.follows.is_some()
    }

    /// Whether there is an update to be folded now.
    pub(super) fn has_next(&self) -> bool {
        self.folding.is_none() && !self.backlog.is_empty()
    }

    /// The update to be folded next, unless one is being folded. It stays in the backlog until [`folded`](Self::folded).
    pub(super) fn next(&mut self, key: FoldKey) -> Option<LegacyUpdate> {
        if self.folding.is_some() {
            return None;
        }
        let mut update = self.backlog.first()?.clone();
        if let LegacyUpdate::Published { after, .. } = &mut update {
            *after = self.serial;
        }
        self.folding = Some(key);
        Some(update)
    }

    /// What the script answered to the update that was sent under that key; none if it cannot be folded.
    pub(super) fn folded(&mut self, key: FoldKey, reply: Option<Reply>) -> Folded {
        if self.folding != Some(key) {
            return Folded::Abandoned;
        }
        self.folding = None;
        let Some(update) = self.backlog.pop() else { return Folded::Abandoned };
        if reply == Some(Reply::Stale) {
            // Another instance has folded later ones.
            self.lose_track();
            return Folded::Nothing;
        }
        self.last = digest(update.json());
        let is_from_key = matches!(update, LegacyUpdate::Set { .. });
        let (state, serial) = match reply {
            Some(Reply::Accepted(Accepted { repeated: false, state, serial, .. })) => {
                (state, serial)
            }
            // A value that was folded long ago is not news.
            Some(Reply::AlreadyFolded { state, serial }) if !is_from_key => (state, Some(serial)),
            // It came after the end, or is the end again.
            _ => return Folded::Nothing,
        };
        if is_from_key {
            // A publish that arrived meanwhile may be the same, or older.
            self.lose_track();
        } else {
            self.serial = serial.unwrap_or(self.serial);
        }
        Folded::State(state)
    }

    /// The update was not sent after all: it has to be folded once more.
    pub(super) fn not_sent(&mut self) {
        self.folding = None;
    }

    /// Publishes are not followed until the next read.
    fn lose_track(&mut self) {
        self.follows = None;
        self.has_missed = true;
        self.backlog.clear();
        self.folding = None;
    }
}

fn digest(json: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    json.hash(&mut hasher);
    hasher.finish()
}
