//! Clients over a Unix socket.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use futures_util::StreamExt;
use milepost_server::{Config, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::support::{Response, quick, within};

async fn exchange(path: &Path, request: &str) -> Response {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("the answer", stream.read_to_end(&mut answer)).await.unwrap();
    Response::parse(&answer)
}

#[tokio::test]
async fn requests_and_sockets_go_through_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("milepost.sock");
    // The file of a server that is gone.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::unix(&path, 0o600).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (stop, stopped) = oneshot::channel::<()>();
    let config = Config { handshakes_per_address: Some(1.0), ..quick() };
    let server =
        tokio::spawn(milepost_server::run(config, listener, async { drop(stopped.await) }));

    let second = Listener::unix(&path, 0o600).err().map(|error| error.kind());
    assert_eq!(second, Some(ErrorKind::AddrInUse), "another server listens there");
    let report = "POST /jobs/a HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
        content-length: 16\r\n\r\n{\"progress\":0.5}";
    assert_eq!(exchange(&path, report).await.status, 200);
    // Without an address there is none to count, however often.
    for _ in 0..12 {
        let stream = UnixStream::connect(&path).await.unwrap();
        let url = "ws://localhost/ws/jobs/a";
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let connected = within("a message", socket.next()).await.unwrap().unwrap();
        assert!(connected.to_text().unwrap().contains("connected"));
        let state = within("the state", socket.next()).await.unwrap().unwrap();
        assert!(state.to_text().unwrap().contains("\"progress\":0.5"));
    }
    // HTTP/2 with prior knowledge, as proxies speak it.
    let stream = UnixStream::connect(&path).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let connection = tokio::spawn(connection);
    let get = http::Request::get("http://localhost/jobs/a").body(String::new()).unwrap();
    assert_eq!(sender.send_request(get).await.unwrap().status(), 200);
    drop(sender);
    connection.abort();

    drop(stop);
    within("the server's end", server).await.unwrap().unwrap();
    assert!(!path.exists(), "the server has removed its socket");
}

#[tokio::test]
async fn what_is_not_a_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    fs::write(&path, "mine").unwrap();
    let error = Listener::unix(&path, 0o600).err().unwrap();
    assert!(error.to_string().contains("not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn the_next_servers_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("milepost.sock");
    let first = Listener::unix(&path, 0o600).unwrap();
    fs::rename(&path, folder.path().join("moved")).unwrap();
    let second = Listener::unix(&path, 0o600).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}
