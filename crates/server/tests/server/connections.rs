//! Connections at their bounds: clients that do not read, a server that is full, bodies that are refused early.

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use milepost_server::Config;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::limits::metric;
use crate::support::{Response, Server, drain, quick, until, within};

pub(crate) type Sender = http2::SendRequest<Full<Bytes>>;

/// An HTTP/2 connection whose client reads nothing but what it asks for, of a window of so many bytes.
pub(crate) async fn http2_connection(server: &Server, window: u32) -> Sender {
    let stream = server.connect().await;
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender
}

pub(crate) fn http2_get(path: &str) -> http::Request<Full<Bytes>> {
    http::Request::get(format!("http://t{path}")).body(Full::default()).unwrap()
}

/// The one that asks included.
async fn open_sockets(server: &Server) -> usize {
    let metrics = server.get("/metrics").await.body;
    let sockets = metrics.lines().find_map(|line| line.strip_prefix("milepost_open_sockets "));
    sockets.unwrap().parse().unwrap()
}

async fn report_large(server: &Server, jobs: usize) {
    let update = json!({ "message": "x".repeat(60_000) }).to_string();
    let all = (0..jobs).map(async |n| server.report(&format!("j{n}"), &update).await.status);
    assert!(join_all(all).await.iter().all(|status| *status == 200));
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_given_up() {
    let server = Server::with(Config { stall_timeout: 1.0, ..quick() }).await;
    report_large(&server, 200).await;
    // HTTP/1.1, 12 MB and more than the socket's buffers hold.
    let mut unread = server.connect().await;
    unread.write_all(b"GET /jobs?limit=1000 HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    // HTTP/2: the socket is read, but the stream's window stays shut.
    let mut sender = http2_connection(&server, 0).await;
    let response = sender.send_request(http2_get("/jobs/j0")).await.unwrap();
    assert_eq!(response.status(), 200);
    until("both to be given up", async || open_sockets(&server).await == 1).await;
    assert_eq!(metric(&server, "", "milepost_timeouts_total{of=\"response\"}").await, 2);
    // A connection that waits for a newer state is not closed.
    let mut sender = http2_connection(&server, 65_535).await;
    let mut events = sender.send_request(http2_get("/jobs/quiet/events")).await.unwrap();
    for _ in 0..2 {
        assert!(within("a keepalive", events.frame()).await.unwrap().is_ok());
    }
    drop(events);
    drop(unread);
    server.stop().await;
}

#[tokio::test]
async fn an_event_stream_that_nobody_reads_is_given_up() {
    let server = Server::with(Config { stall_timeout: 1.0, ..quick() }).await;
    let mut unread = server.connect().await;
    unread.write_all(b"GET /jobs/a/events HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    until("the stream to begin", async || open_sockets(&server).await == 2).await;
    // 30 MB, more than the socket's buffers hold.
    let large = json!({ "message": "x".repeat(60_000) }).to_string();
    for _ in 0..500 {
        assert_eq!(server.report("a", &large).await.status, 200);
    }
    until("the stream to be given up", async || open_sockets(&server).await == 1).await;
    drop(unread);
    server.stop().await;
}

#[tokio::test]
async fn streams_that_watch_count_as_connections() {
    let server = Server::with(Config { max_connections: Some(4), ..quick() }).await;
    server.report("a", "{}").await;
    until("its connection to be gone", async || open_sockets(&server).await == 1).await;
    let mut sender = http2_connection(&server, 65_535).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let response = sender.send_request(http2_get("/jobs/a/events")).await.unwrap();
        assert_eq!(response.status(), 200);
        held.push(response);
    }
    for path in ["/jobs/a/events", "/jobs/b?wait=60"] {
        let refused = sender.send_request(http2_get(path)).await.unwrap();
        assert_eq!(refused.status(), 503);
        let problem = refused.into_body().collect().await.unwrap().to_bytes();
        assert!(problem.windows(20).any(|part| part == b"too-many-connections"));
    }
    // What answers at once is no watcher.
    assert_eq!(sender.send_request(http2_get("/jobs/a")).await.unwrap().status(), 200);
    drop(held);
    drop(sender);
    server.stop().await;
}

#[tokio::test]
async fn a_full_server_still_answers_operators() {
    let server = Server::with(Config { max_connections: Some(2), ..quick() }).await;
    let mut watchers = [server.watch("/ws").await, server.watch("/ws").await];
    for watcher in &mut watchers {
        watcher.next().await;
    }
    for path in ["/livez", "/health", "/readyz", "/metrics", "/ws/stats"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // The others are refused when all of what they say was read.
    let large = json!({ "message": "x".repeat(60_000) }).to_string();
    for _ in 0..20 {
        let answer = server.report("a", &large).await;
        assert_eq!((answer.status, answer.problem().as_str()), (503, "too-many-connections"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(server.get("/jobs").await.problem(), "too-many-connections");
    let name = "milepost_limit_refusals_total{limit=\"connections\",of=\"server\"}";
    assert_eq!(metric(&server, "", name).await, 21);
    drop(watchers);
    until("there to be room again", async || server.get("/jobs").await.status == 200).await;
    server.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_read_before_the_connection_closes() {
    let server = Server::start().await;
    let body = vec![b'x'; 4 << 20];
    for round in 0..20 {
        let mut stream = server.connect().await;
        let length = if round % 2 == 0 {
            format!("content-length: {}", body.len())
        } else {
            "transfer-encoding: chunked".to_owned()
        };
        let head = format!("POST /jobs/a HTTP/1.1\r\nhost: t\r\n{length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        if round % 2 == 1 {
            stream.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await.unwrap();
        }
        // All of it can be written, though the answer is there after the first part.
        within("the body to be taken", stream.write_all(&body)).await.unwrap();
        let answer = Response::parse(&drain(&mut stream).await);
        assert_eq!((answer.status, answer.problem().as_str()), (413, "update-too-large"));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_report_that_begins_during_shutdown_is_answered_503() {
    let mut server = Server::with(Config { grace_period: 20.0, ..quick() }).await;
    let mut stream = server.connect().await;
    // Half a header, so that the connection is not idle.
    stream.write_all(b"POST /jobs/a HTTP/1.1\r\nhost: t\r\ncontent-").await.unwrap();
    until("the header to have arrived", async || open_sockets(&server).await == 2).await;
    server.begin_stop();
    until("the door to be closed", async || {
        tokio::net::TcpStream::connect(server.address).await.is_err()
    })
    .await;
    stream.write_all(b"length: 2\r\n\r\n{}").await.unwrap();
    let mut answer = Vec::new();
    within("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    let answer = Response::parse(&answer);
    assert_eq!((answer.status, answer.problem().as_str()), (503, "shutting-down"));
    server.wait().await;
}

#[tokio::test]
async fn an_address_has_as_many_connections_as_it_may() {
    let config = Config { max_connections_per_address: Some(2), ..quick() };
    let server = Server::with(config).await;
    let mut held = [server.watch("/ws").await, server.watch("/ws").await];
    for watcher in &mut held {
        watcher.next().await;
    }
    let refused = server.get("/livez").await;
    assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-requests"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    drop(held);
    until("there to be room again", async || server.get("/livez").await.status == 200).await;
    let metrics = server.get("/metrics").await.body;
    assert!(!metrics.contains("milepost_address_refusals_total 0\n"), "{metrics}");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_http_is_refused_without_a_problem() {
    let server = Server::start().await;
    let many = "x: y\r\n".repeat(80);
    for (request, status) in [
        ("GARBAGE\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nhost: t\r\nno header\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nhost: t\r\n{many}\r\n"), 431),
    ] {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        within("an answer", stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("connection: close") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    server.stop().await;
}
