use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost_redis::Node;

use crate::conditions::Conditions;

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
    conditions: Conditions,
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
    /// Whether the subscription ended, and no probe was heard since.
    is_outage: bool,
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
                let new = NodeHealth {
                    since: now,
                    heard: None,
                    refused: None,
                    lost: None,
                    is_outage: false,
                };
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

    /// A probe was heard. Whether an outage of the subscription ends with it.
    pub(crate) fn heard(&self, node: &Node, now: Duration) -> bool {
        self.inner().nodes.get_mut(node).is_some_and(|health| {
            health.heard = Some(now);
            std::mem::take(&mut health.is_outage)
        })
    }

    /// There is a connection for the subscription.
    pub(crate) fn linked(&self, node: &Node) {
        if let Some(health) = self.inner().nodes.get_mut(node) {
            health.lost = None;
        }
    }

    /// The subscription ended, or could not begin. Whether an outage begins with it: however often it is tried in vain, it is
    /// one outage until a probe is heard.
    pub(crate) fn lost(&self, node: &Node, why: String) -> bool {
        self.inner().nodes.get_mut(node).is_some_and(|health| {
            health.lost = Some(why);
            !std::mem::replace(&mut health.is_outage, true)
        })
    }

    /// What the servers say of themselves. What of it was not known before.
    pub(crate) fn conditions(&self, conditions: Conditions) -> Vec<String> {
        let mut inner = self.inner();
        let before = std::mem::replace(&mut inner.conditions, conditions);
        let now = &inner.conditions;
        let all = [(&now.obstacle, before.obstacle), (&now.warning, before.warning)];
        all.into_iter()
            .filter(|(now, before)| *now != before)
            .filter_map(|(now, _)| now.clone())
            .collect()
    }

    /// What should be changed about a server that can be used.
    pub(crate) fn warning(&self) -> Option<String> {
        self.inner().conditions.warning.clone()
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
            if let Some(obstacle) = &inner.conditions.obstacle {
                return Err(format!("{node}: {obstacle}"));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_one_until_a_probe_is_heard() {
        let (health, now) = (Health::default(), Duration::ZERO);
        let node = Node { host: "a".to_owned(), port: 1 };
        health.nodes([node.clone()].into_iter(), now);
        assert!(!health.heard(&node, now), "there was none");
        assert!(health.lost(&node, "closed".to_owned()));
        health.linked(&node);
        assert!(!health.lost(&node, "LOADING".to_owned()), "it was never back");
        health.linked(&node);
        assert!(health.heard(&node, now));
        assert!(!health.heard(&node, now));
        assert!(health.lost(&node, "closed".to_owned()));
    }

    #[test]
    fn what_servers_say_is_news_once() {
        let health = Health::default();
        let warned = Conditions { warning: Some("evicts".to_owned()), ..Conditions::default() };
        assert_eq!(health.conditions(warned.clone()), ["evicts"]);
        assert_eq!(health.conditions(warned), Vec::<String>::new());
        assert_eq!(health.warning().as_deref(), Some("evicts"));
        assert_eq!(health.conditions(Conditions::default()), Vec::<String>::new());
    }
}
