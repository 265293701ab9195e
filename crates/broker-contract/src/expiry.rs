//! How long a job is kept. The times are the shortest that leave a second on either side.

use std::time::Duration;

use milepost_protocol::JobId;

use crate::harness::{Harness, Settings, eventually};

fn settings() -> Settings {
    Settings {
        ttl: Duration::from_secs(6),
        ttl_after_end: Duration::from_secs(3),
        ..Settings::default()
    }
}

async fn assert_expires(it: &Harness, job: &JobId) {
    eventually("the job is forgotten", || async { it.state(job).await.is_none() }).await;
    assert!(it.history(job).await.is_empty());
}

pub async fn a_job_is_forgotten_after_its_time(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(settings()).await;
    let job = it.job("a");
    let old = it.report(&job, "{}").await;
    it.pass(4);
    assert!(it.state(&job).await.is_some());
    it.pass(3);
    assert_expires(&it, &job).await;
    let anew = it.report(&job, "{}").await;
    assert_ne!(anew.position().epoch, old.position().epoch);
    it.close().await;
}

pub async fn each_update_prolongs(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(settings()).await;
    let job = it.job("a");
    it.report(&job, "{}").await;
    for number in 2..5 {
        it.pass(4);
        assert_eq!(it.report(&job, "{}").await.position().number, number);
    }
    it.pass(7);
    assert_expires(&it, &job).await;
    it.close().await;
}

pub async fn an_end_has_its_own_time(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(settings()).await;
    let job = it.job("a");
    it.report(&job, "{}").await;
    let end = it.report(&job, r#"{"status":"completed"}"#).await;
    it.pass(1);
    assert_eq!(it.state(&job).await, Some(end));
    it.pass(3);
    assert_expires(&it, &job).await;
    it.close().await;
}

pub async fn a_named_ttl_holds_for_the_updates_after_it(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(settings()).await;
    let job = it.job("a");
    it.report(&job, r#"{"ttl":10}"#).await;
    assert_eq!(it.report(&job, "{}").await.ttl(), Some(10));
    it.pass(8);
    assert!(it.state(&job).await.is_some());
    it.report(&job, "{}").await;
    it.pass(8);
    assert!(it.state(&job).await.is_some());
    it.pass(3);
    assert_expires(&it, &job).await;
    it.close().await;
}

pub async fn a_named_ttl_holds_after_the_end_too(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(settings()).await;
    let job = it.job("a");
    it.report(&job, r#"{"ttl":8}"#).await;
    it.report(&job, r#"{"status":"failed"}"#).await;
    it.pass(5);
    assert!(it.state(&job).await.is_some());
    it.pass(4);
    assert_expires(&it, &job).await;
    it.close().await;
}

pub async fn a_ttl_can_be_shortened(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(settings()).await;
    let job = it.job("a");
    it.report(&job, r#"{"ttl":3600}"#).await;
    it.report(&job, r#"{"ttl":2}"#).await;
    it.pass(3);
    assert_expires(&it, &job).await;
    it.close().await;
}

pub async fn expiry_notifies_the_listener(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(settings()).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    it.report(&job, r#"{"ttl":2}"#).await;
    it.pass(3);
    listener.is_notified_of_forgetting().await;
    let anew = it.report(&job, "{}").await;
    listener.hears(&anew).await;
    it.close().await;
}
