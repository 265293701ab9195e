//! What one address, and one subject, may do.

use milepost_access::Permissions;
use milepost_server::Config;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::credentials::{KEY, bearer, get, guarded, open_with, patterns, token, watches};
use crate::support::{Events, Response, Server, drain, handshake, quick, until};

/// A client behind a proxy on this machine.
fn from(address: &str) -> String {
    format!("x-forwarded-for: 192.0.2.99, {address}\r\n")
}

fn behind_a_proxy() -> Config {
    Config { trusted_proxies: vec!["127.0.0.0/8".to_owned()], ..quick() }
}

pub(crate) async fn metric(server: &Server, headers: &str, name: &str) -> u64 {
    let text = server.request("GET", "/metrics", headers, "").await.body;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap_or_else(|| panic!("{name}: {text}")).trim().parse().unwrap()
}

#[tokio::test]
async fn an_address_reports_so_many_updates() {
    let config = Config { reports_per_address: Some(1.0), ..behind_a_proxy() };
    let server = Server::with(config).await;
    let (mine, another) = (from("192.0.2.1"), from("192.0.2.2"));
    // A batch counts each of its lines; what is too much delays the next report.
    let batch = "{\"job_id\":\"a\"}\n".repeat(40);
    assert_eq!(server.request("POST", "/updates", &mine, &batch).await.status, 200);
    for path in ["/jobs/a", "/updates", "/jobs/a/log"] {
        let refused = server.request("POST", path, &mine, "{}").await;
        assert_eq!((refused.status, refused.problem().as_str()), (429, "too-many-requests"));
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((25..=31).contains(&wait), "{wait}");
    }
    assert_eq!(server.request("POST", "/jobs/a", &another, "{}").await.status, 200);
    // To read costs nothing.
    assert_eq!(server.request("GET", "/jobs/a", &mine, "").await.status, 200);
    let name = "milepost_limit_refusals_total{limit=\"reports\",of=\"address\"}";
    assert_eq!(metric(&server, "", name).await, 3);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_from_one_address_does_not_stop_the_others() {
    const OTHERS: usize = 40;
    let config = Config {
        reports_per_address: Some(20.0),
        handshakes_per_address: Some(10.0),
        ..behind_a_proxy()
    };
    let server = Server::with(config).await;
    let (flooding, other) = (from("192.0.2.1"), from("192.0.2.2"));
    let mut watcher = server.watch("/ws/jobs/quiet").await;
    assert_eq!(watcher.next().await["type"], "connected");
    let post = format!(
        "POST /jobs/loud HTTP/1.1\r\nhost: test\r\ncontent-length: 2\r\n{flooding}\r\n{{}}"
    );
    let socket = handshake("/ws").replace("\r\n\r\n", &format!("\r\n{flooding}\r\n"));
    let reports = post.repeat(1_000) + &post.replace("host:", "connection: close\r\nhost:");
    let flood = async {
        let mut stream = server.connect().await;
        let (mut read, mut write) = stream.split();
        let mut answers = String::new();
        let (sent, received) =
            tokio::join!(write.write_all(reports.as_bytes()), read.read_to_string(&mut answers));
        sent.and(received).unwrap();
        let mut refused = answers.matches("HTTP/1.1 429").count();
        for _ in 0..200 {
            let mut stream = server.connect().await;
            stream.write_all(socket.as_bytes()).await.unwrap();
            let mut head = [0; 12];
            stream.read_exact(&mut head).await.unwrap();
            refused += usize::from(head.ends_with(b"429"));
        }
        refused
    };
    let others = async {
        for n in 0..OTHERS {
            let update = format!("{{\"n\":{n}}}");
            let answer = server.request("POST", "/jobs/quiet", &other, &update).await;
            assert_eq!(answer.status, 200, "{n}");
            while watcher.next().await["n"] != n {}
        }
    };
    let (refused, ()) = tokio::join!(flood, others);
    assert!(refused > 600, "{refused}");
    server.stop().await;
}

#[tokio::test]
async fn deleting_and_requesting_count_as_reports() {
    let config = Config { reports_per_address: Some(0.1), ..behind_a_proxy() };
    let server = Server::with(config).await;
    let (first, second) = (from("192.0.2.1"), from("192.0.2.2"));
    for (mine, method, path, body) in [
        (&first, "DELETE", "/jobs/a", ""),
        (&second, "POST", "/jobs/a/requests", r#"{"action":"cancel"}"#),
    ] {
        let mut statuses = Vec::new();
        for _ in 0..4 {
            let answer = server.request(method, path, mine, body).await;
            statuses.push((answer.status, answer.problem()));
        }
        assert_eq!(statuses[0], (404, "unknown-job".to_owned()));
        assert_eq!(statuses[3], (429, "too-many-requests".to_owned()));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_body_that_is_refused_is_counted() {
    let config = Config { bytes_per_address: Some(7_000.0), ..behind_a_proxy() };
    let server = Server::with(config).await;
    for (address, path) in
        [("192.0.2.1", "/jobs/a"), ("192.0.2.2", "/updates"), ("192.0.2.3", "/jobs/a/log")]
    {
        let mine = from(address);
        // It announces more than is allowed, and need not send it.
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let request = format!(
                "POST {path} HTTP/1.1\r\nhost: t\r\n{mine}content-length: 99999999\r\n\r\n"
            );
            let mut stream = server.connect().await;
            stream.write_all(request.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            statuses.push(Response::parse(&drain(&mut stream).await).status);
        }
        assert_eq!((statuses[0], statuses[2]), (413, 429), "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_address_reports_so_many_bytes() {
    let config = Config { bytes_per_address: Some(100.0), ..behind_a_proxy() };
    let server = Server::with(config).await;
    let mine = from("2001:db8::1");
    let update = format!(r#"{{"message":"{}"}}"#, "x".repeat(2_000));
    assert_eq!(server.request("POST", "/jobs/a", &mine, &update).await.status, 200);
    // Its network of 64 bits is one client.
    let refused = server.request("POST", "/jobs/a", &from("2001:db8::2"), "{}").await;
    assert_eq!(refused.status, 429);
    assert_eq!(server.request("POST", "/jobs/a", &from("2001:db8:0:1::1"), "{}").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn an_address_begins_so_many_connections() {
    let config = Config { handshakes_per_address: Some(0.1), ..behind_a_proxy() };
    let server = Server::with(config).await;
    let handshake = |address: &str| {
        let headers = format!(
            "{}connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            from(address)
        );
        let request = format!("GET /ws HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        let server = &server;
        async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut stream = server.connect().await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer[9..]).into_owned()
        }
    };
    assert_eq!(handshake("192.0.2.1").await, "101");
    assert_eq!(handshake("192.0.2.1").await, "429");
    for stream in ["/jobs/a/events", "/jobs/a/log?follow=1"] {
        assert_eq!(server.request("GET", stream, &from("192.0.2.1"), "").await.status, 429);
    }
    assert_eq!(handshake("192.0.2.2").await, "101");
    server.stop().await;
}

#[tokio::test]
async fn a_client_behind_a_proxy_has_so_many_sockets() {
    let config = Config { max_connections_per_address: Some(1), ..behind_a_proxy() };
    let server = Server::with(config).await;
    let open = async |address: &str| {
        let headers = [("x-forwarded-for", address)];
        crate::credentials::open(&server, "/ws", &headers).await
    };
    let held = open("192.0.2.1").await.unwrap();
    assert_eq!(open("192.0.2.1").await.err(), Some(429));
    let _other = open("192.0.2.2").await.unwrap();
    drop(held);
    until("there to be room again", async || Box::pin(open("192.0.2.1")).await.is_ok()).await;
    server.stop().await;
}

#[tokio::test]
async fn a_subject_has_so_many_connections() {
    let config = Config { max_connections_per_subject: 2, ..guarded() };
    let server = Server::with(config).await;
    let mine = token(watches(&["*"]), 60.0);
    let mut first = open_with(&server, "/ws", &mine).await;
    let events = Events::open(&server, "/jobs/a/events", &bearer(&mine)).await;
    assert_eq!(first.next().await["type"], "connected");
    let mut refused = open_with(&server, "/ws", &mine).await;
    assert_eq!(refused.next().await["problem"], "too-many-requests");
    let (code, reason) = refused.closed().await;
    let reason: Value = serde_json::from_str(&reason).unwrap();
    assert_eq!((code, &reason["reason"]), (1013, &"too-many-requests".into()));
    assert!(reason["retry_ms"].as_u64() >= Some(1_000), "{reason}");
    for stream in ["/jobs/a/events", "/jobs/a/log?follow=1"] {
        assert_eq!(get(&server, stream, &mine).await.status, 429);
    }
    // Another subject has its own.
    assert_eq!(open_with(&server, "/ws", KEY).await.next().await["type"], "connected");
    drop(events);
    until("there to be room again", async || {
        Box::pin(open_with(&server, "/ws", &mine)).await.next().await["type"] == "connected"
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_subject_does_so_much_in_a_second() {
    let config =
        Config { handshakes_per_subject: Some(0.1), reports_per_subject: Some(0.1), ..guarded() };
    let server = Server::with(config).await;
    let mine = token(watches(&["*"]), 60.0);
    assert_eq!(open_with(&server, "/ws", &mine).await.next().await["type"], "connected");
    let mut refused = open_with(&server, "/ws", &mine).await;
    assert_eq!(refused.next().await["problem"], "too-many-requests");
    let (code, reason) = refused.closed().await;
    let reason: Value = serde_json::from_str(&reason).unwrap();
    assert_eq!(code, 1013);
    assert!(reason["retry_ms"].as_u64() >= Some(5_000), "{reason}");
    let report = async || server.request("POST", "/jobs/a", &bearer(KEY), "{}").await.status;
    assert_eq!([report().await, report().await], [200, 429]);
    let name = "milepost_limit_refusals_total{limit=\"reports\",of=\"subject\"}";
    assert_eq!(metric(&server, &bearer(KEY), name).await, 1);
    server.stop().await;
}

#[tokio::test]
async fn whoever_is_no_trusted_proxy_is_not_believed() {
    let config = Config { reports_per_address: Some(0.1), ..quick() };
    let server = Server::with(config).await;
    let report =
        async |address: &str| server.request("POST", "/jobs/a", &from(address), "{}").await.status;
    assert_eq!([report("192.0.2.1").await, report("192.0.2.2").await], [200, 429]);
    server.stop().await;
}

#[tokio::test]
async fn a_subject_begins_so_many_jobs() {
    let config = Config { jobs_per_subject: Some(1.0), ..guarded() };
    let server = Server::with(config).await;
    let new = (0..12).map(|n| format!("{{\"job_id\":\"j{n}\"}}\n")).collect::<Vec<_>>().concat();
    // Ten seconds' worth at once. The rest of the batch is refused, line by line.
    let answer = server.request("POST", "/updates", &bearer(KEY), &new).await;
    assert_eq!(answer.status, 200);
    let refused = answer.body.lines().filter(|line| line.contains("too-many-requests")).count();
    assert_eq!((answer.body.lines().count(), refused), (12, 2));
    let report = async |path: &str, headers: &str| {
        let answer = server.request("POST", path, headers, r#"{"progress":0.5}"#).await;
        let wait = answer.header("retry-after").map(|wait| wait.parse::<u64>().unwrap());
        (answer.status, wait)
    };
    let (status, wait) = report("/jobs/another", &bearer(KEY)).await;
    assert!(status == 429 && wait >= Some(1), "{status} {wait:?}");
    // Jobs that are known go on, and end.
    assert_eq!(report("/jobs/j3", &bearer(KEY)).await, (200, None));
    let end = server.request("POST", "/jobs/j4", &bearer(KEY), r#"{"status":"completed"}"#).await;
    assert_eq!(end.status, 200);
    // Others begin theirs.
    let permissions = Permissions { report: patterns(&["*"]), ..Permissions::default() };
    let other = bearer(&token(permissions, 60.0));
    assert_eq!(report("/jobs/of-another", &other).await, (200, None));
    let name = "milepost_limit_refusals_total{limit=\"jobs\",of=\"subject\"}";
    assert_eq!(metric(&server, &bearer(KEY), name).await, 3);
    server.stop().await;
}

#[tokio::test]
async fn an_address_begins_so_many_jobs() {
    let config = Config { jobs_per_address: Some(0.1), ..behind_a_proxy() };
    let server = Server::with(config).await;
    let report = async |job: &str, address: &str| {
        server.request("POST", &format!("/jobs/{job}"), &from(address), "{}").await.status
    };
    assert_eq!(report("a", "192.0.2.1").await, 200);
    assert_eq!([report("b", "192.0.2.1").await, report("a", "192.0.2.1").await], [429, 200]);
    assert_eq!(report("b", "192.0.2.2").await, 200);
    let name = "milepost_limit_refusals_total{limit=\"jobs\",of=\"address\"}";
    assert_eq!(metric(&server, "", name).await, 1);
    server.stop().await;
}
