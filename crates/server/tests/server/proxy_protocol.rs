//! Clients behind a proxy that names them by the PROXY protocol.

use milepost_server::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Raw, Response, Server, drain, handshake, quick, within};

fn behind_a_proxy() -> Config {
    Config { trusted_proxies: vec!["127.0.0.0/8".to_owned()], proxy_protocol: true, ..quick() }
}

fn v1(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 10.0.0.1 5 8084\r\n").into_bytes()
}

fn v2(address: [u8; 4]) -> Vec<u8> {
    let header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&header[..], &address, &[10, 0, 0, 1, 0, 5, 1, 187]].concat()
}

const GET: &[u8] = b"GET /jobs HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn the_header_names_the_client() {
    let config = Config { max_connections_per_address: Some(1), ..behind_a_proxy() };
    let server = Server::with(config).await;
    for header in [v1("192.0.2.1"), v2([192, 0, 2, 1]), b"PROXY UNKNOWN\r\n".to_vec()] {
        let answer = server.exchange(&[&header, GET].concat()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&header));
    }
    // Byte by byte, as it may arrive.
    let mut slow = server.connect().await;
    slow.set_nodelay(true).unwrap();
    for byte in [v1("192.0.2.7"), GET.to_vec()].concat() {
        slow.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(Response::parse(&drain(&mut slow).await).status, 200);

    // The client, and not the proxy, has a connection at a time.
    let over = async |header: &[u8]| {
        let mut stream = server.connect().await;
        stream.write_all(header).await.unwrap();
        stream.write_all(handshake("/ws/jobs/a").as_bytes()).await.unwrap();
        stream
    };
    let _held = Raw::answered(over(&v2([192, 0, 2, 1])).await).await;
    let _other = Raw::answered(over(&v2([192, 0, 2, 2])).await).await;
    assert!(drain(&mut over(&v1("192.0.2.1")).await).await.is_empty(), "it has one already");
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_send_the_header_is_refused() {
    let config = Config { header_timeout: 0.5, ..behind_a_proxy() };
    let server = Server::with(config).await;
    for bad in [GET, b"PROXY TCP4 192.0.2.1\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"] {
        let mut stream = server.connect().await;
        stream.write_all(bad).await.unwrap();
        assert!(drain(&mut stream).await.is_empty(), "{}", String::from_utf8_lossy(bad));
    }
    // Half a header, and then nothing.
    let mut stream = server.connect().await;
    stream.write_all(b"PROXY TCP4 192.0").await.unwrap();
    let mut byte = [0];
    assert_eq!(within("the end", stream.read(&mut byte)).await.unwrap_or(0), 0);
    server.stop().await;
}

#[tokio::test]
async fn a_header_of_an_untrusted_peer_is_refused() {
    let trusted_proxies = vec!["192.0.2.1".to_owned()];
    let server = Server::with(Config { trusted_proxies, ..behind_a_proxy() }).await;
    let mut stream = server.connect().await;
    stream.write_all(&[&v1("192.0.2.1"), GET].concat()).await.unwrap();
    assert!(drain(&mut stream).await.is_empty());
    server.stop().await;
}
