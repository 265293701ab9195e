//! `bound`: what the kernel allows. For each report, one `write()` to each watcher's socket, and nothing else:
//! no queue, no buffer, no state. What does not fit into a socket at once is lost.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::frame;
use crate::watchers::ACCEPT;

const LISTENER: Token = Token(usize::MAX - 1);

struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

/// Serves on 127.0.0.1 until killed.
pub(crate) fn serve(port: u16) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    // Connections that may still send requests: reporters, and watchers before their handshake.
    let mut asking: HashMap<Token, Connection> = HashMap::new();
    let mut watchers: HashMap<String, Vec<TcpStream>> = HashMap::new();
    let mut next = 0;
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                loop {
                    match listener.accept() {
                        Ok((mut stream, _)) => {
                            stream.set_nodelay(true)?;
                            let token = Token(next);
                            next += 1;
                            poll.registry().register(&mut stream, token, Interest::READABLE)?;
                            asking.insert(token, Connection { stream, bytes: Vec::new() });
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => return Err(error),
                    }
                }
            } else if let Some(mut connection) = asking.remove(&event.token()) {
                match answer(&mut connection, &mut watchers) {
                    Ok(Request::More) => {
                        asking.insert(event.token(), connection);
                    }
                    Ok(Request::Watch(job)) => {
                        poll.registry().deregister(&mut connection.stream)?;
                        watchers.entry(job).or_default().push(connection.stream);
                    }
                    // The client is gone.
                    Err(_) => {}
                }
            }
        }
    }
}

enum Request {
    More,
    Watch(String),
}

fn answer(
    connection: &mut Connection,
    watchers: &mut HashMap<String, Vec<TcpStream>>,
) -> io::Result<Request> {
    let mut buffer = [0; 16 * 1024];
    loop {
        match connection.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => connection.bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    let mut taken = 0;
    let mut answers = Vec::new();
    loop {
        let bytes = &connection.bytes[taken..];
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else { break };
        let path = request.path.unwrap_or_default();
        if let Some(job) = path.strip_prefix("/ws/jobs/") {
            let text = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
            );
            connection.stream.write_all(text.as_bytes())?;
            return Ok(Request::Watch(job.to_owned()));
        }
        let length = request
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case("content-length"))
            .and_then(|header| str::from_utf8(header.value).ok()?.parse::<usize>().ok())
            .unwrap_or(0);
        let Some(body) = bytes.get(head..head + length) else { break };
        let job = path.strip_prefix("/jobs/").unwrap_or_default();
        let mut encoded = Vec::new();
        frame::write_text(&mut encoded, body);
        for watcher in watchers.get_mut(job).into_iter().flatten() {
            // A full or closed socket loses this one, as said above.
            let _ = watcher.write(&encoded);
        }
        answers.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        taken += head + length;
    }
    connection.bytes.drain(..taken);
    connection.stream.write_all(&answers)?;
    Ok(Request::More)
}
