//! Who is let in: names of the server, origins of pages.

use milepost_server::Config;

use crate::support::{Response, Server, quick};

/// A handshake from a page of that origin, at a server that it calls `host`.
async fn open_socket(server: &Server, host: &str, origin: &str) -> Response {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    // A close frame behind it, so that the connection ends.
    let close = [0x88, 0x80, 0, 0, 0, 0];
    server.exchange(&[request.as_bytes(), &close].concat()).await
}

async fn ask(server: &Server, head: &str) -> Response {
    server.exchange(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn a_rebound_name_reads_and_changes_nothing() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    for head in [
        "GET /jobs/a HTTP/1.1\r\nhost: evil.example",
        "GET /jobs HTTP/1.1\r\nhost: evil.example:8084",
        "GET / HTTP/1.1\r\nhost: evil.example",
        "GET http://evil.example/jobs/a HTTP/1.1\r\nhost: 127.0.0.1",
        "DELETE /jobs/a HTTP/1.1\r\nhost: evil.example\r\norigin: http://evil.example",
        "POST /jobs/a HTTP/1.1\r\nhost: evil.example\r\norigin: http://evil.example\r\ncontent-length: 0",
    ] {
        let answer = ask(&server, head).await;
        assert_eq!((answer.status, answer.problem().as_str()), (421, "host-not-allowed"), "{head}");
        assert!(!answer.json()["detail"].as_str().unwrap().contains("Text("), "{answer:?}");
    }
    let answer = open_socket(&server, "evil.example", "http://evil.example").await;
    assert_eq!(answer.problem(), "host-not-allowed");
    assert_eq!(server.get("/jobs/a").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let server = Server::start().await;
    for head in [
        "GET /livez HTTP/1.1\r\naccept: */*",
        "GET /livez HTTP/1.1\r\nhost: t\r\nhost: t",
        "GET /livez HTTP/1.1\r\nhost: t\r\nhost: evil.example",
        "GET /livez HTTP/1.1\r\nhost: a b",
        "GET /livez HTTP/1.1\r\nhost: user@t",
    ] {
        let answer = ask(&server, head).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "invalid-host"), "{head}");
    }
    // Load balancers' checks.
    assert_eq!(ask(&server, "GET /livez HTTP/1.0\r\naccept: */*").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn the_operator_names_the_server() {
    let hosts = vec!["progress.example.com".to_owned()];
    let server = Server::with(Config { hosts, ..quick() }).await;
    let named = "GET /livez HTTP/1.1\r\nhost: Progress.Example.com:443";
    assert_eq!(ask(&server, named).await.status, 200);
    assert_eq!(ask(&server, "GET /livez HTTP/1.1\r\nhost: example.com").await.status, 421);
    let own = "DELETE /jobs/a HTTP/1.1\r\nhost: progress.example.com\r\norigin: https://progress.example.com";
    assert_eq!(ask(&server, own).await.problem(), "unknown-job");
    server.stop().await;
}

#[tokio::test]
async fn without_access_rules_a_rebound_page_still_changes_nothing() {
    let server = Server::with(Config { insecure: true, ..quick() }).await;
    let read = "GET /livez HTTP/1.1\r\nhost: progress.example.com";
    assert_eq!(ask(&server, read).await.status, 200);
    let write = "DELETE /jobs/a HTTP/1.1\r\nhost: evil.example\r\norigin: http://evil.example";
    assert_eq!(ask(&server, write).await.problem(), "origin-not-allowed");
    server.stop().await;
}

#[tokio::test]
async fn a_websocket_is_opened_by_allowed_pages_only() {
    let cors_origins = vec!["https://mine.example".to_owned()];
    let server = Server::with(Config { cors_origins: Some(cors_origins), ..quick() }).await;
    for (host, origin, status) in [
        ("test", "https://mine.example", 101),
        ("test", "http://test", 101),
        ("test", "https://other.example", 403),
        ("test", "null", 403),
    ] {
        let answer = open_socket(&server, host, origin).await;
        assert_eq!(answer.status, status, "{origin}");
        if status == 403 {
            assert_eq!(answer.problem(), "origin-not-allowed");
        }
    }
    // Whatever is not a browser names none.
    server.watch("/ws").await.next().await;
    server.stop().await;
}

#[tokio::test]
async fn by_default_foreign_pages_do_not_read_a_local_server() {
    let server = Server::start().await;
    for (origin, is_allowed) in [
        ("http://localhost:3000", true),
        ("http://[::1]:3000", true),
        ("http://app.localhost", true),
        ("https://evil.example", false),
        ("http://localhost.evil.example", false),
        ("http://192.168.1.7", false),
        ("null", false),
    ] {
        let status = if is_allowed { 101 } else { 403 };
        assert_eq!(open_socket(&server, "test", origin).await.status, status, "{origin}");
        let headers = format!("Origin: {origin}\r\n");
        let answer = server.request("GET", "/jobs", &headers, "").await;
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, is_allowed.then_some(origin));
        // It may look, and not touch.
        assert_eq!(server.request("POST", "/jobs/a", &headers, "{}").await.status, 403);
    }
    server.stop().await;
    // Others reach it anyway under such a name.
    let hosts = vec!["progress.example.com".to_owned()];
    let server = Server::with(Config { hosts, ..quick() }).await;
    assert_eq!(open_socket(&server, "test", "https://app.example.com").await.status, 101);
    server.stop().await;
}

#[tokio::test]
async fn pages_say_what_may_be_done_with_them() {
    let frame_ancestors = vec!["https://app.example.com".to_owned()];
    let server = Server::with(Config { frame_ancestors, ..quick() }).await;
    let page = server.get("/").await;
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("; frame-ancestors https://app.example.com; "), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
    assert_eq!(page.header("cross-origin-resource-policy"), Some("same-origin"));
    let module = server.get("/milepost.js").await;
    assert_eq!(module.header("cross-origin-resource-policy"), Some("cross-origin"));
    server.stop().await;
}
