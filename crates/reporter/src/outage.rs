use std::collections::HashMap;

use crate::snapshot::Key;

/// The outage between this reporter and the server. It is notified once, not for each job or try, and once
/// when it is over.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    notified: Notified,
    /// The latest request failed.
    failing: bool,
    /// The jobs that the server cannot accept now; for each, whether accepting its end would prove that the
    /// outage is over. Bounded by the number of jobs.
    waiting: HashMap<Key, bool>,
    /// The latest request shows that the server accepts updates again.
    proven: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Notified {
    #[default]
    Nothing,
    SomeWait,
    NothingArrives,
}

impl Outage {
    /// A request failed. Returns whether an outage has just begun.
    pub(crate) fn failed(&mut self) -> bool {
        self.failing = true;
        self.notify(Notified::NothingArrives)
    }

    /// A request was answered. The outcomes follow.
    pub(crate) fn answered(&mut self) {
        self.proven = std::mem::take(&mut self.failing);
    }

    /// The server cannot accept an update, perhaps an end, now: it is full, or for another reason. Returns
    /// whether this is new.
    pub(crate) fn delayed(&mut self, key: Key, end: bool, full: bool) -> bool {
        // A full server still accepts ends.
        self.waiting.insert(key, end || !full);
        self.notify(Notified::SomeWait)
    }

    /// An update was accepted.
    pub(crate) fn accepted(&mut self, key: Key, end: bool) {
        let waited = self.waiting.remove(&key);
        self.proven |= !end || waited == Some(true);
    }

    /// The job has nothing more to send, or its update was rejected.
    pub(crate) fn gone(&mut self, key: Key) {
        self.waiting.remove(&key);
    }

    /// After all outcomes of a request: whether the outage has just ended.
    pub(crate) fn is_over(&mut self) -> bool {
        let over = std::mem::take(&mut self.proven) && self.waiting.is_empty();
        over && std::mem::take(&mut self.notified) != Notified::Nothing
    }

    fn notify(&mut self, what: Notified) -> bool {
        let is_new = what > self.notified;
        self.notified = self.notified.max(what);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_and_its_end_are_notified_once() {
        let mut outage = Outage::default();
        outage.answered();
        assert!(!outage.is_over(), "there was none");
        assert!(outage.failed() && !outage.failed());
        outage.answered();
        assert!(outage.is_over() && !outage.is_over());
        assert!(outage.failed());
    }

    #[test]
    fn waiting_jobs_are_notified_once_until_none_waits() {
        let mut outage = Outage::default();
        assert!(outage.delayed(1, false, true));
        assert!(!outage.delayed(2, false, true) && !outage.delayed(1, false, true));
        outage.accepted(3, false);
        outage.accepted(1, false);
        assert!(!outage.is_over(), "2 waits");
        outage.gone(2);
        assert!(!outage.is_over(), "nothing was accepted");
        outage.accepted(3, false);
        assert!(outage.is_over() && !outage.is_over());
        assert!(outage.delayed(2, false, true), "and again");
    }

    #[test]
    fn that_a_full_server_takes_an_end_says_nothing_of_the_rest() {
        let mut outage = Outage::default();
        outage.delayed(1, false, true);
        outage.accepted(1, true);
        assert!(!outage.is_over());
        assert!(!outage.delayed(2, false, true), "still the same");
        outage.accepted(2, false);
        assert!(outage.is_over());

        for (end, full) in [(true, true), (false, false)] {
            assert!(outage.delayed(3, end, full));
            outage.accepted(3, true);
            assert!(outage.is_over(), "this one did not pass before");
        }
    }

    #[test]
    fn an_outage_outranks_a_delay_and_both_end_together() {
        let mut outage = Outage::default();
        assert!(outage.delayed(1, false, false) && outage.failed());
        outage.answered();
        assert!(!outage.delayed(2, false, false), "a worse notice came before");
        assert!(!outage.is_over());
        outage.answered();
        outage.accepted(1, false);
        outage.accepted(2, false);
        assert!(outage.is_over());
    }
}
