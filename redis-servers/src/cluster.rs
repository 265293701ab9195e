use std::net::SocketAddr;

use crate::client::Reply;
use crate::eventually;
use crate::options::Options;
use crate::port;
use crate::server::{Kind, Server};

const SLOTS: u32 = 16_384;
/// The smallest cluster that can lose a primary has three.
const PRIMARIES: usize = 3;
/// How many keys of a slot are moved at a time.
const BATCH: &str = "100";

/// A Cluster of three primaries. It notices a lost primary within two seconds.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes. The first three start as primaries, each with a third of the slots. Then come the first replicas of these
    /// three, then their second replicas, and so on.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Starts three primaries with this many replicas each. All slots are served when this returns.
    pub fn start(replicas: usize) -> Self {
        Self::with(replicas, &Options::default())
    }

    /// Like [`start`](Self::start), with these options for each node. Of passwords, only the default user's is supported.
    pub fn with(replicas: usize, options: &Options) -> Self {
        let options = options.clone().line("cluster-node-timeout 2000");
        let count = PRIMARIES * (1 + replicas);
        let node = |_| Server::of_kind(options.clone(), |_| Kind::Node { bus: port::free_port() });
        let cluster = Self { nodes: (0..count).map(node).collect() };
        let (primaries, others) = cluster.nodes.split_at(PRIMARIES);
        for (index, node) in primaries.iter().enumerate() {
            let bound = |index: usize| SLOTS * u32::try_from(index).unwrap_or(0) / 3;
            let (from, to) = (bound(index), bound(index + 1) - 1);
            node.answer(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
        }
        for (index, node) in cluster.nodes.iter().enumerate() {
            // Nodes with the same epoch would have to resolve a conflict first.
            node.answer(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
            if index > 0 {
                cluster.introduce(node);
            }
        }
        cluster.until("all nodes know each other", |node| {
            let lines = node.answer(&["CLUSTER", "NODES"]).text()?;
            let known = |line: &&str| !line.contains("handshake") && !line.contains("fail");
            Some(lines.lines().filter(known).count() == count)
        });
        for (index, replica) in others.iter().enumerate() {
            let primary = cluster.nodes[index % PRIMARIES].answer(&["CLUSTER", "MYID"]);
            replica.answer(&["CLUSTER", "REPLICATE", &primary.text().unwrap_or_default()]);
        }
        cluster.settled();
        cluster
    }

    /// The nodes' addresses.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(Server::address).collect()
    }

    /// The slot of a key or a sharded channel.
    pub fn slot(&self, key: &str) -> u16 {
        let slot = self.any().answer(&["CLUSTER", "KEYSLOT", key]).integer();
        slot.and_then(|slot| u16::try_from(slot).ok()).expect("KEYSLOT answers with a slot")
    }

    /// The node that says that it serves the slot.
    pub fn owner(&self, slot: u16) -> usize {
        eventually("the slot is served", || {
            self.nodes.iter().position(|node| serves(node, slot) == Some(true))
        })
    }

    /// Moves a slot with its keys to another node, as `redis-cli --cluster reshard` does: clients are redirected meanwhile.
    pub fn migrate(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        if from == to {
            return;
        }
        let name = slot.to_string();
        let id = |node: usize| self.nodes[node].answer(&["CLUSTER", "MYID"]).text();
        let (from_id, to_id) = (id(from).unwrap_or_default(), id(to).unwrap_or_default());
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        to.answer(&["CLUSTER", "SETSLOT", &name, "IMPORTING", &from_id]);
        from.answer(&["CLUSTER", "SETSLOT", &name, "MIGRATING", &to_id]);
        loop {
            let keys = from.answer(&["CLUSTER", "GETKEYSINSLOT", &name, BATCH]);
            let keys: Vec<String> = keys.items().iter().filter_map(Reply::text).collect();
            if keys.is_empty() {
                break;
            }
            let port = to.port().to_string();
            let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000"];
            let password = self.nodes[0].password();
            if let Some(password) = password {
                command.extend(["AUTH", password]);
            }
            command.push("KEYS");
            command.extend(keys.iter().map(String::as_str));
            from.answer(&command);
        }
        // First the new owner, then the old one, so that the slot always has an owner; then all other primaries.
        to.answer(&["CLUSTER", "SETSLOT", &name, "NODE", &to_id]);
        from.answer(&["CLUSTER", "SETSLOT", &name, "NODE", &to_id]);
        for node in &self.nodes {
            // Replicas refuse this, and nodes that are down do not reply. Both learn of it from the other nodes.
            let _ = node.command(&["CLUSTER", "SETSLOT", &name, "NODE", &to_id]);
        }
        eventually("the slot has moved", || (serves(to, slot) == Some(true)).then_some(()));
    }

    /// Kills the slot's primary, and waits until a replica serves its slots. Returns both.
    pub fn fail_over(&mut self, slot: u16) -> (usize, usize) {
        let before = self.owner(slot);
        self.nodes[before].kill();
        let now = self.owner(slot);
        eventually("the cluster is whole again", || {
            (state(&self.nodes[now])? == "ok").then_some(())
        });
        (before, now)
    }

    /// Waits until every running node says that all slots are served, and every replica is in sync.
    pub fn settled(&self) {
        self.until("the cluster serves all slots", |node| Some(state(node)? == "ok"));
        self.until("the replicas are in step", |node| {
            let role = node.answer(&["ROLE"]);
            let role: Vec<_> = role.items().iter().map(Reply::text).collect();
            let is_replica = role.first()?.as_deref() == Some("slave");
            Some(!is_replica || role.get(3)?.as_deref() == Some("connected"))
        });
    }

    fn until(&self, what: &str, holds: impl Fn(&Server) -> Option<bool>) {
        let runs = |node: &&Server| node.command(&["PING"]).is_ok();
        eventually(what, || {
            self.nodes.iter().filter(runs).all(|node| holds(node) == Some(true)).then_some(())
        });
    }

    fn any(&self) -> &Server {
        let runs = |node: &&Server| node.command(&["PING"]).is_ok();
        self.nodes.iter().find(runs).expect("a node of the cluster runs")
    }

    /// Makes the first node meet `node`.
    fn introduce(&self, node: &Server) {
        let (port, bus) = (node.port().to_string(), node.bus().to_string());
        self.nodes[0].answer(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    }
}

/// Whether a node says that it is the slot's primary.
fn serves(node: &Server, slot: u16) -> Option<bool> {
    let lines = node.command(&["CLUSTER", "NODES"]).ok()?.text()?;
    let own = lines.lines().find(|line| line.contains("myself"))?;
    // id, address, flags, primary, ping, pong, epoch, link; then ranges, and in brackets slots that are moving.
    let ranges = own.split_ascii_whitespace().skip(8).filter(|range| !range.starts_with('['));
    let holds = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some((from.parse::<u16>().ok()?..=to.parse().ok()?).contains(&slot))
    };
    let is_primary = own.split_ascii_whitespace().nth(2)?.contains("master");
    Some(is_primary && ranges.filter_map(holds).any(|holds| holds))
}

fn state(node: &Server) -> Option<String> {
    let lines = node.command(&["CLUSTER", "INFO"]).ok()?.text()?;
    let state = lines.lines().find_map(|line| line.strip_prefix("cluster_state:"));
    state.map(str::to_owned)
}
