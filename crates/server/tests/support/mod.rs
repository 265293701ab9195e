//! A real server on a free port, and clients of it.
#![allow(dead_code, reason = "each test binary uses a part of this")]

mod events;
mod raw;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use milepost_server::{Config, Control, ProcessMemory};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

#[allow(unused_imports, reason = "each test binary uses a part of this")]
pub(crate) use events::{Event, Events};
#[allow(unused_imports, reason = "each test binary uses a part of this")]
pub(crate) use raw::{Frame, Raw, handshake, masked};

/// Long enough for anything that does happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for something that does happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let within = tokio::time::timeout(PATIENCE, future).await;
    within.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Asks again and again until `done` says so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let asking = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, asking).await;
}

/// A server that goes down, and lets go, at once.
pub(crate) fn quick() -> Config {
    Config { drain_period: 0.0, grace_period: 2.0, linger: 0.05, ..Config::default() }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(quick()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(config, listener)
    }

    pub(crate) fn on(config: Config, listener: TcpListener) -> Self {
        Self::run(config, listener, None)
    }

    /// In a process of that memory.
    pub(crate) async fn in_process(config: Config, memory: Arc<dyn ProcessMemory>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::run(config, listener, Some(memory))
    }

    fn run(config: Config, listener: TcpListener, memory: Option<Arc<dyn ProcessMemory>>) -> Self {
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let control = Control {
            shutdown: async { drop(stopped.await) },
            hurry: std::future::pending(),
            dropped_log_lines: Arc::new(|| 0),
            memory,
        };
        let task = tokio::spawn(async move {
            milepost_server::run_with(config, listener, control).await.unwrap();
        });
        Self { address, stop: Some(stop), task }
    }

    /// Has the server go down, and waits until it is.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .expect("the server goes down")
            .unwrap();
    }

    /// Drops the server in the middle of its work.
    pub(crate) fn abort(self) {
        self.task.abort();
    }

    /// Has the server go down, without waiting for it.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn wait(self) {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the server goes down").unwrap();
    }

    /// One request on a connection of its own.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Response {
        let mut stream = self.connect().await;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-length: {length}\r\n{headers}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.expect("an answer").unwrap();
        Response::parse(&answer)
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends the bytes as they are, and reads until the server closes the connection.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> Response {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        Response::parse(&drain(&mut stream).await)
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request("GET", path, "", "").await
    }

    pub(crate) async fn report(&self, job: &str, update: &str) -> Response {
        self.request("POST", &format!("/jobs/{job}"), "", update).await
    }

    pub(crate) async fn watch(&self, path: &str) -> Watcher {
        let (socket, _) = connect_async(format!("ws://{}{path}", self.address)).await.unwrap();
        Watcher { socket }
    }
}

/// All that comes until the other side closes, or resets, the connection.
pub(crate) async fn drain(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    // What was there before a reset has been read then.
    let _ = within("the end of the connection", stream.read_to_end(&mut all)).await;
    all
}

#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn parse(answer: &[u8]) -> Self {
        let text = String::from_utf8_lossy(answer);
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { dechunk(body) } else { body.to_owned() };
        Self { status, head: head.to_owned(), body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The name of the problem.
    pub(crate) fn problem(&self) -> String {
        let uri = self.json()["type"].as_str().expect("a problem").to_owned();
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        uri.trim_start_matches("urn:milepost:problem:").to_owned()
    }
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}

pub(crate) struct Watcher {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Watcher {
    /// The next message, whatever it is.
    pub(crate) async fn message(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        next.expect("a message").expect("an open socket").expect("a frame")
    }

    /// The next text message but keepalives.
    pub(crate) async fn text(&mut self) -> String {
        let next = async {
            loop {
                let message = self.message().await;
                assert!(!matches!(message, Message::Close(_)), "instead of a text: {message:?}");
                if let Message::Text(text) = message
                    && !text.starts_with(r#"{"type":"ping""#)
                {
                    return text.to_string();
                }
            }
        };
        within("a text that is no keepalive", next).await
    }

    /// The next text message but keepalives, read.
    pub(crate) async fn next(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// The text after the next one.
    pub(crate) async fn second(&mut self) -> String {
        self.text().await;
        self.text().await
    }

    /// Proves that nothing is on its way: what the server sends next is the answer to a ping.
    pub(crate) async fn hears_nothing(&mut self) {
        self.say(r#"{"type":"ping"}"#).await;
        let next = self.next().await;
        assert_eq!(next["type"], "pong", "{next}");
    }

    /// The states up to the one at that position, by their positions.
    pub(crate) async fn until(&mut self, position: &Value) -> Vec<Value> {
        let mut seen = Vec::new();
        while seen.last() != Some(position) {
            seen.push(self.next().await["position"].clone());
        }
        seen
    }

    /// The code and the reason of the close frame, which is the next message but text.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.message().await {
                let frame = frame.expect("a code");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }
}
