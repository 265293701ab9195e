//! States as a store or another server hands them over.

use milepost_protocol::{InvalidState, State, Status};

const STATE: &str = r#"{"job_id":"a","status":"failed","stage":"s","progress":0.5,"message":"m","error":"e",
    "timestamp":"2024-01-01T00:00:00Z","metadata":{"k":[1,
    2]},"result":"r","ttl":60,"attempt":2,"position":"8f-42"}"#;

#[test]
fn a_state_of_many_lines_is_one_of_one_line() {
    let state = State::parse(STATE).expect("a state");
    assert_eq!(state.json(), STATE.replace('\n', ""));
    assert_eq!(State::parse(state.json()), Ok(state));
}

#[test]
fn the_view_has_its_fields() {
    let state = State::parse(STATE).expect("a state");
    assert_eq!(state.job().as_str(), "a");
    assert_eq!(state.status(), Status::Failed);
    assert_eq!((state.attempt(), state.ttl()), (2, Some(60)));
    assert_eq!(state.position().to_string(), "8f-42");

    let view = state.view();
    assert_eq!((view.stage.as_ref(), view.progress), ("s", Some(0.5)));
    assert_eq!((view.message.as_deref(), view.error.as_deref()), (Some("m"), Some("e")));
    assert_eq!(view.timestamp.as_deref(), Some("2024-01-01T00:00:00Z"));
    assert_eq!(view.metadata.map(ToString::to_string).as_deref(), Some("{\"k\":[1,    2]}"));
    assert_eq!(view.result.map(ToString::to_string).as_deref(), Some("\"r\""));
}

#[test]
fn what_is_none_is_refused() {
    let with = |from: &str, to: &str| {
        assert!(STATE.contains(from));
        State::parse(&STATE.replace(from, to)).expect_err("it is no state")
    };
    assert!(matches!(with("\"a\"", "\"a b\""), InvalidState::JobId(_)));
    assert_eq!(with("8f-42", "8f-0"), InvalidState::Position);
    for (from, to) in [
        ("\"job_id\":\"a\",", ""),
        ("\"attempt\":2,", ""),
        ("\"attempt\":2", "\"attempt\":0"),
        ("\"failed\"", "\"done\""),
        (",\"position\":\"8f-42\"", ""),
        ("\"ttl\":60", "\"ttl\":-1"),
        ("\"attempt\":2,", "\"attempt\":2,\"attempt\":3,"),
        ("0.5", ".5"),
    ] {
        assert!(matches!(with(from, to), InvalidState::Json(_)), "{to}");
    }
    assert!(matches!(State::parse("[]"), Err(InvalidState::Json(_))));
}
