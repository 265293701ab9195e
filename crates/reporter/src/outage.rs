use std::collections::HashMap;

use crate::snapshot::Key;

/// The outage between here and the server, so that it is notified once, not for each job and not at each try, and once
/// that it is over.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    told: Notified,
    /// The latest request came to nothing.
    failing: bool,
    /// The jobs that the server does not take now; for each, whether it would prove something if it took its end.
    /// Bounded by the number of jobs.
    waiting: HashMap<Key, bool>,
    /// The latest request shows that the server takes updates again.
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
    /// A request came to nothing. Returns whether that is news.
    pub(crate) fn failed(&mut self) -> bool {
        self.failing = true;
        self.tell(Notified::NothingArrives)
    }

    /// A request was answered; what follows says how.
    pub(crate) fn answered(&mut self) {
        self.proven = std::mem::take(&mut self.failing);
    }

    /// An update, perhaps an end, is not taken now: the server is full, or it is another reason. Returns whether that
    /// is news.
    pub(crate) fn delayed(&mut self, key: Key, end: bool, full: bool) -> bool {
        // A full server takes an end all the same.
        self.waiting.insert(key, end || !full);
        self.tell(Notified::SomeWait)
    }

    /// An update was taken.
    pub(crate) fn taken(&mut self, key: Key, end: bool) {
        let waited = self.waiting.remove(&key);
        self.proven |= !end || waited == Some(true);
    }

    /// Nothing more is to be sent of that job, or it was refused for good.
    pub(crate) fn gone(&mut self, key: Key) {
        self.waiting.remove(&key);
    }

    /// After all answers of a request: whether it is news that it is over.
    pub(crate) fn is_over(&mut self) -> bool {
        let over = std::mem::take(&mut self.proven) && self.waiting.is_empty();
        over && std::mem::take(&mut self.told) != Notified::Nothing
    }

    fn tell(&mut self, what: Notified) -> bool {
        let news = what > self.told;
        self.told = self.told.max(what);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_news_once_and_so_is_its_end() {
        let mut outage = Outage::default();
        outage.answered();
        assert!(!outage.is_over(), "there was none");
        assert!(outage.failed() && !outage.failed());
        outage.answered();
        assert!(outage.is_over() && !outage.is_over());
        assert!(outage.failed());
    }

    #[test]
    fn that_jobs_wait_is_news_once_until_none_does() {
        let mut outage = Outage::default();
        assert!(outage.delayed(1, false, true));
        assert!(!outage.delayed(2, false, true) && !outage.delayed(1, false, true));
        outage.taken(3, false);
        outage.taken(1, false);
        assert!(!outage.is_over(), "2 waits");
        outage.gone(2);
        assert!(!outage.is_over(), "nothing was taken");
        outage.taken(3, false);
        assert!(outage.is_over() && !outage.is_over());
        assert!(outage.delayed(2, false, true), "and again");
    }

    #[test]
    fn that_a_full_server_takes_an_end_says_nothing_of_the_rest() {
        let mut outage = Outage::default();
        outage.delayed(1, false, true);
        outage.taken(1, true);
        assert!(!outage.is_over());
        assert!(!outage.delayed(2, false, true), "still the same");
        outage.taken(2, false);
        assert!(outage.is_over());

        for (end, full) in [(true, true), (false, false)] {
            assert!(outage.delayed(3, end, full));
            outage.taken(3, true);
            assert!(outage.is_over(), "this one did not pass before");
        }
    }

    #[test]
    fn an_outage_outranks_a_delay_and_both_end_together() {
        let mut outage = Outage::default();
        assert!(outage.delayed(1, false, false) && outage.failed());
        outage.answered();
        assert!(!outage.delayed(2, false, false), "worse was said");
        assert!(!outage.is_over());
        outage.answered();
        outage.taken(1, false);
        outage.taken(2, false);
        assert!(outage.is_over());
    }
}
