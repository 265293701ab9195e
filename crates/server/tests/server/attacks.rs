//! Requests that are meant to be read in two ways, or to cost much more than they are long.

use milepost_access::{Pattern, Permissions, TokenRules, sign};
use milepost_server::{Config, Secret};
use serde::de::IgnoredAny;
use tokio::io::AsyncWriteExt;

use crate::support::{Response, Server, drain, quick};

/// A second request, which a proxy may take for the body of the first.
const SMUGGLED: &str = "POST /jobs/smuggled HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_body_whose_length_is_ambiguous_smuggles_nothing() {
    let server = Server::start().await;
    for (headers, body, status) in [
        // The connection ends after the answer (RFC 9112, section 6.1).
        ("content-length: 6\r\ntransfer-encoding: chunked", "2\r\n{}\r\n0\r\n\r\n", 200),
        ("transfer-encoding: chunked\r\ncontent-length: 2", "2\r\n{}\r\n0\r\n\r\n", 200),
        ("content-length: 2\r\ncontent-length: 200", "{}", 400),
        ("content-length: 2, 200", "{}", 400),
        ("content-length: +2", "{}", 400),
        ("content-length: 0x2", "{}", 400),
        ("content-length: 18446744073709551618", "{}", 400),
        ("content-length : 2", "{}", 400),
        ("x: y\r\n content-length: 2", "{}", 400),
        ("transfer-encoding: xchunked", "2\r\n{}\r\n0\r\n\r\n", 400),
        ("transfer-encoding: chunked, identity", "2\r\n{}\r\n0\r\n\r\n", 400),
        ("transfer-encoding: identity", "{}", 400),
        ("transfer-encoding: chunked", "-2\r\n{}\r\n0\r\n\r\n", 400),
        ("transfer-encoding: chunked", "10000000000000002\r\n{}\r\n0\r\n\r\n", 400),
    ] {
        let request =
            format!("POST /jobs/a HTTP/1.1\r\nhost: test\r\n{headers}\r\n\r\n{body}{SMUGGLED}");
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = drain(&mut stream).await;
        assert_eq!(Response::parse(&answer).status, status, "{headers}");
        assert_eq!(server.get("/jobs/smuggled").await.status, 404, "{headers}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_compressed_body_is_refused_however_it_is_named() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    for path in ["/jobs/a", "/updates", "/jobs/a/log", "/jobs/a/requests"] {
        for coding in ["gzip, chunked", "deflate,chunked", "chunked, chunked", "GZIP, chunked"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
                 transfer-encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
            );
            let answer = server.exchange(request.as_bytes()).await;
            assert_eq!(answer.status, 400, "{path} {coding}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn no_spelling_of_a_path_reaches_a_job_that_is_not_allowed() {
    const KEY: &str = "the operator's key, which is long";
    const SECRET: &str = "a secret of thirty-two bytes, and more";
    let config =
        Config { key: Some(Secret::new(KEY)), token_secret: Some(Secret::new(SECRET)), ..quick() };
    let server = Server::with(config).await;
    let operator = format!("authorization: Bearer {KEY}\r\n");
    assert_eq!(server.request("POST", "/jobs/b", &operator, "{}").await.status, 200);
    let own = || vec![Pattern::parse("a*").unwrap()];
    let allowed =
        Permissions { watch: own(), report: own(), control: own(), ..Permissions::default() };
    let token = sign(SECRET, allowed, None, &TokenRules::default(), 4e9).unwrap();
    let bearer = format!("authorization: Bearer {token}\r\n");
    for path in [
        "/jobs/b",
        "/jobs/%62",
        "/jobs/a/../b",
        "/jobs/a%2F..%2Fb",
        "/jobs/a%2f%2e%2e%2fb",
        "/jobs/./b",
        "//jobs/b",
        "/jobs//b",
        "/jobs/b/",
        "/jobs/b;a",
        "/jobs/b%00a",
        "/jobs/b%23a",
        "/jobs/b%3Fa",
        "/jobs/a%0d%0ab",
        "/jobs/%2562",
        "/jobs/%c1%a2",
        "/jobs/b?job_id=a",
        "/JOBS/b",
    ] {
        for (method, body) in [("GET", ""), ("POST", "{\"job_id\":\"a\"}"), ("DELETE", "")] {
            let answer = server.request(method, path, &bearer, body).await;
            assert!((400..500).contains(&answer.status), "{method} {path}: {answer:?}");
        }
    }
    // It is there still, as it was.
    let state = server.request("GET", "/jobs/b/history", &operator, "").await.json();
    assert_eq!(state["states"].as_array().map(Vec::len), Some(1), "{state}");
    server.stop().await;
}

/// JSON that is more than it looks, as the value of one field: deep, wide, long, or twice the same.
fn bombs() -> Vec<String> {
    let keys: Vec<_> = (0..4_000).map(|n| format!("\"k{n}\":{n}")).collect();
    // Keys that a weak hash function puts into one bucket would all be of one length as well.
    let alike: Vec<_> = (0..3_500).map(|n| format!("\"{:08b}{n:04}\":0", n % 256)).collect();
    vec![
        format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000)),
        "[".repeat(60_000),
        format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)),
        format!("{{{}}}", keys.join(",")),
        format!("{{{}}}", alike.join(",")),
        "9".repeat(60_000),
        format!("1e{}", "9".repeat(60_000)),
        format!("0.{}1", "0".repeat(60_000)),
        "1e400".to_owned(),
        format!("\"{}\"", "\\u0000".repeat(10_000)),
        format!("\"{}", "\\ud800".repeat(10_000)),
        format!("{{{}\"a\":1}}", "\"a\":1,".repeat(8_000)),
    ]
}

#[tokio::test]
async fn json_bombs_are_refused_or_passed_on_as_json() {
    let server = Server::start().await;
    server.report("job", r#"{"cancellable":true}"#).await;
    let mut watcher = server.watch("/ws/jobs/job").await;
    watcher.second().await;
    let mut socket = server.watch("/ws").await;
    socket.next().await;
    let json = "content-type: application/json\r\n";
    for bomb in bombs() {
        let shown = &bomb[..bomb.len().min(20)];
        for field in ["mine", "metadata", "result", "progress", "progress_range", "stages", "tags"]
        {
            let answer = server.report("job", &format!("{{\"{field}\":{bomb}}}")).await;
            assert!([200, 400, 413, 422].contains(&answer.status), "{field} {shown}: {answer:?}");
            if answer.status == 200 {
                // Every watcher can read what the server has accepted; a number may be one that no float holds.
                serde_json::from_str::<IgnoredAny>(&watcher.text().await).unwrap();
            }
        }
        let answer = server
            .request("POST", "/updates", "", &format!("{{\"job_id\":\"job\",\"mine\":{bomb}}}"))
            .await;
        assert_eq!((answer.status, answer.body.lines().count()), (200, 1), "{shown}");
        if answer.json().get("position").is_some() {
            serde_json::from_str::<IgnoredAny>(&watcher.text().await).unwrap();
        }
        for (path, body) in [
            ("/jobs/job/log", format!("{{\"text\":{bomb}}}")),
            ("/jobs/job/log", format!("{{\"text\":\"a\",\"at\":{bomb}}}")),
            ("/jobs/job/requests", format!("{{\"action\":{bomb}}}")),
            ("/jobs/job/requests", format!("{{\"action\":\"cancel\",\"x\":{bomb}}}")),
        ] {
            let answer = server.request("POST", path, json, &body).await;
            assert!([200, 400, 413].contains(&answer.status), "{path} {shown}: {answer:?}");
        }
        // A command is refused, or is no command; its socket stays.
        socket.say(&format!("{{\"type\":\"subscribe\",\"job_id\":{bomb}}}")).await;
        socket.say(r#"{"type":"ping"}"#).await;
        while socket.next().await["type"] != "pong" {}
    }
    assert_eq!(server.get("/readyz").await.status, 200);
    server.stop().await;
}
