//! How connections begin: the WebSocket handshake (RFC 6455, section 4), HTTP as it comes from strangers,
//! and the bounds on both.

use std::convert::Infallible;
use std::fmt::Write as _;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use milepost_server::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::limits::metric;
use crate::support::{Raw, Response, Server, drain, handshake, quick, until, within};

/// The usual handshake with `from` replaced by `to`, over a connection that the server is asked to close.
async fn try_handshake(server: &Server, from: &str, to: &str) -> Response {
    let request = handshake("/ws/jobs/a");
    assert!(request.contains(from), "{from}");
    let request = request.replace(from, to).replace("Upgrade\r\n", "Upgrade, close\r\n");
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    // Nothing more comes from this client.
    stream.shutdown().await.unwrap();
    Response::parse(&drain(&mut stream).await)
}

#[tokio::test]
async fn a_handshake_is_accepted_with_the_key_of_the_rfc() {
    let server = Server::start().await;
    // RFC 6455, section 1.3; names and tokens in any case, among others, and over several headers.
    let requests = [
        handshake("/ws"),
        handshake("/ws").replace("Connection: Upgrade", "CONNECTION: keep-alive, uPGRADE"),
        handshake("/ws").replace("Upgrade: websocket", "upgrade: h2c , WebSocket"),
        handshake("/ws")
            .replace("Connection: Upgrade", "Connection: keep-alive\r\nConnection: upgrade"),
        handshake("/ws").replace(
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: mine\r\n\r\n",
        ),
    ];
    for request in requests {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 4_096];
        let len = within("an answer", stream.read(&mut answer)).await.unwrap();
        let answer = Response::parse(&answer[..len]);
        assert_eq!(answer.status, 101, "{request}{answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.header("connection").map(str::to_lowercase), Some("upgrade".to_owned()));
        // Neither was agreed on.
        assert_eq!(answer.header("sec-websocket-extensions"), None);
        assert_eq!(answer.header("sec-websocket-protocol"), None);
    }
}

#[tokio::test]
async fn the_answer_and_the_present_state_come_in_one_piece() {
    let server = Server::start().await;
    server.report("a", r#"{"message":"present"}"#).await;
    let mut stream = server.connect().await;
    stream.write_all(handshake("/ws/jobs/a").as_bytes()).await.unwrap();
    let mut answer = [0; 4_096];
    let len = within("an answer", stream.read(&mut answer)).await.unwrap();
    let text = String::from_utf8_lossy(&answer[..len]);
    let parts = ["HTTP/1.1 101 ", r#""type":"connected""#, r#""message":"present""#];
    let found = parts.map(|part| text.find(part));
    assert!(found.iter().all(Option::is_some) && found.is_sorted(), "{text}");
}

#[tokio::test]
async fn a_malformed_handshake_is_refused_with_what_is_wrong_with_it() {
    let server = Server::start().await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let cases = [
        (key, "", 400, "Sec-WebSocket-Key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "", 400, "Sec-WebSocket-Key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400, "Sec-WebSocket-Key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZSE=", 400, "Sec-WebSocket-Key"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBs*SBub25jZQ==", 400, "Sec-WebSocket-Key"),
        (version, "", 426, "Sec-WebSocket-Version"),
        (version, "Sec-WebSocket-Version: 8\r\n", 426, "Sec-WebSocket-Version"),
        (version, "Sec-WebSocket-Version: 14\r\n", 426, "Sec-WebSocket-Version"),
        ("Upgrade: websocket\r\n", "", 426, "WebSocket"),
        ("Upgrade: websocket\r\n", "Upgrade: h2c\r\n", 426, "WebSocket"),
        ("Connection: Upgrade\r\n", "Connection: keep-alive, close\r\n", 426, "WebSocket"),
        ("HTTP/1.1", "HTTP/1.0", 426, "HTTP/1.1"),
        ("GET ", "POST ", 405, "POST"),
        ("GET ", "PUT ", 405, "PUT"),
    ];
    for (from, to, status, named) in cases {
        let answer = try_handshake(&server, from, to).await;
        assert_eq!(answer.status, status, "{from} → {to}: {answer:?}");
        let problem = match status {
            400 => "invalid-parameter",
            405 => "method-not-allowed",
            _ => "upgrade-required",
        };
        assert_eq!(answer.problem(), problem, "{from} → {to}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(named), "{from} → {to}: {detail}");
    }
    assert_eq!(server.get("/ws/stats").await.json()["stats"]["total_connections"], 0);
}

#[tokio::test]
async fn a_plain_request_to_a_socket_says_how_to_speak_to_it() {
    let server = Server::start().await;
    for path in ["/ws", "/ws/jobs/a", "/ws/jobs/a%20b", "/ws/jobs/%ff"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (426, "upgrade-required"), "{path}");
        // RFC 9110, section 15.5.22, and RFC 6455, section 4.2.2.
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    }
}

#[tokio::test]
async fn a_handshake_may_come_one_byte_at_a_time() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    let request = handshake("/ws/jobs/a");
    let (slowly, rest) = request.split_at(request.len() - 1);
    for byte in slowly.bytes() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    within("an answer", stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
}

#[tokio::test]
async fn whoever_is_slow_with_a_header_or_says_nothing_is_closed() {
    let server = Server::with(Config { header_timeout: 0.2, ..quick() }).await;
    let beginnings = [
        "",
        "G",
        "PRI",
        "PRI * HTTP/2.0\r\n\r\nSM",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: test\r\nx: ",
        // Between two requests.
        "GET /livez HTTP/1.1\r\nhost: test\r\n\r\n",
    ];
    let tries = beginnings.map(async |beginning| {
        let mut stream = server.connect().await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        drain(&mut stream).await
    });
    let answers = futures_util::future::join_all(tries).await;
    let last = String::from_utf8_lossy(&answers[6]).into_owned();
    assert!(last.starts_with("HTTP/1.1 200"), "{last}");
    assert_eq!(metric(&server, "", "milepost_timeouts_total{of=\"header\"}").await, 7);
    // A socket has no header any more.
    let mut raw = Raw::open(&server, "/ws").await;
    raw.next().await;
    drain(&mut server.connect().await).await;
    raw.is_answered().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_or_does_not_come_is_refused() {
    let server = Server::with(Config { body_timeout: 0.2, ..quick() }).await;
    let request = b"POST /jobs/a HTTP/1.1\r\nhost: test\r\ncontent-length: 20\r\n\r\n{\"progress\"";
    let slow = server.exchange(request).await;
    assert_eq!((slow.status, slow.problem().as_str()), (408, "request-timeout"));

    let chunked =
        b"POST /updates HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{}\n{\r\n";
    let slow = server.exchange(chunked).await;
    assert_eq!((slow.status, slow.problem().as_str()), (408, "request-timeout"));
    assert_eq!(metric(&server, "", "milepost_timeouts_total{of=\"body\"}").await, 2);

    let server = Server::start().await;
    for request in [&request[..], &chunked[..]] {
        let mut stream = server.connect().await;
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let broken = Response::parse(&drain(&mut stream).await);
        assert_eq!((broken.status, broken.problem().as_str()), (400, "incomplete-body"));
    }
    // None of it was taken for an update.
    assert_eq!(server.get("/jobs/a").await.status, 404);
}

#[tokio::test]
async fn what_is_no_http_is_refused_or_closed() {
    let server = Server::start().await;
    let big = format!("GET / HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\nhost: test\r\n{}\r\n", "x: y\r\n".repeat(100));
    for (request, status) in [(big, 431), (many, 431), ("nonsense\r\n\r\n".to_owned(), 400)] {
        let mut stream = server.connect().await;
        // The server may have closed before all is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = drain(&mut stream).await;
        assert_eq!(Response::parse(&answer).status, status);
    }
    let garbage: Vec<u8> = (0..4_096).map(|_| fastrand::u8(..)).collect();
    let mut stream = server.connect().await;
    let _ = stream.write_all(&garbage).await;
    let _ = stream.shutdown().await;
    drain(&mut stream).await;
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start().await;
    let mut requests = String::new();
    for n in 1..=20 {
        let body = format!("{{\"step\":{n}}}");
        let length = body.len();
        write!(
            requests,
            "POST /jobs/a HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    }
    requests.push_str("GET /jobs/a/history HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    let mut stream = server.connect().await;
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answers = String::from_utf8(drain(&mut stream).await).unwrap();
    let answers: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(answers.len(), 21);
    for (n, answer) in answers[..20].iter().enumerate() {
        assert!(answer.starts_with("200"), "{answer}");
        assert!(answer.ends_with(&format!("-{}\"}}", n + 1)), "{answer}");
    }
    assert!(answers[20].contains(r#""step":20"#), "{}", answers[20]);
}

#[tokio::test]
async fn http2_with_prior_knowledge_serves_all_but_sockets() {
    let server = Server::start().await;
    let io = TokioIo::new(server.connect().await);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let mut request = async |method: &str, path: &str, body: &'static str| {
        let body = Full::<Bytes>::from(body).map_err(|never: Infallible| match never {});
        let uri = format!("http://{}{path}", server.address);
        let request = http::Request::builder().method(method).uri(uri).body(body).unwrap();
        within("an answer", client.send_request(request)).await.unwrap()
    };
    let reported = request("POST", "/jobs/a", r#"{"progress":0.5}"#).await;
    assert_eq!((reported.status().as_u16(), reported.version()), (200, http::Version::HTTP_2));
    let answer = request("GET", "/jobs/a", "").await;
    let state = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(state, server.get("/jobs/a").await.body);
    assert_eq!(request("GET", "/nothing", "").await.status(), 404);
    let upgrade = request("GET", "/ws/jobs/a", "").await;
    assert_eq!(upgrade.status(), 426);

    // Events, while other requests go on over the same connection.
    let mut events = request("GET", "/jobs/a/events", "").await.into_body();
    let mut seen = String::new();
    let mut more = async |wanted: &str| {
        while !seen.contains(wanted) {
            let frame = within("an event", events.frame()).await.unwrap().unwrap();
            seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    };
    more("-1\n").await;
    let end = request("POST", "/jobs/a", r#"{"status":"completed"}"#).await;
    assert_eq!(end.status(), 200);
    more("event: end").await;
}

#[tokio::test]
async fn a_connection_beyond_the_bound_is_answered_503() {
    let server = Server::with(Config { max_connections: Some(3), ..quick() }).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::open(&server, "/ws").await;
        raw.next().await;
        sockets.push(raw);
    }
    let answer = server.get("/jobs").await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "too-many-connections"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    for raw in &mut sockets {
        raw.is_answered().await;
    }
    // One goes, and there is room again.
    drop(sockets.pop());
    until("room", async || {
        let mut stream = server.connect().await;
        let request = b"GET /livez HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(request).await;
        Response::parse(&drain(&mut stream).await).status == 200
    })
    .await;
}

#[tokio::test]
async fn each_connection_counts_once_whatever_it_does() {
    let server = Server::with(Config { max_connections: Some(4), ..quick() }).await;
    let mut raw = Raw::open(&server, "/ws").await;
    raw.next().await;
    // Held, each while its request is under way.
    let mut polls = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream
            .write_all(b"GET /jobs/a?wait=60 HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        polls.push(stream);
    }
    until("both to wait", async || {
        server.get("/ws/stats").await.json()["stats"]["active_jobs"] == 1
    })
    .await;
    assert_eq!(server.report("a", "{}").await.status, 200);
    for mut stream in polls {
        assert_eq!(Response::parse(&drain(&mut stream).await).status, 200);
    }
    raw.is_answered().await;
}
