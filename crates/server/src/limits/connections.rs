//! How many connections a client has at a time, so that one client cannot take all of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections each holder, such as an address, has, if that is bounded. There are at most as many entries as
/// connections.
pub(crate) struct Connections<K: Eq + Hash> {
    max: Option<usize>,
    open: Mutex<HashMap<K, usize>>,
    refused: AtomicU64,
}

/// A connection, counted until it is dropped.
pub(crate) struct Counted<K: Eq + Hash> {
    connections: Arc<Connections<K>>,
    holder: K,
}

/// The holder has as many connections as it may have.
#[derive(Debug)]
pub(crate) struct TooMany(pub(crate) usize);

impl<K: Eq + Hash + Clone> Connections<K> {
    /// None: the number is not bounded.
    pub(crate) fn new(max: Option<usize>) -> Arc<Self> {
        Arc::new(Self { max, open: Mutex::default(), refused: AtomicU64::new(0) })
    }

    /// Counts a connection; nothing where it is not bounded.
    pub(crate) fn count(self: &Arc<Self>, holder: K) -> Result<Option<Arc<Counted<K>>>, TooMany> {
        let Some(max) = self.max else { return Ok(None) };
        let mut open = self.lock();
        let count = open.get(&holder).copied().unwrap_or_default();
        if count >= max {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(TooMany(max));
        }
        open.insert(holder.clone(), count + 1);
        Ok(Some(Arc::new(Counted { connections: Arc::clone(self), holder })))
    }

    /// How many connections were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl<K: Eq + Hash> Connections<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Some(count) = open.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.holder);
            }
        }
    }
}

/// An owner of an IPv6 address usually has 2^64 of them, so a /64 counts as one client.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let addresses = Connections::new(Some(2));
        let count = |address: &str| addresses.count(network(address.parse().unwrap()));
        let held = [count("192.0.2.1"), count("::ffff:192.0.2.1")];
        assert!(held.iter().all(Result::is_ok));
        assert!(count("192.0.2.1").is_err() && count("192.0.2.2").is_ok());
        assert_eq!(addresses.refused(), 1);
        drop(held);
        assert!(count("192.0.2.1").is_ok());
        assert!(addresses.lock().is_empty(), "whoever has none is forgotten");
    }

    #[test]
    fn an_ipv6_network_of_64_bits_is_one_client() {
        let addresses = Connections::new(Some(1));
        let count = |address: &str| addresses.count(network(address.parse().unwrap()));
        let _held = count("2001:db8:1:2::1");
        assert!(count("2001:db8:1:2:ffff::9").is_err());
        assert!(count("2001:db8:1:3::1").is_ok());
    }
}
