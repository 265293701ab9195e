//! A client that does one thing as often as the server lets it, from an address of its own.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::reporter;
use crate::server::MAX_CONNECTIONS_PER_ADDRESS;
use crate::stream::Address;
use crate::update::write_request;
use crate::watchers::{request, text_frame};

/// The address that floods. The watchers and the reporter connect from 127.0.0.1.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// How many attempts a flood makes at most.
const MOST: u64 = 10_000_000;
/// The requests or commands that are sent before their answers are read.
const TOGETHER: u64 = 64;
/// How many jobs one socket subscribes to before it is closed.
const ON_A_SOCKET: u64 = 2_048;
/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is done over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// Connections without a request. More of them are kept than one address may have.
    Connects,
    /// WebSockets, which are closed as soon as they are open.
    Handshakes,
    /// Reports of new jobs.
    Reports,
    /// Reads of jobs that nobody reports.
    UnknownJobs,
    /// Subscriptions to such jobs.
    Subscriptions,
}

impl Flood {
    pub(crate) const ALL: [Self; 5] =
        [Self::Connects, Self::Handshakes, Self::Reports, Self::UnknownJobs, Self::Subscriptions];
}

/// How often a client tried, and how often the server refused. Connections are not asked about.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) made: u64,
    pub(crate) refused: u64,
}

/// A flood on a thread of its own. It ends with this value.
#[derive(Debug)]
pub(crate) struct Flooding {
    thread: Option<JoinHandle<Attempts>>,
    stop: Arc<AtomicBool>,
}

impl Flooding {
    pub(crate) fn start(server: SocketAddr, flood: Flood) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut client = Client { server, stop: Arc::clone(&stop), attempts: Attempts::default() };
        let thread = std::thread::spawn(move || {
            client.flood(flood);
            client.attempts
        });
        Self { thread: Some(thread), stop }
    }

    /// Ends it.
    pub(crate) fn finish(mut self) -> Result<Attempts, Error> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(attempts)) => Ok(attempts),
            _ => Err(Error::Server("a flood's thread panicked".into())),
        }
    }
}

impl Drop for Flooding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Only on the way out with another error, which is the one to return.
            let _ = thread.join();
        }
    }
}

struct Client {
    server: SocketAddr,
    stop: Arc<AtomicBool>,
    attempts: Attempts,
}

impl Client {
    fn flood(&mut self, flood: Flood) {
        let mut held = VecDeque::new();
        while self.goes_on() {
            let tried = match flood {
                Flood::Connects => self.connect_and_hold(&mut held),
                Flood::Handshakes => self.shake_hands(),
                Flood::Reports => self.requests(|number, out| {
                    let path = format!("/jobs/flood-{number}");
                    let to = Endpoint { path, ..Endpoint::default() };
                    write_request(out, &to, r#"{"status":"processing","progress":0.5}"#);
                }),
                Flood::UnknownJobs => self.requests(|number, out| {
                    let request =
                        format!("GET /jobs/unknown-{number} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
                    out.extend_from_slice(request.as_bytes());
                }),
                Flood::Subscriptions => self.subscribe(),
            };
            // The server closed the connection, or did not answer. A flood goes on.
            if tried.is_err() {
                self.attempts.made += 1;
                self.attempts.refused += 1;
            }
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.attempts.made < MOST
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((SOURCE, 0)).into())?;
        // A connection that ends in order keeps its port for a minute, and there are only 28,000.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect_timeout(&self.server.into(), PATIENCE)?;
        Ok(socket.into())
    }

    fn connect_and_hold(&mut self, held: &mut VecDeque<TcpStream>) -> io::Result<()> {
        held.push_back(self.connect()?);
        if held.len() > MAX_CONNECTIONS_PER_ADDRESS + 100 {
            held.pop_front();
        }
        self.attempts.made += 1;
        Ok(())
    }

    fn open(&self, path: String) -> io::Result<(TcpStream, bool)> {
        let mut stream = self.connect()?;
        let endpoint = Endpoint { path, ..Endpoint::default() };
        stream.write_all(request(&Address::plain(self.server), &endpoint).as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok((stream, &status == b"HTTP/1.1 101"))
    }

    fn shake_hands(&mut self) -> io::Result<()> {
        let (_, is_open) = self.open(format!("/ws/jobs/flood-{}", self.attempts.made))?;
        self.attempts.made += 1;
        self.attempts.refused += u64::from(!is_open);
        Ok(())
    }

    /// Sends requests over one connection until the server closes it.
    fn requests(&mut self, write: impl Fn(u64, &mut Vec<u8>)) -> io::Result<()> {
        let mut stream = self.connect()?;
        let (mut out, mut answers) = (Vec::new(), Vec::new());
        while self.goes_on() {
            out.clear();
            for number in 0..TOGETHER {
                write(self.attempts.made + number, &mut out);
            }
            stream.write_all(&out)?;
            answers.clear();
            let (mut taken, mut answered) = (0, 0);
            while answered < TOGETHER {
                read_more(&mut stream, &mut answers)?;
                while let Some(answer) =
                    reporter::answer(&answers[taken..]).map_err(io::Error::other)?
                {
                    taken += answer.length;
                    answered += 1;
                    self.attempts.made += 1;
                    // Unknown jobs are answered with 404.
                    self.attempts.refused += u64::from(matches!(answer.status, 429 | 503));
                }
            }
        }
        Ok(())
    }

    /// Subscribes one socket to more jobs than it may watch.
    fn subscribe(&mut self) -> io::Result<()> {
        let (mut stream, is_open) = self.open("/ws".into())?;
        if !is_open {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let mut answers = Vec::new();
        for _ in 0..ON_A_SOCKET / TOGETHER {
            if !self.goes_on() {
                break;
            }
            let commands = (0..TOGETHER).flat_map(|number| {
                let number = self.attempts.made + number;
                text_frame(&format!(r#"{{"type":"subscribe","job_id":"unwatched-{number}"}}"#))
            });
            stream.write_all(&commands.collect::<Vec<u8>>())?;
            // The rest of the handshake's answer may come before the first command's.
            read_more(&mut stream, &mut answers)?;
            let refused = memchr::memmem::find_iter(&answers, br#""type":"error""#).count();
            answers.clear();
            self.attempts.made += TOGETHER;
            self.attempts.refused += refused as u64;
        }
        Ok(())
    }
}

/// Appends what has come, at least a byte.
fn read_more(stream: &mut TcpStream, to: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            to.extend_from_slice(&buffer[..read]);
            Ok(())
        }
    }
}
