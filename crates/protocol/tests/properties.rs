//! What holds for every update and every state, whatever a worker sends.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use milepost_protocol::{
    Epoch, Fold, JobId, Origin, Position, Refusal, Standing, State, Status, Timestamp, Update, fold,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

fn job() -> JobId {
    JobId::parse("j1").expect("a job id")
}

/// Any JSON, three levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|fields| fields.into_iter().collect::<Value>()),
        ]
    })
}

/// The JSON of an update that is accepted, with few enough different values that ends repeat.
fn any_update() -> impl Strategy<Value = Value> {
    let field = |name: &'static str, value: BoxedStrategy<Value>| {
        proptest::option::of(value)
            .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    let known = (
        field(
            "status",
            proptest::sample::select(
                &["queued", "processing", "completed", "failed", "cancelled"][..],
            )
            .prop_map(Value::from)
            .boxed(),
        ),
        field(
            "stage",
            proptest::sample::select(&["", "a", "é\"\\\n"][..]).prop_map(Value::from).boxed(),
        ),
        field(
            "progress",
            prop_oneof![Just(Value::Null), Just(json!(0.5)), (-2.0..2.0).prop_map(Value::from)]
                .boxed(),
        ),
        field(
            "message",
            prop_oneof![Just(json!("m")), any::<String>().prop_map(Value::from)].boxed(),
        ),
        field("timestamp", Just(json!("2024-01-01T00:00:00Z")).boxed()),
        field("attempt", (1_u32..5).prop_map(Value::from).boxed()),
        field("ttl", (1_u32..3).prop_map(Value::from).boxed()),
        field("metadata", any_json().boxed()),
        field("of the worker", any_json().boxed()),
        field("position", Just(json!("1-1")).boxed()),
    );
    known.prop_map(|(a, b, c, d, e, f, g, h, i, j)| {
        [a, b, c, d, e, f, g, h, i, j].into_iter().flatten().collect::<Value>()
    })
}

fn any_origin() -> impl Strategy<Value = Origin> {
    prop_oneof![4 => Just(Origin::Report), 1 => Just(Origin::Publish)]
}

/// One more update of a job's life, and the server's clock and epoch then.
fn any_step() -> impl Strategy<Value = (Value, Origin, Epoch, Timestamp)> {
    let epoch =
        prop_oneof![20 => Just(Epoch(7)), 1 => Just(Epoch(0)), 1 => any::<u64>().prop_map(Epoch)];
    let now = (0..4_102_444_800_000_000_i64).prop_map(Timestamp::from_micros);
    (any_update(), any_origin(), epoch, now)
}

fn parse(update: &Value) -> Update {
    Update::parse(Some(&job()), update.to_string().as_bytes()).expect("an update")
}

/// An object's fields, each as the text that stands there.
fn fields(json: &str) -> BTreeMap<String, String> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(json).expect("an object");
    fields.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parsing_any_bytes_accepts_or_refuses(bytes in vec(any::<u8>(), 0..200), named in any::<bool>()) {
        let job = job();
        let _ = Update::parse(named.then_some(&job), &bytes);
        let _ = State::parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn parsing_any_text_of_json_tokens_accepts_or_refuses(
        tokens in vec(proptest::sample::select(&[
            "{", "}", "[", "]", ":", ",", "\"", "\"status\"", "\"progress\"", "\"job_id\"", "\"j1\"", "\"a\"",
            "\"\\u0000\"", "\\", "\\ud800", "\"completed\"", "null", "true", "0", "-", "1e9", ".5", "NaN", "\n", "é",
        ][..]), 0..24),
    ) {
        let text = tokens.concat();
        if let Ok(update) = Update::parse(Some(&job()), text.as_bytes()) {
            let is_object = serde_json::from_str::<Value>(&text).is_ok_and(|json| json.is_object());
            prop_assert!(is_object, "accepted {text:?}");
            prop_assert_eq!(update.job(), &job());
        }
    }

    #[test]
    fn positions_are_read_as_they_are_written(epoch in any::<u64>(), number in 1..=u64::MAX, text in any::<String>()) {
        let position = Position { epoch: Epoch(epoch), number };
        prop_assert_eq!(Position::parse(&position.to_string()), Some(position));
        prop_assert_eq!(position.standing_of(position), Standing::Current);
        if let Some(read) = Position::parse(&text) {
            prop_assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn timestamps_are_read_as_they_are_written(micros in -62_135_596_800_000_000_i64..253_402_207_200_000_000) {
        let moment = Timestamp::from_micros(micros);
        prop_assert_eq!(moment.as_micros(), micros);
        prop_assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
    }

    #[test]
    fn job_ids_are_what_the_set_allows(text in "[ -~é]{0,130}") {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~:@".contains(c);
        let is_one = (1..=128).contains(&text.len()) && text.chars().all(allowed) && text != "." && text != "..";
        prop_assert_eq!(JobId::parse(&text).is_ok(), is_one);
    }

    #[test]
    fn progress_is_shown_between_0_and_1(progress in any::<f64>().prop_filter("JSON has no such number", |p| p.is_finite())) {
        let update = parse(&json!({ "progress": progress }));
        let Ok(Fold::New(state)) = fold(None, &update, Origin::Report, Epoch(1), Timestamp::from_micros(0)) else {
            return Err(TestCaseError::fail("a first update makes a state"));
        };
        let shown = state.view().progress.expect("a progress");
        prop_assert!((0.0..=1.0).contains(&shown));
        prop_assert!(shown.total_cmp(&progress.clamp(0.0, 1.0)).is_eq(), "{shown:?}");
    }

    #[test]
    fn a_job_s_life(steps in vec(any_step(), 1..24)) {
        let mut present: Option<State> = None;
        let mut ends: Vec<State> = Vec::new();
        for (json, origin, epoch, now) in &steps {
            let update = parse(json);
            match fold(present.as_ref(), &update, *origin, *epoch, *now) {
                Ok(Fold::New(state)) => {
                    check_state(present.as_ref(), &update, json, &state, *epoch, *now)?;
                    if let Some(before) = &present {
                        let latched = before.status().is_end() && before.attempt() == state.attempt();
                        prop_assert!(!latched, "{} came after the end {}", state.json(), before.json());
                    }
                    if state.status().is_end() {
                        ends.push(state.clone());
                        // Asked again, at any time and in any epoch.
                        let again = fold(Some(&state), &update, *origin, Epoch(99), Timestamp::from_micros(1));
                        prop_assert_eq!(again, Ok(Fold::Repeated));
                    }
                    present = Some(state);
                }
                Ok(Fold::Repeated) => {
                    let before = present.as_ref().expect("only an end is repeated");
                    prop_assert!(before.status().is_end());
                    prop_assert_eq!(before.status(), update.status());
                }
                Err(refusal) => check_refusal(present.as_ref(), &update, *origin, refusal)?,
            }
        }
        // One end an attempt.
        let mut attempts: Vec<u32> = ends.iter().map(State::attempt).collect();
        attempts.dedup();
        prop_assert_eq!(attempts.len(), ends.len());
    }
}

fn check_state(
    before: Option<&State>,
    update: &Update,
    reported: &Value,
    state: &State,
    epoch: Epoch,
    now: Timestamp,
) -> Result<(), TestCaseError> {
    prop_assert!(!state.json().contains(['\n', '\r']));
    prop_assert_eq!(&State::parse(state.json()).expect("a state is one"), state);
    prop_assert_eq!(state.status(), update.status());

    // One by one in an epoch, from 1.
    let number = match before {
        Some(before) if before.position().epoch == epoch => before.position().number + 1,
        _ => 1,
    };
    prop_assert_eq!(state.position(), Position { epoch, number });
    prop_assert!(before.is_none_or(|before| state.attempt() >= before.attempt()));
    if let Some(named) = update.attempt() {
        prop_assert_eq!(state.attempt(), u32::from(named));
    }
    prop_assert_eq!(state.ttl(), update.ttl().or(before.and_then(State::ttl)));

    let shown = fields(state.json());
    let given = fields(&reported.to_string());
    let carried = before
        .filter(|before| before.attempt() == state.attempt())
        .map_or(BTreeMap::new(), |before| fields(before.json()));
    for name in ["message", "metadata", "of the worker"] {
        prop_assert_eq!(shown.get(name), given.get(name));
    }
    let (stage, progress) = match update.status() {
        Status::Completed => (Some("\"complete\""), Some("1.0")),
        status => {
            let first = match status {
                Status::Failed => "\"error\"",
                Status::Queued => "\"queued\"",
                _ => "\"processing\"",
            };
            let of_before = |name: &str| carried.get(name).map(String::as_str);
            (of_before("stage").or(Some(first)), of_before("progress"))
        }
    };
    let text = |name: &str| given.get(name).map(String::as_str);
    prop_assert_eq!(shown.get("stage").map(String::as_str), text("stage").or(stage));
    if text("progress").is_none() {
        prop_assert_eq!(shown.get("progress").map(String::as_str), progress);
    }
    let clock = format!("\"{now}\"");
    prop_assert_eq!(shown.get("timestamp"), given.get("timestamp").or(Some(&clock)));
    Ok(())
}

fn check_refusal(
    before: Option<&State>,
    update: &Update,
    origin: Origin,
    refusal: Refusal,
) -> Result<(), TestCaseError> {
    let before = before.expect("a first update is never refused");
    let named = update.attempt().map(NonZeroU32::get);
    match refusal {
        Refusal::AttemptEnded { attempt, status, position } => {
            prop_assert_eq!(
                (attempt, status, position),
                (before.attempt(), before.status(), before.position())
            );
            prop_assert!(status.is_end());
            prop_assert!(named.is_none_or(|named| named == attempt));
            let opens = origin == Origin::Publish
                && named.is_none()
                && update.status() == Status::Processing;
            prop_assert!(!opens);
        }
        Refusal::AttemptSuperseded { named: given, attempt, position } => {
            prop_assert_eq!((attempt, position), (before.attempt(), before.position()));
            prop_assert_eq!(named, Some(given));
            prop_assert!(given < attempt);
        }
    }
    Ok(())
}

#[test]
fn brackets_in_strings_are_no_levels() {
    let nested =
        |levels: usize| format!(r#"{{"metadata":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let parse = |json: &str| Update::parse(Some(&JobId::parse("a").unwrap()), json.as_bytes());
    assert!(parse(&nested(126)).is_ok());
    assert!(parse(&nested(127)).is_err());
    assert!(parse(&nested(20_000)).is_err());
    let text = r#"[\"{{\\"#.repeat(200);
    assert!(parse(&format!(r#"{{"metadata":{{"a":"{text}"}}}}"#)).is_ok());
    let many = "[],".repeat(200);
    assert!(parse(&format!(r#"{{"metadata":[{many}[]]}}"#)).is_ok());
}
