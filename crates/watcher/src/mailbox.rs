use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use milepost_protocol::{JobId, State};

use crate::event::Event;
use crate::options::Mode;

/// How many ends of a job wait for a slow caller: those of its latest attempts. A server keeps as many for a watcher whose
/// socket accepts nothing (`spec/README.md`, section 5).
pub const MAX_ENDS: usize = 8;

/// How many events may wait before outdated ones are dropped, …
const ROOM: usize = 64;
/// … and how many more for each job, so that this is not repeated at once.
const ROOM_PER_JOB: usize = 2 * (MAX_ENDS + 4);

/// Events that the caller has not fetched yet, oldest first. Never more than
/// `64 + 24 × jobs` events.
pub(crate) struct Mailbox {
    mode: Mode,
    events: VecDeque<Event>,
}

impl Mailbox {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, events: VecDeque::new() }
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// `jobs` is how many are watched.
    pub(crate) fn push(&mut self, event: Event, jobs: usize) {
        if self.mode == Mode::Latest {
            self.remove_outdated_by(&event);
        }
        self.events.push_back(event);
        if self.events.len() > ROOM + ROOM_PER_JOB * jobs {
            self.coalesce();
        }
    }

    /// Drops the events of this job.
    pub(crate) fn forget(&mut self, job: &JobId) {
        self.events.retain(|event| event.job() != Some(job));
    }

    /// In this mode at most one state of a job that is not an end waits: its newest.
    fn remove_outdated_by(&mut self, event: &Event) {
        let Event::State(new) = event else { return };
        let same_job = |event: &Event| matches!(event, Event::State(old) if old.job() == new.job());
        let Some(index) = self.events.iter().rposition(same_job) else { return };
        if matches!(&self.events[index], Event::State(old) if !old.status().is_end()) {
            self.events.remove(index);
        }
    }

    /// Keeps the newest state and the last ends of each job, and the newest event of each other kind.
    fn coalesce(&mut self) {
        let mut newest = HashSet::new();
        let mut ends: HashMap<JobId, usize> = HashMap::new();
        let mut kinds = HashSet::new();
        let mut kept = VecDeque::with_capacity(self.events.len());
        for event in self.events.drain(..).rev() {
            let keep = match &event {
                Event::State(state) => {
                    let is_newest = newest.insert(state.job().clone());
                    is_newest || is_one_of_the_last_ends(state, &mut ends)
                }
                Event::Unknown(job) => kinds.insert((Some(job.clone()), 0)),
                Event::JobRejected { job, .. } => kinds.insert((Some(job.clone()), 1)),
                Event::Unreadable { job, .. } => kinds.insert((Some(job.clone()), 2)),
                Event::Connection(_) => kinds.insert((None, 3)),
            };
            if keep {
                kept.push_front(event);
            }
        }
        self.events = kept;
    }
}

fn is_one_of_the_last_ends(state: &Arc<State>, ends: &mut HashMap<JobId, usize>) -> bool {
    if !state.status().is_end() {
        return false;
    }
    let seen = ends.entry(state.job().clone()).or_default();
    *seen += 1;
    *seen <= MAX_ENDS
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use milepost_protocol::Position;
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Connection, ConnectionError};

    fn state(job: &str, number: u64, status: &str) -> Event {
        let json = format!(
            r#"{{"job_id":"{job}","status":"{status}","attempt":1,"position":"a-{number}"}}"#
        );
        Event::State(Arc::new(State::parse(&json).unwrap()))
    }

    fn drain(mailbox: &mut Mailbox) -> Vec<Event> {
        std::iter::from_fn(|| mailbox.pop()).collect()
    }

    fn number(event: &Event) -> u64 {
        let Event::State(state) = event else { panic!("{event:?} is no state") };
        state.position().number
    }

    #[test]
    fn a_caller_that_keeps_up_gets_everything_in_order() {
        let mut mailbox = Mailbox::new(Mode::All);
        for i in 1..=ROOM as u64 {
            mailbox.push(state("a", i, "processing"), 1);
        }
        let numbers: Vec<u64> = drain(&mut mailbox).iter().map(number).collect();
        assert_eq!(numbers, (1..=ROOM as u64).collect::<Vec<_>>());
    }

    #[test]
    fn a_slow_caller_gets_the_last_ends_and_the_newest_state() {
        let mut mailbox = Mailbox::new(Mode::All);
        for i in 1..=2000 {
            mailbox.push(state("a", i, if i % 100 == 0 { "failed" } else { "processing" }), 1);
            assert!(mailbox.events.len() <= ROOM + ROOM_PER_JOB);
        }
        mailbox.push(state("a", 2001, "processing"), 1);
        let events = drain(&mut mailbox);
        assert_eq!(number(events.last().unwrap()), 2001);
        for end in (1300..=2000).step_by(100) {
            assert!(events.iter().any(|event| number(event) == end), "end {end} was skipped");
        }
    }

    #[test]
    fn in_mode_latest_only_the_newest_waits_and_ends_stay() {
        let mut mailbox = Mailbox::new(Mode::Latest);
        for (i, status) in [(1, "processing"), (2, "failed"), (3, "processing"), (4, "processing")]
        {
            mailbox.push(state("a", i, status), 2);
            mailbox.push(state("b", i, "processing"), 2);
        }
        let of_a: Vec<u64> = drain(&mut mailbox)
            .iter()
            .filter(|event| event.job().is_some_and(|job| job.as_str() == "a"))
            .map(number)
            .collect();
        assert_eq!(of_a, [2, 4]);
    }

    #[test]
    fn nothing_of_a_forgotten_job_comes_out() {
        let mut mailbox = Mailbox::new(Mode::All);
        mailbox.push(state("a", 1, "completed"), 2);
        mailbox.push(Event::Unknown(JobId::parse("a").unwrap()), 2);
        mailbox.push(state("b", 1, "processing"), 2);
        mailbox.forget(&JobId::parse("a").unwrap());
        assert_eq!(drain(&mut mailbox), [state("b", 1, "processing")]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Report { job: u8, end: bool },
        Lose,
        Unknown(u8),
        Fetch(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..3u8, prop::bool::weighted(0.02)).prop_map(|(job, end)| Step::Report { job, end }),
            1 => Just(Step::Lose),
            1 => (0..3u8).prop_map(Step::Unknown),
            2 => (0..6u8).prop_map(Step::Fetch),
        ];
        prop::collection::vec(step, 0..600)
    }

    proptest! {
        /// Whatever is reported and however slowly it is fetched: it is bounded, nothing comes twice or out
        /// of order, the newest state and the connection's present come out, and no end is missed of a job
        /// that has no more than eight.
        #[test]
        fn whatever_happens_the_newest_and_the_ends_come_out(
            steps in steps(), latest in any::<bool>()
        ) {
            let mut mailbox = Mailbox::new(if latest { Mode::Latest } else { Mode::All });
            let mut reported: HashMap<String, (u64, Vec<u64>)> = HashMap::new();
            let mut fetched: Vec<Event> = Vec::new();
            let mut losses = 0;
            for step in steps {
                match step {
                    Step::Report { job, end } => {
                        let job = format!("job{job}");
                        let (newest, ends) = reported.entry(job.clone()).or_default();
                        *newest += 1;
                        if end {
                            ends.push(*newest);
                        }
                        let status = if end { "completed" } else { "processing" };
                        mailbox.push(state(&job, *newest, status), 3);
                    }
                    Step::Lose => {
                        losses += 1;
                        let retry_in = Duration::from_secs(losses);
                        let reason = ConnectionError::Broken(String::new());
                        let lost = Connection::Lost { reason, retry_in };
                        mailbox.push(Event::Connection(lost), 3);
                    }
                    Step::Unknown(job) => {
                        let job = JobId::parse(&format!("job{job}")).unwrap();
                        mailbox.push(Event::Unknown(job), 3);
                    }
                    Step::Fetch(times) => fetched.extend((0..times).map_while(|_| mailbox.pop())),
                }
                prop_assert!(mailbox.events.len() <= ROOM + 3 * ROOM_PER_JOB);
            }
            fetched.extend(drain(&mut mailbox));

            for (job, (newest, ends)) in reported {
                let of_job: Vec<Position> = fetched
                    .iter()
                    .filter_map(|event| match event {
                        Event::State(state) if state.job().as_str() == job => Some(state.position()),
                        _ => None,
                    })
                    .collect();
                prop_assert!(of_job.windows(2).all(|pair| pair[0].number < pair[1].number));
                prop_assert_eq!(of_job.last().map(|position| position.number), Some(newest));
                if ends.len() <= MAX_ENDS {
                    for end in ends {
                        prop_assert!(of_job.iter().any(|position| position.number == end));
                    }
                }
            }
            let last_loss = fetched.iter().rev().find_map(|event| match event {
                Event::Connection(Connection::Lost { retry_in, .. }) => Some(retry_in.as_secs()),
                _ => None,
            });
            prop_assert_eq!(last_loss.unwrap_or(0), losses);
        }
    }
}
