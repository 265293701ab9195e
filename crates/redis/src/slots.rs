use std::collections::BTreeMap;
use std::fmt;

use redis::{ConnectionAddr, Value};

/// Which server has which of the 16,384 slots of a Cluster. Without a Cluster, one server has all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// By the last slot of each range: the range's first slot, and its server.
    ranges: BTreeMap<u16, (u16, Node)>,
}

/// A server: host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

const SLOTS: u16 = 16_384;

impl Slots {
    pub(crate) fn one(address: &ConnectionAddr) -> Option<Self> {
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) = address
        else {
            return None;
        };
        let node = Node { host: host.clone(), port: *port };
        Some(Self { ranges: BTreeMap::from([(SLOTS - 1, (0, node))]) })
    }

    /// Reads the answer to `CLUSTER SLOTS`; none if it is something else.
    pub(crate) fn parse(value: &Value) -> Option<Self> {
        let mut ranges = BTreeMap::new();
        for range in array(value)? {
            let [Value::Int(first), Value::Int(last), primary, ..] = array(range)? else {
                return None;
            };
            let [Value::BulkString(host), Value::Int(port), ..] = array(primary)? else {
                return None;
            };
            let node = Node {
                host: String::from_utf8(host.clone()).ok()?,
                port: u16::try_from(*port).ok()?,
            };
            let last = u16::try_from(*last).ok().filter(|last| *last < SLOTS)?;
            ranges.insert(last, (u16::try_from(*first).ok()?, node));
        }
        Some(Self { ranges })
    }

    /// The server that has a slot; none while no server has it.
    pub fn node_of(&self, slot: u16) -> Option<&Node> {
        let (_, (first, node)) = self.ranges.range(slot..).next()?;
        (*first <= slot).then_some(node)
    }

    /// The servers, each with one of its slots.
    pub fn nodes(&self) -> BTreeMap<Node, u16> {
        self.ranges.values().map(|(first, node)| (node.clone(), *first)).collect()
    }

    /// Whether each slot has a server.
    pub fn is_complete(&self) -> bool {
        let mut next = 0;
        for (last, (first, _)) in &self.ranges {
            if *first != next {
                return false;
            }
            next = last + 1;
        }
        next == SLOTS
    }
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// The slot of a key or channel: the CRC-16/XMODEM of the text in its first braces, or else of all of it (Redis Cluster
/// specification, "Key distribution model").
pub fn slot_of(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let tag = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let mut crc = 0_u16;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_as_redis_counts_them() {
        // As `CLUSTER KEYSLOT` answers.
        for (key, slot) in [("123456789", 12_739), ("foo", 12_182), ("job_status:{foo}", 12_182)] {
            assert_eq!(slot_of(key), slot);
        }
        assert_eq!(slot_of("{}x"), slot_of("{}x"));
        assert_ne!(slot_of("{}x"), slot_of("{}y"), "empty braces count for nothing");
    }

    #[test]
    fn one_server_has_them_all() {
        let slots = Slots::one(&ConnectionAddr::Tcp("h".to_owned(), 1)).expect("an address");
        assert!(slots.is_complete());
        assert_eq!(slots.node_of(0), slots.node_of(SLOTS - 1));
        assert_eq!(slots.nodes().len(), 1);
    }

    #[test]
    fn a_gap_is_seen() {
        let range = |first, last, host: &str| {
            let node = Value::Array(vec![
                Value::BulkString(host.as_bytes().to_vec()),
                Value::Int(7),
                Value::BulkString(b"id".to_vec()),
            ]);
            Value::Array(vec![Value::Int(first), Value::Int(last), node])
        };
        let parse = |ranges| Slots::parse(&Value::Array(ranges)).expect("an answer");
        let slots = parse(vec![range(0, 99, "a"), range(200, 16_383, "b")]);
        assert!(!slots.is_complete());
        assert_eq!(slots.node_of(99).map(|node| node.host.as_str()), Some("a"));
        assert_eq!(slots.node_of(150), None);
        assert!(parse(vec![range(0, 99, "a"), range(100, 16_383, "b")]).is_complete());
        assert_eq!(Slots::parse(&Value::Int(1)), None);
    }
}
