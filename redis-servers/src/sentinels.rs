use std::net::SocketAddr;

use crate::client::Reply;
use crate::eventually;
use crate::options::Options;
use crate::server::{Kind, Server};

/// The name under which the Sentinels know the primary.
const NAME: &str = "milepost";
/// How many of the three Sentinels have to agree that a primary is down, so that one may be missing.
const QUORUM: usize = 2;

/// A primary, its replicas, and three Sentinels that promote a replica when the primary has been gone for a second.
#[derive(Debug)]
pub struct Sentinels {
    /// The primary and its replicas. The first is the primary until a failover: see [`Sentinels::primary`].
    pub servers: Vec<Server>,
    /// The Sentinels.
    pub sentinels: Vec<Server>,
}

impl Sentinels {
    /// Starts a primary with this many replicas. When this returns, the replicas are in sync, and all servers know each other.
    pub fn start(replicas: usize) -> Self {
        Self::with(replicas, &Options::default())
    }

    /// Like [`start`](Self::start), with these options for the primary and the replicas. Of passwords, only the default user's is
    /// supported.
    pub fn with(replicas: usize, options: &Options) -> Self {
        let primary = Server::with(options.clone());
        let port = primary.port();
        let mut servers = vec![primary];
        for _ in 0..replicas {
            let options = options.clone().line(format!("replicaof 127.0.0.1 {port}"));
            servers.push(Server::with(options));
        }
        eventually("the replicas are in step", || servers[1..].iter().all(in_step).then_some(()));

        let mut watch = Options::default()
            .line(format!("sentinel monitor {NAME} 127.0.0.1 {port} {QUORUM}"))
            .line(format!("sentinel down-after-milliseconds {NAME} 1000"))
            .line(format!("sentinel failover-timeout {NAME} 5000"));
        if let Some(password) = &options.password {
            watch = watch.line(format!("sentinel auth-pass {NAME} {password}"));
        }
        let sentinel = |_| Server::of_kind(watch.clone(), |_| Kind::Sentinel);
        let all = Self { servers, sentinels: (0..3).map(sentinel).collect() };
        eventually("the Sentinels know each other", || {
            let knows = |sentinel: &Server| {
                let about = sentinel.command(&["SENTINEL", "MASTER", NAME]).ok()?;
                let count = |name| about.field(name).and_then(Reply::integer);
                let others = count("num-other-sentinels") == Some(2);
                Some(others && count("num-slaves") == i64::try_from(replicas).ok())
            };
            all.sentinels.iter().all(|sentinel| knows(sentinel) == Some(true)).then_some(())
        });
        all
    }

    /// The name under which the Sentinels know the primary.
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The Sentinels' addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(Server::address).collect()
    }

    /// The server that most Sentinels, and the server itself, say is the primary.
    pub fn primary(&self) -> usize {
        eventually("the Sentinels agree on a primary", || {
            let index = (0..self.servers.len()).find(|index| self.who_say(*index) >= QUORUM)?;
            let role = self.servers[index].command(&["ROLE"]).ok()?;
            (role.items().first()?.text()? == "master").then_some(index)
        })
    }

    /// How many Sentinels say that this is the primary.
    fn who_say(&self, server: usize) -> usize {
        let port = self.servers[server].port().to_string();
        let says = |sentinel: &&Server| {
            let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
            let address = sentinel.command(&words).ok();
            address.and_then(|address| address.items().get(1)?.text()) == Some(port.clone())
        };
        self.sentinels.iter().filter(says).count()
    }

    /// Kills the primary, and waits until another server is the primary and all Sentinels know it. Returns both.
    pub fn fail_over(&mut self) -> (usize, usize) {
        let before = self.primary();
        self.servers[before].kill();
        let now = eventually("there is a new primary", || {
            let now = self.primary();
            (now != before).then_some(now)
        });
        eventually("all Sentinels know the new primary", || {
            (self.who_say(now) == self.sentinels.len()).then_some(())
        });
        (before, now)
    }
}

fn in_step(replica: &Server) -> bool {
    let role = replica.command(&["ROLE"]);
    role.is_ok_and(|role| role.items().get(3).and_then(Reply::text).as_deref() == Some("connected"))
}
