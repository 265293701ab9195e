//! For any sequence of calls, the embedded broker does what a map and the fold do.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milepost_broker::{Broker, Clock, JobsQuery, Listener, ReportError};
use milepost_broker_embedded::Limits;
use milepost_protocol::{Fold, Origin, State, fold};
use proptest::prelude::*;

use crate::{in_memory, job, update};

const IDS: [&str; 4] = ["a", "b", "c", "d"];
const HISTORY: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Report(usize, String),
    Forget(usize),
    Attach(usize),
    Detach(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let status = prop::sample::select(vec!["queued", "processing", "completed", "failed"]);
    let attempt = prop::option::weighted(0.4, 1_u32..5);
    let ttl = prop::option::weighted(0.3, 1_u32..40);
    // Few values, so that ends are sometimes repeated.
    let report =
        (0..IDS.len(), status, attempt, ttl, 0..2).prop_map(|(id, status, attempt, ttl, n)| {
            let attempt =
                attempt.map_or(String::new(), |attempt| format!(r#","attempt":{attempt}"#));
            let ttl = ttl.map_or(String::new(), |ttl| format!(r#","ttl":{ttl}"#));
            Step::Report(id, format!(r#"{{"status":"{status}","n":{n}{attempt}{ttl}}}"#))
        });
    prop_oneof![
        12 => report,
        1 => (0..IDS.len()).prop_map(Step::Forget),
        1 => (0..IDS.len()).prop_map(Step::Attach),
        1 => (0..IDS.len()).prop_map(Step::Detach),
        3 => (0_u64..25).prop_map(Step::Pass),
    ]
}

struct Known {
    states: Vec<State>,
    expires: Duration,
    begun: usize,
}

/// What a listener received, or is expected to receive; none means that the job was forgotten.
type Heard = Vec<Option<State>>;

#[derive(Default)]
struct Recorder(Mutex<Heard>);

impl Listener for Recorder {
    fn attached(&self, states: &[Arc<State>]) {
        self.0.lock().expect("no panic").extend(states.iter().map(|state| Some((**state).clone())));
    }
    fn update(&self, state: &Arc<State>) {
        self.0.lock().expect("no panic").push(Some((**state).clone()));
    }
    fn forgotten(&self) {
        self.0.lock().expect("no panic").push(None);
    }
    fn unreadable(&self) {}
    fn readable(&self) {}
}

type Listening = BTreeMap<&'static str, (Arc<Recorder>, Heard)>;

fn expect(listening: &mut Listening, id: &str, heard: Option<State>) {
    if let Some((_, expected)) = listening.get_mut(id) {
        expected.push(heard);
    }
}

#[expect(clippy::too_many_lines, reason = "one arm a step, then what holds after each")]
async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let limits = Limits {
        history: NonZeroUsize::new(HISTORY).expect("not zero"),
        ttl: Duration::from_secs(20),
        ttl_after_end: Duration::from_secs(10),
        ..Limits::default()
    };
    let (broker, clock) = in_memory(limits);
    let mut model: BTreeMap<&str, Known> = BTreeMap::new();
    let mut listening = Listening::new();
    let mut begun = 0;
    for step in steps {
        match step {
            Step::Report(id, json) => {
                let (id, update) = (IDS[id], update(IDS[id], &json));
                let answer = broker.report(update.clone()).await;
                let previous = model.get(id).and_then(|known| known.states.last());
                let epoch = match (&answer, previous) {
                    (_, Some(previous)) => previous.position().epoch,
                    (Ok(reported), None) => reported.state.position().epoch,
                    (Err(error), None) => return Err(TestCaseError::fail(error.to_string())),
                };
                match fold(previous, &update, Origin::Report, epoch, clock.now()) {
                    Ok(Fold::New(state)) => {
                        let reported = answer.map_err(|e| TestCaseError::fail(e.to_string()))?;
                        prop_assert!(!reported.repeated);
                        prop_assert_eq!(&*reported.state, &state);
                        let ttl = match state.ttl() {
                            Some(ttl) => u64::from(ttl),
                            None if state.status().is_end() => 10,
                            None => 20,
                        };
                        let known = model.entry(id).or_insert_with(|| {
                            begun += 1;
                            Known { states: Vec::new(), expires: Duration::ZERO, begun }
                        });
                        known.expires = clock.elapsed() + Duration::from_secs(ttl);
                        known.states.push(state.clone());
                        if known.states.len() > HISTORY {
                            known.states.remove(0);
                        }
                        expect(&mut listening, id, Some(state));
                    }
                    Ok(Fold::Repeated) => {
                        let reported = answer.map_err(|e| TestCaseError::fail(e.to_string()))?;
                        prop_assert!(reported.repeated);
                        prop_assert_eq!(Some(&*reported.state), previous);
                    }
                    Err(refusal) => {
                        prop_assert_eq!(answer.err(), Some(ReportError::Refused(refusal)));
                    }
                }
            }
            Step::Forget(id) => {
                let known = model.remove(IDS[id]).is_some();
                prop_assert_eq!(broker.forget(&job(IDS[id])).await, Ok(known));
                if known {
                    expect(&mut listening, IDS[id], None);
                }
            }
            Step::Attach(id) => {
                let recorder = Arc::new(Recorder::default());
                broker.attach(&job(IDS[id]), recorder.clone()).await.expect("it answers");
                let states = model.get(IDS[id]).map(|known| known.states.clone());
                let expected = states.unwrap_or_default().into_iter().map(Some).collect();
                listening.insert(IDS[id], (recorder, expected));
            }
            Step::Detach(id) => {
                if let Some((recorder, _)) = listening.remove(IDS[id]) {
                    let listener: Arc<dyn Listener> = recorder;
                    broker.detach(&job(IDS[id]), &listener).await;
                }
            }
            Step::Pass(seconds) => {
                clock.advance(Duration::from_secs(seconds));
                broker.expire();
                for id in IDS {
                    if model.get(id).is_some_and(|known| known.expires <= clock.elapsed()) {
                        model.remove(id);
                        expect(&mut listening, id, None);
                    }
                }
            }
        }

        for id in IDS {
            let states = model.get(id).map_or(&[][..], |known| &known.states);
            let state = broker.state(&job(id)).await.expect("it answers");
            prop_assert_eq!(state.as_deref(), states.last());
            let history = broker.history(&job(id)).await.expect("it answers").states;
            let history: Vec<_> = history.iter().map(|state| (**state).clone()).collect();
            prop_assert_eq!(&history, states);
        }
        for (recorder, expected) in listening.values() {
            prop_assert_eq!(&*recorder.0.lock().expect("no panic"), expected);
        }
        let all = JobsQuery { limit: 10, ..JobsQuery::default() };
        let listed = broker.jobs(&all).await.expect("it answers");
        let mut expected: Vec<_> = model.values().collect();
        expected.sort_by_key(|known| std::cmp::Reverse(known.begun));
        let expected: Vec<_> = expected.iter().filter_map(|known| known.states.last()).collect();
        prop_assert_eq!(listed.states.iter().map(|state| &**state).collect::<Vec<_>>(), expected);
        prop_assert_eq!(listed.total, model.len());
        prop_assert_eq!(broker.stats().jobs, model.len());
        prop_assert_eq!(broker.stats().bytes == 0, model.is_empty());
    }
    Ok(())
}

proptest! {
    #[test]
    fn embedded_does_what_the_model_does(steps in prop::collection::vec(step(), 0..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(steps))?;
    }
}
