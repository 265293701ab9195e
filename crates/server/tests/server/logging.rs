//! What the server logs of requests: request ids, and the audit log.

use std::io;
use std::sync::{Arc, Mutex};

use milepost_access::Permissions;
use milepost_redis_servers::Server as Redis;
use milepost_server::{Config, Secret};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::credentials::{KEY, bearer, guarded, patterns, token, watches};
use crate::support::{Response, Server, drain, handshake, quick, until};

/// The log of this thread, on which a test's server runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn capture(level: Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let lines = tracing_subscriber::fmt().json().with_max_level(level).with_writer(log.clone());
        (log, tracing::subscriber::set_default(lines.finish()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The fields of the lines of one target.
    fn of(&self, target: &str) -> Vec<Value> {
        let lines = self.text();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["target"] == target).map(|line| line["fields"].clone()).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn id_of(answer: &Response) -> &str {
    answer.header("x-request-id").unwrap_or_else(|| panic!("an id: {answer:?}"))
}

#[tokio::test]
async fn responses_carry_the_request_s_id() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    for (method, path, body) in [
        ("GET", "/jobs/a", ""),
        ("GET", "/nothing", ""),
        ("GET", "/", ""),
        ("GET", "/health", ""),
        ("OPTIONS", "/jobs/a", ""),
        ("PUT", "/jobs/a", ""),
        ("GET", "/jobs/a", "a body"),
        ("POST", "/updates", "{}"),
        ("POST", "/jobs/a", "no JSON"),
        ("GET", "/jobs/none", ""),
    ] {
        let answer = server.request(method, path, "", body).await;
        let made = id_of(&answer).to_owned();
        assert_eq!(made.len(), 16, "{method} {path}");
        assert_ne!(id_of(&server.request(method, path, "", body).await), made, "{method} {path}");
        let own = server.request(method, path, "X-Request-Id: mine/1%\r\n", body).await;
        assert_eq!(id_of(&own), "mine/1%", "{method} {path}");
        if own.header("content-type") == Some("application/problem+json") {
            assert_eq!(own.json()["instance"], "urn:milepost:request:mine%2F1%25");
            assert_eq!(answer.json()["instance"], format!("urn:milepost:request:{made}"));
        }
        let long = "x".repeat(129);
        for bad in [&long, "a b", "", "a\r\nX-Request-Id: b"] {
            let answer =
                server.request(method, path, &format!("x-request-id: {bad}\r\n"), body).await;
            assert_eq!(id_of(&answer).len(), 16, "{bad}");
        }
    }
    // A report that is accepted has its position; an id of its own would cost every report.
    assert_eq!(server.report("a", "{}").await.header("x-request-id"), None);
    let own = server.request("POST", "/jobs/a", "x-request-id: mine\r\n", "{}").await;
    assert_eq!((own.status, id_of(&own)), (200, "mine"));
    let mut stream = server.connect().await;
    stream.write_all(handshake("/ws").as_bytes()).await.unwrap();
    let mut head = [0; 4_096];
    let read = stream.read(&mut head).await.unwrap();
    assert_eq!(id_of(&Response::parse(&head[..read])).len(), 16);
    server.stop().await;
}

#[tokio::test]
async fn the_log_names_a_request_by_its_id_and_shows_no_token() {
    let (log, _guard) = Log::capture(Level::DEBUG);
    let server = Server::start().await;
    let own = "x-request-id: mine\r\n";
    server.request("GET", "/jobs/none?token=secret-token", own, "").await;
    let path = "/jobs/\u{9b}31m\u{1b}".replace('\u{1b}', "%1b");
    server.request("GET", &path, "user-agent: \u{9b}2J\r\n", "").await;
    let request = handshake("/ws").replace("\r\n\r\n", "\r\nx-request-id: socket\r\n\r\n");
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    // No frame begins with this byte.
    stream.write_all(&[0xff, 0x80]).await.unwrap();
    drain(&mut stream).await;
    let requests = log.of("milepost_server::connection::serve");
    let seen = json!({
        "message": "request", "request_id": "mine", "method": "GET", "path": "\"/jobs/none\"", "status": 404
    });
    assert_eq!(requests[0], seen);
    assert_eq!(requests[1]["path"], "\"/jobs/\\u{9b}31m%1b\"");
    let closed = log.of("milepost_server::websocket::reactor::closing");
    assert_eq!((&closed[0]["request_id"], &closed[0]["code"]), (&json!("socket"), &json!(1002)));
    assert!(!log.text().contains("secret-token") && !log.text().contains('\u{9b}'));
    server.stop().await;
}

async fn post(server: &Server, job: &str, body: &str) -> u16 {
    let headers = format!("{}x-request-id: {job}\r\n", bearer(KEY));
    server.request("POST", &format!("/jobs/{job}/requests"), &headers, body).await.status
}

#[tokio::test]
async fn each_change_to_a_job_is_in_the_audit_log() {
    let (log, _guard) = Log::capture(Level::INFO);
    let redis = Redis::start();
    let redis_url = Some(redis.url().clone().try_into().unwrap());
    let server = Server::with(Config { redis_url, ..guarded() }).await;
    until("readiness", async || server.get("/readyz").await.status == 200).await;
    for job in ["cancel", "pause", "resume", "abandon", "delete"] {
        let update = r#"{"cancellable":true,"pausable":true}"#;
        let path = format!("/jobs/{job}");
        assert_eq!(server.request("POST", &path, &bearer(KEY), update).await.status, 200);
    }
    assert_eq!(post(&server, "cancel", r#"{"action":"cancel"}"#).await, 202);
    assert_eq!(post(&server, "pause", r#"{"action":"pause"}"#).await, 202);
    assert_eq!(post(&server, "resume", r#"{"action":"resume"}"#).await, 202);
    assert_eq!(post(&server, "abandon", r#"{"action":"cancel"}"#).await, 202);
    // As if that had been long ago.
    let state = server.request("GET", "/jobs/abandon", &bearer(KEY), "").await.json();
    let requested_at = state["requested"]["at"].as_str().unwrap();
    redis.backdate("abandon", requested_at, "2024-01-01T00:00:00.000Z");
    assert_eq!(post(&server, "abandon", r#"{"action":"abandon"}"#).await, 202);
    let headers = format!("{}x-request-id: delete\r\n", bearer(KEY));
    assert_eq!(server.request("DELETE", "/jobs/delete", &headers, "").await.status, 204);
    // What is refused has changed nothing.
    assert_eq!(post(&server, "none", r#"{"action":"cancel"}"#).await, 404);
    let mine = bearer(&token(watches(&["*"]), 60.0));
    assert_ne!(server.request("DELETE", "/jobs/cancel", &mine, "").await.status, 204);
    let lines = log.of("milepost_audit");
    let seen: Vec<_> = lines.iter().map(|line| [&line["action"], &line["job"]]).collect();
    let expected = [
        ["cancel", "cancel"],
        ["pause", "pause"],
        ["resume", "resume"],
        ["cancel", "abandon"],
        ["abandon", "abandon"],
        ["delete", "delete"],
    ];
    assert_eq!(seen, expected);
    for line in &lines {
        assert_eq!(
            (&line["holder"], &line["request_id"]),
            (&json!("key:key"), &line["job"]),
            "{line}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn new_keys_are_in_the_audit_log() {
    let (log, _guard) = Log::capture(Level::INFO);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret of thirty-two bytes, and more").unwrap();
    let server = Server::with(Config { token_keys: vec![secret.clone()], ..quick() }).await;
    assert_eq!(server.get("/livez").await.status, 200);
    std::fs::write(&secret, "another secret of thirty-two bytes, and more").unwrap();
    until("a line", async || !log.of("milepost_audit").is_empty()).await;
    assert_eq!(log.of("milepost_audit")[0]["action"], "reload keys");
    server.stop().await;
}

#[tokio::test]
async fn the_audit_log_counts_what_it_leaves_out() {
    const DELETED: usize = 500;
    let (log, _guard) = Log::capture(Level::INFO);
    let server = Server::with(Config { key: Some(Secret::new(KEY)), ..quick() }).await;
    let lines: Vec<_> =
        (0..DELETED).map(|n| json!({"job_id": format!("j{n}")}).to_string()).collect();
    let batch = lines.join("\n");
    assert_eq!(server.request("POST", "/updates", &bearer(KEY), &batch).await.status, 200);
    let delete = |n| format!("DELETE /jobs/j{n} HTTP/1.1\r\nhost: test\r\n{}\r\n", bearer(KEY));
    let mut requests: String = (0..DELETED).map(delete).collect();
    requests.push_str("GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    let mut stream = server.connect().await;
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answers = String::from_utf8(drain(&mut stream).await).unwrap();
    assert_eq!(answers.matches("HTTP/1.1 204").count(), DELETED);
    let metrics = server.request("GET", "/metrics", &bearer(KEY), "").await.body;
    let omitted = metrics.lines().find_map(|l| l.strip_prefix("milepost_audit_omissions_total "));
    let omitted: usize = omitted.unwrap().parse().unwrap();
    let written = log.of("milepost_audit").len();
    assert_eq!(written + omitted, DELETED);
    assert!(written >= 100 && omitted > 0, "{written} {omitted}");
    server.stop().await;
}

#[tokio::test]
async fn a_line_of_a_client_s_making_stays_one_line() {
    let (log, _guard) = Log::capture(Level::DEBUG);
    let config = Config { key: Some(Secret::new(KEY)), ..quick() };
    let server = Server::with(config).await;
    let job = "/jobs/a%0d%0aERROR%20forged";
    for (headers, path) in [
        (bearer(KEY), job.to_owned()),
        (bearer("a\u{1b}[2Jb"), "/jobs/a".to_owned()),
        (format!("{}user-agent: \u{1b}]0;x\u{7}\r\n", bearer(KEY)), "/jobs/a".to_owned()),
        (format!("{}x-request-id: \u{1b}[31m\r\n", bearer(KEY)), "/jobs/a?x=%1b%5b2J".to_owned()),
    ] {
        for method in ["GET", "POST", "DELETE"] {
            server.request(method, &path, &headers, "").await;
        }
    }
    // A holder's name comes from the application that has signed the token.
    let allowed = Permissions { control: patterns(&["*"]), ..Permissions::default() };
    let secret = "a secret of thirty-two bytes, and more";
    let rules = milepost_access::TokenRules::default();
    let holder = Some("eve\u{1b}[2J\r\nERROR forged".to_owned());
    let token = milepost_access::sign(secret, allowed, holder, &rules, 4e9).unwrap();
    let config = Config {
        token_secret: Some(Secret::new(secret)),
        ..Config { key: Some(Secret::new(KEY)), ..quick() }
    };
    let other = Server::with(config).await;
    other.request("POST", "/jobs/a", &bearer(KEY), "{}").await;
    assert_eq!(other.request("DELETE", "/jobs/a", &bearer(&token), "").await.status, 204);
    assert_eq!(log.of("milepost_audit").len(), 1);
    // JSON has escapes for what else it shows, so each line is whole.
    assert!(log.text().chars().all(|c| c == '\n' || !c.is_control()), "{}", log.text());
    assert!(log.text().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    server.stop().await;
    other.stop().await;
}
