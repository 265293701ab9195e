//! Requests that are meant to be read in two ways.

use milepost_access::{Pattern, Permissions, TokenRules, sign};
use milepost_server::{Config, Secret};
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
