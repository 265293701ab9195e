//! Support for legacy workers. Their updates carry no numbers, so each instance has them folded in the order of arrival.

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

/// The updates of a job's legacy workers: their publishes, and the legacy key.
///
/// Invariant: publishes are folded one at a time in the order of arrival, from the read on after which a subscription follows
/// the job. Each is sent with the `serial` that the script returned for the publish before it. With that, the script finds out
/// whether another instance was faster, and which publishes are stale.
#[derive(Default)]
pub(super) struct Legacy {
    /// The subscription whose publishes are followed; none after publishes were missed, until the next read.
    follows: Option<SubscriptionKey>,
    /// The serial of the publish folded last.
    serial: u64,
    backlog: Backlog,
    /// The key of the first update in the backlog, if it was sent to be folded.
    folding: Option<FoldKey>,
    /// Whether a publish arrived that is not folded here. Another instance may fold it, even after the next read.
    has_missed: bool,
    /// The legacy key as the latest read returned it, if nothing was published since.
    key: Option<String>,
    /// Whether a legacy key was sent to be folded before the listener was attached. This happens once.
    has_adopted: bool,
    /// The digest of the update folded last. Its worker sets the legacy key to the same value.
    last: u64,
}

/// The result of an update that was sent to be folded.
pub(super) enum Folded {
    /// No longer expected.
    Abandoned,
    /// It led to no new state.
    Nothing,
    /// It led to this state.
    State(State),
}

impl Legacy {
    /// The legacy key as an update, unless it is the update that was folded last.
    pub(super) fn unfolded(&self, value: Option<String>) -> Option<String> {
        value.filter(|json| digest(json) != self.last)
    }

    /// Queues a legacy key that is all there is of the job. Returns false if this was tried before.
    pub(super) fn adopt(&mut self, json: &str) -> bool {
        if std::mem::replace(&mut self.has_adopted, true) {
            return false;
        }
        self.backlog.clear();
        self.backlog.push(LegacyUpdate::Set { json: json.to_owned() });
        self.folding = None;
        true
    }

    /// Records that the job was read over this subscription, and that `serial` was the latest publish then. Later publishes
    /// are followed; earlier ones are part of the states that were read, or older.
    pub(super) fn follow(&mut self, subscription: SubscriptionKey, serial: u64) {
        if self.follows != Some(subscription) {
            self.follows = Some(subscription);
            self.serial = serial;
            self.backlog.clear();
            self.folding = None;
            self.key = None;
        }
    }

    /// Handles the legacy key that a read returned. Returns whether the job has to be read again soon.
    ///
    /// A worker publishes first and then sets the key, so the key may be older than the latest publish. If the next read
    /// returns the same value, and nothing was published meanwhile, the key is not older, and it is folded.
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

    /// Handles a publish that arrived over this subscription. Returns false if it is not followed, so that the job has to be
    /// read.
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

    /// Whether an update can be sent now.
    pub(super) fn has_next(&self) -> bool {
        self.folding.is_none() && !self.backlog.is_empty()
    }

    /// The next update to send, unless one is being folded. It stays in the backlog until [`folded`](Self::folded).
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

    /// Handles the script's reply to the update that was sent under this key; none if the update cannot be folded.
    pub(super) fn folded(&mut self, key: FoldKey, reply: Option<Reply>) -> Folded {
        if self.folding != Some(key) {
            return Folded::Abandoned;
        }
        self.folding = None;
        let Some(update) = self.backlog.pop() else { return Folded::Abandoned };
        if reply == Some(Reply::Stale) {
            // Another instance has folded later publishes.
            self.lose_track();
            return Folded::Nothing;
        }
        self.last = digest(update.json());
        let is_from_key = matches!(update, LegacyUpdate::Set { .. });
        let (state, serial) = match reply {
            Some(Reply::Accepted(Accepted { repeated: false, state, serial, .. })) => {
                (state, serial)
            }
            // The value was folded long ago.
            Some(Reply::AlreadyFolded { state, serial }) if !is_from_key => (state, Some(serial)),
            // The update came after the end, or repeats the end.
            _ => return Folded::Nothing,
        };
        if is_from_key {
            // A publish that arrived meanwhile may be the same update, or an older one.
            self.lose_track();
        } else {
            self.serial = serial.unwrap_or(self.serial);
        }
        Folded::State(state)
    }

    /// Records that the update was not sent after all, so it has to be sent again.
    pub(super) fn not_sent(&mut self) {
        self.folding = None;
    }

    /// Stops following publishes until the next read.
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
