use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost_redis::Node;

use crate::conditions::Conditions;

/// The health of each Redis server: whether an update reported now would be kept, and would reach this instance.
///
/// Times are what the clock's `elapsed` returns.
#[derive(Default)]
pub(crate) struct Health {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<Node, NodeHealth>,
    /// Why the servers are unknown, if they are.
    topology_failure: Option<String>,
    conditions: Conditions,
}

struct NodeHealth {
    /// When the server was added.
    since: Duration,
    /// When the latest probe arrived.
    last_probe: Option<Duration>,
    /// Why the latest probe could not be written, if it failed.
    write_failure: Option<String>,
    /// Why there is no subscription, if there is none.
    subscription_failure: Option<String>,
    /// Whether the subscription ended, and no probe has arrived since.
    is_outage: bool,
}

/// A server is ready only if a probe has arrived within this time.
pub(crate) const SILENCE: Duration = Duration::from_secs(4);

/// After this time without a probe the connection may be half-open, so it is closed, even if the server is only slow.
const LONG_SILENCE: Duration = Duration::from_secs(10);

impl Health {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the servers. Those that were known before keep their health.
    pub(crate) fn set_nodes(&self, nodes: impl Iterator<Item = Node>, now: Duration) {
        let mut inner = self.inner();
        let mut before = std::mem::take(&mut inner.nodes);
        inner.nodes = nodes
            .map(|node| {
                let new = NodeHealth {
                    since: now,
                    last_probe: None,
                    write_failure: None,
                    subscription_failure: None,
                    is_outage: false,
                };
                let health = before.remove(&node).unwrap_or(new);
                (node, health)
            })
            .collect();
        inner.topology_failure = None;
    }

    /// Records why the servers are unknown.
    pub(crate) fn set_topology_failure(&self, why: String) {
        self.inner().topology_failure = Some(why);
    }

    /// Records that a probe arrived. Returns whether that ends an outage of the subscription.
    pub(crate) fn probe_arrived(&self, node: &Node, now: Duration) -> bool {
        self.inner().nodes.get_mut(node).is_some_and(|health| {
            health.last_probe = Some(now);
            std::mem::take(&mut health.is_outage)
        })
    }

    /// Records that there is a connection for the subscription.
    pub(crate) fn connected(&self, node: &Node) {
        if let Some(health) = self.inner().nodes.get_mut(node) {
            health.subscription_failure = None;
        }
    }

    /// Records that the subscription ended, or could not begin. Returns whether that begins an outage. An outage lasts until a
    /// probe arrives, however many connections fail meanwhile.
    pub(crate) fn subscription_lost(&self, node: &Node, why: String) -> bool {
        self.inner().nodes.get_mut(node).is_some_and(|health| {
            health.subscription_failure = Some(why);
            !std::mem::replace(&mut health.is_outage, true)
        })
    }

    /// Records the conditions of the servers. Returns those that are new.
    pub(crate) fn update_conditions(&self, conditions: Conditions) -> Vec<String> {
        let mut inner = self.inner();
        let before = std::mem::replace(&mut inner.conditions, conditions);
        let now = &inner.conditions;
        let all = [(&now.obstacle, before.obstacle), (&now.warning, before.warning)];
        all.into_iter()
            .filter(|(now, before)| *now != before)
            .filter_map(|(now, _)| now.clone())
            .collect()
    }

    /// What an operator should change, although the servers work.
    pub(crate) fn warning(&self) -> Option<String> {
        self.inner().conditions.warning.clone()
    }

    /// Records the result of writing a probe.
    pub(crate) fn probe_written(&self, node: &Node, result: Result<(), String>) {
        if let Some(health) = self.inner().nodes.get_mut(node) {
            health.write_failure = result.err();
        }
    }

    /// Whether the server accepts probes and none has arrived for too long. The subscription began at `since`.
    pub(crate) fn misses_probes(&self, node: &Node, since: Duration, now: Duration) -> bool {
        self.inner().nodes.get(node).is_some_and(|health| {
            let last = health.last_probe.unwrap_or(since).max(since);
            let silence = now.saturating_sub(last);
            silence > LONG_SILENCE || (health.write_failure.is_none() && silence > SILENCE)
        })
    }

    /// Checks that every server is healthy.
    ///
    /// # Errors
    /// The first server that is not, and why.
    pub(crate) fn check(&self, now: Duration) -> Result<(), String> {
        let inner = self.inner();
        if let Some(why) = &inner.topology_failure {
            return Err(why.clone());
        }
        if inner.nodes.is_empty() {
            return Err("no connection to Redis yet".to_owned());
        }
        for (node, health) in &inner.nodes {
            if let Some(obstacle) = &inner.conditions.obstacle {
                return Err(format!("{node}: {obstacle}"));
            }
            if let Some(why) = &health.write_failure {
                return Err(format!("{node}: {why}"));
            }
            if let Some(why) = &health.subscription_failure {
                return Err(format!("{node}: no subscription: {why}"));
            }
            match health.last_probe {
                Some(last_probe) if now.saturating_sub(last_probe) > SILENCE => {
                    let seconds = now.saturating_sub(last_probe).as_secs();
                    return Err(format!("{node}: no probe has arrived for {seconds} s"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_until_a_probe_arrives() {
        let (health, now) = (Health::default(), Duration::ZERO);
        let node = Node { host: "a".to_owned(), port: 1 };
        health.set_nodes([node.clone()].into_iter(), now);
        assert!(!health.probe_arrived(&node, now), "there was no outage");
        assert!(health.subscription_lost(&node, "closed".to_owned()));
        health.connected(&node);
        assert!(
            !health.subscription_lost(&node, "LOADING".to_owned()),
            "no probe has arrived since"
        );
        health.connected(&node);
        assert!(health.probe_arrived(&node, now));
        assert!(!health.probe_arrived(&node, now));
        assert!(health.subscription_lost(&node, "closed".to_owned()));
    }

    #[test]
    fn conditions_are_reported_when_they_change() {
        let health = Health::default();
        let warned = Conditions { warning: Some("evicts".to_owned()), ..Conditions::default() };
        assert_eq!(health.update_conditions(warned.clone()), ["evicts"]);
        assert_eq!(health.update_conditions(warned), Vec::<String>::new());
        assert_eq!(health.warning().as_deref(), Some("evicts"));
        assert_eq!(health.update_conditions(Conditions::default()), Vec::<String>::new());
    }
}
