//! Up to 19,000 watchers on one thread: an epoll loop that counts what is delivered and how old it is.

use std::io::{self, Read as _, Write as _};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

use crate::endpoint::Endpoint;
use crate::error::{Error, doing};
use crate::frame;
use crate::reporter::Reporter;
use crate::stream::{Address, Stream};
use crate::update::{Clock, Stamp, Stamps};

const REPORTER: Token = Token(usize::MAX - 1);
/// So many connects under way at once: below every server's listen backlog.
const CONNECTING: usize = 256;
/// With this key, RFC 6455's own example, the handshake's answer is known.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What has been delivered since the last [`Watchers::reset`].
#[derive(Debug)]
pub(crate) struct Tally {
    /// Updates delivered, each watcher's counted.
    pub(crate) deliveries: u64,
    /// Their payload bytes.
    pub(crate) bytes: u64,
    /// Nanoseconds from an update's stamp until it was read, of every delivery.
    pub(crate) latency: Histogram<u64>,
    /// Pings, of the protocol or the application.
    pub(crate) pings: u64,
}

impl Tally {
    fn new() -> Self {
        Self { deliveries: 0, bytes: 0, latency: histogram(), pings: 0 }
    }
}

/// For nanoseconds up to a minute, to 1 %.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 2).expect("the bounds are in order")
}

#[derive(Debug)]
enum Phase {
    Connecting,
    Upgrading,
    /// It has named its channel and waits for the answer.
    Subscribing,
    Open,
}

#[derive(Debug)]
struct Watcher {
    stream: Stream,
    phase: Phase,
    /// The start of a frame, or of the handshake's answer, whose rest is still to come.
    partial: Vec<u8>,
    /// The frame that subscribes it, if its path does not.
    subscribe: Option<Vec<u8>>,
    newest: Stamp,
}

/// Watchers and, if wanted, a reporter, in one loop.
#[derive(Debug)]
pub(crate) struct Watchers {
    poll: Poll,
    events: Events,
    all: Vec<Watcher>,
    buffer: Vec<u8>,
    stamps: Stamps,
    clock: Clock,
    open: usize,
    target: u64,
    reached: usize,
    pub(crate) reporter: Option<Reporter>,
    pub(crate) tally: Tally,
}

impl Watchers {
    pub(crate) fn new(clock: Clock) -> Result<Self, Error> {
        Ok(Self {
            poll: Poll::new().map_err(doing("making a poll"))?,
            events: Events::with_capacity(1024),
            all: Vec::new(),
            buffer: vec![0; 256 * 1024],
            stamps: Stamps::new(),
            clock,
            open: 0,
            target: u64::MAX,
            reached: 0,
            reporter: None,
            tally: Tally::new(),
        })
    }

    /// Adds a reporter to the loop: for figures where the next report waits for deliveries.
    pub(crate) fn add_reporter(&mut self, address: &Address) -> Result<&mut Reporter, Error> {
        let reporter = Reporter::connect(address, self.poll.registry(), REPORTER)?;
        Ok(self.reporter.insert(reporter))
    }

    /// Opens `count` more watchers, `endpoint` by number from 0, and waits until all handshakes are done.
    pub(crate) fn connect(
        &mut self,
        address: &Address,
        count: usize,
        endpoint: impl Fn(usize) -> Endpoint,
    ) -> Result<(), Error> {
        let before = self.all.len();
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.open < before + count {
            while self.all.len() < before + count && self.all.len() - self.open < CONNECTING {
                let token = Token(self.all.len());
                let connect = || {
                    let mut stream = address.connect()?;
                    self.poll.registry().register(&mut stream, token, Interest::WRITABLE)?;
                    Ok(stream)
                };
                let stream = connect().map_err(doing(format!("connecting watcher {}", token.0)))?;
                // Until the handshake's answer, what is to come holds what is to be sent.
                let endpoint = endpoint(token.0 - before);
                let request = request(address, &endpoint);
                self.all.push(Watcher {
                    stream,
                    phase: Phase::Connecting,
                    partial: request.into_bytes(),
                    subscribe: endpoint.channel.as_deref().map(subscribe),
                    newest: Stamp { number: 0, at: 0 },
                });
            }
            self.turn(Duration::from_millis(100))?;
            if Instant::now() > deadline {
                return Err(Error::Late(format!(
                    "{} of {count} watchers connected within 60 s",
                    self.open - before
                )));
            }
        }
        Ok(())
    }

    /// Closes all watchers.
    pub(crate) fn disconnect(&mut self) {
        self.all.clear();
        self.open = 0;
    }

    /// Counts anew.
    pub(crate) fn reset(&mut self) {
        self.tally = Tally::new();
    }

    /// From now on [`Watchers::reached`] counts the watchers that have update `number` or a later one.
    pub(crate) fn aim(&mut self, number: u64) {
        self.target = number;
        self.reached = self.all.iter().filter(|watcher| watcher.newest.number >= number).count();
    }

    /// See [`Watchers::aim`].
    pub(crate) fn reached(&self) -> usize {
        self.reached
    }

    /// The highest number that any watcher has.
    pub(crate) fn newest(&self) -> u64 {
        self.all.iter().map(|watcher| watcher.newest.number).max().unwrap_or(0)
    }

    /// How old what each watcher has is now: nanoseconds since its newest update's stamp.
    pub(crate) fn record_ages(&self, ages: &mut Histogram<u64>) {
        let now = self.clock.now();
        for watcher in &self.all {
            ages.saturating_record(now.saturating_sub(watcher.newest.at));
        }
    }

    /// Sends what the reporter has queued.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.reporter.as_mut().map_or(Ok(()), Reporter::flush)
    }

    /// Reports not answered yet.
    pub(crate) fn in_flight(&self) -> usize {
        self.reporter.as_ref().map_or(0, Reporter::in_flight)
    }

    /// Waits until something comes, at most `wait`, and takes it.
    pub(crate) fn turn(&mut self, wait: Duration) -> Result<(), Error> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result.map_err(doing("waiting for deliveries"))?,
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let result = events.iter().try_for_each(|event| match event.token() {
            REPORTER => self.reporter.as_mut().map_or(Ok(()), |reporter| {
                reporter.take_answers()?;
                reporter.flush()
            }),
            Token(number) if number < self.all.len() => self.ready(number),
            _ => Ok(()),
        });
        self.events = events;
        result
    }

    /// Takes turns until `done` returns true.
    pub(crate) fn turn_until(
        &mut self,
        bound: Duration,
        what: &str,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + bound;
        while !done(self) {
            if Instant::now() > deadline {
                return Err(Error::Late(format!("{what}: not within {bound:?}")));
            }
            self.turn(Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// Takes turns for a time.
    pub(crate) fn turn_for(&mut self, time: Duration) -> Result<(), Error> {
        let end = Instant::now() + time;
        while let Some(left) =
            end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            self.turn(left.min(Duration::from_millis(50)))?;
        }
        Ok(())
    }

    fn ready(&mut self, number: usize) -> Result<(), Error> {
        let watcher = &mut self.all[number];
        if matches!(watcher.phase, Phase::Connecting) {
            let mut begin = || {
                if let Some(error) = watcher.stream.tcp().take_error()? {
                    return Err(error);
                }
                watcher.stream.tcp().set_nodelay(true)?;
                // A fresh socket takes a request of some 200 bytes whole.
                let written = watcher.stream.write_all(&watcher.partial);
                let interest = Interest::READABLE;
                self.poll.registry().reregister(&mut watcher.stream, Token(number), interest)?;
                written
            };
            match begin() {
                // The handshake of TLS comes first, and waits for the server.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                begun => begun.map_err(doing(format!("connecting watcher {number}")))?,
            }
            watcher.partial = Vec::new();
            watcher.phase = Phase::Upgrading;
            return Ok(());
        }
        loop {
            let read = match self.all[number].stream.read(&mut self.buffer) {
                Ok(0) => return Err(Error::Server(format!("the server closed watcher {number}"))),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Error::Io(format!("reading watcher {number}"), error)),
            };
            let watcher = &mut self.all[number];
            if watcher.partial.is_empty() {
                let buffer = std::mem::take(&mut self.buffer);
                let result = self.take(number, &buffer[..read]);
                self.buffer = buffer;
                result?;
            } else {
                let mut joined = std::mem::take(&mut watcher.partial);
                joined.extend_from_slice(&self.buffer[..read]);
                self.take(number, &joined)?;
            }
            let is_short = read < self.buffer.len();
            if is_short && self.all[number].stream.is_emptied_by_a_short_read() {
                return Ok(());
            }
        }
    }

    /// Takes the whole frames out of `bytes` and keeps the rest.
    fn take(&mut self, number: usize, mut bytes: &[u8]) -> Result<(), Error> {
        let watcher = &mut self.all[number];
        if matches!(watcher.phase, Phase::Upgrading) {
            let Some(head) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
                watcher.partial = bytes.to_vec();
                return Ok(());
            };
            let text = String::from_utf8_lossy(&bytes[..head]);
            if !text.starts_with("HTTP/1.1 101 ") || !text.contains(ACCEPT) {
                return Err(Error::Protocol(format!("watcher {number} was answered:\n{text}")));
            }
            bytes = &bytes[head + 4..];
            if let Some(subscribe) = watcher.subscribe.take() {
                watcher.stream.write_all(&subscribe).map_err(doing("subscribing a watcher"))?;
                watcher.phase = Phase::Subscribing;
            } else {
                watcher.phase = Phase::Open;
                self.open += 1;
            }
        }
        let now = self.clock.now();
        while let Some((frame, length)) = frame::parse(bytes)? {
            bytes = &bytes[length..];
            let watcher = &mut self.all[number];
            match frame.opcode {
                // Centrifugo joins several messages into one frame, a line each.
                frame::TEXT => {
                    for line in frame.payload.split(|byte| *byte == b'\n') {
                        self.take_message(number, line, now)?;
                    }
                }
                frame::PING => {
                    self.tally.pings += 1;
                    // Masked with zeros, which leaves the payload as it is.
                    let mut pong = vec![
                        0x8a,
                        0x80 | u8::try_from(frame.payload.len()).unwrap_or(0),
                        0,
                        0,
                        0,
                        0,
                    ];
                    pong.extend_from_slice(frame.payload);
                    watcher.stream.write_all(&pong).map_err(doing("answering a ping"))?;
                }
                frame::CLOSE => {
                    let reason =
                        String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default());
                    return Err(Error::Server(format!(
                        "the server closed watcher {number}: {reason}"
                    )));
                }
                _ => {}
            }
        }
        self.all[number].partial = bytes.to_vec();
        Ok(())
    }

    fn take_message(&mut self, number: usize, message: &[u8], now: u64) -> Result<(), Error> {
        let watcher = &mut self.all[number];
        if matches!(watcher.phase, Phase::Subscribing) {
            if memchr::memmem::find(message, br#""error""#).is_some() {
                let text = String::from_utf8_lossy(message);
                return Err(Error::Protocol(format!("watcher {number} was answered: {text}")));
            }
            if memchr::memmem::find(message, br#""id":2"#).is_some() {
                watcher.phase = Phase::Open;
                self.open += 1;
            }
        }
        if message == b"{}" {
            self.tally.pings += 1;
            return watcher.stream.write_all(&text_frame("{}")).map_err(doing("answering a ping"));
        }
        let Some(stamp) = self.stamps.find(message) else {
            let ping = memchr::memmem::find(message, br#""type":"ping""#);
            self.tally.pings += u64::from(ping.is_some());
            return Ok(());
        };
        self.tally.deliveries += 1;
        self.tally.bytes += message.len() as u64;
        self.tally.latency.saturating_record(now.saturating_sub(stamp.at));
        let before = watcher.newest.number;
        if stamp.number <= before {
            return Err(Error::Protocol(format!(
                "watcher {number} got update {} after {before}",
                stamp.number
            )));
        }
        watcher.newest = stamp;
        self.reached += usize::from(before < self.target && stamp.number >= self.target);
        Ok(())
    }
}

/// Centrifugo's protocol: the frame that connects a client and subscribes it to a channel. The second answer says that it
/// is subscribed.
fn subscribe(channel: &str) -> Vec<u8> {
    text_frame(&format!(
        "{{\"id\":1,\"connect\":{{}}}}\n{{\"id\":2,\"subscribe\":{{\"channel\":\"{channel}\"}}}}"
    ))
}

/// A short text frame, masked with zeros, which leaves the payload as it is.
pub(crate) fn text_frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126);
    let mut frame = vec![0x81, 0x80 | length.expect("a short text"), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A WebSocket handshake's request.
pub(crate) fn request(address: &Address, endpoint: &Endpoint) -> String {
    let (path, host, authorization) = (&endpoint.path, address.socket, endpoint.authorization());
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{authorization}\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Watchers that finish the handshake and then never read: with a small receive buffer, so that they stall soon.
pub(crate) fn stalled(
    address: &Address,
    count: usize,
    endpoint: &Endpoint,
) -> Result<Vec<socket2::Socket>, Error> {
    if address.tls.is_some() {
        return Err(Error::Limit("watchers that never read are without TLS".into()));
    }
    let connect = || {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_recv_buffer_size(4096)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.connect(&address.socket.into())?;
        // In one write: a request in pieces would be another test.
        let request = request(address, endpoint);
        (&socket).write_all(request.as_bytes())?;
        let mut answer = [0; 16];
        (&socket).read_exact(&mut answer)?;
        Ok(socket)
    };
    (0..count).map(|_| connect().map_err(doing("connecting a stalled watcher"))).collect()
}
