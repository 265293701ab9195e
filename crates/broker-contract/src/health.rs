//! Health changes with time, exactly once each time, whatever the number of instances.

use milepost_protocol::{Health, Status};

use crate::harness::{Harness, Settings, eventually, numbers};

/// The worker of a job falls silent, so the job makes no progress either; later it returns. Another instance of the same backend, if
/// the backend has several, looks at the same clocks.
pub async fn a_silent_workers_job_is_stalled_and_then_lost(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let (it, other) = (setup(Settings::default()).await, setup(Settings::default()).await);
    let job = it.job("a");
    let recorder = it.attach(&job).await;
    let begun = it.report(&job, r#"{"heartbeat":1,"stall_after":2,"progress":0.5}"#).await;
    for health in [Health::Stalled, Health::Lost] {
        eventually(health.as_str(), || async {
            it.pass(1);
            other.pass(0);
            it.state(&job).await.is_some_and(|state| state.health() == Some(health))
        })
        .await;
    }
    let back = it.report(&job, r#"{"heartbeat":1,"stall_after":2,"progress":0.6}"#).await;
    assert_eq!(back.health(), Some(Health::Ok));
    recorder.hears(&back).await;
    let updates = recorder.updates();
    let healths: Vec<_> = updates.iter().map(|state| state.health()).collect();
    let expected = [Health::Ok, Health::Stalled, Health::Lost, Health::Ok];
    assert_eq!(healths, expected.map(Some), "each transition once");
    let first = begun.position().number;
    assert_eq!(numbers(&updates), (first..first + 4).collect::<Vec<_>>());

    // The clocks of a job that was lost run on.
    eventually("stalled again", || async {
        it.pass(1);
        it.state(&job).await.is_some_and(|state| state.health() == Some(Health::Stalled))
    })
    .await;
    it.report(&job, r#"{"status":"completed"}"#).await;
    it.close().await;
    other.close().await;
}

/// A job that its worker wants to be ended ends once its worker is silent for that long.
pub async fn a_lost_workers_job_ends_once(setup: impl AsyncFn(Settings) -> Harness) {
    let (it, other) = (setup(Settings::default()).await, setup(Settings::default()).await);
    let job = it.job("a");
    let recorder = it.attach(&job).await;
    it.report(&job, r#"{"lost_after":2}"#).await;
    eventually("the end", || async {
        it.pass(1);
        it.state(&job).await.is_some_and(|state| state.status() == Status::Failed)
    })
    .await;
    it.pass(3);
    assert_eq!(recorder.updates().len(), 2);
    it.close().await;
    other.close().await;
}
