//! Watching many jobs over one WebSocket, as `spec/README.md` has it in section 6.

use std::fmt::Write as _;

use milepost_redis_servers::Server as Redis;
use milepost_server::Config;
use serde_json::{Value, json};

use crate::limits::metric;
use crate::support::{Server, Watcher, quick, until};

async fn open(server: &Server) -> Watcher {
    let mut watcher = server.watch("/ws").await;
    let connected = watcher.next().await;
    let timestamp = &connected["timestamp"];
    let expected = json!({
        "type": "connected", "message": "Connected to job progress stream", "timestamp": timestamp,
    });
    assert_eq!(connected, expected);
    watcher
}

async fn subscribe(watcher: &mut Watcher, command: Value) -> Value {
    let mut command = command;
    command["type"] = "subscribe".into();
    watcher.say(&command.to_string()).await;
    let subscribed = watcher.next().await;
    let (timestamp, known) = (&subscribed["timestamp"], &subscribed["known"]);
    assert!(timestamp.is_string() && known.is_boolean(), "{subscribed}");
    let expected = json!({
        "type": "subscribed", "job_id": command["job_id"], "known": known, "timestamp": timestamp,
    });
    assert_eq!(subscribed, expected);
    known.clone()
}

async fn unsubscribe(watcher: &mut Watcher, job: &str) {
    watcher.say(&json!({ "type": "unsubscribe", "job_id": job }).to_string()).await;
    let unsubscribed = watcher.next().await;
    let timestamp = &unsubscribed["timestamp"];
    assert!(timestamp.is_string());
    let expected = json!({ "type": "unsubscribed", "job_id": job, "timestamp": timestamp });
    assert_eq!(unsubscribed, expected);
}

#[tokio::test]
async fn each_subscribed_job_is_shown_from_its_state_on() {
    let server = Server::start().await;
    server.report("a", r#"{"progress":0.1}"#).await;
    let mut watcher = open(&server).await;
    assert_eq!(subscribe(&mut watcher, json!({ "job_id": "a" })).await, true);
    let state = watcher.next().await;
    assert_eq!(state, server.get("/jobs/a").await.json());
    assert_eq!(subscribe(&mut watcher, json!({ "job_id": "b" })).await, false);
    watcher.hears_nothing().await;
    server.report("b", r#"{"progress":0.2}"#).await;
    assert_eq!(watcher.next().await, server.get("/jobs/b").await.json());
    server.report("c", "{}").await;
    server.report("a", r#"{"progress":0.3}"#).await;
    assert_eq!(watcher.next().await["progress"], 0.3);
    watcher.hears_nothing().await;
}

#[tokio::test]
async fn no_update_follows_an_unsubscription() {
    let server = Server::start().await;
    let mut watcher = open(&server).await;
    subscribe(&mut watcher, json!({ "job_id": "a" })).await;
    subscribe(&mut watcher, json!({ "job_id": "b" })).await;
    unsubscribe(&mut watcher, "a").await;
    server.report("a", "{}").await;
    server.report("b", "{}").await;
    assert_eq!(watcher.next().await["job_id"], "b");
    watcher.hears_nothing().await;
    // What was not subscribed to can be unsubscribed from as well.
    unsubscribe(&mut watcher, "never").await;
    assert_eq!(subscribe(&mut watcher, json!({ "job_id": "a" })).await, true);
    assert_eq!(watcher.next().await["job_id"], "a");
    // Both at once: whoever asks last has it.
    watcher.say(r#"{"type":"subscribe","job_id":"c"}"#).await;
    watcher.say(r#"{"type":"unsubscribe","job_id":"c"}"#).await;
    while watcher.next().await["type"] != "unsubscribed" {}
    server.report("c", "{}").await;
    watcher.hears_nothing().await;
}

#[tokio::test]
async fn a_subscription_may_resume_and_choose_how() {
    let server = Server::start().await;
    let mut positions = Vec::new();
    for _ in 0..4 {
        positions.push(server.report("a", "{}").await.json()["position"].clone());
    }
    let mut watcher = open(&server).await;
    subscribe(&mut watcher, json!({ "job_id": "a", "since": positions[1] })).await;
    assert_eq!(watcher.until(&positions[3]).await, positions[2..]);
    // Subscribed already: begun anew, and still seen once.
    subscribe(&mut watcher, json!({ "job_id": "a", "since": positions[0] })).await;
    assert_eq!(watcher.until(&positions[3]).await, positions[1..]);
    subscribe(&mut watcher, json!({ "job_id": "a", "since": positions[0], "mode": "latest" }))
        .await;
    assert_eq!(watcher.next().await["position"], positions[3]);
    subscribe(&mut watcher, json!({ "job_id": "a", "since": positions[3] })).await;
    watcher.hears_nothing().await;
    subscribe(&mut watcher, json!({ "job_id": "a", "since": "nonsense" })).await;
    assert_eq!(watcher.next().await["position"], positions[3]);
    let newer = server.report("a", "{}").await.json();
    assert_eq!(watcher.next().await["position"], newer["position"]);
    watcher.hears_nothing().await;

    let slow = json!({ "job_id": "a", "max_rate": 0.01, "since": null, "mode": null });
    subscribe(&mut watcher, slow).await;
    assert_eq!(watcher.next().await["position"], newer["position"]);
    server.report("a", "{}").await;
    watcher.hears_nothing().await;
    let end = server.report("a", r#"{"status":"completed"}"#).await.json();
    assert_eq!(watcher.next().await["position"], end["position"]);
    // There is no `close` here: the socket goes on.
    watcher.hears_nothing().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_and_the_socket_goes_on() {
    let server = Server::start().await;
    let mut watcher = open(&server).await;
    let cases = [
        (json!({ "type": "subscribe", "job_id": "a b" }), "invalid-job-id", "' '"),
        (json!({ "type": "subscribe", "job_id": "" }), "invalid-job-id", ""),
        (json!({ "type": "unsubscribe", "job_id": "a/b" }), "invalid-job-id", "'/'"),
        (json!({ "type": "subscribe" }), "invalid-parameter", "job_id"),
        (json!({ "type": "unsubscribe", "job_id": null }), "invalid-parameter", "job_id"),
        (json!({ "type": "subscribe", "job_id": 7 }), "invalid-parameter", "job_id"),
        (json!({ "type": "subscribe", "job_id": "a", "mode": "x" }), "invalid-parameter", "mode"),
        (
            json!({ "type": "subscribe", "job_id": "a", "max_rate": 0 }),
            "invalid-parameter",
            "max_rate",
        ),
        (
            json!({ "type": "subscribe", "job_id": "a", "max_rate": "fast" }),
            "invalid-parameter",
            "fast",
        ),
        (json!({ "type": "subscribe", "job_id": "a", "since": 5 }), "invalid-parameter", "5"),
        (json!({ "type": "bogus" }), "invalid-parameter", "bogus"),
        (json!({ "typ": "ping" }), "invalid-parameter", "type"),
        (json!({ "type": 7 }), "invalid-parameter", "type"),
        (json!([]), "invalid-parameter", "type"),
        (json!("hello"), "invalid-parameter", "type"),
    ];
    for (command, problem, named) in cases {
        watcher.say(&command.to_string()).await;
        let error = watcher.next().await;
        assert_eq!(error["type"], "error", "{command}");
        assert_eq!(error["problem"], problem, "{command}");
        assert!(error["timestamp"].is_string(), "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(named), "{command}: {message}");
        // Named as the client named it, so that the client knows which command this answers.
        if command["job_id"].is_string() {
            assert_eq!(error["job_id"], command["job_id"], "{command}");
        }
    }
    server.report("a", "{}").await;
    watcher.hears_nothing().await;
    subscribe(&mut watcher, json!({ "job_id": "a" })).await;
    assert_eq!(watcher.next().await["job_id"], "a");
}

#[tokio::test]
async fn a_socket_watches_as_many_jobs_as_it_may() {
    let server = Server::with(Config { max_subscriptions: 2, ..quick() }).await;
    let mut watcher = open(&server).await;
    subscribe(&mut watcher, json!({ "job_id": "a" })).await;
    subscribe(&mut watcher, json!({ "job_id": "b" })).await;
    watcher.say(r#"{"type":"subscribe","job_id":"c"}"#).await;
    let error = watcher.next().await;
    assert_eq!(error["problem"], "too-many-subscriptions");
    assert_eq!(error["job_id"], "c");
    let name = "milepost_limit_refusals_total{limit=\"subscriptions\",of=\"socket\"}";
    assert_eq!(metric(&server, "", name).await, 1);
    // Anew is not one more.
    subscribe(&mut watcher, json!({ "job_id": "b" })).await;
    for job in ["a", "b"] {
        server.report(job, "{}").await;
        assert_eq!(watcher.next().await["job_id"], job);
    }
    server.report("c", "{}").await;
    watcher.hears_nothing().await;
    unsubscribe(&mut watcher, "a").await;
    assert_eq!(subscribe(&mut watcher, json!({ "job_id": "c" })).await, true);
    assert_eq!(watcher.next().await["job_id"], "c");
    // Another socket has its own.
    let mut other = open(&server).await;
    subscribe(&mut other, json!({ "job_id": "a" })).await;
}

/// How often Redis has carried out that command.
fn calls(redis: &Redis, command: &str) -> usize {
    let stats = redis.answer(&["INFO", "commandstats"]);
    let stats = stats.text().unwrap();
    let prefix = format!("cmdstat_{command}:calls=");
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix(&prefix))
        .and_then(|line| line.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_comes_and_goes_costs_redis_little() {
    let redis = Redis::start();
    let redis_url = Some(redis.url().try_into().unwrap());
    let server = Server::with(Config { redis_url, max_subscriptions: 20, ..quick() }).await;
    until("readiness", async || server.get("/readyz").await.status == 200).await;
    let mut watcher = open(&server).await;
    let before = calls(&redis, "subscribe");
    // The job of a watcher that has just gone is still subscribed.
    for _ in 0..10 {
        subscribe(&mut watcher, json!({ "job_id": "a" })).await;
        unsubscribe(&mut watcher, "a").await;
    }
    assert_eq!(calls(&redis, "subscribe") - before, 1);
    let mut accepted = 1;
    for number in 0..500 {
        let subscribe = json!({ "type": "subscribe", "job_id": format!("job-{number}") });
        watcher.say(&subscribe.to_string()).await;
        let answer = watcher.next().await;
        if answer["type"] == "subscribed" {
            accepted += 1;
            unsubscribe(&mut watcher, &format!("job-{number}")).await;
        } else {
            assert_eq!(answer["problem"], "too-many-subscriptions", "{answer}");
        }
    }
    assert!(accepted < 500, "none of the subscriptions was refused");
    assert!(calls(&redis, "subscribe") - before <= accepted);
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_jobs_on_one_socket() {
    let server = Server::start().await;
    let mut watcher = open(&server).await;
    let mut batch = String::new();
    for n in 0..1_000 {
        subscribe(&mut watcher, json!({ "job_id": format!("j{n}") })).await;
        writeln!(batch, "{{\"job_id\":\"j{n}\"}}").unwrap();
    }
    watcher.say(r#"{"type":"subscribe","job_id":"one-more"}"#).await;
    assert_eq!(watcher.next().await["problem"], "too-many-subscriptions");
    assert_eq!(server.request("POST", "/updates", "", &batch).await.status, 200);
    let mut seen = std::collections::HashSet::new();
    for _ in 0..1_000 {
        assert!(seen.insert(watcher.next().await["job_id"].to_string()));
    }
    watcher.hears_nothing().await;
}

#[tokio::test]
async fn a_deleted_job_stays_subscribed() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    let mut watcher = open(&server).await;
    subscribe(&mut watcher, json!({ "job_id": "a" })).await;
    watcher.next().await;
    assert_eq!(server.request("DELETE", "/jobs/a", "", "").await.status, 204);
    assert_eq!(watcher.next().await["problem"], "unknown-job");
    let reported = server.report("a", "{}").await.json();
    assert_eq!(watcher.next().await["position"], reported["position"]);
    watcher.hears_nothing().await;
}

#[tokio::test]
async fn a_field_or_parameter_that_is_not_known_is_named() {
    let server = Server::start().await;
    // A legacy page’s socket opens, and receives a message about what was ignored.
    let mut one = server.watch("/ws/jobs/a?max_rte=5&_=1&client=x").await;
    assert_eq!(one.next().await["ignored"], json!(["max_rte", "client"]));
    assert!(server.watch("/ws/jobs/a?_=1&token=x").await.next().await["ignored"].is_null());
    let mut twice = server.watch("/ws/jobs/a?mode=all&mode=latest").await;
    assert_eq!(twice.next().await["problem"], "invalid-parameter");
    assert_eq!(twice.closed().await.0, 4400);

    let mut many = server.watch("/ws").await;
    many.next().await;
    many.say(r#"{"type":"subscribe","job_id":"a","max_rte":5}"#).await;
    let refused = many.next().await;
    assert_eq!(
        (&refused["problem"], &refused["job_id"]),
        (&json!("invalid-parameter"), &json!("a"))
    );
    assert!(refused["message"].as_str().unwrap().contains("max_rte"), "{refused}");
    assert_eq!(subscribe(&mut many, json!({ "job_id": "a", "max_rate": 5 })).await, false);
    let mut filtered = server.watch("/ws?job_id=a").await;
    assert_eq!(filtered.next().await["problem"], "invalid-parameter");
    assert_eq!(filtered.closed().await.0, 4400);
    server.stop().await;
}
