//! Timelines: the samples and stages of a whole attempt, and the attempts before it.

use milepost_protocol::{JobId, Status};

use crate::harness::{Harness, Settings};

/// A timeline as clients see it, without moments: the samples' progress, the stages and the attempts.
async fn seen(it: &Harness, job: &JobId) -> (Vec<f64>, Vec<String>, Vec<String>) {
    let present = it.state(job).await.expect("the job is known");
    let timeline = it.timeline(job).await;
    let samples = timeline.samples().into_iter().map(|(_, progress)| progress).collect();
    let stages = timeline.stages(&present);
    let stages = stages.iter().map(|stage| {
        let label = stage.label.as_deref().unwrap_or("-");
        assert!(stage.started_at.is_some());
        let ended = if stage.ended_at.is_some() { "ended" } else { "lasts" };
        let weight = stage.weight;
        format!(
            "{} {label} {weight:?} {ended} {:?} {:?}",
            stage.id, stage.progress_from, stage.progress_to
        )
    });
    let attempts = timeline.attempts(&present);
    let attempts = attempts.iter().map(|attempt| {
        assert_eq!(attempt.ended_at.is_some(), attempt.status.is_end());
        assert_eq!(attempt.started_at.is_some(), attempt.status != Status::Queued);
        let error = attempt.error.as_deref().unwrap_or("-");
        format!("{} {} {error}", attempt.attempt, attempt.status)
    });
    (samples, stages.collect(), attempts.collect())
}

pub async fn a_job_reported_once_has_a_timeline(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let [queued, begun, ended] = ["queued", "begun", "ended"].map(|name| it.job(name));
    it.report(&queued, r#"{"status":"queued"}"#).await;
    assert_eq!(seen(&it, &queued).await, (vec![], vec![], vec!["1 queued -".to_owned()]));
    it.report(&begun, r#"{"stage":"a","progress":0.25}"#).await;
    let stages = vec!["a - None lasts Some(0.25) Some(0.25)".to_owned()];
    assert_eq!(seen(&it, &begun).await, (vec![0.25], stages, vec!["1 processing -".to_owned()]));
    it.report(&ended, r#"{"status":"completed"}"#).await;
    assert_eq!(seen(&it, &ended).await, (vec![1.0], vec![], vec!["1 completed -".to_owned()]));
    it.close().await;
}

pub async fn stages_and_attempts_are_kept(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings { history: 2, ..Settings::default() }).await;
    let job = it.job("a");
    for json in [
        r#"{"status":"queued","stages":[{"id":"a","label":"First","weight":3},"b"]}"#,
        r#"{"stage":"a","progress":0.1}"#,
        r#"{"stage":"a","progress":0.3}"#,
        r#"{"stage":"b \u00e9","progress":0.5}"#,
    ] {
        it.report(&job, json).await;
    }
    let (samples, stages, attempts) = seen(&it, &job).await;
    assert_eq!(samples, [0.1]);
    let expected =
        ["a First Some(3.0) ended Some(0.1) Some(0.3)", "b é - None lasts Some(0.5) Some(0.5)"];
    assert_eq!(stages, expected);
    assert_eq!(attempts, ["1 processing -"]);

    let end =
        r#"{"status":"failed","progress":0.0,"error":"Traceback:\n  line 1\nOut of é memory \n"}"#;
    it.report(&job, end).await;
    let (samples, stages, attempts) = seen(&it, &job).await;
    assert_eq!(samples.last(), Some(&0.5), "{samples:?}");
    assert_eq!(stages[1], "b é - None ended Some(0.5) Some(0.5)");
    assert_eq!(attempts, ["1 failed Out of é memory"]);

    it.report(&job, r#"{"attempt":2}"#).await;
    it.report(&job, r#"{"attempt":4,"progress":0.75}"#).await;
    let (samples, stages, attempts) = seen(&it, &job).await;
    assert_eq!(samples, [0.75]);
    assert_eq!(stages, ["processing - None lasts Some(0.75) Some(0.75)"]);
    assert_eq!(attempts, ["1 failed Out of é memory", "2 processing -", "4 processing -"]);
    it.close().await;
}

pub async fn a_forgotten_job_has_no_timeline(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    for json in [r#"{"stage":"a"}"#, r#"{"stage":"b"}"#, r#"{"attempt":2,"stage":"c"}"#] {
        it.report(&job, json).await;
    }
    assert!(it.broker().forget(&job).await.expect("the backend answers"));
    it.report(&job, r#"{"stage":"d"}"#).await;
    let (_, stages, attempts) = seen(&it, &job).await;
    assert_eq!(stages, ["d - None lasts None None"]);
    assert_eq!(attempts, ["1 processing -"]);
    it.close().await;
}

pub async fn samples_are_a_second_apart(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    for progress in ["0.1", "0.2", "0.3"] {
        it.report(&job, &format!(r#"{{"progress":{progress}}}"#)).await;
    }
    it.pass(1);
    it.report(&job, r#"{"progress":0.4}"#).await;
    it.report(&job, r#"{"progress":0.5}"#).await;
    let (samples, ..) = seen(&it, &job).await;
    assert_eq!(samples, [0.1, 0.4]);
    it.close().await;
}
