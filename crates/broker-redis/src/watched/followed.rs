use std::sync::Arc;

use milepost_broker::Listener;
use milepost_protocol::{Epoch, Position, State};
use milepost_redis::{Published, Secret};

/// Which states of a job its listener has been notified of. Knows only positions, not who reported a state.
///
/// Invariant: the listener is notified of a state only if it is newer than the latest one, and not of the epoch that the job has
/// left.
pub(super) struct Followed {
    listener: Arc<dyn Listener>,
    /// Whether the listener has received the job's states. Messages that arrive earlier are part of these.
    is_attached: bool,
    latest: Option<Position>,
    /// The epoch before the latest one. A server that was away may still send states of it.
    previous_epoch: Option<Epoch>,
    /// The secret of the proofs in published states.
    secret: Option<Secret>,
    /// Whether the latest read failed, and the listener was notified.
    is_unreadable: bool,
}

/// What happened to a state that arrived as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The listener has been notified of it, now or before.
    Done,
    /// States before it are missing, or it has no proof, so the job has to be read.
    Gap,
}

impl Followed {
    pub(super) fn new(listener: Arc<dyn Listener>) -> Self {
        Self {
            listener,
            is_attached: false,
            latest: None,
            previous_epoch: None,
            secret: None,
            is_unreadable: false,
        }
    }

    pub(super) fn is_for(&self, listener: &Arc<dyn Listener>) -> bool {
        Arc::ptr_eq(&self.listener, listener)
    }

    /// The position of the latest state that the listener was notified of; none if the job is not known.
    pub(super) fn latest(&self) -> Option<Position> {
        self.latest
    }

    /// Sets the secret of the proofs, as a read returned it.
    pub(super) fn set_secret(&mut self, secret: Option<Secret>) {
        self.secret = secret;
    }

    /// The job could not be read. False if the listener knows already, or is not attached.
    pub(super) fn unreadable(&mut self) -> bool {
        let is_new = self.is_attached && !self.is_unreadable;
        if is_new {
            self.is_unreadable = true;
            self.listener.unreadable();
        }
        is_new
    }

    /// Handles a read: the job's states after the latest one, or all that are kept, and whether the job is known.
    pub(super) fn read(&mut self, states: Vec<State>, is_known: bool) {
        let states: Vec<_> = states.into_iter().map(Arc::new).collect();
        if !self.is_attached {
            self.latest = states.last().map(|state| state.position());
            self.is_attached = true;
            self.listener.attached(&states);
            return;
        }
        if std::mem::take(&mut self.is_unreadable) {
            self.listener.readable();
        }
        for state in self.unseen(&states) {
            self.notify(state);
        }
        if !is_known && self.latest.is_some() {
            self.advance(None);
            self.listener.forgotten();
        }
    }

    /// Handles a state that the fold returned.
    pub(super) fn folded(&mut self, state: State) -> Delivery {
        if !self.is_attached {
            return Delivery::Gap;
        }
        let position = state.position();
        if self.is_newer(position) && position.has_gap_after(self.latest) {
            return Delivery::Gap;
        }
        self.notify(&Arc::new(state));
        Delivery::Done
    }

    /// Handles a published state. The listener is notified of it if it directly follows the latest one and has a valid proof.
    /// Anybody may publish, so a read decides about all others.
    pub(super) fn published(&mut self, published: Published) -> Delivery {
        let position = published.state.position();
        if !self.is_attached || !self.is_newer(position) {
            return Delivery::Done;
        }
        let is_proven = self.secret.as_ref().is_some_and(|secret| published.is_proven(secret));
        if !is_proven || self.latest.map(Position::next) != Some(position) {
            return Delivery::Gap;
        }
        self.notify(&Arc::new(published.state));
        Delivery::Done
    }

    /// Selects the states that come after the latest one here, oldest first. If Redis has lost that one, selects the states of
    /// the newest epoch: after several restarts of Redis, a job may have states of many epochs.
    fn unseen<'s>(&self, states: &'s [Arc<State>]) -> &'s [Arc<State>] {
        let Some(newest) = states.last().map(|state| state.position()) else { return states };
        let Some(latest) = self.latest else { return states };
        let is_seen = |state: &Arc<State>| !state.position().is_newer_than(latest, None);
        let is_newest_epoch = |state: &Arc<State>| state.position().epoch == newest.epoch;
        let after_seen = states.iter().rposition(is_seen).map(|index| index + 1);
        let from = after_seen.or_else(|| states.iter().position(is_newest_epoch)).unwrap_or(0);
        &states[from..]
    }

    fn is_newer(&self, position: Position) -> bool {
        self.latest.is_none_or(|latest| position.is_newer_than(latest, self.previous_epoch))
    }

    fn notify(&mut self, state: &Arc<State>) {
        let position = state.position();
        if self.is_newer(position) {
            self.advance(Some(position));
            self.listener.update(state);
        }
    }

    fn advance(&mut self, position: Option<Position>) {
        if let Some(latest) = self.latest
            && position.is_none_or(|position| position.epoch != latest.epoch)
        {
            self.previous_epoch = Some(latest.epoch);
        }
        self.latest = position;
    }
}
