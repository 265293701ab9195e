use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use milepost_protocol::{Epoch, Position, Standing, State, View};

use crate::public::PublicStates;

/// The states that a watcher wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every state, as long as the watcher keeps up.
    #[default]
    All,
    /// Only the newest at each moment, and every end.
    Latest,
}

/// How long a topic's log may be.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    /// The most states while watchers are being served.
    pub states: usize,
    /// The most bytes of JSON, which is also the most that one write to a watcher sends. The newest state is kept whatever its
    /// size.
    pub bytes: usize,
    /// The most states once every watcher has been served. They are for watchers that reconnect.
    pub at_rest: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        // With 48 KiB, watchers of an overloaded job saw states six times as old: `docs/decisions/0033`.
        Self { states: 128, bytes: 24 << 10, at_rest: 32 }
    }
}

/// How many ends are kept for watchers whose cursor is before the log's first state.
const ENDS: usize = 8;

/// The latest states of one job.
///
/// States are numbered in the order in which they arrive, whatever their positions. A watcher's *cursor* is the number
/// of the first state that it has not been sent.
///
/// For example: a job has been reported five times, and the log has room for three states. They are numbered 3, 4 and 5.
/// A watcher that was sent everything has cursor 6, and nothing is pending for it. A watcher with cursor 4 is sent states
/// 4 and 5 in one write, and then has cursor 6 as well. A watcher that last accepted state 1 still has cursor 2: state 2
/// has left the log, so it is sent state 5, the newest, and before it those of states 2, 3 and 4 that are ends. When the
/// sixth report arrives, it becomes state 6; it is pending for all three. The log does not know its watchers: a slow
/// one costs no memory, and only its own cursor falls back.
pub(crate) struct Log {
    newest: Option<Arc<State>>,
    /// What came before the newest state. Boxed: an idle job's log has one state, and an idle job costs little.
    past: Option<Box<Past>>,
    /// The public view of those states that a watcher with that view has had pending.
    public: Option<Box<PublicStates>>,
    /// The number that the next state will have. Numbers start at 1, so that cursor 0 is before all of them.
    next_number: u64,
}

#[derive(Default)]
struct Past {
    /// Oldest first.
    states: VecDeque<Arc<State>>,
    /// The bytes of their JSON.
    bytes: usize,
    /// The latest ends with their numbers; some are no longer in `states`. No watcher skips one, unless the job ends
    /// more than [`ENDS`] times while its socket accepts nothing.
    ends: VecDeque<(u64, Arc<State>)>,
    /// The bytes of their JSON, those that are among the states included.
    ends_bytes: usize,
}

impl Past {
    fn push_end(&mut self, number: u64, end: &Arc<State>) {
        self.truncate_ends(ENDS - 1);
        self.ends_bytes += end.json().len();
        self.ends.push_back((number, Arc::clone(end)));
    }

    /// Drops the oldest ends, so that at most so many are left.
    fn truncate_ends(&mut self, most: usize) {
        while self.ends.len() > most {
            let Some((_, oldest)) = self.ends.pop_front() else { break };
            self.ends_bytes -= oldest.json().len();
        }
    }

    /// Drops the oldest states, so that at most `states` are left and at most `bytes` of JSON.
    fn truncate(&mut self, states: usize, bytes: usize) {
        while self.states.len() > states || self.bytes > bytes {
            let Some(oldest) = self.states.pop_front() else { break };
            self.bytes -= oldest.json().len();
        }
    }
}

/// The states that are pending for a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// None.
    Nothing,
    /// Every state from this one on.
    From(u64),
    /// The ends from the cursor on, if any, then the newest state.
    Newest,
}

impl Default for Log {
    fn default() -> Self {
        Self { newest: None, past: None, public: None, next_number: 1 }
    }
}

impl Log {
    pub(crate) fn newest(&self) -> Option<&Arc<State>> {
        self.newest.as_ref()
    }

    /// The cursor of a watcher that has been sent everything.
    pub(crate) fn end(&self) -> u64 {
        self.next_number
    }

    /// The number of the oldest state in the log.
    pub(crate) fn first(&self) -> u64 {
        self.next_number - self.len() as u64
    }

    fn len(&self) -> usize {
        self.past.as_ref().map_or(0, |past| past.states.len()) + usize::from(self.newest.is_some())
    }

    /// Oldest first.
    fn states(&self) -> impl Iterator<Item = &Arc<State>> {
        self.past.iter().flat_map(|past| &past.states).chain(&self.newest)
    }

    fn ends(&self) -> impl Iterator<Item = (u64, &Arc<State>)> {
        let ends = self.past.iter().flat_map(|past| &past.ends);
        ends.map(|(number, end)| (*number, end))
    }

    /// Adds a state if it is newer than the newest one; false if it is not.
    pub(crate) fn push(&mut self, state: &Arc<State>, limits: LogLimits) -> bool {
        if let Some(newest) = &self.newest
            && !state.position().is_newer_than(newest.position(), None)
        {
            return false;
        }
        if let Some(previous) = self.newest.replace(Arc::clone(state)) {
            let past = self.past.get_or_insert_default();
            if previous.status().is_end() {
                past.push_end(self.next_number - 1, &previous);
            }
            past.bytes += previous.json().len();
            past.states.push_back(previous);
        }
        self.next_number += 1;
        self.truncate(limits.states, limits.bytes);
        true
    }

    /// How many bytes of JSON the newest state has.
    pub(crate) fn newest_bytes(&self) -> usize {
        self.newest.as_ref().map_or(0, |newest| newest.json().len())
    }

    /// How many bytes of JSON the log holds besides the newest state. An end that is among the states counts twice.
    pub(crate) fn past_bytes(&self) -> usize {
        self.past.as_ref().map_or(0, |past| past.bytes + past.ends_bytes)
            + self.public.as_ref().map_or(0, |public| public.bytes())
    }

    /// Drops all that a watcher can do without: what is left is the newest state and the newest end before it.
    pub(crate) fn shrink_to_newest(&mut self) {
        self.public = None;
        let Some(past) = &mut self.past else { return };
        past.truncate(0, 0);
        past.states.shrink_to_fit();
        past.truncate_ends(1);
        if past.ends.is_empty() {
            self.past = None;
        }
    }

    /// Shortens the log once every watcher has been served: only those that reconnect may need more than the newest.
    pub(crate) fn shrink(&mut self, limits: LogLimits) {
        if self.len() > limits.at_rest {
            self.truncate(limits.at_rest, limits.bytes);
            if let Some(past) = &mut self.past {
                past.states.shrink_to(limits.at_rest);
            }
        }
    }

    /// The newest state is kept whatever its size.
    fn truncate(&mut self, states: usize, bytes: usize) {
        let newest = self.newest_bytes();
        if let Some(past) = &mut self.past {
            past.truncate(states.saturating_sub(1), bytes.saturating_sub(newest));
        }
        let first = self.first();
        if let Some(public) = &mut self.public {
            public.truncate(first);
        }
    }

    /// Those of a job's latest states that have not been in the log. When the topic is attached again, after a lost
    /// connection to the broker, it is given states that it had before, also some of an earlier epoch.
    pub(crate) fn unseen<'a>(&self, states: &'a [Arc<State>]) -> &'a [Arc<State>] {
        let Some(newest) = self.newest().map(|state| state.position()) else { return states };
        let seen = |state: &Arc<State>| !state.position().is_newer_than(newest, None);
        let same_epoch = |state: &Arc<State>| state.position().epoch == newest.epoch;
        let after_seen = states.iter().rposition(seen).map(|index| index + 1);
        let from = after_seen.or_else(|| states.iter().position(same_epoch)).unwrap_or(0);
        &states[from..]
    }

    /// Drops the states but continues their numbers, so that cursors stay valid.
    pub(crate) fn clear(&mut self) {
        self.newest = None;
        self.past = None;
        self.public = None;
    }

    /// Makes the public view of the states that are pending for a watcher at `cursor`, unless it was made before. Ends that
    /// have left the log are not among them: [`shown`](Self::shown) makes theirs each time, for the few that fell behind.
    pub(crate) fn prepare_public(&mut self, cursor: u64, mode: Mode) {
        let from = match self.pending(cursor, mode) {
            Pending::Nothing => return,
            Pending::From(from) => from,
            Pending::Newest => self.next_number - 1,
        };
        let mut public = self.public.take().unwrap_or_default();
        for (number, state) in self.from(from) {
            public.add(number, state);
        }
        self.public = Some(public);
    }

    /// The state with that number as a watcher with that view is shown it.
    pub(crate) fn shown<'s>(
        &'s self,
        number: u64,
        state: &'s Arc<State>,
        view: View,
    ) -> Cow<'s, Arc<State>> {
        match view {
            View::Full => Cow::Borrowed(state),
            View::Public => match self.public.as_ref().and_then(|public| public.get(number)) {
                Some(public) => Cow::Borrowed(public),
                None => Cow::Owned(Arc::new(state.public())),
            },
        }
    }

    /// The cursor of a watcher that starts with the present state.
    pub(crate) fn present(&self) -> u64 {
        self.next_number.saturating_sub(1).max(self.first())
    }

    /// The cursor of a watcher that has seen `since`: `spec/README.md`, section 4.
    pub(crate) fn resume(&self, since: Position) -> u64 {
        let Some(newest) = self.newest().map(|state| state.position()) else {
            return self.next_number;
        };
        match newest.standing_of(since) {
            Standing::Foreign => return self.resume_before(since),
            Standing::Current | Standing::Ahead => return self.next_number,
            Standing::Behind => {}
        }
        // States of an earlier epoch that are still in the log have been seen.
        let unseen = |state: &State| state.position().standing_of(since) == Standing::Behind;
        // The newest one is unseen.
        let (index, oldest_unseen) =
            self.states().enumerate().find(|(_, state)| unseen(state)).unzip();
        let index = index.unwrap_or(0);
        let has_gap = |state: &Arc<State>| state.position().has_gap_after(Some(since));
        let missed_more = index == 0 && oldest_unseen.is_some_and(has_gap);
        if !missed_more {
            return self.first() + index as u64;
        }
        // The log no longer has all that it missed. A cursor right after the last end that it has seen gets it the later ends.
        let last_seen = self.ends().take_while(|(_, end)| !unseen(end)).last();
        last_seen.map_or(0, |(number, _)| number + 1).min(self.first() - 1)
    }

    /// The cursor of a watcher that has seen `since`, of another epoch than the newest state's. The broker lost states, or
    /// may have, while the watcher was away: if the log still has states or ends of that epoch, the watcher has seen them
    /// up to `since`, and nothing after it.
    fn resume_before(&self, since: Position) -> u64 {
        let seen = |state: &State| !state.position().is_newer_than(since, None);
        let last_seen = self.states().enumerate().filter(|(_, state)| seen(state)).last();
        if let Some((index, _)) = last_seen {
            return self.first() + index as u64 + 1;
        }
        let last_seen = self.ends().filter(|(_, end)| seen(end)).last();
        last_seen.map_or_else(|| self.present(), |(number, _)| (number + 1).min(self.first() - 1))
    }

    /// Whether there are states or ends of that epoch.
    pub(crate) fn has_epoch(&self, epoch: Epoch) -> bool {
        let is_of_it = |state: &State| state.position().epoch == epoch;
        self.states().any(|state| is_of_it(state)) || self.ends().any(|(_, end)| is_of_it(end))
    }

    /// The states that are pending for a watcher at `cursor`.
    pub(crate) fn pending(&self, cursor: u64, mode: Mode) -> Pending {
        if self.newest.is_none() || cursor >= self.next_number {
            return Pending::Nothing;
        }
        if mode == Mode::All && cursor >= self.first() {
            return Pending::From(cursor);
        }
        Pending::Newest
    }

    /// The states from number `from` on, with their numbers.
    pub(crate) fn from(&self, from: u64) -> impl Iterator<Item = (u64, &Arc<State>)> {
        let from = from.max(self.first());
        let skip = usize::try_from(from - self.first()).unwrap_or(usize::MAX);
        let before = self.len() - usize::from(self.newest.is_some());
        // A log has up to 128 states, of which most watchers have one pending: none of the others is walked over.
        let past = self.past.iter().flat_map(move |past| past.states.range(skip.min(before)..));
        let newest = self.newest.iter().filter(move |_| skip <= before);
        (from..).zip(past.chain(newest))
    }

    /// The ends from `cursor` on that come before the newest state.
    pub(crate) fn ends_before_newest(
        &self,
        cursor: u64,
    ) -> impl Iterator<Item = (u64, &Arc<State>)> {
        let newest = self.next_number.saturating_sub(1);
        self.ends().filter(move |(number, _)| (cursor..newest).contains(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits { states: 4, bytes: 1 << 20, at_rest: 2 };

    fn state(epoch: u64, number: u64, status: &str) -> Arc<State> {
        let json = format!(
            r#"{{"job_id":"a","status":"{status}","attempt":1,"position":"{epoch:x}-{number}"}}"#
        );
        Arc::new(State::parse(&json).expect("a state"))
    }

    /// States 1, 2, … of one epoch: `.` for one under way, `E` for an end.
    fn log(states: &str) -> Log {
        let mut log = Log::default();
        for (number, kind) in (1..).zip(states.chars()) {
            let status = if kind == 'E' { "failed" } else { "processing" };
            assert!(log.push(&state(1, number, status), LIMITS));
        }
        log
    }

    /// The numbers of the states that a watcher at `cursor` is shown.
    fn shown(log: &Log, cursor: u64, mode: Mode) -> Vec<u64> {
        let number = |state: &Arc<State>| state.position().number;
        match log.pending(cursor, mode) {
            Pending::Nothing => Vec::new(),
            Pending::From(from) => log.from(from).map(|(_, state)| number(state)).collect(),
            Pending::Newest => log
                .ends_before_newest(cursor)
                .map(|(_, end)| number(end))
                .chain(log.newest().map(number))
                .collect(),
        }
    }

    fn resumed(log: &Log, epoch: u64, number: u64, mode: Mode) -> Vec<u64> {
        shown(log, log.resume(Position { epoch: Epoch(epoch), number }), mode)
    }

    #[test]
    fn an_empty_log_has_nothing_and_what_comes_is_shown() {
        let mut log = Log::default();
        let cursors = [log.present(), log.resume(state(1, 7, "queued").position())];
        assert_eq!(cursors.map(|cursor| log.pending(cursor, Mode::All)), [Pending::Nothing; 2]);
        log.push(&state(2, 1, "queued"), LIMITS);
        for mode in [Mode::All, Mode::Latest] {
            assert_eq!(cursors.map(|cursor| shown(&log, cursor, mode)), [[1], [1]]);
        }
    }

    #[test]
    fn one_that_keeps_up_is_shown_every_state() {
        let log = log("..");
        assert_eq!(shown(&log, log.present(), Mode::All), [2]);
        assert_eq!(shown(&log, log.first(), Mode::All), [1, 2]);
        assert_eq!(shown(&log, log.first(), Mode::Latest), [2]);
        assert_eq!(log.pending(log.end(), Mode::All), Pending::Nothing);
    }

    #[test]
    fn one_that_fell_off_is_shown_the_ends_it_missed_and_the_newest() {
        let log = log(".E.E......");
        assert_eq!(shown(&log, 1, Mode::All), [2, 4, 10]);
        assert_eq!(shown(&log, 3, Mode::All), [4, 10]);
        assert_eq!(shown(&log, 5, Mode::All), [10]);
        assert_eq!(shown(&log, 7, Mode::All), [7, 8, 9, 10]);
        assert_eq!(shown(&log, 0, Mode::Latest), [2, 4, 10]);
    }

    #[test]
    fn an_end_that_is_the_newest_is_shown_once() {
        let log = log("E.....E");
        assert_eq!(shown(&log, 0, Mode::Latest), [1, 7]);
        assert_eq!(shown(&log, 2, Mode::All), [7]);
    }

    #[test]
    fn the_last_eight_ends_are_kept() {
        let log = log(&"E.".repeat(10));
        assert_eq!(shown(&log, 0, Mode::All), [5, 7, 9, 11, 13, 15, 17, 19, 20]);
    }

    #[test]
    fn who_resumes_gets_what_it_missed_or_the_newest_and_every_end() {
        let log = log(".E.E......");
        let all = |number| resumed(&log, 1, number, Mode::All);
        assert_eq!(all(10), [0; 0]);
        assert_eq!(all(99), [0; 0], "ahead");
        assert_eq!(all(9), [10]);
        assert_eq!(all(6), [7, 8, 9, 10]);
        assert_eq!(all(5), [10], "it fell off");
        assert_eq!(all(3), [4, 10]);
        assert_eq!(all(1), [2, 4, 10]);
        assert_eq!(resumed(&log, 1, 1, Mode::Latest), [2, 4, 10]);
        assert_eq!(resumed(&log, 1, 6, Mode::Latest), [10]);
        assert_eq!(resumed(&log, 2, 9, Mode::All), [10], "foreign");
    }

    #[test]
    fn what_the_log_never_had_is_too_long_ago() {
        // Attached late: the broker's history begins at 5.
        let mut log = Log::default();
        for number in 5..8 {
            log.push(&state(1, number, "processing"), LIMITS);
        }
        assert_eq!(resumed(&log, 1, 4, Mode::All), [5, 6, 7]);
        assert_eq!(resumed(&log, 1, 3, Mode::All), [7]);
    }

    #[test]
    fn an_epoch_resumes_in_itself() {
        let mut log = log(".E");
        for number in 1..3 {
            log.push(&state(2, number, "processing"), LIMITS);
        }
        assert_eq!(resumed(&log, 2, 1, Mode::All), [2]);
        // The epoch changed while the watcher was away.
        let positions = |number, mode| {
            let cursor = log.resume(state(1, number, "processing").position());
            let to_position = |state: &Arc<State>| state.position().to_string();
            match log.pending(cursor, mode) {
                Pending::Nothing => Vec::new(),
                Pending::From(from) => {
                    log.from(from).map(|(_, state)| to_position(state)).collect()
                }
                Pending::Newest => {
                    let ends = log.ends_before_newest(cursor).map(|(_, end)| end);
                    ends.chain(log.newest()).map(to_position).collect::<Vec<_>>()
                }
            }
        };
        assert_eq!(positions(1, Mode::All), ["1-2", "2-1", "2-2"]);
        assert_eq!(positions(1, Mode::Latest), ["1-2", "2-2"], "no end is skipped");
        assert_eq!(positions(9, Mode::All), ["2-1", "2-2"]);
        assert_eq!(resumed(&log, 3, 1, Mode::All), [2], "of an epoch that the log does not have");
    }

    #[test]
    fn nothing_old_is_pushed() {
        let mut log = log("...");
        assert!(!log.push(&state(1, 3, "processing"), LIMITS));
        assert!(!log.push(&state(1, 2, "failed"), LIMITS));
        assert!(log.push(&state(2, 1, "processing"), LIMITS));
        assert_eq!(shown(&log, 0, Mode::Latest), [1], "an older end is not kept");
    }

    #[test]
    fn bytes_bound_the_log_but_the_newest_stays() {
        let size = state(1, 1, "processing").json().len();
        let limits = LogLimits { states: 100, bytes: size * 3, at_rest: 1 };
        let mut log = Log::default();
        for number in 1..8 {
            log.push(&state(1, number, "processing"), limits);
            assert_eq!(log.end() - log.first(), number.min(3));
        }
        for states in [0, 100] {
            let limits = LogLimits { states, bytes: 0, at_rest: 0 };
            let mut log = Log::default();
            log.push(&state(1, 1, "processing"), limits);
            log.push(&state(1, 2, "processing"), limits);
            assert_eq!(shown(&log, 0, Mode::All), [2]);
            assert_eq!(log.end() - log.first(), 1);
        }
    }

    #[test]
    fn at_rest_the_log_is_shorter_and_ends_are_still_there() {
        let mut log = log(".E..");
        log.shrink(LIMITS);
        assert_eq!(shown(&log, 3, Mode::All), [3, 4]);
        assert_eq!(shown(&log, 1, Mode::All), [2, 4], "an end is not skipped");
        log.push(&state(1, 5, "processing"), LIMITS);
        assert_eq!(shown(&log, 3, Mode::All), [3, 4, 5], "it grows again");
    }

    #[test]
    fn shrunk_to_the_newest_it_holds_one_state_and_one_end() {
        let mut log = log("EE..");
        log.shrink_to_newest();
        assert_eq!(shown(&log, 1, Mode::All), [2, 4]);
        assert_eq!(shown(&log, 3, Mode::All), [4]);
        let sizes = [state(1, 4, "processing"), state(1, 2, "failed")].map(|s| s.json().len());
        assert_eq!(held(&log), sizes.iter().sum::<usize>());
        log.clear();
        assert_eq!(held(&log), 0);
    }

    fn held(log: &Log) -> usize {
        log.newest_bytes() + log.past_bytes()
    }

    #[test]
    fn what_is_held_is_counted() {
        let counted = |log: &Log| {
            let ends = log.ends().map(|(_, end)| end);
            log.states().chain(ends).map(|state| state.json().len()).sum::<usize>()
        };
        for states in ["", ".", "E", ".E.E......", "E.E.E.E.E.E.E.E.E.E."] {
            let mut log = log(states);
            assert_eq!(held(&log), counted(&log), "{states}");
            log.shrink(LIMITS);
            assert_eq!(held(&log), counted(&log), "{states}, at rest");
            log.shrink_to_newest();
            assert_eq!(held(&log), counted(&log), "{states}, the newest");
        }
    }

    #[test]
    fn after_clearing_cursors_stay_and_old_states_are_gone() {
        let mut log = log(".E.");
        let (behind, present, end) = (1, log.present(), log.end());
        log.clear();
        for cursor in [behind, present, end, log.present()] {
            assert_eq!(log.pending(cursor, Mode::All), Pending::Nothing);
        }
        log.push(&state(2, 1, "processing"), LIMITS);
        for cursor in [behind, present, end] {
            assert_eq!(shown(&log, cursor, Mode::All), [1]);
        }
    }
}
