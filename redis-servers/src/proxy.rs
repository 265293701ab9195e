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

/// At most so many bytes are under way in one direction of a connection; then its sender has to wait, as with TCP's own
/// window.
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

/// What has gone through the proxy since it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Connections that were taken.
    pub connections: u64,
    /// Those of them that are open.
    pub open: u64,
    /// Bytes delivered to the server.
    pub to_server: u64,
    /// Bytes delivered to the client.
    pub to_client: u64,
}

/// One port of 127.0.0.1 before one server's. Every fault lasts until [`Proxy::heal`].
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    conduct: watch::Sender<Conduct>,
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

/// How it behaves now.
#[derive(Clone, Debug, Default)]
struct Conduct {
    to_server: Lane,
    to_client: Lane,
    refuses: bool,
    /// Connections that were taken before this many cuts are cut.
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
    /// A proxy to `server` that lets everything pass.
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

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, what goes that way takes so much longer.
    pub fn delay(&self, way: Way, delay: Duration) {
        self.conduct.send_modify(|conduct| conduct.lane(way).delay = delay);
    }

    /// From now on, nothing that goes that way arrives; connections stay open, and what has been sent arrives after
    /// [`Proxy::heal`], as it does when a network comes back.
    pub fn hold(&self, way: Way) {
        self.conduct.send_modify(|conduct| conduct.lane(way).holds = true);
    }

    /// Resets (RST) all connections that are open; what was under way is lost. New ones are taken.
    pub fn cut(&self) {
        self.conduct.send_modify(|conduct| conduct.cuts += 1);
    }

    /// From now on, nobody listens: who connects is refused. Connections that are open stay.
    pub fn refuse(&self) {
        self.conduct.send_modify(|conduct| conduct.refuses = true);
        self.until_listening(false);
    }

    /// Everything passes again, at once.
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

    /// What has gone through.
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

/// Takes connections until it is over.
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
            // The port is ours but for a moment of the kernel's; if somebody else has it, try until he is gone.
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
    // Those that are left are dropped with the runtime.
}

/// One connection, until either side ends it or it is cut.
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
            // An error either way (a reset) ends both; an end of stream, only its own way.
            both = async { tokio::try_join!(one, other) } => both.is_ok(),
            _ = conduct.wait_for(|now| now.cuts != cuts || now.over) => false,
        }
    };
    if !ended_well {
        let _ = (client.set_zero_linger(), upstream.set_zero_linger());
    }
    counts.open.fetch_sub(1, Ordering::Relaxed);
}

/// Carries what comes in to the other side, as late as it has to be.
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
        // The delay of now, not of when it came, so that a heal lets everything go at once.
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
