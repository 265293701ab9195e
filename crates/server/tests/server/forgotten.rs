//! A job that is forgotten while it is watched: `spec/README.md`, sections 5, 8 and 9.

use milepost_redis_servers::Server as Redis;
use milepost_server::Config;
use serde_json::{Value, json};

use crate::support::{Events, Server, Watcher, quick, until};

async fn learns_it(watcher: &mut Watcher) {
    let message = watcher.next().await;
    let expected = json!({
        "type": "error", "problem": "unknown-job", "job_id": "a",
        "message": "the job was deleted, or its ttl is over", "timestamp": message["timestamp"],
    });
    assert_eq!(message, expected);
}

async fn delete(server: &Server) {
    assert_eq!(server.request("DELETE", "/jobs/a", "", "").await.status, 204);
}

#[tokio::test]
async fn each_watcher_learns_once_that_its_job_is_forgotten() {
    let server = Server::start().await;
    server.report("a", r#"{"cancellable":true}"#).await;
    let (mut one, mut many) = (server.watch("/ws/jobs/a").await, server.watch("/ws").await);
    many.say(r#"{"type":"subscribe","job_id":"a"}"#).await;
    for watcher in [&mut one, &mut many] {
        while watcher.next().await["position"].is_null() {}
    }
    let mut events = Events::open(&server, "/jobs/a/events", "").await;
    let mut paced = Events::open(&server, "/jobs/a/events?max_rate=0.01", "").await;
    for stream in [&mut events, &mut paced] {
        assert_eq!(stream.next().await.unwrap().name.as_deref(), Some("connected"));
        assert_eq!(stream.next().await.unwrap().name, None);
    }
    let position = server.get("/jobs/a").await.json()["position"].as_str().unwrap().to_owned();
    let unless = format!("If-None-Match: \"{position}\"\r\n");
    let state = server.request("GET", "/jobs/a?wait=30", &unless, "");
    let requests = server.get("/jobs/a/requests?wait=30");
    let forgotten = async {
        until("all of them watch", async || {
            server.get("/watchers?job_id=a").await.json()["watchers"]["a"] == 6
        })
        .await;
        delete(&server).await;
    };
    let (state, requests, ()) = tokio::join!(state, requests, forgotten);
    for polled in [state, requests] {
        assert_eq!((polled.status, polled.problem().as_str()), (404, "unknown-job"));
    }
    for watcher in [&mut one, &mut many] {
        learns_it(watcher).await;
    }
    for stream in [&mut events, &mut paced] {
        let event = stream.next().await.unwrap();
        assert_eq!(event.name.as_deref(), Some("unknown-job"));
        assert_eq!(event.json()["type"], "urn:milepost:problem:unknown-job");
    }

    // Who comes now is not notified of what was before. All of them see the job's next life.
    let mut late = server.watch("/ws/jobs/a").await;
    assert_eq!(late.next().await["known"], false);
    server.report("a", r#"{"progress":0.5}"#).await;
    for watcher in [&mut one, &mut many, &mut late] {
        assert_eq!(watcher.next().await["progress"], 0.5);
    }
    assert_eq!(events.next().await.unwrap().json()["progress"], 0.5);
    delete(&server).await;
    for watcher in [&mut one, &mut many, &mut late] {
        learns_it(watcher).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_followed_log_ends_with_its_job() {
    let redis = Redis::start();
    let redis_url = Some(redis.url().try_into().unwrap());
    // Not with the next keepalive.
    let config = Config { redis_url, ping_interval: 3_600.0, ..quick() };
    let server = Server::with(config).await;
    until("readiness", async || server.get("/readyz").await.status == 200).await;
    server.report("a", "{}").await;
    let json = "content-type: application/json\r\n";
    let line = r#"{"text":"one"}"#;
    assert_eq!(server.request("POST", "/jobs/a/log", json, line).await.status, 200);
    let mut log = Events::open(&server, "/jobs/a/log?follow=1", "").await;
    let first: Value = log.next().await.unwrap().json();
    assert_eq!(first["lines"][0]["text"], "one");
    delete(&server).await;
    assert_eq!(log.next().await.unwrap().name.as_deref(), Some("end"));
    server.stop().await;
}
