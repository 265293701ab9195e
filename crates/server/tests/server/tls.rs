//! Clients over TLS.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use milepost_redis_servers::Certificates;
use milepost_server::Config;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Response, Server, drain, quick, until, within};

type Tls = TlsStream<tokio::net::TcpStream>;

fn with_tls(files: &Certificates) -> Config {
    let (certificate, key) = (files.certificate.clone(), files.key.clone());
    Config { tls_cert: Some(certificate), tls_key: Some(key), ..quick() }
}

async fn connect(server: &Server, authority: &Path, protocols: &[&str]) -> std::io::Result<Tls> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, server.connect().await).await
}

async fn request(mut stream: Tls, request: &str) -> Response {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    Response::parse(&answer)
}

fn post(job: &str, update: &str) -> String {
    let len = update.len();
    format!(
        "POST /jobs/{job} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n{update}"
    )
}

async fn next(
    socket: &mut (impl StreamExt<Item = Result<Message, impl std::fmt::Debug>> + Unpin),
) -> Value {
    let message = within("a message", socket.next()).await.unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn requests_and_sockets_go_through_tls() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::in_folder(folder.path());
    let server = Server::with(with_tls(&files)).await;
    let connect = async || connect(&server, &files.authority, &[]).await.unwrap();
    let answer = request(connect().await, &post("a", r#"{"progress":0.25}"#)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("strict-transport-security"), Some("max-age=31536000"));

    let url = "wss://localhost/ws/jobs/a";
    let (mut socket, _) = tokio_tungstenite::client_async(url, connect().await).await.unwrap();
    assert_eq!(next(&mut socket).await["type"], "connected");
    assert_eq!(next(&mut socket).await["progress"], 0.25);
    // An update larger than what is encrypted at once, and than the sockets' buffers.
    let large = format!(r#"{{"progress":0.5,"message":"{}"}}"#, "x".repeat(60_000));
    assert_eq!(request(connect().await, &post("a", &large)).await.status, 200);
    let state = next(&mut socket).await;
    assert_eq!(
        (&state["progress"], state["message"].as_str().map(str::len)),
        (&0.5.into(), Some(60_000))
    );
    socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert_eq!(next(&mut socket).await["type"], "pong");
    socket.close(None).await.unwrap();
    let end = within("the end", async { while socket.next().await.is_some() {} }).await;
    assert_eq!(end, ());
    server.stop().await;
}

#[tokio::test]
async fn a_socket_over_tls_is_asked_to_reconnect() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::in_folder(folder.path());
    let mut server = Server::with(with_tls(&files)).await;
    let stream = connect(&server, &files.authority, &[]).await.unwrap();
    let url = "wss://localhost/ws/jobs/a";
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(next(&mut socket).await["type"], "connected");
    server.begin_stop();
    let close = loop {
        if let Message::Close(close) = within("a close", socket.next()).await.unwrap().unwrap() {
            break close.unwrap();
        }
    };
    assert_eq!(u16::from(close.code), 1012);
    drop(socket);
    server.wait().await;
}

#[tokio::test]
async fn a_client_that_never_closes_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::in_folder(folder.path());
    let server = Server::with(with_tls(&files)).await;
    let tasks = async || {
        let stream = connect(&server, &files.authority, &[]).await.unwrap();
        let get = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let metrics = request(stream, get).await.body;
        let tasks = metrics.lines().find_map(|line| line.strip_prefix("milepost_tasks "));
        tasks.unwrap().parse::<usize>().unwrap()
    };
    let before = tasks().await;
    let stream = connect(&server, &files.authority, &[]).await.unwrap();
    let url = "wss://localhost/ws/jobs/a";
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(next(&mut socket).await["type"], "connected");
    // No frame begins with this byte. The server closes, and the client neither answers nor closes.
    let mut stream = socket.into_inner();
    stream.write_all(&[0xff, 0x80]).await.unwrap();
    within("the server's end", stream.read_to_end(&mut Vec::new())).await.unwrap();
    until("its task to be gone", async || tasks().await <= before).await;
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn an_event_stream_is_served_over_http2() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::in_folder(folder.path());
    let server = Server::with(with_tls(&files)).await;
    let stream = connect(&server, &files.authority, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.unwrap();
    let connection = tokio::spawn(connection);
    let get = http::Request::get("https://localhost/jobs/a/events").body(Empty::<Bytes>::new());
    let response = sender.send_request(get.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let report = connect(&server, &files.authority, &[]).await.unwrap();
    assert_eq!(request(report, &post("a", r#"{"progress":0.5}"#)).await.status, 200);
    let mut seen = String::new();
    while !seen.contains("\"progress\":0.5") {
        let frame = within("an event", body.frame()).await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    drop((sender, body));
    connection.abort();
    server.stop().await;
}

#[tokio::test]
async fn half_a_handshake_is_given_up_and_delays_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::in_folder(folder.path());
    let server = Server::with(Config { header_timeout: 0.5, ..with_tls(&files) }).await;
    let config = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    // The type of a record alone, its head, a part of the greeting, the whole of it, and a length that is never reached.
    let mut beginnings = [1, 5, 40, hello.len()].map(|len| hello[..len].to_vec()).to_vec();
    beginnings.push([&[22, 3, 1, 0x3f, 0xff][..], &[0; 100]].concat());
    let mut held = Vec::new();
    for beginning in beginnings.iter().cycle().take(50) {
        let mut stream = server.connect().await;
        stream.write_all(beginning).await.unwrap();
        held.push(stream);
    }
    let others = connect(&server, &files.authority, &[]).await.unwrap();
    assert_eq!(request(others, &post("a", "{}")).await.status, 200);
    for mut stream in held {
        // What the server has sent of its own half, and the end.
        drain(&mut stream).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_without_tls_is_answered_400() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::with(with_tls(&Certificates::in_folder(folder.path()))).await;
    let answer = server.get("/livez").await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("https"), "{answer:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_connection_too_many_is_refused_by_an_alert_of_tls() {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::in_folder(folder.path());
    let config = Config { max_connections_per_address: Some(1), ..with_tls(&files) };
    let server = Server::with(config).await;
    let held = connect(&server, &files.authority, &["http/1.1"]).await.unwrap();
    let refused = connect(&server, &files.authority, &["http/1.1"]).await.unwrap_err();
    assert_eq!(refused.to_string(), "received fatal alert: InternalError");
    drop(held);
    server.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_taken_over_and_a_wrong_one_is_not() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = Certificates::in_folder(folder.path());
    let server = Server::with(with_tls(&files)).await;
    let new = Certificates::in_folder(other.path());
    assert!(connect(&server, &new.authority, &[]).await.is_err());
    // For a moment, the key is another certificate's.
    fs::copy(&new.certificate, &files.certificate).unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(connect(&server, &files.authority, &[]).await.is_ok());
    fs::copy(&new.key, &files.key).unwrap();
    until("the new certificate", async || connect(&server, &new.authority, &[]).await.is_ok())
        .await;
    server.stop().await;
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (files, others) =
        (Certificates::in_folder(folder.path()), Certificates::in_folder(other.path()));
    let error = |certificate: Option<&Path>, key: Option<&Path>| {
        let (tls_cert, tls_key) = (certificate.map(Into::into), key.map(Into::into));
        Config { tls_cert, tls_key, ..quick() }.check_tls().unwrap_err().to_string()
    };
    let (certificate, key) = (files.certificate.as_path(), files.key.as_path());
    assert!(error(Some(certificate), None).contains("tls_key is not"));
    assert!(error(None, Some(key)).contains("tls_cert is not"));
    let wrong_key = error(Some(certificate), Some(&others.key));
    assert!(wrong_key.contains("tls_key: ") && wrong_key.contains("not the key of"), "{wrong_key}");
    assert!(error(Some(key), Some(key)).contains("no certificate"));
    assert!(error(Some(certificate), Some(certificate)).contains("no private key"));
    assert!(error(Some(&folder.path().join("none")), Some(key)).contains("No such file"));
    let expired = Certificates::valid_until(other.path(), 2020);
    let expired = error(Some(&expired.certificate), Some(&expired.key));
    assert!(expired.contains("expired on Dec 31"), "{expired}");
}
