//! Watches through real sockets, against servers that behave badly on purpose.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use milepost_protocol::{JobId, Position};
use milepost_watcher::{
    Connection, ConnectionError, Event, Mode, Rejection, Watch, Watcher, Watches,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

/// No test waits that long unless it fails.
const PATIENCE: Duration = Duration::from_secs(60);

const CONNECTED: &str =
    r#"{"type":"connected","job_id":"a","message":"","timestamp":"","known":true}"#;

/// A watcher that comes back quickly.
fn watcher(url: &str) -> Watcher {
    let moment = Duration::from_millis(1);
    Watcher::new(url).unwrap().backoff(moment, moment).silence(PATIENCE)
}

/// A server whose script is the test itself.
struct Server {
    listener: TcpListener,
}

impl Server {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    fn watcher(&self) -> Watcher {
        watcher(&self.url())
    }

    async fn tcp(&self) -> TcpStream {
        timeout(PATIENCE, self.listener.accept()).await.expect("nobody connects").unwrap().0
    }

    /// The next connection, once it has sent the header of its request.
    async fn request(&self) -> TcpStream {
        let mut tcp = self.tcp().await;
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n\r\n") {
            header.push(tcp.read_u8().await.unwrap());
        }
        tcp
    }

    /// The next connection, which is a WebSocket, and what it asked for.
    async fn accept(&self) -> (Socket, String) {
        let (socket, path, _) = self.accept_from().await;
        (socket, path)
    }

    /// The same, with the credential that it has.
    #[expect(clippy::result_large_err, reason = "the signature is the library's")]
    async fn accept_from(&self) -> (Socket, String, Option<String>) {
        let (mut path, mut credential) = (String::new(), None);
        let note = |request: &Request, response: Response| {
            path = request.uri().to_string();
            let header = request.headers().get("authorization");
            credential = header.map(|value| value.to_str().unwrap().to_owned());
            Ok(response)
        };
        let socket = accept_hdr_async(self.tcp().await, note).await.unwrap();
        (Socket(socket), path, credential)
    }

    /// The same, greeted.
    async fn greet(&self) -> (Socket, String) {
        let (mut socket, path) = self.accept().await;
        socket.say(CONNECTED).await;
        (socket, path)
    }
}

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn say(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    async fn close(mut self, code: u16, reason: &str) {
        let frame = CloseFrame { code: code.into(), reason: reason.to_owned().into() };
        self.0.close(Some(frame)).await.unwrap();
        while let Some(Ok(_)) = self.0.next().await {}
    }

    /// What the watcher says next; none when it has closed or gone.
    async fn hear(&mut self) -> Option<String> {
        match timeout(PATIENCE, self.0.next()).await.expect("the watcher says nothing") {
            Some(Ok(Message::Text(text))) => Some(text.to_string()),
            _ => None,
        }
    }
}

fn state(job: &str, status: &str, number: u64) -> String {
    format!(
        r#"{{"job_id":"{job}","status":"{status}","stage":"s","attempt":1,"position":"e-{number}"}}"#
    )
}

trait Next {
    async fn event(&mut self) -> Option<Event>;

    async fn next_event(&mut self) -> Event {
        timeout(PATIENCE, self.event()).await.expect("nothing happens").expect("it is over")
    }

    /// The next state's position; connections made and lost meanwhile are passed over.
    async fn next_state(&mut self) -> String {
        loop {
            match self.next_event().await {
                Event::State(state) => return state.position().to_string(),
                Event::Connection(connection) if !connection.is_final() => {}
                other => panic!("{other:?} instead of a state"),
            }
        }
    }

    async fn next_connection(&mut self) -> Connection {
        loop {
            if let Event::Connection(connection) = self.next_event().await {
                return connection;
            }
        }
    }

    async fn next_loss(&mut self) -> ConnectionError {
        loop {
            match self.next_connection().await {
                Connection::Lost { reason, .. } => return reason,
                Connection::Connected => {}
                other => panic!("{other:?} instead of a loss"),
            }
        }
    }
}

impl Next for Watch {
    async fn event(&mut self) -> Option<Event> {
        self.next().await
    }
}

impl Next for Watches {
    async fn event(&mut self) -> Option<Event> {
        self.next().await
    }
}

fn job(name: &str) -> JobId {
    name.parse().unwrap()
}

#[tokio::test]
async fn it_shows_every_state_with_its_json() {
    let server = Server::start().await;
    let mut watch = server.watcher().mode(Mode::Latest).max_rate(5.0).watch(job("a"));
    let (mut socket, path) = server.greet().await;
    assert_eq!(path, "/ws/jobs/a?mode=latest&max_rate=5");
    assert_eq!(watch.next_event().await, Event::Connection(Connection::Connected));
    let text = r#"{"job_id":"a","status":"processing","progress":0.50,"own":[1e400],"attempt":2,"position":"e-1"}"#;
    socket.say(text).await;
    let Event::State(state) = watch.next_event().await else { panic!("no state") };
    assert_eq!(state.json(), text);
}

#[tokio::test]
async fn cut_off_between_states_it_resumes_and_shows_none_twice() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch_since(job("a"), Position::parse("e-1").unwrap());
    let (mut socket, path) = server.greet().await;
    assert_eq!(path, "/ws/jobs/a?since=e-1");
    socket.say(state("a", "processing", 2)).await;
    socket.say(state("a", "processing", 3)).await;
    assert_eq!(watch.next_state().await, "e-2");
    assert_eq!(watch.next_state().await, "e-3");
    drop(socket);
    assert!(matches!(
        watch.next_loss().await,
        ConnectionError::Broken(_) | ConnectionError::Closed { code: None, .. }
    ));
    let (mut socket, path) = server.greet().await;
    assert_eq!(path, "/ws/jobs/a?since=e-3");
    socket.say(state("a", "processing", 3)).await;
    socket.say(state("a", "completed", 4)).await;
    assert_eq!(watch.next_state().await, "e-4");
}

#[tokio::test]
async fn cut_off_within_a_frame_it_resumes() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let (mut socket, _) = server.greet().await;
    socket.say(state("a", "processing", 1)).await;
    assert_eq!(watch.next_state().await, "e-1");
    // A text frame of 120 bytes that ends after five.
    socket.0.get_mut().write_all(b"\x81\x78{\"job").await.unwrap();
    drop(socket);
    watch.next_loss().await;
    assert_eq!(server.greet().await.1, "/ws/jobs/a?since=e-1");
}

#[tokio::test]
async fn a_restart_is_yielded_and_the_named_wait_is_kept() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let (socket, _) = server.greet().await;
    assert_eq!(watch.next_connection().await, Connection::Connected);
    socket.close(1012, r#"{"reason":"restart","retry_ms":23}"#).await;
    let reason = ConnectionError::Closed { code: Some(1012), reason: "restart".into() };
    let retry_in = Duration::from_millis(23);
    assert_eq!(watch.next_connection().await, Connection::Lost { reason, retry_in });
    server.greet().await;
    assert_eq!(watch.next_connection().await, Connection::Connected);
}

#[tokio::test]
async fn a_refusal_ends_it_with_the_server_s_words() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let (mut socket, _) = server.accept().await;
    socket.say(r#"{"type":"error","message":"mode 'x' is none","timestamp":""}"#).await;
    socket.close(4400, "bad-request").await;
    let refused = Rejection::Closed { code: 4400, reason: "mode 'x' is none".into() };
    assert_eq!(watch.next_event().await, Event::Connection(Connection::Rejected(refused)));
    assert_eq!(timeout(PATIENCE, watch.next()).await.unwrap(), None);
    assert_eq!(watch.next().await, None);
}

/// A function that supplies the token `t1`, then `t2`, and so on.
fn numbered() -> impl Fn() -> std::future::Ready<Result<String, String>> + Send + Sync {
    let asked = AtomicU32::new(0);
    move || std::future::ready(Ok(format!("t{}", asked.fetch_add(1, Ordering::Relaxed) + 1)))
}

#[tokio::test]
async fn each_connection_has_a_token_of_its_own() {
    let server = Server::start().await;
    let mut watch = server.watcher().token_from(numbered()).watch(job("a"));
    for token in ["Bearer t1", "Bearer t2"] {
        let (mut socket, _, credential) = server.accept_from().await;
        assert_eq!(credential.as_deref(), Some(token));
        socket.say(CONNECTED).await;
        assert_eq!(watch.next_connection().await, Connection::Connected);
        drop(socket);
        watch.next_loss().await;
    }
}

#[tokio::test]
async fn a_new_token_is_sent_before_the_old_one_expires() {
    let server = Server::start().await;
    let watch = server.watcher().token_from(numbered()).watch(job("a"));
    let (mut socket, _) = server.greet().await;
    socket.say(r#"{"type":"token_expiring","in":0,"timestamp":""}"#).await;
    assert_eq!(socket.hear().await.as_deref(), Some(r#"{"type":"auth","token":"t2"}"#));
    drop(watch);

    // The same one again would expire as soon. The end of the socket is the next that is heard.
    let same = || async { Ok::<_, String>("same".to_owned()) };
    let mut watch = server.watcher().token_from(same).watch(job("a"));
    let (mut socket, _) = server.greet().await;
    socket.say(r#"{"type":"token_expiring","in":0,"timestamp":""}"#).await;
    socket.say(state("a", "processing", 1)).await;
    assert_eq!(watch.next_state().await, "e-1");
    drop(watch);
    assert_eq!(socket.hear().await, None);
}

#[tokio::test]
async fn a_function_without_a_token_is_asked_again() {
    let server = Server::start().await;
    let asked = AtomicU32::new(0);
    let supply = move || {
        let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
        async move { if first { Err("the application is down") } else { Ok("t".to_owned()) } }
    };
    let mut watch = server.watcher().token_from(supply).watch(job("a"));
    let reason = ConnectionError::NoToken("the application is down".into());
    assert_eq!(watch.next_loss().await, reason);
    assert_eq!(server.accept_from().await.2.as_deref(), Some("Bearer t"));
}

#[tokio::test]
async fn a_token_is_trimmed_or_there_is_none() {
    let server = Server::start().await;
    for token in ["abc\n", " abc\r\n"] {
        let _watch = server.watcher().token(token).watch(job("a"));
        assert_eq!(server.accept_from().await.2.as_deref(), Some("Bearer abc"));
    }
    let reason = "it has a character that no key or token has: only printable ASCII can be sent";
    let supply = || async { Ok::<_, String>("abc\ndef".to_owned()) };
    for watcher in [server.watcher().token("ключ"), server.watcher().token_from(supply)] {
        let loss = watcher.watch(job("a")).next_loss().await;
        assert_eq!(loss, ConnectionError::NoToken(reason.to_owned()));
    }
}

#[tokio::test]
async fn an_http_refusal_ends_it_with_the_problem_s_detail() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let mut tcp = server.request().await;
    let body = r#"{"type":"urn:milepost:problem:not-found","title":"t","status":404,"detail":"nothing is here"}"#;
    let answer = format!(
        "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tcp.write_all(answer.as_bytes()).await.unwrap();
    let refused = Rejection::Http { status: 404, detail: "nothing is here".into() };
    assert_eq!(watch.next_connection().await, Connection::Rejected(refused));
}

#[tokio::test]
async fn a_full_server_is_tried_again() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let mut tcp = server.request().await;
    tcp.write_all(
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
    )
    .await
    .unwrap();
    assert!(matches!(watch.next_loss().await, ConnectionError::HttpStatus { status: 503, .. }));
    server.greet().await;
    assert_eq!(watch.next_connection().await, Connection::Connected);
}

#[tokio::test]
async fn garbage_messages_are_ignored_garbage_frames_are_a_loss() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let (mut socket, _) = server.greet().await;
    for text in ["", "}{", "\u{0}", "null", r#"{"type":"new-in-version-9"}"#] {
        socket.say(text).await;
    }
    socket.0.send(Message::binary(vec![0xff; 1000])).await.unwrap();
    socket.say(state("a", "processing", 1)).await;
    assert_eq!(watch.next_state().await, "e-1");
    // Reserved bits that nobody agreed on.
    socket.0.get_mut().write_all(b"\xf1\x02hi").await.unwrap();
    assert!(matches!(watch.next_loss().await, ConnectionError::Broken(_)));
    assert_eq!(server.greet().await.1, "/ws/jobs/a?since=e-1");
}

#[tokio::test]
async fn a_message_too_large_to_take_is_a_loss() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let (mut socket, _) = server.greet().await;
    // Refused by its header: 1 GiB is announced.
    socket.0.get_mut().write_all(b"\x81\x7f\0\0\0\0\x40\0\0\0").await.unwrap();
    assert!(matches!(watch.next_loss().await, ConnectionError::Broken(_)));
}

#[tokio::test]
async fn a_server_that_goes_silent_is_left() {
    let server = Server::start().await;
    let limit = Duration::from_millis(50);
    let mut watch = server.watcher().silence(limit).watch(job("a"));
    let (mut silent, _) = server.greet().await;
    silent.say(state("a", "processing", 1)).await;
    assert_eq!(watch.next_state().await, "e-1");
    assert_eq!(watch.next_loss().await, ConnectionError::Timeout(limit));
    // It has closed the silent one, and resumes at another.
    assert_eq!(silent.hear().await, None);
    assert_eq!(server.greet().await.1, "/ws/jobs/a?since=e-1");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_left() {
    let server = Server::start().await;
    let limit = Duration::from_millis(50);
    let mut watch = server.watcher().silence(limit).watch(job("a"));
    let half_open = server.tcp().await;
    assert_eq!(watch.next_loss().await, ConnectionError::Timeout(limit));
    drop(half_open);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_until_it_is() {
    // Nobody else gets the port before somebody listens there.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let mut watch = watcher(&format!("http://{}", socket.local_addr().unwrap())).watch(job("a"));
    assert!(matches!(watch.next_loss().await, ConnectionError::Unreachable(_)));
    let server = Server { listener: socket.listen(8).unwrap() };
    server.greet().await;
    while watch.next_connection().await != Connection::Connected {}
}

#[tokio::test]
async fn with_close_at_end_the_end_comes_once_and_then_it_is_over() {
    let server = Server::start().await;
    let mut watch = server.watcher().close_at_end(true).watch(job("a"));
    let (mut socket, path) = server.greet().await;
    assert_eq!(path, "/ws/jobs/a?close=end");
    socket.say(state("a", "completed", 9)).await;
    socket.close(1000, "").await;
    assert_eq!(watch.next_state().await, "e-9");
    assert_eq!(watch.next_event().await, Event::Connection(Connection::Done));
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn dropping_it_closes_the_socket() {
    let server = Server::start().await;
    let watch = server.watcher().watch(job("a"));
    let (mut socket, _) = server.greet().await;
    drop(watch);
    assert_eq!(socket.hear().await, None);
}

#[tokio::test]
async fn closing_it_says_goodbye() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let (mut socket, _) = server.greet().await;
    assert_eq!(watch.next_connection().await, Connection::Connected);
    let goodbye = async {
        let Some(Ok(Message::Close(Some(frame)))) = socket.0.next().await else {
            panic!("no goodbye")
        };
        assert_eq!(u16::from(frame.code), 1000);
        while let Some(Ok(_)) = socket.0.next().await {}
    };
    timeout(PATIENCE, async { tokio::join!(watch.close(), goodbye) }).await.expect("it hangs");
}

#[tokio::test]
async fn a_slow_caller_gets_the_newest_state_and_every_end() {
    let server = Server::start().await;
    let mut watch = server.watcher().watch(job("a"));
    let (mut socket, _) = server.greet().await;
    for number in 1..=5000 {
        let status = if number == 1000 { "failed" } else { "processing" };
        socket.say(state("a", status, number)).await;
    }
    // Answered once all of the above has been taken.
    socket.0.send(Message::Ping(Vec::new().into())).await.unwrap();
    assert!(matches!(socket.0.next().await, Some(Ok(Message::Pong(_)))));

    let mut seen = Vec::new();
    while seen.last().is_none_or(|last| last != "e-5000") {
        seen.push(watch.next_state().await);
    }
    assert!(seen.contains(&"e-1000".to_owned()), "the end was skipped");
    assert!(seen.len() < 200, "{} states were kept", seen.len());
}

#[tokio::test]
async fn many_jobs_share_a_socket_and_resume_each_for_itself() {
    let server = Server::start().await;
    let mut watches = server.watcher().watch_many();
    watches.subscribe(job("a")).unwrap();
    let (mut socket, path) = server.greet().await;
    assert_eq!(path, "/ws");
    assert_eq!(socket.hear().await.unwrap(), r#"{"type":"subscribe","job_id":"a"}"#);
    watches.subscribe(job("b")).unwrap();
    watches.subscribe(job("b")).unwrap();
    assert_eq!(socket.hear().await.unwrap(), r#"{"type":"subscribe","job_id":"b"}"#);
    socket.say(r#"{"type":"subscribed","job_id":"b","known":false,"timestamp":""}"#).await;
    socket.say(state("a", "processing", 4)).await;
    assert_eq!(watches.next_connection().await, Connection::Connected);
    assert_eq!(watches.next_event().await, Event::Unknown(job("b")));
    assert_eq!(watches.next_state().await, "e-4");

    drop(socket);
    watches.next_loss().await;
    let (mut socket, _) = server.greet().await;
    let mut again = [socket.hear().await.unwrap(), socket.hear().await.unwrap()];
    again.sort_unstable();
    assert_eq!(again[0], r#"{"type":"subscribe","job_id":"a","since":"e-4"}"#);
    assert_eq!(again[1], r#"{"type":"subscribe","job_id":"b"}"#);

    watches.unsubscribe(&job("a"));
    assert_eq!(socket.hear().await.unwrap(), r#"{"type":"unsubscribe","job_id":"a"}"#);
    socket.say(state("a", "processing", 5)).await;
    socket.say(state("b", "queued", 1)).await;
    assert_eq!(watches.next_state().await, "e-1");
    // Left and come back to: from the start.
    watches.subscribe(job("a")).unwrap();
    assert_eq!(socket.hear().await.unwrap(), r#"{"type":"subscribe","job_id":"a"}"#);
    socket.say(state("a", "processing", 5)).await;
    assert_eq!(watches.next_state().await, "e-5");
}

#[tokio::test]
async fn a_thousand_subscriptions_reach_a_server_that_answers_each() {
    let server = Server::start().await;
    let mut watches = server.watcher().watch_many();
    for number in 0..1000 {
        watches.subscribe(job(&format!("job{number}"))).unwrap();
    }
    let (mut socket, _) = server.greet().await;
    let answers = async {
        let filler = "x".repeat(4000);
        for _ in 0..1000 {
            let command = socket.hear().await.unwrap();
            let id = command.split('"').nth(7).unwrap().to_owned();
            socket
                .say(format!(
                    r#"{{"job_id":"{id}","status":"completed","message":"{filler}","attempt":1,"position":"e-1"}}"#
                ))
                .await;
        }
    };
    let ends = async {
        let mut seen = std::collections::HashSet::new();
        while seen.len() < 1000 {
            if let Event::State(state) = watches.next_event().await {
                assert!(seen.insert(state.job().clone()), "{} came twice", state.job());
            }
        }
    };
    timeout(PATIENCE, async { tokio::join!(answers, ends) }).await.expect("they are stuck");
}
