use std::sync::Mutex;

use milepost_redis::Answer;

use super::*;

const LINK: LinkKey = 7;
const NOW: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Ear(Mutex<Vec<Arc<State>>>);

impl Listener for Ear {
    fn attached(&self, _states: &[Arc<State>]) {}

    fn update(&self, state: &Arc<State>) {
        self.0.lock().unwrap().push(Arc::clone(state));
    }

    fn forgotten(&self) {}
}

/// A job that is watched and followed; nothing is known of it yet.
fn followed() -> (Watched, JobId) {
    let (watched, job) = (Watched::default(), JobId::parse("a").unwrap());
    drop(watched.attach(&job, Arc::new(Ear::default())));
    let read = watched.read(&job, nothing(), None, LINK);
    assert_eq!(read, (Heard::Done, false));
    (watched, job)
}

fn nothing() -> Read {
    Read { known: false, legacy_value: None, serial: 0, secret: None, states: Vec::new() }
}

fn publish(status: &str, n: usize) -> String {
    format!(r#"{{"job_id":"a","status":"{status}","stage":"s","progress":0.5,"message":"{n}"}}"#)
}

/// What is taken, one after the other, as if the script answered each that the attempt has ended.
fn take_all(watched: &Watched, job: &JobId) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(publish) = watched.take(job, TakeKey(LINK, 1)) {
        all.push(publish.json().to_owned());
        watched.taken(job, TakeKey(LINK, 1), None);
    }
    all
}

#[test]
fn a_backlog_of_publishes_coalesces_but_keeps_ends() {
    let (watched, job) = followed();
    let heard = watched.message(&job, &publish("processing", 0), LINK, NOW).unwrap();
    assert_eq!(heard, Heard::Publish);
    assert!(watched.take(&job, TakeKey(LINK, 0)).is_some());
    for n in 1..20 {
        let status = if n == 5 || n == 12 { "failed" } else { "processing" };
        let late = NOW + (LATE / 10) * u32::try_from(n).unwrap();
        watched.message(&job, &publish(status, n), LINK, late).unwrap();
    }
    watched.taken(&job, TakeKey(LINK, 0), None);
    let taken = take_all(&watched, &job);
    assert!(taken.len() < 13, "{taken:?}");
    let place = |json: &str| taken.iter().position(|taken| taken == json);
    let ends = [place(&publish("failed", 5)), place(&publish("failed", 12))];
    assert!(ends[0].is_some() && ends[0] < ends[1], "{taken:?}");
    assert_eq!(taken.last(), Some(&publish("processing", 19)));
}

#[test]
fn those_of_a_burst_are_all_taken() {
    let (watched, job) = followed();
    for n in 0..PUBLISHES {
        watched.message(&job, &publish("processing", n), LINK, NOW).unwrap();
    }
    let all: Vec<_> = (0..PUBLISHES).map(|n| publish("processing", n)).collect();
    assert_eq!(take_all(&watched, &job), all);
}

#[test]
fn of_too_many_in_a_burst_the_newest_is_taken() {
    let (watched, job) = followed();
    for n in 0..=PUBLISHES {
        watched.message(&job, &publish("processing", n), LINK, NOW).unwrap();
    }
    assert_eq!(take_all(&watched, &job), [publish("processing", PUBLISHES)]);
}

#[test]
fn too_many_ends_are_given_up_for_a_read() {
    let (watched, job) = followed();
    let heard =
        (0..=PUBLISHES).map(|n| watched.message(&job, &publish("failed", n), LINK, NOW).unwrap());
    assert_eq!(heard.last(), Some(Heard::Gap));
    assert!(watched.take(&job, TakeKey(LINK, 0)).is_none());
}

/// Another instance may take it after this one has read.
#[test]
fn what_was_heard_and_not_taken_is_read_again_soon() {
    let (watched, job) = followed();
    watched.message(&job, &publish("processing", 1), LINK, NOW).unwrap();
    assert!(watched.take(&job, TakeKey(LINK, 0)).is_some());
    let heard = watched.taken(&job, TakeKey(LINK, 0), Some(Reply::Stale));
    assert_eq!(heard, Heard::Gap);
    assert_eq!(watched.message(&job, &publish("completed", 2), LINK, NOW).unwrap(), Heard::Done);
    assert_eq!(watched.read(&job, nothing(), None, LINK), (Heard::Done, true), "read again soon");
    assert_eq!(watched.read(&job, nothing(), None, LINK), (Heard::Done, false), "then not");
}

#[test]
fn a_key_is_folded_only_if_two_reads_find_it_unchanged() {
    let (watched, job) = followed();
    watched.message(&job, &publish("processing", 1), LINK, NOW).unwrap();
    assert!(watched.take(&job, TakeKey(LINK, 0)).is_some());
    let taken = taken(&publish("processing", 1), "1-1");
    assert_eq!(watched.taken(&job, TakeKey(LINK, 0), Some(taken)), Heard::Done);
    let known = || Read { known: true, ..nothing() };
    let value = || Some(publish("processing", 2));
    assert_eq!(watched.read(&job, known(), value(), LINK), (Heard::Done, true));
    assert_eq!(watched.read(&job, known(), value(), LINK), (Heard::Publish, true));
}

/// The one that took what came later may be gone before anybody hears of it.
#[test]
fn what_was_stale_may_be_found_under_the_key() {
    let (watched, job) = followed();
    watched.message(&job, &publish("processing", 1), LINK, NOW).unwrap();
    assert!(watched.take(&job, TakeKey(LINK, 0)).is_some());
    watched.taken(&job, TakeKey(LINK, 0), Some(Reply::Stale));
    let known = || Read { known: true, ..nothing() };
    let value = || Some(publish("processing", 1));
    let heard = [
        watched.read(&job, known(), value(), LINK).0,
        watched.read(&job, known(), value(), LINK).0,
    ];
    assert!(heard.contains(&Heard::Publish), "{heard:?}");
}

fn taken(json: &str, position: &str) -> Reply {
    let fields = json.trim_end_matches('}');
    let state = format!(
        r#"{fields},"timestamp":"2026-01-01T00:00:00Z","attempt":1,"position":"{position}"}}"#
    );
    let answer =
        Answer(["new", &state, "1", "", "", ""].map(|part| part.as_bytes().to_vec()).into());
    Reply::parse(answer, None).unwrap()
}

#[test]
fn a_read_across_epochs_tells_what_came_after_the_latest() {
    let (watched, job) = (Watched::default(), JobId::parse("a").unwrap());
    let ear = Arc::new(Ear::default());
    drop(watched.attach(&job, Arc::clone(&ear) as Arc<dyn Listener>));
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
    // Redis restarted before anybody watched, and again later, each time with its data.
    watched.read(&job, read(&["1-1", "1-2", "2-1"]), None, LINK);
    watched.read(&job, read(&["1-1", "1-2", "2-1", "2-2", "3-1"]), None, LINK + 1);
    // It lost its data.
    watched.read(&job, read(&["4-1", "5-1", "5-2"]), None, LINK + 2);
    let heard = ear.0.lock().unwrap();
    let heard: Vec<_> = heard.iter().map(|state| state.position().to_string()).collect();
    assert_eq!(heard, ["2-2", "3-1", "5-1", "5-2"]);
}
