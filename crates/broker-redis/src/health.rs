use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost_redis::Node;

/// What is known of the servers: whether an update reported now would be kept, and heard here.
///
/// Every moment is one of the clock's `elapsed`.
#[derive(Default)]
pub(crate) struct Health {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<Node, NodeHealth>,
    /// Why it is not known which servers there are, if it is not.
    topology: Option<String>,
}

struct NodeHealth {
    /// When it became one of ours.
    since: Duration,
    /// When a probe was heard last.
    heard: Option<Duration>,
    /// Why the last probe was not taken.
    refused: Option<String>,
    /// Why there is no subscription, if there is none.
    lost: Option<String>,
}

/// A server from which no probe has come for so long is not ready.
pub(crate) const SILENCE: Duration = Duration::from_secs(4);

/// After so long a connection is given up even if the server may just be slow: it may be half-open.
const LONG_SILENCE: Duration = Duration::from_secs(10);

impl Health {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are the servers now.
    pub(crate) fn nodes(&self, nodes: impl Iterator<Item = Node>, now: Duration) {
        let mut inner = self.inner();
        let mut before = std::mem::take(&mut inner.nodes);
        inner.nodes = nodes
            .map(|node| {
                let new = NodeHealth { since: now, heard: None, refused: None, lost: None };
                let health = before.remove(&node).unwrap_or(new);
                (node, health)
            })
            .collect();
        inner.topology = None;
    }

    /// It is not known which servers there are.
    pub(crate) fn no_topology(&self, why: String) {
        self.inner().topology = Some(why);
    }

    pub(crate) fn heard(&self, node: &Node, now: Duration) {
        if let Some(health) = self.inner().nodes.get_mut(node) {
            health.heard = Some(now);
        }
    }

    /// The subscription there began, or ended: why.
    pub(crate) fn linked(&self, node: &Node, result: Result<(), String>) {
        if let Some(health) = self.inner().nodes.get_mut(node) {
            health.lost = result.err();
        }
    }

    pub(crate) fn probed(&self, node: &Node, result: Result<(), String>) {
        if let Some(health) = self.inner().nodes.get_mut(node) {
            health.refused = result.err();
        }
    }

    /// Whether probes are published and none comes back, `since` that moment at the latest.
    pub(crate) fn is_deaf(&self, node: &Node, since: Duration, now: Duration) -> bool {
        self.inner().nodes.get(node).is_some_and(|health| {
            let last = health.heard.unwrap_or(since).max(since);
            let silence = now.saturating_sub(last);
            silence > LONG_SILENCE || (health.refused.is_none() && silence > SILENCE)
        })
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// When it is not: which server, and why.
    pub(crate) fn check(&self, now: Duration) -> Result<(), String> {
        let inner = self.inner();
        if let Some(why) = &inner.topology {
            return Err(why.clone());
        }
        if inner.nodes.is_empty() {
            return Err("no connection to Redis yet".to_owned());
        }
        for (node, health) in &inner.nodes {
            if let Some(why) = &health.refused {
                return Err(format!("{node}: {why}"));
            }
            if let Some(why) = &health.lost {
                return Err(format!("{node}: no subscription: {why}"));
            }
            match health.heard {
                Some(heard) if now.saturating_sub(heard) > SILENCE => {
                    let seconds = now.saturating_sub(heard).as_secs();
                    return Err(format!("{node}: the subscription is deaf for {seconds} s"));
                }
                Some(_) => {}
                None => {
                    let seconds = now.saturating_sub(health.since).as_secs();
                    return Err(format!("{node}: no subscription yet, for {seconds} s"));
                }
            }
        }
        Ok(())
    }
}
