//! The public view: what a watcher with it is shown, on each transport.

use milepost_access::Permissions;
use milepost_protocol::View;
use serde_json::{Value, json};

use crate::credentials::{KEY, bearer, get, guarded, open_with, patterns, token};
use crate::support::{Events, Server};

/// Whatever is secret has this in it.
const SECRET: &str = "xyzzy";

fn running() -> String {
    json!({
        "name": "export", "stage": "writing", "progress": 0.5, "current": 5, "total": 10, "message": "row 5",
        "eta": "2024-01-01T00:00:00.000Z", "stages": ["writing"],
        "tags": [SECRET], "parent_id": SECRET, "metadata": {"a": SECRET}, "customer": SECRET,
    })
    .to_string()
}

fn ended() -> String {
    let (result, artifacts) =
        (json!({ "a": SECRET }), json!([{ "name": SECRET, "url": "https://e" }]));
    json!({ "status": "failed", "error": SECRET, "result": result, "artifacts": artifacts })
        .to_string()
}

fn public_token() -> String {
    token(
        Permissions { watch: patterns(&["a*"]), view: View::Public, ..Permissions::default() },
        60.0,
    )
}

async fn send(server: &Server, update: &str) -> Value {
    let answer = server.request("POST", "/jobs/a", &bearer(KEY), update).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["position"].clone()
}

fn check_running(state: &Value, position: &Value) {
    assert!(!state.to_string().contains(SECRET), "{state}");
    let shown = ["position", "stage", "progress", "current", "message", "name", "eta", "stages"];
    let values = shown.map(|field| state[field].clone());
    let expected = json!([
        position,
        "writing",
        0.5,
        5,
        "row 5",
        "export",
        "2024-01-01T00:00:00.000Z",
        ["writing"]
    ]);
    assert_eq!(json!(values), expected);
}

#[tokio::test]
async fn polls_and_lists_show_the_public_view() {
    let server = Server::with(guarded()).await;
    let public = public_token();
    let position = send(&server, &running()).await;
    check_running(&get(&server, "/jobs/a", &public).await.json(), &position);
    check_running(&get(&server, "/jobs/a/status", &public).await.json(), &position);
    check_running(&get(&server, "/jobs/a/history", &public).await.json()["states"][0], &position);
    for query in ["", "?sort=name&counts=true", "?name=export"] {
        let list = get(&server, &format!("/jobs{query}"), &public).await.json();
        check_running(&list["jobs"][0], &position);
        assert!(!list.to_string().contains(SECRET));
    }
    // What is not shown is not found by either.
    for query in ["q=xyz", "tag=xyzzy", "parent=xyzzy", "sort=name&q=x"] {
        let answer = get(&server, &format!("/jobs?{query}"), &public).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "forbidden"), "{query}");
    }
    server.request("POST", "/jobs/a/log", &bearer(KEY), SECRET).await;
    for query in ["", "?follow=1"] {
        let answer = get(&server, &format!("/jobs/a/log{query}"), &public).await;
        assert_eq!((answer.status, answer.problem().as_str()), (403, "forbidden"), "{query}");
    }
    for badge in ["badge.json", "badge.svg"] {
        assert!(get(&server, &format!("/jobs/a/{badge}"), &public).await.body.contains("50%"));
    }
    send(&server, &ended()).await;
    let answer = get(&server, "/jobs/a", &public).await;
    assert!(!answer.body.contains(SECRET), "{}", answer.body);
    assert_eq!(answer.json()["status"], "failed");
    let retry = server.request("POST", "/jobs/a", &bearer(KEY), r#"{"attempt":2}"#).await;
    assert_eq!(retry.status, 200);
    let history = get(&server, "/jobs/a/history", &public).await;
    assert_eq!(history.json()["attempts"][0]["status"], "failed");
    assert!(!history.body.contains(SECRET), "{}", history.body);
    // Others are shown everything.
    assert_eq!(get(&server, "/jobs/a/history", KEY).await.json()["attempts"][0]["error"], SECRET);
    let ended = r#"{"attempt":2,"status":"failed","error":"#;
    let ended = format!("{ended}{}}}", json!(SECRET));
    server.request("POST", "/jobs/a", &bearer(KEY), &ended).await;
    assert_eq!(get(&server, "/jobs/a", KEY).await.json()["error"], SECRET);
    server.stop().await;
}

#[tokio::test]
async fn held_polls_show_the_public_view() {
    let server = Server::with(guarded()).await;
    let public = public_token();
    let first = send(&server, "{}").await;
    let headers = format!("{}if-none-match: {first}\r\n", bearer(&public));
    let held = server.request("GET", "/jobs/a?wait=20", &headers, "");
    let (answer, position) = tokio::join!(held, async {
        crate::support::until("the poll is held", || async {
            get(&server, "/watchers?job_id=a", KEY).await.json()["watchers"]["a"] == 1
        })
        .await;
        send(&server, &running()).await
    });
    check_running(&answer.json(), &position);
    server.stop().await;
}

#[tokio::test]
async fn streams_show_each_watcher_its_view() {
    let server = Server::with(guarded()).await;
    let public = public_token();
    let mut first = open_with(&server, "/ws/jobs/a", &public).await;
    let mut full = open_with(&server, "/ws/jobs/a", KEY).await;
    let mut many = open_with(&server, "/ws", &public).await;
    let mut events = Events::open(&server, "/jobs/a/events", &bearer(&public)).await;
    for watcher in [&mut first, &mut full, &mut many] {
        assert_eq!(watcher.next().await["type"], "connected");
    }
    many.say(r#"{"type":"subscribe","job_id":"a"}"#).await;
    assert_eq!(many.next().await["type"], "subscribed");
    assert_eq!(events.next().await.unwrap().name.as_deref(), Some("connected"));
    let position = send(&server, &running()).await;
    check_running(&first.next().await, &position);
    check_running(&many.next().await, &position);
    check_running(&events.data().await, &position);
    assert_eq!(full.next().await["metadata"]["a"], SECRET);
    let log = r#"{"type":"subscribe","job_id":"a","log":true}"#;
    many.say(log).await;
    let refused = many.next().await;
    assert_eq!((&refused["problem"], &refused["log"]), (&json!("forbidden"), &json!(true)));
    // One that comes later, and one that comes back.
    let mut late = open_with(&server, "/ws/jobs/a", &public).await;
    late.next().await;
    check_running(&late.next().await, &position);
    let end = send(&server, &ended()).await;
    let path = format!("/ws/jobs/a?since={}", position.as_str().unwrap());
    let mut back = open_with(&server, &path, &public).await;
    back.next().await;
    for watcher in [&mut first, &mut many, &mut late, &mut back] {
        let state = watcher.next().await;
        assert_eq!((&state["position"], &state["status"]), (&end, &json!("failed")));
        assert!(!state.to_string().contains(SECRET), "{state}");
    }
    assert_eq!(events.data().await["error"], Value::Null);
    let state = full.next().await;
    assert_eq!((&state["position"], &state["error"]), (&end, &json!(SECRET)));
    server.stop().await;
}
