//! Guarantees 1, 3 and 4: one order, acknowledged means kept, ends are latched.

use std::collections::HashSet;
use std::sync::Arc;

use milepost_broker::ReportError;
use milepost_protocol::{Fold, Origin, Refusal, State, Status, Timestamp, fold};
use serde_json::Value;

use crate::harness::{Harness, Settings, numbers, update};

pub async fn first_update_begins_the_job(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    assert!(it.state(&job).await.is_none());
    assert!(it.history(&job).await.is_empty());

    let state = it.report(&job, r#"{"stage":"rendering","progress":0.25}"#).await;
    assert_eq!((state.position().number, state.attempt()), (1, 1));
    assert_eq!(state.status(), Status::Processing);
    assert_eq!(it.state(&job).await, Some(Arc::clone(&state)));
    assert_eq!(it.history(&job).await, [state]);
    it.close().await;
}

pub async fn states_are_the_folds(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let mut previous: Option<State> = None;
    for json in [
        r#"{"status":"queued","timestamp":"2026-01-01T00:00:00Z"}"#,
        r#"{"stage":"s","progress":0.5,"timestamp":"2026-01-01T00:00:01Z","n":1.00000000000000000001}"#,
        r#"{"message":"m","timestamp":"2026-01-01T00:00:02Z","ttl":900}"#,
        r#"{"status":"failed","error":"e","timestamp":"2026-01-01T00:00:03Z"}"#,
        r#"{"attempt":4,"timestamp":"2026-01-01T00:00:04Z"}"#,
        r#"{"status":"completed","result":{"u":[1,2]},"timestamp":"2026-01-01T00:00:05Z"}"#,
    ] {
        let state = it.report(&job, json).await;
        let epoch = state.position().epoch;
        // The backend's clock is used.
        let view = state.view();
        let now = view.last_seen_at.or(view.ended_at).and_then(|now| Timestamp::parse(&now));
        let now = now.expect("a moment");
        let folded = fold(previous.as_ref(), &update(&job, json), Origin::Report, epoch, now);
        assert_eq!(folded, Ok(Fold::New((*state).clone())), "{json}");
        previous = Some((*state).clone());
    }
    it.close().await;
}

pub async fn an_acknowledged_state_is_kept(setup: impl AsyncFn(Settings) -> Harness) {
    let it = Arc::new(setup(Settings::default()).await);
    let job = it.job("a");
    let reporters = (0..4).map(|_| {
        let (it, job) = (Arc::clone(&it), job.clone());
        tokio::spawn(async move {
            for _ in 0..50 {
                let acknowledged = it.report(&job, "{}").await.position();
                let kept = it.state(&job).await.expect("it is known").position();
                assert_eq!(kept.epoch, acknowledged.epoch);
                assert!(kept.number >= acknowledged.number);
            }
        })
    });
    for reporter in reporters.collect::<Vec<_>>() {
        reporter.await.expect("no assertion failed");
    }
    Arc::into_inner(it).expect("all reporters are done").close().await;
}

pub async fn an_end_is_latched(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    for (status, name) in [
        (Status::Completed, "completed"),
        (Status::Failed, "failed"),
        (Status::Cancelled, "cancelled"),
    ] {
        let job = it.job(name);
        it.report(&job, r#"{"progress":0.5}"#).await;
        let end = it.report(&job, &format!(r#"{{"status":"{name}","message":"done"}}"#)).await;
        let refusal = Refusal::AttemptEnded { attempt: 1, status, position: end.position() };
        for late in [
            "{}",
            r#"{"status":"queued"}"#,
            r#"{"attempt":1,"progress":0.9}"#,
            r#"{"status":"completed","message":"another"}"#,
            r#"{"status":"failed","error":"another"}"#,
        ] {
            let answer = it.try_report(&job, late).await.err();
            assert_eq!(answer, Some(ReportError::Refused(refusal)), "{name} then {late}");
        }
        assert_eq!(it.state(&job).await, Some(end));
    }
    it.close().await;
}

pub async fn the_same_end_again_is_repeated(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let json = r#"{"status":"completed","result":{"frames":[1,2]},"message":"ok"}"#;
    it.report(&job, r#"{"stage":"s","progress":0.5}"#).await;
    let end = it.report(&job, json).await;
    for _ in 0..3 {
        let again = it.try_report(&job, json).await.expect("it may ask again");
        assert!(again.repeated);
        assert_eq!(again.state, end);
    }
    assert_eq!(numbers(&it.history(&job).await), [1, 2]);
    it.close().await;
}

pub async fn a_higher_attempt_starts_clean_and_a_lower_is_refused(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    it.report(&job, r#"{"stage":"rendering","progress":0.5}"#).await;
    it.report(&job, r#"{"status":"failed","error":"no memory"}"#).await;
    let second = it.report(&job, r#"{"attempt":2}"#).await;
    assert_eq!((second.attempt(), second.position().number), (2, 3));
    assert_eq!(second.view().stage, "processing");
    assert_eq!(second.view().progress, None);

    let fifth = it.report(&job, r#"{"attempt":5,"progress":0.1}"#).await;
    let superseded =
        Refusal::AttemptSuperseded { named: 2, attempt: 5, position: fifth.position() };
    let zombie = it.try_report(&job, r#"{"attempt":2,"status":"completed"}"#).await.err();
    assert_eq!(zombie, Some(ReportError::Refused(superseded)));
    assert_eq!(it.report(&job, r#"{"progress":0.2}"#).await.attempt(), 5);
    it.close().await;
}

pub async fn reports_from_everywhere_have_one_order(setup: impl AsyncFn(Settings) -> Harness) {
    const REPORTERS: u64 = 8;
    const EACH: u64 = 24;
    let it = Arc::new(setup(Settings { history: 1_000, ..Settings::default() }).await);
    let job = it.job("a");
    let listener = it.attach(&job).await;
    let reporters = (0..REPORTERS).map(|reporter| {
        let (it, job) = (Arc::clone(&it), job.clone());
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for n in 0..EACH {
                let message = format!(r#"{{"message":"{reporter}.{n}"}}"#);
                acknowledged.push(it.report(&job, &message).await);
            }
            acknowledged
        })
    });
    let mut acknowledged = Vec::new();
    for reporter in reporters.collect::<Vec<_>>() {
        let states = reporter.await.expect("all are taken");
        assert!(states.is_sorted_by_key(|state| state.position().number));
        acknowledged.extend(states);
    }
    acknowledged.sort_by_key(|state| state.position().number);
    assert_eq!(numbers(&acknowledged), (1..=REPORTERS * EACH).collect::<Vec<_>>());
    listener.hears(acknowledged.last().expect("there are some")).await;
    // Every listener receives exactly these states in this order, and the history has them.
    assert_eq!(listener.updates(), acknowledged);
    assert_eq!(it.history(&job).await, acknowledged);
    Arc::into_inner(it).expect("all reporters are done").close().await;
}

pub async fn the_first_of_many_ends_wins(setup: impl AsyncFn(Settings) -> Harness) {
    let it = Arc::new(setup(Settings::default()).await);
    let job = it.job("a");
    it.report(&job, "{}").await;
    let reporters = (0..8).map(|reporter| {
        let (it, job) = (Arc::clone(&it), job.clone());
        let end = format!(r#"{{"status":"completed","result":{reporter}}}"#);
        tokio::spawn(async move { it.try_report(&job, &end).await })
    });
    let mut won = Vec::new();
    for reporter in reporters.collect::<Vec<_>>() {
        match reporter.await.expect("no panic") {
            Ok(reported) => won.push(reported.state),
            Err(ReportError::Refused(Refusal::AttemptEnded { position, .. })) => {
                assert_eq!(position.number, 2);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    assert_eq!(it.state(&job).await.as_ref(), won.first());
    Arc::into_inner(it).expect("all reporters are done").close().await;
}

pub async fn one_end_reported_by_many_is_taken_once(setup: impl AsyncFn(Settings) -> Harness) {
    let it = Arc::new(setup(Settings::default()).await);
    let job = it.job("a");
    it.report(&job, "{}").await;
    let reporters = (0..8).map(|_| {
        let (it, job) = (Arc::clone(&it), job.clone());
        tokio::spawn(async move { it.try_report(&job, r#"{"status":"completed"}"#).await })
    });
    let (mut taken, mut positions) = (0, HashSet::new());
    for reporter in reporters.collect::<Vec<_>>() {
        let reported = reporter.await.expect("no panic").expect("it is the same end");
        taken += u32::from(!reported.repeated);
        positions.insert(reported.state.position());
    }
    assert_eq!((taken, positions.len()), (1, 1));
    Arc::into_inner(it).expect("all reporters are done").close().await;
}

pub async fn jobs_do_not_touch_each_other(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let (a, b) = (it.job("a"), it.job("b"));
    it.report(&a, r#"{"stage":"of a","progress":0.5}"#).await;
    let of_b = it.report(&b, "{}").await;
    it.report(&a, r#"{"status":"failed"}"#).await;
    assert_eq!(of_b.view().stage, "processing");
    assert_eq!(it.report(&b, "{}").await.position().number, 2);
    assert!(it.broker().forget(&a).await.expect("the backend answers"));
    assert_eq!(it.report(&b, "{}").await.position().number, 3);
    it.close().await;
}

pub async fn a_forgotten_job_begins_anew(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    assert!(!it.broker().forget(&job).await.expect("the backend answers"));
    it.report(&job, r#"{"stage":"s","progress":0.5,"attempt":3,"ttl":7200}"#).await;
    let end = it.report(&job, r#"{"status":"completed"}"#).await;

    assert!(it.broker().forget(&job).await.expect("the backend answers"));
    assert!(it.state(&job).await.is_none());
    assert!(it.history(&job).await.is_empty());
    assert!(!it.broker().forget(&job).await.expect("the backend answers"));

    let anew = it.report(&job, "{}").await;
    assert_ne!(anew.position().epoch, end.position().epoch);
    assert_eq!((anew.position().number, anew.attempt(), anew.ttl()), (1, 1, None));
    assert_eq!((anew.view().stage.as_ref(), anew.view().progress), ("processing", None));
    it.close().await;
}

pub async fn history_is_the_latest_states_and_bounded(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings { history: 5, ..Settings::default() }).await;
    let job = it.job("a");
    for number in 1..=12 {
        let state = it.report(&job, "{}").await;
        let history = it.history(&job).await;
        assert_eq!(numbers(&history), (number.max(5) - 4..=number).collect::<Vec<_>>());
        assert_eq!(history.last(), Some(&state));
    }
    it.close().await;
}

pub async fn probe_proves_and_stats_count(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    assert_eq!(it.broker().probe().await, Ok(()));
    let before = it.broker().stats();
    for name in ["a", "b", "c"] {
        it.report(&it.job(name), r#"{"message":"some text"}"#).await;
    }
    let held = it.broker().stats();
    assert!(held.jobs >= before.jobs + 3 && held.bytes > before.bytes, "{held:?}");
    assert_eq!(held.evicted, before.evicted);
    it.close().await;
}

/// An attempt of a name takes about as long as those before it.
pub async fn a_name_with_a_history_gives_an_estimate_at_once(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let name = it.job("name");
    let named = format!(r#"{{"name":"{name}"}}"#);
    let basis = |state: &Arc<State>| {
        let fields: Value = serde_json::from_str(state.json()).expect("JSON");
        fields.get("eta_basis").and_then(Value::as_str).map(str::to_owned)
    };
    let first = it.job("first");
    assert_eq!(basis(&it.report(&first, &named).await), None);
    it.pass_millis(1_500);
    it.report(&first, r#"{"status":"completed"}"#).await;
    let second = it.job("second");
    assert_eq!(basis(&it.report(&second, &named).await).as_deref(), Some("history"));
    assert_eq!(basis(&it.report(&second, "{}").await).as_deref(), Some("history"));
    assert_eq!(basis(&it.report(&second, r#"{"name":null}"#).await), None);
    assert_eq!(basis(&it.report(&it.job("third"), "{}").await), None);
    it.close().await;
}

/// A pause is no work: neither what is recorded of a name nor the estimate of a later attempt counts it.
pub async fn a_pause_does_not_count_as_duration(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let name = it.job("name");
    let named = format!(r#"{{"name":"{name}"}}"#);
    let paused = format!(r#"{{"name":"{name}","paused":true}}"#);
    let first = it.job("first");
    it.report(&first, &named).await;
    it.pass_millis(600);
    let at_rest = it.report(&first, &paused).await;
    assert_eq!(moment(&at_rest, "paused_at"), moment(&at_rest, "last_seen_at"));
    it.pass_millis(1_500);
    let still = it.report(&first, &paused).await;
    assert_eq!(field(&still, "paused_at"), field(&at_rest, "paused_at"));
    assert_eq!(field(&still, "paused_seconds"), Value::Null);
    let goes_on = it.report(&first, &named).await;
    let pause = millis(&goes_on, "last_seen_at") - millis(&at_rest, "paused_at");
    assert_eq!(paused_millis(&goes_on), pause);
    assert!(pause >= 1_500);
    assert_eq!(field(&goes_on, "paused_at"), Value::Null);
    it.pass_millis(300);
    // The end of a paused attempt ends its pause.
    let again = it.report(&first, &paused).await;
    it.pass_millis(700);
    let end = it.report(&first, r#"{"status":"completed"}"#).await;
    let pauses = pause + millis(&end, "ended_at") - millis(&again, "paused_at");
    assert_eq!(paused_millis(&end), pauses);

    let second = it.job("second");
    let began = it.report(&second, &named).await;
    let worked = millis(&end, "ended_at") - millis(&end, "started_at") - pauses;
    let expected = millis(&began, "started_at") + worked / 100 * 100;
    assert_eq!(millis(&began, "eta"), expected);
    it.pass_millis(200);
    it.report(&second, &paused).await;
    it.pass_millis(worked.unsigned_abs() + 500);
    // It has taken longer than the first by now, but has not worked for longer.
    let goes_on = it.report(&second, &named).await;
    assert_eq!(millis(&goes_on, "eta"), expected + paused_millis(&goes_on));
    it.close().await;
}

/// Stages that are declared without weights have those that follow from earlier attempts of the name.
pub async fn a_name_with_a_history_gives_its_stages_weights(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let name = it.job("name");
    let at = |stage: &str| {
        format!(r#"{{"name":"{name}","stages":["fetch",{{"id":"encode"}}],"stage":"{stage}"}}"#)
    };
    let first = it.job("first");
    let began = it.report(&first, &at("fetch")).await;
    assert_eq!(field(&began, "stage_weights"), Value::Null);
    it.pass_millis(300);
    let half = it.report(&first, &at("encode")).await;
    assert_eq!(half.progress(), Some(0.5), "without a history, stages weigh the same");
    it.pass_millis(1_200);
    let end = it.report(&first, r#"{"status":"completed"}"#).await;
    let seconds = |from: i64, to: i64| f64::from(u32::try_from(to - from).expect("short")) / 1e3;
    let changed = millis(&half, "last_seen_at");
    let fetch = seconds(millis(&began, "started_at"), changed);
    let encode = seconds(changed, millis(&end, "ended_at"));
    let weights = |state: &State| {
        let weights = field(state, "stage_weights");
        ["fetch", "encode"].map(|id| weights[id].as_f64())
    };

    // A worker that was paused, or which gives weights itself, changes nothing.
    for (job, more) in [("paused", r#""paused":true,"#), ("failed", "")] {
        let job = it.job(job);
        it.report(&job, &at("fetch")).await;
        it.report(&job, &at("encode").replacen('{', &format!("{{{more}"), 1)).await;
        let status = if more.is_empty() { "failed" } else { "completed" };
        it.pass_millis(50);
        it.report(&job, &format!(r#"{{"status":"{status}"}}"#)).await;
    }
    let own = at("encode").replace(r#""encode"}"#, r#""encode","weight":3}"#);
    assert_eq!(it.report(&it.job("own"), &own).await.progress(), Some(0.25));

    let second = it.job("second");
    let began = it.report(&second, &at("fetch")).await;
    assert_eq!(weights(&began), [Some(fetch), Some(encode)]);
    assert_eq!(began.progress(), Some(0.0));
    let next = it.report(&second, &at("encode")).await;
    let share = fetch / (fetch + encode);
    assert!(next.progress().is_some_and(|progress| (progress - share).abs() < 1e-6), "{next:?}");
    let timeline = it.timeline(&second).await;
    let stages = timeline.stages(&next);
    assert_eq!(
        stages.iter().map(|stage| stage.weight).collect::<Vec<_>>(),
        [Some(fetch), Some(encode)]
    );

    // The weights are those that were known when the attempt declared its stages.
    it.pass_millis(100);
    it.report(&second, r#"{"status":"completed"}"#).await;
    let third = it.job("third");
    let anew = it.report(&third, &at("fetch")).await;
    assert_ne!(weights(&anew), weights(&began));
    let fourth = it.job("fourth");
    it.report(&fourth, &at("encode")).await;
    it.report(&fourth, r#"{"status":"completed"}"#).await;
    let later = it.report(&third, &at("encode")).await;
    assert_eq!(field(&later, "stage_weights"), field(&anew, "stage_weights"));
    it.close().await;
}

fn field(state: &State, name: &str) -> Value {
    let fields: Value = serde_json::from_str(state.json()).expect("JSON");
    fields[name].clone()
}

fn moment(state: &State, name: &str) -> Timestamp {
    let moment = field(state, name);
    Timestamp::parse(moment.as_str().expect("a text")).expect("RFC 3339")
}

fn millis(state: &State, name: &str) -> i64 {
    moment(state, name).as_millis()
}

/// `paused_seconds`, in milliseconds.
fn paused_millis(state: &State) -> i64 {
    let digits = field(state, "paused_seconds").to_string();
    let seconds = digits.parse::<f64>().expect("a number");
    #[expect(clippy::cast_possible_truncation, reason = "some seconds")]
    let millis = (seconds * 1e3).round() as i64;
    millis
}
