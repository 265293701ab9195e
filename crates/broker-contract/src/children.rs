//! Jobs with children: their parent shows how many there are, and their progress.

use std::sync::Arc;

use milepost_broker::ReportError;
use milepost_protocol::{InvalidParent, JobId, State, Status};
use serde_json::{Value, json};

use crate::harness::{Harness, Settings, eventually};

/// Waits until the job's state satisfies the condition.
async fn shows(it: &Harness, name: &str, what: &str, holds: impl Fn(&State) -> bool) -> Arc<State> {
    let job = it.job(name);
    eventually(what, || async {
        it.pass_millis(200);
        it.state(&job).await.is_some_and(|state| holds(&state))
    })
    .await;
    it.state(&job).await.expect("the job is known")
}

/// `children` in a state.
fn children(state: &State) -> Value {
    let fields: Value = serde_json::from_str(state.json()).expect("JSON");
    fields["children"].clone()
}

fn ended(state: &State) -> u32 {
    state.view().children.map_or(0, |children| children.ended())
}

pub async fn the_fixtures(setup: impl AsyncFn(Settings) -> Harness) {
    let text = include_str!("../../../spec/fixtures/children.json");
    let fixture: Value = serde_json::from_str(text).expect("the fixtures");
    let it = setup(Settings::default()).await;
    let cases = fixture["cases"].as_array().expect("cases");
    assert!(cases.len() > 5);
    for (number, case) in cases.iter().enumerate() {
        let name = |job: &Value| format!("f{number}-{}", job.as_str().expect("a job"));
        for update in case["updates"].as_array().expect("updates") {
            let mut update = update.clone();
            let job = it.job(&name(&update["job_id"]));
            update["job_id"] = json!(job.as_str());
            if update["parent_id"].is_string() {
                update["parent_id"] = json!(it.job(&name(&update["parent_id"])).as_str());
            }
            it.report(&job, &update.to_string()).await;
        }
        let expected = &case["children"];
        let what = format!("{}: {expected}", case["name"]);
        let parent = format!("f{number}-p");
        let state = shows(&it, &parent, &what, |state| children(state) == *expected).await;
        let fields: Value = serde_json::from_str(state.json()).expect("JSON");
        assert_eq!(fields.get("progress"), case.get("progress"), "{what}");
    }
    it.close().await;
}

pub async fn a_parent_that_is_reported_later_has_its_children(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let (parent, child) = (it.job("p"), it.job("c"));
    it.report(&child, &format!(r#"{{"parent_id":"{parent}","progress":0.5}}"#)).await;
    assert_eq!(it.state(&parent).await, None, "a child does not make its parent known");
    it.report(&parent, r#"{"message":"m"}"#).await;
    shows(&it, "p", "the parent shows its child", |state| state.view().progress == Some(0.5)).await;
    it.close().await;
}

pub async fn an_end_shows_the_children_as_they_are(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let (parent, child) = (it.job("p"), it.job("c"));
    it.report(&parent, "{}").await;
    it.report(&child, &format!(r#"{{"parent_id":"{parent}"}}"#)).await;
    shows(&it, "p", "the parent shows its child", |state| state.children().is_some()).await;
    // The parent ends at once.
    it.report(&child, r#"{"status":"completed"}"#).await;
    let end = it.report(&parent, r#"{"status":"completed"}"#).await;
    assert_eq!((ended(&end), end.view().progress), (1, Some(1.0)), "{}", end.json());
    let again = it.try_report(&parent, r#"{"status":"completed"}"#).await.expect("the same end");
    assert_eq!((again.repeated, &again.state), (true, &end));
    // Another attempt begins without children.
    let next = it.report(&parent, r#"{"attempt":2}"#).await;
    assert_eq!(next.children(), None);
    let late = format!(r#"{{"attempt":2,"parent_id":"{parent}","status":"failed"}}"#);
    it.report(&child, &late).await;
    let state = shows(&it, "p", "the second attempt has a child", |state| ended(state) == 1).await;
    assert_eq!(state.view().children.map(|children| children.failed), Some(1));
    it.close().await;
}

pub async fn a_parent_progresses_up_to_its_root(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let (root, middle, leaf) = (it.job("root"), it.job("middle"), it.job("leaf"));
    it.report(&root, r#"{"children_expected":2}"#).await;
    it.report(&middle, &format!(r#"{{"parent_id":"{root}"}}"#)).await;
    let recorder = it.attach(&root).await;
    it.report(&leaf, &format!(r#"{{"parent_id":"{middle}","progress":0.5}}"#)).await;
    let state =
        shows(&it, "root", "the root progresses", |state| state.view().progress == Some(0.25))
            .await;
    recorder.hears(&state).await;
    assert_eq!(state.view().children.map(|children| children.processing), Some(1));
    it.close().await;
}

pub async fn cycles_and_deep_trees_are_refused(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = |level: usize| it.job(&format!("l{level}"));
    let of = |level: usize| format!(r#"{{"parent_id":"{}"}}"#, job(level));
    it.report(&job(1), "{}").await;
    for level in 2..=8 {
        it.report(&job(level), &of(level - 1)).await;
    }
    let refused =
        async |level: usize, parent: usize| match it.try_report(&job(level), &of(parent)).await {
            Err(ReportError::Parent(invalid)) => invalid,
            other => panic!("{other:?}"),
        };
    assert_eq!(refused(9, 8).await, InvalidParent::TooDeep { parent: job(8) });
    assert_eq!(it.state(&job(9)).await, None);
    assert_eq!(refused(1, 1).await, InvalidParent::Cycle { parent: job(1) });
    assert_eq!(refused(1, 3).await, InvalidParent::Cycle { parent: job(3) });
    // A job that is a child already continues.
    it.report(&job(8), &of(7)).await;
    it.close().await;
}

pub async fn a_forgotten_child_counts_as_lost(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let (parent, child) = (it.job("p"), it.job("c"));
    it.report(&parent, "{}").await;
    it.report(&child, &format!(r#"{{"parent_id":"{parent}"}}"#)).await;
    let one = |state: &State| state.view().children.map(|children| children.processing) == Some(1);
    shows(&it, "p", "the parent shows its child", one).await;
    assert!(it.broker().forget(&child).await.expect("the backend answers"));
    let lost = |state: &State| state.view().children.map(|children| children.lost) == Some(1);
    shows(&it, "p", "the child is lost", lost).await;
    // A parent is forgotten with its children.
    assert!(it.broker().forget(&parent).await.expect("the backend answers"));
    let state = it.report(&parent, "{}").await;
    assert_eq!(state.children(), None);
    it.close().await;
}

pub async fn a_job_ends_with_its_children(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let parent = it.job("p");
    let recorder = it.attach(&parent).await;
    it.report(&parent, r#"{"complete_when":"all_ended","children_expected":2}"#).await;
    for child in ["a", "b"] {
        let update = format!(r#"{{"parent_id":"{parent}","status":"completed"}}"#);
        it.report(&it.job(child), &update).await;
        let has_child = |state: &State| ended(state) > 0;
        let state = shows(&it, "p", "the parent shows it", has_child).await;
        assert!(child == "b" || state.status() == Status::Processing, "one is left");
    }
    let completed = |state: &State| state.status() == Status::Completed;
    let end = shows(&it, "p", "the parent ends", completed).await;
    recorder.hears(&end).await;
    assert_eq!(ended(&end), 2);
    it.close().await;
}

pub async fn a_job_ends_whose_children_had_ended_before(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let completed = |state: &State| state.status() == Status::Completed;
    let child_ends = async |parent: &str, child: &str| {
        let update = format!(r#"{{"parent_id":"{}","status":"completed"}}"#, it.job(parent));
        it.report(&it.job(child), &update).await;
    };
    // The parent's worker reports before the state that shows the end of the last child, unless it is too late.
    it.report(&it.job("p"), r#"{"complete_when":"all_ended"}"#).await;
    child_ends("p", "a").await;
    let _ = it.try_report(&it.job("p"), r#"{"message":"m"}"#).await;
    // The parent is reported after its children.
    child_ends("q", "b").await;
    it.pass_millis(1_000);
    it.report(&it.job("q"), r#"{"complete_when":"all_ended","children_expected":1}"#).await;
    // The parent's worker expects fewer children than before.
    it.report(&it.job("r"), r#"{"complete_when":"all_ended","children_expected":2}"#).await;
    child_ends("r", "c").await;
    shows(&it, "r", "one is expected yet", |state| ended(state) == 1).await;
    it.report(&it.job("r"), r#"{"children_expected":1}"#).await;
    for parent in ["p", "q", "r"] {
        let end = shows(&it, parent, &format!("{parent} ends"), completed).await;
        assert_eq!(ended(&end), 1);
    }
    it.close().await;
}

/// 200 children progress in turn for two seconds.
pub async fn many_children_lead_to_few_states(setup: impl AsyncFn(Settings) -> Harness) {
    const CHILDREN: u32 = 200;
    let it = setup(Settings::default()).await;
    let parent = it.job("p");
    it.report(&parent, &format!(r#"{{"children_expected":{CHILDREN}}}"#)).await;
    let recorder = it.attach(&parent).await;
    let started = std::time::Instant::now();
    let mut passed = 0;
    for child in 0..CHILDREN {
        let job = it.job(&format!("c{child}"));
        it.report(&job, &format!(r#"{{"parent_id":"{parent}"}}"#)).await;
        it.report(&job, r#"{"status":"completed"}"#).await;
        it.pass_millis(10);
        passed += 10;
    }
    let all = |state: &State| ended(state) == CHILDREN;
    let state = shows(&it, "p", "all have ended", all).await;
    recorder.hears(&state).await;
    // A real clock went on during the reports.
    let elapsed = u64::try_from(started.elapsed().as_millis()).expect("a short test");
    let most = (elapsed.max(passed) + 200) / 200 + 2;
    let updates = recorder.updates().len() as u64;
    assert!((2..=most).contains(&updates), "{updates} updates of at most {most}");
    assert_eq!(state.view().progress, Some(1.0));
    it.close().await;
}

/// A child that names another parent, or none, or begins another attempt without one, counts for its former parent no longer.
pub async fn a_child_that_leaves_its_parent_does_not_count(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let [one, other] = ["one", "other"].map(|name| it.job(name));
    let child_of = |parent: &JobId| format!(r#"{{"parent_id":"{parent}"}}"#);
    let has = |count: u32| move |state: &State| children(state)["processing"] == count;
    it.report(&one, "{}").await;
    it.report(&other, "{}").await;
    for name in ["a", "b", "c"] {
        it.report(&it.job(name), &child_of(&one)).await;
    }
    shows(&it, "one", "three children", has(3)).await;
    it.report(&it.job("a"), &child_of(&other)).await;
    it.report(&it.job("b"), r#"{"parent_id":null}"#).await;
    it.report(&it.job("c"), r#"{"attempt":2}"#).await;
    shows(&it, "other", "the child that came", has(1)).await;
    shows(&it, "one", "no child", has(0)).await;
    it.close().await;
}
