//! How much is kept in Redis, and for how long.

use std::time::Duration;

use milepost_redis_servers::Server;

use crate::instance_of;
use crate::support;
use milepost_broker_contract::{Settings, eventually};
use milepost_protocol::{Action, Request};

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_memory_is_bounded() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let (small, large) = (it.job("small"), it.job("large"));
    for n in 0..200 {
        it.report(&small, &format!(r#"{{"progress":0.5,"message":"update {n} {:200}"}}"#, ""))
            .await;
        it.report(&large, &format!(r#"{{"metadata":"{n}{}"}}"#, "x".repeat(60_000))).await;
    }
    let used = |job: &str| -> i64 {
        let keys = ["job_status", "job_meta"];
        let usage =
            |key| server.answer(&["MEMORY", "USAGE", &format!("{key}:{job}"), "SAMPLES", "0"]);
        keys.iter().map(|key| usage(key).integer().expect("a number")).sum()
    };
    // 32 states of some 530 bytes, and the newest once more, each in a block of its own of 640 bytes; 64 KiB and the newest
    // twice.
    assert!(used(small.as_str()) < 33 * 700 + 2_000, "{}", used(small.as_str()));
    assert!(used(large.as_str()) < 200_000, "{}", used(large.as_str()));
    assert_eq!(it.history(&small).await.len(), 32);
    assert_eq!(it.history(&large).await.len(), 1);
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_job_whose_time_is_over() {
    let server = Server::start();
    let second = Duration::from_secs(1);
    let settings = Settings { ttl: 2 * second, ttl_after_end: second, ..Settings::default() };
    let it = support::redis(&settings, &server.url(), ()).await;
    for name in ["a", "b"] {
        it.report(&it.job(name), "{}").await;
    }
    it.report(&it.job("b"), r#"{"status":"completed"}"#).await;
    eventually("only the probe's key is left", || async {
        let keys = server.answer(&["KEYS", "*"]);
        keys.items()
            .iter()
            .all(|key| key.text().is_some_and(|key| key.starts_with("milepost:probe:")))
    })
    .await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_watched_jobs_are_subscribed() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let subscribed = |name: &str| {
        let counts =
            server.answer(&["PUBSUB", "NUMSUB", &format!("job_progress:{}", it.job(name))]);
        counts.items()[1].integer()
    };
    for name in ["a", "b"] {
        it.report(&it.job(name), "{}").await;
    }
    let listener = it.attach(&it.job("a")).await;
    assert_eq!([subscribed("a"), subscribed("b")], [Some(1), Some(0)]);
    it.detach(&it.job("a"), &listener).await;
    eventually("it is left", || async { subscribed("a") == Some(0) }).await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_the_script_published_needs_no_read() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    let state = it.report(&job, "{}").await;
    listener.hears(&state).await;
    // Of the scripts, only the one that reads a job uses this command.
    let reads = || {
        let stats = server.answer(&["INFO", "commandstats"]);
        let stats = stats.text().expect("text");
        let (_, stats) = stats.split_once("cmdstat_hmget:calls=")?;
        stats.split(',').next()?.parse::<u32>().ok()
    };
    let before = reads();
    for n in 0..50 {
        let state = it.report(&job, r#"{"cancellable":true}"#).await;
        listener.hears(&state).await;
        let action = if n % 2 == 0 { Action::Pause } else { Action::Resume };
        let request = Request { action, by: None, reason: None };
        let requested = it.broker().request(&job, request).await.expect("it is accepted");
        listener.hears(&requested.state).await;
    }
    // The job is reread every few seconds.
    assert!(reads() <= before.map(|before| before + 5), "{before:?} {:?}", reads());
    it.close().await;
}
