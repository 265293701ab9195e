use milepost_protocol::State;
use milepost_redis::Answer;

use super::legacy::{MAX_UPDATES, MAX_WAIT};
use super::*;

const SUBSCRIPTION: SubscriptionKey = 7;
const NOW: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Recorder(Mutex<Vec<Arc<State>>>);

impl Listener for Recorder {
    fn attached(&self, _states: &[Arc<State>]) {}

    fn update(&self, state: &Arc<State>) {
        self.0.lock().unwrap().push(Arc::clone(state));
    }

    fn forgotten(&self) {}

    fn unreadable(&self) {}

    fn readable(&self) {}
}

/// A watched job whose publishes are followed, and which has no state yet.
fn followed() -> (Watched, JobId) {
    let (watched, job) = (Watched::default(), JobId::parse("a").unwrap());
    drop(watched.attach(&job, Arc::new(Recorder::default())));
    let read = watched.read(&job, nothing(), None, SUBSCRIPTION);
    assert_eq!(read, (Next::Nothing, false));
    (watched, job)
}

fn nothing() -> Read {
    Read { known: false, legacy_value: None, serial: 0, secret: None, states: Vec::new() }
}

fn publish(status: &str, n: usize) -> String {
    format!(r#"{{"job_id":"a","status":"{status}","stage":"s","progress":0.5,"message":"{n}"}}"#)
}

/// The updates that are sent one after the other, if the script answers to each that the attempt has ended.
fn fold_all(watched: &Watched, job: &JobId) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(publish) = watched.next_update(job, FoldKey(SUBSCRIPTION, 1)) {
        all.push(publish.json().to_owned());
        watched.folded(job, FoldKey(SUBSCRIPTION, 1), None);
    }
    all
}

#[test]
fn a_backlog_of_publishes_coalesces_but_keeps_ends() {
    let (watched, job) = followed();
    let next = watched.message(&job, &publish("processing", 0), SUBSCRIPTION, NOW).unwrap();
    assert_eq!(next, Next::Fold);
    assert!(watched.next_update(&job, FoldKey(SUBSCRIPTION, 0)).is_some());
    for n in 1..20 {
        let status = if n == 5 || n == 12 { "failed" } else { "processing" };
        let late = NOW + (MAX_WAIT / 10) * u32::try_from(n).unwrap();
        watched.message(&job, &publish(status, n), SUBSCRIPTION, late).unwrap();
    }
    watched.folded(&job, FoldKey(SUBSCRIPTION, 0), None);
    let folded = fold_all(&watched, &job);
    assert!(folded.len() < 13, "{folded:?}");
    let place = |json: &str| folded.iter().position(|folded| folded == json);
    let ends = [place(&publish("failed", 5)), place(&publish("failed", 12))];
    assert!(ends[0].is_some() && ends[0] < ends[1], "{folded:?}");
    assert_eq!(folded.last(), Some(&publish("processing", 19)));
}

#[test]
fn a_burst_of_publishes_is_folded_whole() {
    let (watched, job) = followed();
    for n in 0..MAX_UPDATES {
        watched.message(&job, &publish("processing", n), SUBSCRIPTION, NOW).unwrap();
    }
    let all: Vec<_> = (0..MAX_UPDATES).map(|n| publish("processing", n)).collect();
    assert_eq!(fold_all(&watched, &job), all);
}

#[test]
fn of_too_many_publishes_the_newest_is_folded() {
    let (watched, job) = followed();
    for n in 0..=MAX_UPDATES {
        watched.message(&job, &publish("processing", n), SUBSCRIPTION, NOW).unwrap();
    }
    assert_eq!(fold_all(&watched, &job), [publish("processing", MAX_UPDATES)]);
}

#[test]
fn too_many_ends_are_replaced_by_a_read() {
    let (watched, job) = followed();
    let next = (0..=MAX_UPDATES)
        .map(|n| watched.message(&job, &publish("failed", n), SUBSCRIPTION, NOW).unwrap())
        .collect::<Vec<_>>();
    assert_eq!(next.last(), Some(&Next::Read));
    assert!(watched.next_update(&job, FoldKey(SUBSCRIPTION, 0)).is_none());
}

/// Another instance may fold the publish after this one has read the job.
#[test]
fn a_publish_that_is_not_folded_leads_to_a_read_soon() {
    let (watched, job) = followed();
    watched.message(&job, &publish("processing", 1), SUBSCRIPTION, NOW).unwrap();
    assert!(watched.next_update(&job, FoldKey(SUBSCRIPTION, 0)).is_some());
    let next = watched.folded(&job, FoldKey(SUBSCRIPTION, 0), Some(Reply::Stale));
    assert_eq!(next, Next::Read);
    assert_eq!(
        watched.message(&job, &publish("completed", 2), SUBSCRIPTION, NOW).unwrap(),
        Next::Nothing
    );
    assert_eq!(
        watched.read(&job, nothing(), None, SUBSCRIPTION),
        (Next::Nothing, true),
        "read again soon"
    );
    assert_eq!(
        watched.read(&job, nothing(), None, SUBSCRIPTION),
        (Next::Nothing, false),
        "then not"
    );
}

#[test]
fn a_key_is_folded_only_if_two_reads_find_it_unchanged() {
    let (watched, job) = followed();
    watched.message(&job, &publish("processing", 1), SUBSCRIPTION, NOW).unwrap();
    assert!(watched.next_update(&job, FoldKey(SUBSCRIPTION, 0)).is_some());
    let reply = reply(&publish("processing", 1), "1-1");
    assert_eq!(watched.folded(&job, FoldKey(SUBSCRIPTION, 0), Some(reply)), Next::Nothing);
    let known = || Read { known: true, ..nothing() };
    let value = || Some(publish("processing", 2));
    assert_eq!(watched.read(&job, known(), value(), SUBSCRIPTION), (Next::Nothing, true));
    assert_eq!(watched.read(&job, known(), value(), SUBSCRIPTION), (Next::Fold, true));
}

/// The instance that folded a later update may fail before the state is published.
#[test]
fn a_stale_publish_may_be_found_under_the_key() {
    let (watched, job) = followed();
    watched.message(&job, &publish("processing", 1), SUBSCRIPTION, NOW).unwrap();
    assert!(watched.next_update(&job, FoldKey(SUBSCRIPTION, 0)).is_some());
    watched.folded(&job, FoldKey(SUBSCRIPTION, 0), Some(Reply::Stale));
    let known = || Read { known: true, ..nothing() };
    let value = || Some(publish("processing", 1));
    let next = [
        watched.read(&job, known(), value(), SUBSCRIPTION).0,
        watched.read(&job, known(), value(), SUBSCRIPTION).0,
    ];
    assert!(next.contains(&Next::Fold), "{next:?}");
}

fn reply(json: &str, position: &str) -> Reply {
    let fields = json.trim_end_matches('}');
    let state = format!(
        r#"{fields},"timestamp":"2026-01-01T00:00:00Z","attempt":1,"position":"{position}"}}"#
    );
    let answer = Answer(
        ["new", &state, "1", "", "", "", "", ""].map(|part| part.as_bytes().to_vec()).into(),
    );
    Reply::parse(answer, None).unwrap()
}

#[test]
fn a_read_across_epochs_notifies_of_what_is_newer() {
    let (watched, job) = (Watched::default(), JobId::parse("a").unwrap());
    let recorder = Arc::new(Recorder::default());
    drop(watched.attach(&job, Arc::clone(&recorder) as Arc<dyn Listener>));
    let state = |position: &str| {
        let json = format!(
            r#"{{"job_id":"a","status":"processing","attempt":1,"position":"{position}"}}"#
        );
        State::parse(&json).unwrap()
    };
    let read = |positions: &[&str]| Read {
        known: true,
        states: positions.iter().map(|position| state(position)).collect(),
        ..nothing()
    };
    // Redis restarted before the job was watched, and again later, each time with its data.
    watched.read(&job, read(&["1-1", "1-2", "2-1"]), None, SUBSCRIPTION);
    watched.read(&job, read(&["1-1", "1-2", "2-1", "2-2", "3-1"]), None, SUBSCRIPTION + 1);
    // Redis lost its data.
    watched.read(&job, read(&["4-1", "5-1", "5-2"]), None, SUBSCRIPTION + 2);
    let notified = recorder.0.lock().unwrap();
    let notified: Vec<_> = notified.iter().map(|state| state.position().to_string()).collect();
    assert_eq!(notified, ["2-2", "3-1", "5-1", "5-2"]);
}
