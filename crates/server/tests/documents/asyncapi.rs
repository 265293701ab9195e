//! `/asyncapi.yaml` is whole, and what the server says on a socket is as it describes.

use std::collections::BTreeSet;

use crate::support::{Server, Watcher};
use milepost_server::{Config, Secret};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

const SECRET: &str = "a secret of thirty-two bytes, and more";

struct Document(Value);

impl Document {
    async fn of(server: &Server) -> Self {
        let answer = server.get("/asyncapi.yaml").await;
        assert_eq!(answer.header("content-type"), Some("application/yaml"));
        Self(yaml_serde::from_str(&answer.body).unwrap())
    }

    /// The value is the payload of the message of that name, as described.
    fn check(&self, message: &str, value: &Value) {
        let payload = &self.0["components"]["messages"][message]["payload"];
        let mut schema = payload.clone();
        assert!(schema.is_object(), "there is no message {message}");
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{message}: {errors:?} in {value}");
        // A state may have anything else, the rest only what is described.
        if let Some(described) = payload["properties"].as_object() {
            for key in value.as_object().unwrap().keys() {
                assert!(described.contains_key(key), "{message}: {key} is not described");
            }
        }
    }

    /// The channel at that address says that the server sends it.
    fn is_of(&self, channel: &str, message: &str) {
        assert!(
            self.0["channels"][channel]["messages"][message].is_object(),
            "{channel} {message}"
        );
    }
}

fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    found.extend(value.get("$ref").and_then(Value::as_str));
    match value {
        Value::Object(map) => map.values().for_each(|value| references(value, found)),
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let server = Server::start().await;
    let document = Document::of(&server).await;
    assert_eq!(document.0["asyncapi"], "3.0.0");
    assert_eq!(document.0["channels"]["job"]["address"], "/ws/jobs/{job_id}");
    assert_eq!(document.0["channels"]["jobs"]["address"], "/ws");
    let mut found = Vec::new();
    references(&document.0, &mut found);
    assert!(found.len() > 40, "{}", found.len());
    for reference in found {
        let target = reference.strip_prefix('#').and_then(|at| document.0.pointer(at));
        assert!(target.is_some(), "{reference}");
    }
    for (name, message) in document.0["components"]["messages"].as_object().unwrap() {
        let examples = message["examples"].as_array().unwrap();
        assert!(!examples.is_empty(), "{name}");
        for example in examples {
            document.check(name, &example["payload"]);
        }
    }
    server.stop().await;
}

/// The next message, keepalives included.
async fn next(watcher: &mut Watcher) -> Value {
    match watcher.message().await {
        Message::Text(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("a text message: {other:?}"),
    }
}

#[tokio::test]
async fn what_a_socket_says_is_as_described() {
    let server = Server::with(Config { ping_interval: 0.25, ..Config::default() }).await;
    let document = Document::of(&server).await;
    let mut seen = BTreeSet::new();
    let update = r#"{"progress":0.5,"metadata":{"frame":1},"mine":[],"ttl":60}"#;
    server.report("a1", update).await;
    let line = r#"{"text":"one","stream":"stderr"}"#;
    let json = "content-type: application/json\r\n";
    assert_eq!(server.request("POST", "/jobs/a1/log", json, line).await.status, 200);

    let mut watcher = server.watch("/ws/jobs/a1").await;
    watcher.say(r#"{"type":"ping"}"#).await;
    let mut refused = server.watch("/ws/jobs/a1?mode=none").await;
    let mut many = server.watch("/ws").await;
    many.say(r#"{"type":"subscribe","job_id":"a1"}"#).await;
    many.say(r#"{"type":"subscribe","job_id":"a1","log":true}"#).await;
    // Of another job, because an unsubscription may overtake the subscription.
    many.say(r#"{"type":"unsubscribe","job_id":"a2"}"#).await;
    many.say(r#"{"type":"subscribe","job_id":"a/b"}"#).await;
    many.say(r#"{"type":"ping"}"#).await;

    let of_job = ["connected", "state", "pong", "ping"];
    let of_jobs =
        ["connected", "subscribed", "state", "log", "unsubscribed", "error", "pong", "ping"];
    for (channel, socket, kinds) in [
        ("job", &mut watcher, &of_job[..]),
        ("job", &mut refused, &["connected", "error"][1..]),
        ("jobs", &mut many, &of_jobs[..]),
    ] {
        let mut missing: BTreeSet<&str> = kinds.iter().copied().collect();
        while !missing.is_empty() {
            let message = next(socket).await;
            let kind = message["type"].as_str().unwrap_or("state").to_owned();
            document.is_of(channel, &kind);
            document.check(&kind, &message);
            missing.remove(kind.as_str());
            seen.insert(kind);
        }
    }
    let token = |seconds: f64| {
        let watch = vec![milepost_access::Pattern::all()];
        let permissions = milepost_access::Permissions { watch, ..Default::default() };
        let now = milepost_protocol::Timestamp::now().as_micros();
        let now = std::time::Duration::from_micros(now.try_into().unwrap());
        let rules = milepost_access::TokenRules::default();
        milepost_access::sign(SECRET, permissions, None, &rules, now.as_secs_f64() + seconds)
            .unwrap()
    };
    let config = Config { token_secret: Some(Secret::new(SECRET)), ..Config::default() };
    let guarded = Server::with(config).await;
    for (channel, path) in [("job", "/ws/jobs/a1"), ("jobs", "/ws")] {
        let mut socket = guarded.watch(&format!("{path}?token={}", token(5.0))).await;
        next(&mut socket).await;
        socket.say(&json!({"type": "auth", "token": token(60.0)}).to_string()).await;
        for kind in ["token_expiring", "authenticated"] {
            let message = next(&mut socket).await;
            document.is_of(channel, kind);
            document.check(kind, &message);
            seen.insert(kind.to_owned());
        }
    }
    guarded.stop().await;

    // What is described was seen, but for what clients say.
    let described = document.0["components"]["messages"].as_object().unwrap().keys();
    let by_client = ["auth", "clientPing", "subscribe", "unsubscribe"];
    let by_server: BTreeSet<_> =
        described.filter(|name| !by_client.contains(&name.as_str())).cloned().collect();
    assert_eq!(seen, by_server);
    server.stop().await;
}
