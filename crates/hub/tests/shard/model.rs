//! Whatever the interleaving of updates, watchers that come, stall, resume and leave, and time passing:
//! every byte on every wire is one that belongs there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use milepost_broker::Clock;
use milepost_hub::{CloseReason, Lease, LogLimits, Mode, Subscribe, WatcherKey};
use milepost_protocol::{Position, State};
use proptest::prelude::*;

use crate::stage::{Moment, PING_INTERVAL, Pipes, Stage, job};

const JOBS: [&str; 3] = ["a", "b", "c"];
/// Short, so that watchers fall off it.
const LOG: LogLimits = LogLimits { states: 4, bytes: 1 << 20, at_rest: 4 };
/// How many ends are kept for those who have: `spec/README.md`, section 5.
const ENDS: usize = 8;
const TICK: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
enum Step {
    Progress(usize),
    End(usize),
    NextAttempt(usize),
    Forget(usize),
    Come { room: usize, many: bool, job: usize, options: Options },
    Subscribe { watcher: usize, job: usize, options: Options },
    Unsubscribe { watcher: usize, job: usize },
    Leave(usize),
    Room { watcher: usize, bytes: usize },
    Stall(usize),
    Break(usize),
    Serve,
    Drain,
    Pass(u64),
}

#[derive(Clone, Debug)]
struct Options {
    /// Which of the job's states it has seen, counted from the newest; none: it says nothing.
    since: Option<usize>,
    latest: bool,
    max_rate: Option<f64>,
    close_at_end: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let options = || {
        (
            prop::option::weighted(0.4, 0_usize..12),
            any::<bool>(),
            prop::option::weighted(0.3, prop::sample::select(vec![0.05, 1.0, 4.0, 1000.0])),
            prop::bool::weighted(0.2),
        )
            .prop_map(|(since, latest, max_rate, close_at_end)| Options {
                since,
                latest,
                max_rate,
                close_at_end,
            })
    };
    let job = || 0..JOBS.len();
    let watcher = || 0_usize..6;
    let room = || prop_oneof![2 => Just(1_000_000), 3 => 0_usize..700];
    prop_oneof![
        10 => job().prop_map(Step::Progress),
        4 => job().prop_map(Step::End),
        5 => job().prop_map(Step::NextAttempt),
        1 => job().prop_map(Step::Forget),
        4 => (room(), any::<bool>(), job(), options())
            .prop_map(|(room, many, job, options)| {
                let options = Options { close_at_end: options.close_at_end && !many, ..options };
                Step::Come { room, many, job, options }
            }),
        3 => (watcher(), job(), options())
            .prop_map(|(watcher, job, options)| Step::Subscribe { watcher, job, options }),
        1 => (watcher(), job()).prop_map(|(watcher, job)| Step::Unsubscribe { watcher, job }),
        1 => watcher().prop_map(Step::Leave),
        4 => (watcher(), room()).prop_map(|(watcher, bytes)| Step::Room { watcher, bytes }),
        2 => watcher().prop_map(Step::Stall),
        1 => watcher().prop_map(Step::Break),
        8 => Just(Step::Serve),
        3 => Just(Step::Drain),
        3 => prop_oneof![0_u64..400, 0_u64..12_000].prop_map(Step::Pass),
    ]
}

/// All states that a job has had, in order.
#[derive(Default)]
struct Truth {
    states: Vec<Arc<State>>,
    /// Which of them were the first after the job was forgotten.
    begun: Vec<usize>,
    attempt: u32,
}

impl Truth {
    fn index_of(&self, position: Position) -> Option<usize> {
        self.states.iter().position(|state| state.position() == position)
    }

    fn is_known(&self) -> bool {
        !self.states.is_empty() && self.begun.last() != Some(&self.states.len())
    }

    /// Where the log began when the job had had so many states.
    fn log_began(&self, states: usize) -> usize {
        let begun = self.begun.iter().rfind(|begun| **begun < states).copied().unwrap_or(0);
        begun.max(states.saturating_sub(LOG.states))
    }

    fn is_end(&self, index: usize) -> bool {
        self.states[index].status().is_end()
    }
}

/// What a watcher asked for, as marked on its wire by a control frame with its number.
struct Subscription {
    job: usize,
    options: Options,
    /// Up to which of the job's states it has seen all it needs: before the one at this index.
    from: usize,
}

struct Watcher {
    key: WatcherKey,
    pipe: Pipes,
    many: bool,
    /// By their job, the numbers of those that stand now.
    watches: BTreeMap<usize, usize>,
}

struct Model {
    stage: Stage,
    truths: [Truth; JOBS.len()],
    watchers: Vec<Watcher>,
    subscriptions: Vec<Subscription>,
    /// Keeps the topics, and so their logs, from the beginning to the end.
    _leases: Vec<Lease>,
}

impl Model {
    fn new() -> Self {
        let stage = Stage::new(LOG);
        let leases = JOBS.map(|job| stage.lease(job)).into();
        let (watchers, subscriptions) = (Vec::new(), Vec::new());
        Self { stage, truths: Default::default(), watchers, subscriptions, _leases: leases }
    }

    fn report(&mut self, job: usize, status: &str, attempt: u32) {
        let json = format!(r#"{{"status":"{status}","attempt":{attempt},"message":"{attempt}"}}"#);
        if let Some(state) = self.stage.try_report(JOBS[job], &json) {
            self.truths[job].attempt = attempt;
            self.truths[job].states.push(state);
        }
    }

    fn subscribe(&mut self, watcher: usize, job: usize, options: Options) {
        let number = self.subscriptions.len();
        let truth = &self.truths[job];
        let since = options.since.and_then(|back| {
            let index = truth.states.len().checked_sub(back + 1)?;
            Some((index, truth.states[index].position()))
        });
        let present = truth.states.len().saturating_sub(usize::from(truth.is_known()));
        // A position of an earlier life of the job is foreign.
        let lives = truth.states.last().map(|newest| newest.position().epoch);
        let from = match since {
            Some((index, position)) if truth.is_known() && lives == Some(position.epoch) => {
                index + 1
            }
            _ => present,
        };
        let Watcher { key, watches, .. } = &mut self.watchers[watcher];
        let key = *key;
        watches.insert(job, number);
        let marker = format!("{{\"type\":\"subscribed\",\"number\":{number}}}\n");
        self.stage.shard.send(key, marker.as_bytes());
        let subscribe = Subscribe {
            since: since.map(|(_, position)| position),
            mode: if options.latest { Mode::Latest } else { Mode::All },
            max_rate: options.max_rate,
            close_at_end: options.close_at_end,
            ..Subscribe::default()
        };
        self.subscriptions.push(Subscription { job, options, from });
        self.stage.subscribe(key, JOBS[job], subscribe);
    }

    fn run(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Progress(job) => self.report(job, "processing", self.truths[job].attempt.max(1)),
            Step::End(job) => self.report(job, "completed", self.truths[job].attempt.max(1)),
            Step::NextAttempt(job) => self.report(job, "processing", self.truths[job].attempt + 1),
            Step::Forget(job) => {
                if self.stage.forget(JOBS[job]) {
                    let states = self.truths[job].states.len();
                    self.truths[job].begun.push(states);
                }
            }
            Step::Come { room, many, job, options } => {
                if self.watchers.len() < 6 {
                    let (key, pipe) = self.stage.admit(room, many);
                    let watches = BTreeMap::new();
                    self.watchers.push(Watcher { key, pipe, many, watches });
                    self.subscribe(self.watchers.len() - 1, job, options);
                }
            }
            Step::Subscribe { watcher, job, options } => {
                if self.watchers.get(watcher).is_some_and(|watcher| watcher.many) {
                    self.subscribe(watcher, job, Options { close_at_end: false, ..options });
                }
            }
            Step::Unsubscribe { watcher, job: index } => {
                if let Some(watcher) = self.watchers.get_mut(watcher).filter(|it| it.many) {
                    let known = watcher.watches.remove(&index);
                    let unsubscribed = self.stage.shard.unsubscribe(watcher.key, &job(JOBS[index]));
                    prop_assert_eq!(unsubscribed, known.is_some());
                    if let Some(number) = known {
                        let marker = format!("{{\"type\":\"unsubscribed\",\"number\":{number}}}\n");
                        self.stage.shard.send(watcher.key, marker.as_bytes());
                    }
                }
            }
            Step::Leave(watcher) => {
                if watcher < self.watchers.len() {
                    let watcher = self.watchers.remove(watcher);
                    prop_assert!(self.stage.shard.remove(watcher.key).is_some());
                    prop_assert!(self.stage.shard.remove(watcher.key).is_none());
                    self.check_wire(&watcher)?;
                }
            }
            Step::Room { watcher, bytes } => {
                if let Some(Watcher { key, pipe, .. }) = self.watchers.get(watcher) {
                    self.stage.make_room(*key, pipe, bytes);
                }
            }
            Step::Stall(watcher) => {
                if let Some(watcher) = self.watchers.get(watcher) {
                    watcher.pipe.borrow_mut().room = 0;
                }
            }
            Step::Break(watcher) => {
                if let Some(watcher) = self.watchers.get(watcher) {
                    watcher.pipe.borrow_mut().broken = true;
                }
            }
            Step::Serve => {
                self.stage.shard.serve();
            }
            Step::Drain => {
                self.stage.drain();
                self.check_all_have_the_newest(false)?;
            }
            Step::Pass(millis) => self.stage.pass(Duration::from_millis(millis)),
        }
        self.remove_gone()?;
        prop_assert_eq!(self.stage.shard.len(), self.watchers.len());
        Ok(())
    }

    fn remove_gone(&mut self) -> Result<(), TestCaseError> {
        for (key, gone) in self.stage.gone() {
            let found = self.watchers.iter().position(|watcher| watcher.key == key);
            let watcher = self.watchers.remove(found.expect("each is closed once"));
            match gone {
                CloseReason::Shed => prop_assert!(false, "the logs have no bound here"),
                CloseReason::Failed(_) => prop_assert!(watcher.pipe.borrow().broken),
                CloseReason::Finished => {
                    let pipe = watcher.pipe.borrow();
                    prop_assert!(pipe.frames().1.is_empty(), "the end's frame is whole");
                    let (job, number) = watcher.watches.first_key_value().expect("it watched one");
                    let Subscription { options, from, .. } = &self.subscriptions[*number];
                    prop_assert!(options.close_at_end);
                    let shown = self.shown(&watcher, *number)?;
                    let seen = shown.last().map_or(*from, |(index, _)| index + 1);
                    let was_end = |index: usize| self.truths[*job].is_end(index);
                    let last = seen.checked_sub(1);
                    prop_assert!(last.is_some_and(was_end), "the end is the last that it saw");
                }
            }
            prop_assert!(self.stage.shard.remove(key).is_some());
            self.check_wire(&watcher)?;
        }
        Ok(())
    }

    /// The states shown to a subscription, by their indices, with when each frame was begun.
    fn shown(
        &self,
        watcher: &Watcher,
        wanted: usize,
    ) -> Result<Vec<(usize, Moment)>, TestCaseError> {
        let (mut now, mut shown) = (BTreeMap::new(), Vec::new());
        for (line, began) in watcher.pipe.borrow().frames().0 {
            let value: serde_json::Value = serde_json::from_str(line).expect("whole frames only");
            let number = || {
                let number = value["number"].as_u64().expect("of a subscription");
                usize::try_from(number).expect("a small number")
            };
            match value["type"].as_str() {
                Some("subscribed") => {
                    now.insert(self.subscriptions[number()].job, number());
                }
                Some("unsubscribed") => {
                    now.remove(&self.subscriptions[number()].job);
                }
                Some(_) => {}
                None => {
                    let state = State::parse(line).expect("a state");
                    let job = JOBS.iter().position(|job| *job == state.job().as_str());
                    let job = job.expect("a job of ours");
                    let index = self.truths[job].index_of(state.position());
                    let index = index.expect("a state that the job has had");
                    prop_assert_eq!(self.truths[job].states[index].json(), line);
                    let Some(number) = now.get(&job) else {
                        return Err(TestCaseError::fail(format!("nobody asked for {line}")));
                    };
                    if *number == wanted {
                        shown.push((index, began.clone()));
                    }
                }
            }
        }
        Ok(shown)
    }

    /// Everything that holds of a wire at any moment.
    fn check_wire(&self, watcher: &Watcher) -> Result<(), TestCaseError> {
        let pipe = watcher.pipe.borrow();
        let mut last: Option<Duration> = None;
        let mut from = 0;
        for (line, began) in pipe.frames().0 {
            if line.contains(r#""type":"ping""#)
                && let Some(last) = last
            {
                prop_assert!(began.time - last >= PING_INTERVAL, "{:?}", began.time - last);
            }
            from += line.len() + 1;
            let written = pipe.writes.iter().find(|(end, _)| *end >= from).expect("written");
            last = Some(written.1.time);
        }
        drop(pipe);
        for number in 0..self.subscriptions.len() {
            self.check_shown(number, &self.shown(watcher, number)?)?;
        }
        Ok(())
    }

    fn check_shown(&self, number: usize, shown: &[(usize, Moment)]) -> Result<(), TestCaseError> {
        let Subscription { job, options, from } = &self.subscriptions[number];
        let truth = &self.truths[*job];
        let mut next = *from;
        let mut not_before = Duration::ZERO;
        // Between the first of the ends that it gets for what it missed and the newest state.
        let mut catching_up = false;
        for (index, began) in shown {
            let known = began.states[JOBS[*job]];
            let newest = known - 1;
            prop_assert!(*index >= next, "{index} after {next}: no step back, nothing twice");
            let log_began = truth.log_began(known);
            let all = !options.latest && options.max_rate.is_none();
            let next_in_turn = all && *index == next;
            if all && next >= log_began && !catching_up {
                prop_assert_eq!(*index, next, "no gap in the log");
            } else {
                let newest_or_end = *index == newest || truth.is_end(*index);
                prop_assert!(newest_or_end || next_in_turn, "only the newest, and ends");
            }
            catching_up = (catching_up || next < log_began) && *index != newest;
            let begun = truth.begun.iter().rfind(|begun| **begun < known).copied().unwrap_or(0);
            for skipped in (next.max(begun)..*index).filter(|index| truth.is_end(*index)) {
                let later = (skipped + 1..known).filter(|index| truth.is_end(*index)).count();
                prop_assert!(later >= ENDS, "the end {skipped} is skipped, {later} came after it");
            }
            if let Some(rate) = options.max_rate
                && !truth.is_end(*index)
            {
                prop_assert!(began.time >= not_before, "more often than {rate} a second");
                not_before = began.time + Duration::from_secs_f64(1.0 / rate);
            }
            next = index + 1;
        }
        Ok(())
    }

    /// After all work is done: who is not blocked has the newest states, the ends among them.
    fn check_all_have_the_newest(&self, rates_too: bool) -> Result<(), TestCaseError> {
        for watcher in &self.watchers {
            if self.stage.shard.is_blocked(watcher.key) || watcher.pipe.borrow().broken {
                continue;
            }
            prop_assert!(watcher.pipe.borrow().frames().1.is_empty(), "nothing is left half-way");
            let time = self.stage.clock.elapsed();
            let pipe = watcher.pipe.borrow();
            let last = pipe.writes.last().map_or(time, |(_, last)| last.time);
            // A wire that takes something again has just delivered what was in it.
            let last = last.max(pipe.resumed);
            drop(pipe);
            prop_assert!(
                time - last <= PING_INTERVAL + 2 * TICK,
                "it is pinged: {:?}",
                time - last
            );
            for (job, number) in &watcher.watches {
                let truth = &self.truths[*job];
                let Subscription { options, from, .. } = &self.subscriptions[*number];
                if !truth.is_known() {
                    continue;
                }
                let shown = self.shown(watcher, *number)?;
                let seen = shown.last().map_or(*from, |(index, _)| index + 1);
                if options.max_rate.is_none() || rates_too {
                    prop_assert_eq!(seen, truth.states.len(), "it has seen the newest");
                }
                let begun = truth.begun.last().copied().unwrap_or(0);
                let unseen = (seen.max(begun)..truth.states.len()).any(|index| truth.is_end(index));
                prop_assert!(!unseen, "ends are sent at once");
            }
        }
        Ok(())
    }

    /// All wires take everything, and time passes.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        for watcher in &self.watchers {
            let Watcher { key, pipe, .. } = watcher;
            self.stage.make_room(*key, pipe, usize::MAX);
        }
        self.remove_gone()?;
        for _ in 0..3 {
            self.stage.drain();
            self.remove_gone()?;
            self.check_all_have_the_newest(false)?;
            // The longest interval between two updates is 20 s here.
            self.stage.pass(Duration::from_secs(21));
        }
        self.stage.drain();
        self.remove_gone()?;
        self.check_all_have_the_newest(true)?;
        for watcher in &self.watchers {
            self.check_wire(watcher)?;
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    #[test]
    fn every_wire_is_right(steps in prop::collection::vec(step(), 0..120)) {
        let mut model = Model::new();
        for step in steps {
            model.run(step)?;
        }
        model.settle()?;
    }
}
