//! What the fold adds to the state of an ordinary job: docs/decisions/0035.

use milepost_protocol::{Epoch, Fold, JobId, Origin, State, Timestamp, Update, fold};
use serde_json::{Map, Value, json};

/// Since the start of the attempt, in microseconds since 1970.
const BEGUN: i64 = 1_714_979_289_123_456;

/// The field names that a state has besides those of its update, and had before there were names, health and estimates.
const BEFORE: [&str; 4] = ["job_id", "timestamp", "attempt", "position"];

/// What the packages report of a job that counts, after so many seconds.
fn update(second: i32) -> Value {
    json!({
        "status": "processing", "stage": "encode", "progress": f64::from(second) / 1_000.0,
        "message": "frame by frame", "name": "render", "tags": ["nightly"], "unit": "frames",
        "current": second, "total": 1_000, "heartbeat": 10, "timestamp": "2024-05-06T07:08:09.123456Z",
    })
}

/// The job's state after so many seconds, with an update in each, and the names that the fold has added.
fn after(seconds: i32) -> (State, Map<String, Value>) {
    let job = JobId::parse("film-1").expect("an id");
    let mut state: Option<State> = None;
    for second in 0..=seconds {
        let json = update(second).to_string();
        let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
        let now = Timestamp::from_micros(BEGUN + i64::from(second) * 1_000_000);
        match fold(state.as_ref(), &update, Origin::Report, Epoch(1), now) {
            Ok(Fold::New(new)) => state = Some(new),
            other => panic!("{other:?}"),
        }
    }
    let state = state.expect("a state");
    let mut fields: Map<String, Value> = serde_json::from_str(state.json()).expect("an object");
    let reported = update(0);
    fields.retain(|name, _| reported.get(name).is_none() && !BEFORE.contains(&name.as_str()));
    (state, fields)
}

/// Bytes of JSON, each field with its comma.
fn bytes(fields: &Map<String, Value>) -> usize {
    Value::Object(fields.clone()).to_string().len() - 1
}

fn names(fields: &Map<String, Value>) -> Vec<&str> {
    let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_state_without_an_estimate_grows_by_139_bytes() {
    let (state, added) = after(5);
    assert_eq!(names(&added), ["health", "last_seen_at", "progressed_at", "started_at"]);
    assert_eq!(bytes(&added), 139, "{}", state.json());
}

#[test]
fn an_estimate_adds_90_bytes_more() {
    let (state, added) = after(60);
    let estimate = ["eta", "eta_basis", "eta_high"];
    let (_, earlier) = after(5);
    let more = |name: &&str| !earlier.contains_key(*name);
    assert_eq!(names(&added).into_iter().filter(more).collect::<Vec<_>>(), estimate);
    assert_eq!(bytes(&added), 139 + 90, "{}", state.json());
}
