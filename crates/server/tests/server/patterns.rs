//! Patterns by tag and by parent: the job's state says whether it is one of those.

use milepost_access::{Pattern, Permissions, TokenRules, sign};
use serde_json::{Value, json};

use crate::credentials::{KEY, bearer, get, guarded, open_with, patterns, token, watches};
use crate::support::{Events, Server};

async fn report(server: &Server, job: &str, update: &str) -> Value {
    let answer = server.request("POST", &format!("/jobs/{job}"), &bearer(KEY), update).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["position"].clone()
}

/// Of the jobs a to d, `a` has the tag, `b` the parent, `c` another tag, and `d` is not known.
async fn server() -> Server {
    let server = Server::with(guarded()).await;
    report(&server, "a", r#"{"tags":["user:42"]}"#).await;
    report(&server, "b", r#"{"parent_id":"batch-7"}"#).await;
    report(&server, "c", r#"{"tags":["user:421"],"parent_id":"batch-70"}"#).await;
    server
}

#[tokio::test]
async fn jobs_are_watched_by_tag_and_parent() {
    let server = server().await;
    let mine = token(watches(&["tag:user:42", "parent:batch-7"]), 60.0);
    for (job, status) in [("a", 200), ("b", 200), ("c", 404), ("d", 404), ("batch-7", 404)] {
        for rest in ["", "/status", "/history", "/badge.json", "/log"] {
            let answer = get(&server, &format!("/jobs/{job}{rest}"), &mine).await;
            assert_eq!(answer.status, status, "{job}{rest}");
        }
        let mut watcher = open_with(&server, &format!("/ws/jobs/{job}"), &mine).await;
        if status == 200 {
            assert_eq!(watcher.next().await["known"], true, "{job}");
            assert_eq!(watcher.next().await["job_id"], job);
        } else {
            assert_eq!(watcher.closed().await.0, 4403, "{job}");
        }
    }
    for query in ["", "?sort=name", "?tag=user:42", "?counts=true"] {
        let list = get(&server, &format!("/jobs{query}"), &mine).await.json();
        let jobs = list["jobs"].as_array().unwrap().iter().map(|job| job["job_id"].clone());
        let mut jobs: Vec<Value> = jobs.collect();
        jobs.sort_by_key(ToString::to_string);
        let expected = if query.starts_with("?tag") { json!(["a"]) } else { json!(["a", "b"]) };
        assert_eq!(json!(jobs), expected, "{query}");
    }
    let _watchers =
        (open_with(&server, "/ws/jobs/a", KEY).await, open_with(&server, "/ws/jobs/c", KEY).await);
    let answer = get(&server, "/watchers?job_id=a,c", &mine).await.json();
    assert_eq!(answer["watchers"]["c"], 0);
    server.stop().await;
}

#[tokio::test]
async fn a_subscription_is_decided_by_the_state() {
    let server = server().await;
    let mine = token(watches(&["tag:user:42"]), 60.0);
    let mut watcher = open_with(&server, "/ws", &mine).await;
    watcher.next().await;
    for (job, allowed) in [("a", true), ("c", false), ("d", false)] {
        watcher.say(&json!({ "type": "subscribe", "job_id": job }).to_string()).await;
        let answer = watcher.next().await;
        let expected = if allowed { json!("subscribed") } else { json!("error") };
        assert_eq!((&answer["type"], &answer["job_id"]), (&expected, &json!(job)));
        if allowed {
            assert_eq!(watcher.next().await["job_id"], job);
        } else {
            assert_eq!(answer["problem"], "forbidden", "{answer}");
        }
    }
    // Nothing of a job that was refused is shown later, and the job may have the tag later.
    report(&server, "c", r#"{"message":"not for it"}"#).await;
    report(&server, "d", r#"{"tags":["user:42"]}"#).await;
    watcher.hears_nothing().await;
    watcher.say(r#"{"type":"subscribe","job_id":"d"}"#).await;
    assert_eq!(watcher.next().await["type"], "subscribed");
    assert_eq!(watcher.next().await["job_id"], "d");
    // What was decided holds: a retry begins without tags, and its watchers go on.
    let position = report(&server, "a", r#"{"attempt":2}"#).await;
    assert_eq!(watcher.next().await["position"], position);
    // Unless the token is renewed: it is decided anew.
    watcher.say(&json!({ "type": "auth", "token": mine }).to_string()).await;
    assert_eq!(watcher.next().await["type"], "authenticated");
    let lost = watcher.next().await;
    assert_eq!((&lost["problem"], &lost["job_id"]), (&json!("forbidden"), &json!("a")));
    report(&server, "a", r#"{"message":"gone"}"#).await;
    let position = report(&server, "d", r#"{"message":"stays"}"#).await;
    assert_eq!(watcher.next().await["position"], position);
    server.stop().await;
}

#[tokio::test]
async fn event_streams_and_control_go_by_tags_too() {
    let server = server().await;
    let allowed = patterns(&["tag:user:4*"]);
    let permissions =
        Permissions { watch: allowed.clone(), control: allowed, ..Permissions::default() };
    let mine = token(permissions, 60.0);
    let reader = token(watches(&["a"]), 60.0);
    let mut events = Events::open(&server, "/jobs/a/events", &bearer(&mine)).await;
    assert_eq!(events.next().await.unwrap().name.as_deref(), Some("connected"));
    assert_eq!(get(&server, "/jobs/b/events", &mine).await.status, 404);
    // The history says whether the credential may control the job, so that a page need not try.
    for (credential, job, may) in [(&*mine, "a", true), (&*reader, "a", false), (KEY, "b", true)] {
        let history = get(&server, &format!("/jobs/{job}/history"), credential).await.json();
        assert_eq!(history["may_control"], may, "{job}");
    }
    for (job, status) in [("a", 204), ("b", 404), ("c", 204), ("d", 404)] {
        let answer = server.request("DELETE", &format!("/jobs/{job}"), &bearer(&mine), "").await;
        assert_eq!(answer.status, status, "{job}");
    }
    assert_eq!(get(&server, "/jobs/b", KEY).await.status, 200);
    server.stop().await;
}

#[test]
fn jobs_are_reported_by_their_ids_only() {
    for pattern in ["tag:a", "parent:a", "tag:*"] {
        let report = vec![Pattern::parse(pattern).unwrap()];
        let permissions = Permissions { report, ..Permissions::default() };
        let secret = "a secret of thirty-two bytes, and more";
        let refused = sign(secret, permissions, None, &TokenRules::default(), 1e10).unwrap_err();
        assert!(refused.to_string().starts_with("report: "), "{refused}");
    }
}

#[tokio::test]
async fn a_log_over_a_socket_is_decided_by_the_state() {
    let server = server().await;
    let mut watcher = open_with(&server, "/ws", &token(watches(&["tag:user:42"]), 60.0)).await;
    watcher.next().await;
    for (job, kind) in [("a", "log"), ("b", "error"), ("d", "error")] {
        let command = json!({"type": "subscribe", "job_id": job, "log": true});
        watcher.say(&command.to_string()).await;
        let answer = watcher.next().await;
        assert_eq!((&answer["type"], &answer["job_id"]), (&json!(kind), &json!(job)));
        let forbidden = if kind == "error" { json!("forbidden") } else { Value::Null };
        assert_eq!(answer["problem"], forbidden);
    }
    // By a new token the log is decided again, before its next line is shown.
    for (watched, kind) in [("tag:user:42", "log"), ("parent:batch-7", "error")] {
        let auth = json!({"type": "auth", "token": token(watches(&[watched]), 60.0)});
        watcher.say(&auth.to_string()).await;
        assert_eq!(watcher.next().await["type"], "authenticated");
        let answer = server.request("POST", "/jobs/a/log", &bearer(KEY), "line").await;
        assert_eq!(answer.status, 200);
        assert_eq!(watcher.next().await["type"], kind);
    }
    server.stop().await;
}
