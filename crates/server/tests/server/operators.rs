//! The operators' own port.

use std::net::SocketAddr;

use milepost_server::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::credentials::{KEY, get, guarded};
use crate::support::{Response, Server, drain, until};

/// A server that listens for operators at an address that was free a moment ago.
async fn start(config: Config) -> (Server, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = Server::with(Config { metrics_address: Some(address), ..config }).await;
    // Once it answers, it listens there too.
    assert_eq!(server.get("/livez").await.status, 200);
    (server, address)
}

async fn ask(address: SocketAddr, request_line: &str, host: &str) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request_line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    Response::parse(&drain(&mut stream).await)
}

#[tokio::test]
async fn metrics_on_a_port_of_their_own_are_nowhere_else() {
    let (server, address) = start(guarded()).await;
    let metrics = ask(address, "GET /metrics", "10.0.0.7:9184").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.body.contains("milepost_known_jobs 0"), "{}", metrics.body);
    for path in ["/livez", "/health", "/readyz"] {
        assert_eq!(ask(address, &format!("GET {path}"), "localhost").await.status, 200, "{path}");
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    // Nothing else is there, and no page whose name resolves to the address is answered.
    for request in ["GET /jobs", "POST /jobs/a", "DELETE /jobs/a", "GET /ws", "GET /"] {
        assert_eq!(ask(address, request, "localhost").await.status, 404, "{request}");
    }
    assert_eq!(ask(address, "POST /metrics", "localhost").await.status, 405);
    let rebound = ask(address, "GET /metrics", "evil.example").await;
    assert_eq!((rebound.status, rebound.problem().as_str()), (421, "host-not-allowed"));
    // On the main port they are not for operators either.
    assert_eq!(get(&server, "/metrics", KEY).await.status, 404);
    let document = server.get("/openapi.json").await.json();
    assert!(document["paths"].get("/metrics").is_none());
    server.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "it closes with the server");
}

#[tokio::test]
async fn details_of_health_are_on_the_operators_port() {
    let redis_url = Some("redis://127.0.0.1:1".to_owned().try_into().unwrap());
    let (server, address) = start(Config { redis_url, ..guarded() }).await;
    let there = ask(address, "GET /readyz", "localhost").await;
    let here = get(&server, "/readyz", KEY).await;
    assert_eq!((there.status, here.status), (503, 503));
    assert!(there.body.contains("127.0.0.1:1"), "{}", there.body);
    assert!(!here.body.contains("127.0.0.1:1"), "{}", here.body);
    server.stop().await;
}

#[tokio::test]
async fn the_operators_port_has_32_connections_and_a_timeout() {
    let (server, address) = start(Config { header_timeout: 0.2, ..guarded() }).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /metrics HT").await.unwrap();
    drain(&mut slow).await;
    server.stop().await;

    let (server, address) = start(guarded()).await;
    let mut held = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
        held.push(stream);
    }
    assert_eq!(drain(&mut TcpStream::connect(address).await.unwrap()).await, b"");
    held.pop();
    until("there to be room again", async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.read_u8().await.is_ok()
    })
    .await;
    server.stop().await;
}
