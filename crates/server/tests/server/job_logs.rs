//! Logs of jobs, as `spec/README.md` has it in section 17.

use milepost_protocol::MAX_LOG_LINE_BYTES;
use milepost_server::Config;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::support::{Events, Raw, Response, Server, Watcher, quick};

async fn append(server: &Server, job: &str, content_type: &str, body: &str) -> Response {
    let header = format!("content-type: {content_type}\r\n");
    server.request("POST", &format!("/jobs/{job}/log"), &header, body).await
}

async fn texts(server: &Server, path: &str) -> Vec<Value> {
    let answer = server.get(path).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["lines"].as_array().unwrap().iter().map(|line| line["text"].clone()).collect()
}

#[tokio::test]
async fn lines_come_back_as_they_were_sent() {
    let server = Server::start().await;
    let before = server.report("a", "{}").await.json()["position"].clone();
    let appended = append(&server, "a", "text/plain", "one\r\n\ntwo \u{1b}[1m\n").await;
    assert_eq!(appended.status, 200, "{appended:?}");
    let lines = "{\"text\":\"three\",\"stream\":\"stderr\",\"at\":\"2024-05-06T07:08:09Z\"}\n\n";
    let appended = append(&server, "a", "application/x-ndjson; charset=utf-8", lines).await.json();
    let log = server.get("/jobs/a/log").await.json();
    assert_eq!(log["next"], appended["next"]);
    assert_eq!(log["log"], json!({"lines": 4, "dropped": 0}));
    let line =
        json!({"n": 4, "at": "2024-05-06T07:08:09.000Z", "stream": "stderr", "text": "three"});
    assert_eq!(log["lines"][3], line);
    assert_eq!(texts(&server, "/jobs/a/log").await, ["one", "", "two \u{1b}[1m", "three"]);
    assert_eq!(texts(&server, "/jobs/a/log?limit=2").await, ["two \u{1b}[1m", "three"]);
    let next = server.get("/jobs/a/log?limit=1").await.json()["next"].clone();
    assert_eq!(next, appended["next"]);
    let epoch = next.as_str().unwrap().split_once('-').unwrap().0;
    assert_eq!(texts(&server, &format!("/jobs/a/log?since={epoch}-1&limit=1")).await, [""]);
    assert_eq!(server.get("/jobs/a/log?since=1-1").await.json()["log_gap"], true);

    append(&server, "a", "text/plain", &"x".repeat(MAX_LOG_LINE_BYTES + 1)).await;
    let last = &server.get("/jobs/a/log?limit=1").await.json()["lines"][0];
    assert_eq!((last["cut"].clone(), last["text"].as_str().unwrap().len()), (json!(true), 4_096));
    // Nobody who watches the job is sent anything for its log.
    assert_eq!(server.get("/jobs/a").await.json()["position"], before);
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_log_is_named() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    assert_eq!(append(&server, "b", "text/plain", "x").await.problem(), "unknown-job");
    assert_eq!(server.get("/jobs/b/log").await.problem(), "unknown-job");
    assert_eq!(server.get("/jobs/b/log?follow=1").await.problem(), "unknown-job");
    let json = "application/json";
    let wrong = append(&server, "a", json, "{\"text\":\"x\"}\n{\"text\":1}\n").await;
    assert_eq!(wrong.problem(), "invalid-json");
    assert!(wrong.json()["detail"].as_str().unwrap().starts_with("line 2: "), "{wrong:?}");
    let wrong = append(&server, "a", json, "{\"text\":\"x\",\"stream\":\"in\"}").await;
    assert_eq!(wrong.problem(), "invalid-parameter");
    for body in ["x".repeat((256 << 10) + 1), "\n".repeat(4_098)] {
        assert_eq!(append(&server, "a", "text/plain", &body).await.problem(), "batch-too-large");
    }
    for query in ["since=x", "limit=0", "limit=5001", "follow=2", "wait=1"] {
        let answer = server.get(&format!("/jobs/a/log?{query}")).await;
        assert_eq!(answer.problem(), "invalid-parameter", "{query}");
    }
    assert_eq!(texts(&server, "/jobs/a/log").await, [] as [&str; 0]);
    server.stop().await;
}

#[tokio::test]
async fn who_follows_sees_each_line_and_the_end() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    append(&server, "a", "text/plain", "one").await;
    let mut events = Events::open(&server, "/jobs/a/log?follow=1", "").await;
    let first = events.next().await.unwrap();
    assert_eq!(first.json()["lines"][0]["text"], "one");
    append(&server, "a", "text/plain", "two\nthree").await;
    let second = events.next().await.unwrap();
    let lines = second.json()["lines"].clone();
    assert_eq!((&lines[0]["n"], &lines[1]["text"]), (&json!(2), &json!("three")));
    assert_eq!(second.json()["next"], second.id.clone().unwrap());

    // Back with the position of its last event, a client is sent what it missed.
    let header = format!("last-event-id: {}\r\n", first.id.clone().unwrap());
    let mut resumed = Events::open(&server, "/jobs/a/log?follow=1", &header).await;
    assert_eq!(resumed.next().await.unwrap().json()["lines"], lines);

    append(&server, "a", "text/plain", "last words").await;
    server.report("a", r#"{"status":"completed"}"#).await;
    for mut events in [events, resumed] {
        assert_eq!(events.next().await.unwrap().json()["lines"][0]["text"], "last words");
        assert_eq!(events.next().await.unwrap().name.as_deref(), Some("end"));
        assert!(events.next().await.is_none());
    }
    server.stop().await;
}

/// A socket for many jobs that follows the log of `a`, and the first part of that log.
async fn follow(server: &Server, since: Option<&Value>) -> (Watcher, Value) {
    let mut watcher = server.watch("/ws").await;
    assert_eq!(watcher.next().await["type"], "connected");
    let mut command = json!({"type": "subscribe", "job_id": "a", "log": true});
    if let Some(since) = since {
        command["since"] = since.clone();
    }
    watcher.say(&command.to_string()).await;
    let first = watcher.next().await;
    (watcher, first)
}

fn numbers(part: &Value) -> Vec<u64> {
    part["lines"].as_array().unwrap().iter().map(|line| line["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_socket_follows_a_log_beyond_the_end() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    let (mut watcher, first) = follow(&server, None).await;
    let empty = json!({"lines": 0, "dropped": 0});
    assert_eq!(first, json!({"type": "log", "job_id": "a", "lines": [], "log": empty}));
    append(&server, "a", "text/plain", "one").await;
    let one = watcher.next().await;
    let mut read = server.get("/jobs/a/log").await.json();
    read["type"] = "log".into();
    assert_eq!(one, read);
    append(&server, "a", "text/plain", "two\nthree").await;
    let two = watcher.next().await;
    assert_eq!(numbers(&two), [2, 3]);
    server.report("a", r#"{"status":"completed"}"#).await;
    append(&server, "a", "text/plain", "last words").await;
    assert_eq!(numbers(&watcher.next().await), [4]);

    // With a position a client is sent what it missed; with one of another log, all that is kept and a gap.
    assert_eq!(numbers(&follow(&server, Some(&one["next"])).await.1), [2, 3, 4]);
    let (_, foreign) = follow(&server, Some(&json!("1-1"))).await;
    assert_eq!((numbers(&foreign), &foreign["log_gap"]), (vec![1, 2, 3, 4], &json!(true)));

    watcher.say(r#"{"type":"unsubscribe","job_id":"a","log":true}"#).await;
    let unsubscribed = watcher.next().await;
    assert_eq!(
        (&unsubscribed["type"], &unsubscribed["log"]),
        (&json!("unsubscribed"), &json!(true))
    );
    append(&server, "a", "text/plain", "unheard").await;
    watcher.hears_nothing().await;
    server.stop().await;
}

#[tokio::test]
async fn a_log_that_is_gone_is_one_gap() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    let (mut watcher, first) = follow(&server, Some(&json!("1-7"))).await;
    let empty = json!({"lines": 0, "dropped": 0});
    let gone = json!({"type": "log", "job_id": "a", "lines": [], "log_gap": true, "log": empty});
    assert_eq!(first, gone);
    watcher.hears_nothing().await;
    append(&server, "a", "text/plain", "one").await;
    let one = watcher.next().await;
    assert_eq!((numbers(&one), one.get("log_gap")), (vec![1], None));
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_subscription_to_a_log_is_said() {
    let server =
        Server::with(Config { max_subscriptions: 2, ping_interval: 0.25, ..quick() }).await;
    server.report("a", "{}").await;
    let (mut watcher, _) = follow(&server, None).await;
    for (command, problem) in [
        (json!({"job_id": "b", "log": true}), "unknown-job"),
        (json!({"job_id": "a", "log": true, "since": "x"}), "invalid-parameter"),
        (json!({"job_id": "a", "log": true, "mode": "latest"}), "invalid-parameter"),
        (json!({"job_id": "a", "log": 1}), "invalid-parameter"),
    ] {
        let mut command = command;
        command["type"] = "subscribe".into();
        watcher.say(&command.to_string()).await;
        let mut refused = watcher.next().await;
        while refused["type"] == "ping" {
            refused = watcher.next().await;
        }
        assert_eq!(refused["problem"], problem, "{command}");
    }
    server.report("b", "{}").await;
    server.report("c", "{}").await;
    watcher.say(r#"{"type":"subscribe","job_id":"b","log":true}"#).await;
    watcher.say(r#"{"type":"subscribe","job_id":"c","log":true}"#).await;
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let next = watcher.next().await;
        if next["type"] != "ping" {
            seen.push((next["job_id"].clone(), next["problem"].clone(), next["log"].clone()));
        }
    }
    assert!(seen.contains(&(json!("c"), json!("too-many-subscriptions"), json!(true))), "{seen:?}");
    // A job that is forgotten takes its log with it.
    assert_eq!(server.request("DELETE", "/jobs/a", "", "").await.status, 204);
    loop {
        let next = watcher.next().await;
        if next["type"] != "ping" {
            assert_eq!((&next["problem"], &next["job_id"]), (&json!("unknown-job"), &json!("a")));
            break;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_follower_that_does_not_read_finds_a_gap() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let mut slow = Raw::over(stream, "/ws", &[]).await;
    assert_eq!(slow.next().await["type"], "connected");
    slow.say(r#"{"type":"subscribe","job_id":"a","log":true}"#).await;
    assert_eq!(numbers(&slow.next().await), [] as [u64; 0]);
    let lines = format!("{}\n", "x".repeat(2_000)).repeat(100);
    for _ in 0..50 {
        append(&server, "a", "text/plain", &lines).await;
    }
    // Each line once, in order; what it did not read in time is not kept for it.
    let (mut last, mut gaps) = (0, 0);
    while last < 5_000 {
        let part = slow.next().await;
        if part["type"] != "log" {
            continue;
        }
        gaps += usize::from(part["log_gap"] == true);
        for number in numbers(&part) {
            assert!(number == last + 1 || (number > last && part["log_gap"] == true), "{number}");
            last = number;
        }
    }
    assert!(gaps >= 1);
    server.stop().await;
}
