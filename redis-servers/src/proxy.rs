//! A proxy between a client and a server, which breaks on request.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::{eventually, port};

/// The most bytes in flight in one direction of a connection. Beyond that the sender has to wait, as with the window of TCP.
const WINDOW: usize = 1 << 20;
const CHUNK: usize = 64 << 10;

/// A direction through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// The traffic through the proxy since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Accepted connections.
    pub connections: u64,
    /// Open connections.
    pub open: u64,
    /// Bytes delivered to the server.
    pub to_server: u64,
    /// Bytes delivered to the client.
    pub to_client: u64,
}

/// A port of 127.0.0.1 in front of a server's port. Every fault lasts until [`Proxy::heal`].
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    conduct: watch::Sender<Conduct>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// The present faults.
#[derive(Clone, Debug, Default)]
struct Conduct {
    to_server: Lane,
    to_client: Lane,
    refuses: bool,
    /// How many cuts there were. Connections that were accepted before the latest cut are cut.
    cuts: u64,
    over: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    delay: Duration,
    holds: bool,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    open: AtomicU64,
    to_server: AtomicU64,
    to_client: AtomicU64,
    listening: AtomicBool,
}

impl Proxy {
    /// Starts a proxy to `server` without faults.
    pub fn to(server: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let listener = loop {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free_port()));
            match runtime.block_on(TcpListener::bind(address)) {
                Ok(listener) => break listener,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => panic!("listening on {address}: {error}"),
            }
        };
        let address = listener.local_addr().expect("a listener has an address");
        let (conduct, seen) = watch::channel(Conduct::default());
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            runtime.block_on(serve(listener, address, server, seen, counted));
        });
        Self { address, conduct, counts, thread: Some(thread) }
    }

    /// The address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Delays everything in this direction.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.conduct.send_modify(|conduct| conduct.lane(way).delay = delay);
    }

    /// Holds everything in this direction. Connections stay open, and the held bytes arrive after [`Proxy::heal`], as after an
    /// outage of the network.
    pub fn hold(&self, way: Way) {
        self.conduct.send_modify(|conduct| conduct.lane(way).holds = true);
    }

    /// Resets (RST) all open connections. Bytes in flight are lost. New connections are accepted.
    pub fn cut(&self) {
        self.conduct.send_modify(|conduct| conduct.cuts += 1);
    }

    /// Stops listening, so that new connections are refused. Open connections stay.
    pub fn refuse(&self) {
        self.conduct.send_modify(|conduct| conduct.refuses = true);
        self.until_listening(false);
    }

    /// Ends all faults at once.
    pub fn heal(&self) {
        self.conduct.send_modify(|conduct| {
            *conduct = Conduct { cuts: conduct.cuts, over: conduct.over, ..Conduct::default() };
        });
        self.until_listening(true);
    }

    fn until_listening(&self, wanted: bool) {
        eventually("the proxy has heard", || {
            (self.counts.listening.load(Ordering::Acquire) == wanted).then_some(())
        });
    }

    /// The traffic so far.
    pub fn traffic(&self) -> Traffic {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic {
            connections: read(&self.counts.connections),
            open: read(&self.counts.open),
            to_server: read(&self.counts.to_server),
            to_client: read(&self.counts.to_client),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.conduct.send_modify(|conduct| conduct.over = true);
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed; a second one while dropping would hide it.
            let _ = thread.join();
        }
    }
}

impl Conduct {
    fn lane(&mut self, way: Way) -> &mut Lane {
        match way {
            Way::ToServer => &mut self.to_server,
            Way::ToClient => &mut self.to_client,
        }
    }
}

impl Counts {
    fn delivered(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::ToServer => &self.to_server,
            Way::ToClient => &self.to_client,
        }
    }
}

/// Accepts connections until the proxy is dropped.
async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    mut conduct: watch::Receiver<Conduct>,
    counts: Arc<Counts>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let (over, refuses) = {
            let now = conduct.borrow_and_update();
            (now.over, now.refuses)
        };
        if over {
            break;
        }
        if refuses {
            listener = None;
        } else if listener.is_none() {
            // The port may be taken for a moment, so try until it is free.
            listener = TcpListener::bind(address).await.ok();
        }
        counts.listening.store(listener.is_some(), Ordering::Release);
        let again = Instant::now() + Duration::from_millis(20);
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await.ok(),
                None if refuses => std::future::pending().await,
                None => {
                    sleep_until(again).await;
                    None
                }
            }
        };
        tokio::select! {
            changed = conduct.changed() => if changed.is_err() { break },
            Some(_) = connections.join_next() => {}
            accepted = accept => if let Some((client, _)) = accepted {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                let connection = connection(client, server, conduct.clone(), Arc::clone(&counts));
                connections.spawn(connection);
            },
        }
    }
    // The remaining connections are dropped with the runtime.
}

/// Serves a connection until either side ends it, or it is cut.
async fn connection(
    mut client: TcpStream,
    server: SocketAddr,
    mut conduct: watch::Receiver<Conduct>,
    counts: Arc<Counts>,
) {
    // A server that is down refuses connections. A client here can only be reset.
    let Ok(mut upstream) = TcpStream::connect(server).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    counts.open.fetch_add(1, Ordering::Relaxed);
    let cuts = conduct.borrow().cuts;
    let lanes = (conduct.clone(), conduct.clone());
    let ended_well = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = upstream.split();
        let one = lane(from_client, to_server, Way::ToServer, lanes.0, &counts);
        let other = lane(from_server, to_client, Way::ToClient, lanes.1, &counts);
        tokio::select! {
            // An error in either direction (a reset) ends both directions; an end of stream ends only its own.
            both = async { tokio::try_join!(one, other) } => both.is_ok(),
            _ = conduct.wait_for(|now| now.cuts != cuts || now.over) => false,
        }
    };
    if !ended_well {
        let _ = (client.set_zero_linger(), upstream.set_zero_linger());
    }
    counts.open.fetch_sub(1, Ordering::Relaxed);
}

/// Copies the bytes of one direction, with its delay.
async fn lane(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    mut conduct: watch::Receiver<Conduct>,
    counts: &Counts,
) -> io::Result<()> {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut bytes_waiting = 0;
    let mut ended = false;
    let mut buffer = vec![0; CHUNK];
    loop {
        let now = *conduct.borrow_and_update().clone().lane(way);
        if waiting.is_empty() && ended {
            return to.shutdown().await;
        }
        // The present delay, not that at arrival, so that `heal` releases everything at once.
        let due = waiting.front().filter(|_| !now.holds).map(|(came, _)| *came + now.delay);
        tokio::select! {
            biased;
            changed = conduct.changed() => if changed.is_err() { return Ok(()) },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some((_, bytes)) = waiting.pop_front() {
                    bytes_waiting -= bytes.len();
                    to.write_all(&bytes).await?;
                    counts.delivered(way).fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
            }
            read = from.read(&mut buffer), if !ended && bytes_waiting < WINDOW => {
                let read = read?;
                ended = read == 0;
                if read > 0 {
                    bytes_waiting += read;
                    waiting.push_back((Instant::now(), buffer[..read].to_vec()));
                }
            }
        }
    }
}
