//! Requests to a job's worker: in one order with its updates, and rejected if no worker would act on them.

use std::collections::HashSet;
use std::sync::Arc;

use milepost_broker::RequestError;
use milepost_protocol::{Action, Health, Request, RequestRefusal};

use crate::harness::{Harness, Settings, eventually};

fn asked(action: Action, by: &str) -> Request {
    Request { action, by: Some(by.to_owned()), reason: Some("why".to_owned()) }
}

pub async fn a_request_is_a_state_that_stays_through_the_attempt(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let recorder = it.attach(&job).await;
    let first = it.report(&job, r#"{"cancellable":true,"progress":0.5,"x":1}"#).await;
    let reported =
        it.broker().request(&job, asked(Action::Pause, "me")).await.expect("it is taken");
    let paused = reported.state;
    assert!(!reported.repeated);
    assert_eq!(paused.position().number, first.position().number + 1);
    assert_eq!(paused.requested_action(), Some(Action::Pause));
    let (head, _) = paused.json().split_once(",\"requested\":").expect("a request");
    assert!(first.json().starts_with(head), "{} {}", first.json(), paused.json());
    assert_eq!(it.state(&job).await, Some(Arc::clone(&paused)));
    let next = it.report(&job, r#"{"progress":0.6}"#).await;
    assert_eq!(next.requested(), paused.requested());
    let reported =
        it.broker().request(&job, asked(Action::Cancel, "me")).await.expect("it is taken");
    assert_eq!(reported.state.json().matches("requested").count(), 1);
    let end = it.report(&job, r#"{"status":"cancelled"}"#).await;
    assert_eq!(end.requested_action(), Some(Action::Cancel));
    recorder.hears(&end).await;
    assert_eq!(recorder.updates().len(), 5);
    let again = it.report(&job, r#"{"attempt":2}"#).await;
    assert_eq!(again.requested(), None);
    it.close().await;
}

/// For backends in which health changes with time.
pub async fn a_request_stands_when_health_changes(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let recorder = it.attach(&job).await;
    it.report(&job, r#"{"cancellable":true,"stall_after":3,"progress":0.5}"#).await;
    let requested = it.broker().request(&job, asked(Action::Pause, "me")).await;
    let paused = requested.expect("the request is accepted").state;
    eventually("the job is stalled", || async {
        it.pass(1);
        it.state(&job).await.is_some_and(|state| state.health() == Some(Health::Stalled))
    })
    .await;
    let stalled = it.state(&job).await.expect("the job is known");
    assert_eq!(stalled.position(), paused.position().next());
    assert_eq!(stalled.requested(), paused.requested());
    recorder.hears(&stalled).await;

    let next = it.report(&job, r#"{"progress":0.6}"#).await;
    assert_eq!((next.health(), next.requested()), (Some(Health::Ok), paused.requested()));
    let requested = it.broker().request(&job, asked(Action::Cancel, "me")).await;
    let cancelling = requested.expect("the request is accepted").state;
    assert_eq!(cancelling.health(), Some(Health::Ok), "a request says nothing of the worker");
    recorder.hears(&cancelling).await;
    assert_eq!(recorder.updates().len(), 5);
    it.close().await;
}

pub async fn of_equal_requests_at_once_the_first_counts(setup: impl AsyncFn(Settings) -> Harness) {
    let it = Arc::new(setup(Settings::default()).await);
    let job = it.job("a");
    it.report(&job, r#"{"cancellable":true}"#).await;
    let watchers = (0..8).map(|n| {
        let (it, job) = (Arc::clone(&it), job.clone());
        tokio::spawn(async move {
            it.broker().request(&job, asked(Action::Cancel, &format!("w{n}"))).await
        })
    });
    let mut positions = HashSet::new();
    let mut first = 0;
    for watcher in watchers.collect::<Vec<_>>() {
        let reported = watcher.await.expect("no panic").expect("it is taken");
        positions.insert(reported.state.position());
        first += u32::from(!reported.repeated);
    }
    assert_eq!((positions.len(), first), (1, 1));
    let pause = it.broker().request(&job, asked(Action::Pause, "me")).await;
    assert_eq!(pause.err(), Some(RequestError::Refused(RequestRefusal::CancelRequested)));
    Arc::into_inner(it).expect("all are done").close().await;
}

pub async fn a_job_that_is_not_cancellable_gets_no_requests(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let request = async |name: &str| {
        let outcome = it.broker().request(&it.job(name), asked(Action::Cancel, "me")).await;
        match outcome {
            Err(RequestError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(request("unknown").await, RequestRefusal::UnknownJob);
    it.report(&it.job("plain"), "{}").await;
    assert_eq!(request("plain").await, RequestRefusal::NotCancellable);
    it.report(&it.job("ended"), r#"{"cancellable":true,"status":"completed"}"#).await;
    assert!(matches!(request("ended").await, RequestRefusal::Ended(_)));
    it.close().await;
}
