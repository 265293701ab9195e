//! Shutdown: clients are notified, work in progress finishes, and nothing takes forever.

use futures_util::future::join_all;
use milepost_server::Config;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{Events, Raw, Response, Server, drain, quick, until, within};

/// Waits until no connection is taken any more.
async fn closed(server: &Server) {
    until("the door to be closed", async || TcpStream::connect(server.address).await.is_err())
        .await;
}

#[tokio::test]
async fn watchers_are_asked_to_reconnect_at_different_times() {
    let mut server = Server::start().await;
    let mut watchers = join_all((0..10).map(|n| {
        let path = if n % 2 == 0 { "/ws" } else { "/ws/jobs/a" };
        server.watch(path)
    }))
    .await;
    for watcher in &mut watchers {
        watcher.next().await;
    }
    server.begin_stop();
    let reasons = join_all(watchers.iter_mut().map(async |watcher| watcher.closed().await)).await;
    let mut delays = Vec::new();
    for (code, reason) in reasons {
        assert_eq!(code, 1012);
        let reason: Value = serde_json::from_str(&reason).unwrap();
        assert_eq!(reason["reason"], "restart");
        let delay = reason["retry_ms"].as_u64().unwrap();
        assert!((1..=30_000).contains(&delay), "{delay}");
        delays.push(delay);
    }
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 1, "spread: {delays:?}");
    drop(watchers);
    server.wait().await;
}

/// How many tasks this test's runtime has.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Whatever the server serves: sockets, event streams, and a request that waits.
async fn busy(server: &Server) -> impl Sized + use<> {
    server.report("a", "{}").await;
    let watchers = (server.watch("/ws").await, server.watch("/ws/jobs/a").await);
    let mut events = Events::open(server, "/jobs/a/events", "").await;
    events.next().await;
    let mut poll = server.connect().await;
    poll.write_all(b"GET /jobs/b?wait=60 HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    (watchers, events, poll)
}

#[tokio::test]
async fn no_task_outlives_the_server() {
    let before = tasks();
    let server = Server::start().await;
    let clients = busy(&server).await;
    server.stop().await;
    drop(clients);
    until("every task to be over", async || tasks() == before).await;
}

#[tokio::test]
async fn no_task_outlives_a_server_that_is_dropped() {
    let before = tasks();
    let server = Server::start().await;
    let clients = busy(&server).await;
    server.abort();
    drop(clients);
    until("every task to be over", async || tasks() == before).await;
}

#[tokio::test]
async fn nobody_is_left_waiting() {
    let mut server = Server::start().await;
    let seen = server.report("a", "{}").await.header("etag").unwrap().to_owned();
    let mut events = Events::open(&server, "/jobs/a/events", "").await;
    events.next().await;
    let poll = async |job: &str, tag: &str| {
        let mut stream = server.connect().await;
        let request = format!("GET /jobs/{job}?wait=60 HTTP/1.1\r\nhost: t\r\n{tag}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let mut known = poll("a", &format!("If-None-Match: {seen}\r\n")).await;
    let mut unknown = poll("b", "").await;
    until("both to wait", async || {
        server.get("/ws/stats").await.json()["stats"]["active_jobs"] == 2
    })
    .await;
    // And one who has a connection, and asks for nothing.
    let mut idle = server.connect().await;
    server.begin_stop();
    assert_eq!(Response::parse(&drain(&mut known).await).status, 304);
    assert_eq!(Response::parse(&drain(&mut unknown).await).status, 404);
    assert_eq!(events.next().await.unwrap().json()["job_id"], "a");
    assert_eq!(events.next().await, None, "a proper end, so that it comes back after its retry");
    assert_eq!(drain(&mut idle).await, b"");
    server.wait().await;
}

#[tokio::test]
async fn what_is_under_way_is_finished_and_nothing_new_is_begun() {
    let mut server = Server::start().await;
    let mut stream = server.connect().await;
    let half = b"POST /jobs/a HTTP/1.1\r\nhost: t\r\ncontent-length: 25\r\n\r\n{\"progress\"";
    stream.write_all(half).await.unwrap();
    // A second one, so that the first has arrived for sure.
    server.get("/livez").await;
    server.begin_stop();
    closed(&server).await;
    stream.write_all(b":0.5,\"x\":true}").await.unwrap();
    let answer = Response::parse(&drain(&mut stream).await);
    assert_eq!((answer.status, &answer.json()["attempt"]), (200, &json!(1)));
    server.wait().await;
}

#[tokio::test]
async fn a_handshake_under_way_ends_with_a_close_frame() {
    let mut server = Server::start().await;
    let mut watcher = server.watch("/ws").await;
    watcher.next().await;
    let handshake = crate::support::handshake("/ws/jobs/a");
    let (half, rest) = handshake.split_at(handshake.len() - 2);
    let mut stream = server.connect().await;
    stream.write_all(half.as_bytes()).await.unwrap();
    server.get("/livez").await;
    server.begin_stop();
    assert_eq!(watcher.closed().await.0, 1012);
    drop(watcher);
    closed(&server).await;
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut raw = Raw::answered(stream).await;
    assert_eq!(raw.closed().await.0, 1012);
    drop(raw);
    server.wait().await;
}

#[tokio::test]
async fn a_silent_peer_delays_the_exit_by_the_grace_period_at_most() {
    let config =
        Config { grace_period: 0.5, body_timeout: 600.0, header_timeout: 600.0, ..quick() };
    let mut server = Server::with(config).await;
    // None of these ever says another word, nor reads one.
    let mut half = server.connect().await;
    let request = b"POST /jobs/a HTTP/1.1\r\nhost: t\r\ncontent-length: 24\r\n\r\n{";
    half.write_all(request).await.unwrap();
    let mut header = server.connect().await;
    header.write_all(b"GET / HT").await.unwrap();
    let mut http2 = server.connect().await;
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let socket = Raw::open(&server, "/ws/jobs/a").await;
    server.get("/livez").await;
    server.begin_stop();
    server.wait().await;
    // All of them were let go, not left behind.
    for mut stream in [half, header, http2, socket.stream] {
        within("the end", drain(&mut stream)).await;
    }
}

#[tokio::test]
async fn states_outlive_a_restart_with_a_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let config = || Config { data_dir: Some(directory.path().to_owned()), ..quick() };
    let server = Server::with(config()).await;
    server.report("a", r#"{"progress":0.5,"n":1.10}"#).await;
    server.report("b", r#"{"status":"completed","result":[1]}"#).await;
    let before = [server.get("/jobs/a").await.body, server.get("/jobs/b").await.body];
    let position: Value = serde_json::from_str(&before[0]).unwrap();
    let position = position["position"].as_str().unwrap().to_owned();
    server.stop().await;

    let server = Server::with(config()).await;
    assert_eq!([server.get("/jobs/a").await.body, server.get("/jobs/b").await.body], before);
    // The end still stands, and who watched the other one resumes where it was.
    assert_eq!(server.report("b", "{}").await.problem(), "attempt-ended");
    let mut watcher = server.watch(&format!("/ws/jobs/a?since={position}")).await;
    assert_eq!(watcher.next().await["known"], true);
    watcher.hears_nothing().await;
    let next = server.report("a", r#"{"progress":0.75}"#).await.json();
    assert_eq!(watcher.next().await["position"], next["position"]);
    drop(watcher);
    server.stop().await;
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_refuses_to_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = Config { data_dir: Some(file.path().to_owned()), ..quick() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let error = milepost_server::run(config, listener, std::future::pending()).await.unwrap_err();
    assert!(error.to_string().starts_with("data_dir: "), "{error}");
}
