use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use milepost_protocol::JobId;
use milepost_redis::{Client, Node, Slots, slot_of};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::link::{Context, Ended, Link};
use crate::queue::Queue;
use crate::socket::Socket;

/// The links, one to each server that has jobs, and which job is whose.
#[derive(Default)]
pub(crate) struct Links {
    routes: Mutex<Routes>,
    /// Something is wrong with the routes.
    astray: Notify,
}

#[derive(Default)]
struct Routes {
    slots: Slots,
    queues: HashMap<Node, Arc<Queue>>,
}

/// How long to wait before a link is tried again: from, to.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a Cluster is asked which server has which slots, though nothing seems to have changed.
const ASK_AGAIN: Duration = Duration::from_secs(10);

impl Links {
    /// A job is to be looked at. If there is no link to its server at the moment, the next one looks at every job.
    pub(crate) fn push(&self, job: &JobId, channel: &str) {
        let queue = {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            let node = routes.slots.node_of(slot_of(channel));
            node.and_then(|node| routes.queues.get(node)).cloned()
        };
        match queue {
            Some(queue) => queue.push(job.clone()),
            None => self.astray.notify_one(),
        }
    }

    /// The channel at each server on which this instance hears its probes.
    pub(crate) fn probes(&self, instance: &str, context: &Context) -> Vec<(Node, String)> {
        let slots = self.routes.lock().unwrap_or_else(PoisonError::into_inner).slots.clone();
        let probe = |(node, slot): (Node, u16)| {
            let channel = probe_channel(instance, &node, slot, &slots, context);
            (node, channel)
        };
        slots.nodes().into_iter().map(probe).collect()
    }

    /// Keeps a link to each server that has jobs, in `links`. Runs until it is dropped.
    pub(crate) async fn run(
        &self,
        client: &Client,
        context: &Context,
        instance: &str,
        links: &mut JoinSet<(Node, Ended)>,
    ) {
        let mut running: HashMap<Node, tokio::task::AbortHandle> = HashMap::new();
        let mut failures = 0_u32;
        let mut known = Slots::default();
        loop {
            let slots = client.slots().await;
            let found = slots.is_ok();
            match slots {
                Ok(slots) => {
                    self.route(&slots, context);
                    running.retain(|node, link| {
                        let stays = slots.nodes().contains_key(node) && !link.is_finished();
                        if !stays {
                            link.abort();
                        }
                        stays
                    });
                    let moved = slots != known;
                    for (node, slot) in slots.nodes() {
                        if let Some(link) = running.get(&node) {
                            if !moved {
                                continue;
                            }
                            // Which jobs it has is no longer what it was: it begins anew.
                            link.abort();
                        }
                        let probe = probe_channel(instance, &node, slot, &slots, context);
                        let link = self.link(client, context.clone(), node.clone(), probe);
                        running.insert(node, links.spawn(link));
                    }
                    if !slots.is_complete() {
                        context
                            .health
                            .no_topology("slots of the Cluster have no server".to_owned());
                    }
                    known = slots;
                }
                Err(failure) => {
                    context.health.no_topology(failure.to_string());
                    failures += 1;
                }
            }
            let wait = if found { ASK_AGAIN } else { backoff(failures) };
            tokio::select! {
                Some(ended) = links.join_next() => {
                    let Ok((node, ended)) = ended else { continue };
                    let why = match ended {
                        Ended::Lost(error) => error.to_string(),
                        Ended::Moved(why) => why,
                    };
                    failures += 1;
                    if context.health.lost(&node, why.clone()) {
                        // At once: Redis may have closed no more than this connection.
                        tracing::warn!(%node, why, "the subscription at Redis ended");
                    } else {
                        tracing::debug!(%node, why, "the subscription at Redis is still away");
                        tokio::time::sleep(backoff(failures)).await;
                    }
                }
                () = self.astray.notified() => tokio::time::sleep(backoff(1)).await,
                () = tokio::time::sleep(wait) => {
                    if found {
                        failures = 0;
                    }
                }
            }
        }
    }

    fn route(&self, slots: &Slots, context: &Context) {
        let nodes = slots.nodes();
        context.health.nodes(nodes.keys().cloned(), context.clock.elapsed());
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.queues.retain(|node, _| nodes.contains_key(node));
        for node in nodes.into_keys() {
            routes.queues.entry(node).or_default();
        }
        routes.slots = slots.clone();
    }

    /// Connects, and serves until the connection is lost.
    fn link(
        &self,
        client: &Client,
        context: Context,
        node: Node,
        probe: String,
    ) -> impl Future<Output = (Node, Ended)> + use<> {
        let info = client.node(&node.host, node.port);
        let (queue, slots) = {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            (routes.queues.get(&node).cloned().unwrap_or_default(), routes.slots.clone())
        };
        async move {
            let connect = async {
                let info = info.map_err(std::io::Error::other)?;
                let connecting = tokio::time::timeout(PATIENCE, Socket::connect(&info));
                connecting.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
            };
            let socket = match connect.await {
                Ok(socket) => socket,
                Err(error) => return (node, Ended::Lost(error)),
            };
            context.health.linked(&node);
            for job in context.watched.all() {
                if slots.node_of(slot_of(&context.names.channel(&job))) == Some(&node) {
                    queue.push(job);
                }
            }
            let ended = Link::new(context, node.clone(), queue, socket, probe).run().await;
            (node, ended)
        }
    }
}

/// The channel on which an instance hears its probes of a server: one whose slot is there.
fn probe_channel(
    instance: &str,
    node: &Node,
    slot: u16,
    slots: &Slots,
    context: &Context,
) -> String {
    /// A server with one slot in 16,384 takes as many tries; usually it is a handful.
    const TRIES: u32 = 1_000_000;
    if !context.names.is_cluster() {
        return format!("milepost:probe:{instance}");
    }
    let channel = |tag: u32| format!("milepost:probe:{instance}:{{{tag}}}");
    let theirs = |channel: &String| slots.node_of(slot_of(channel)) == Some(node);
    (0..TRIES).map(channel).find(theirs).unwrap_or_else(|| channel(slot.into()))
}

fn backoff(failures: u32) -> Duration {
    let longest = BACKOFF.0.saturating_mul(1 << failures.min(10)).min(BACKOFF.1);
    longest.mul_f64(fastrand::f64() * 0.5 + 0.5)
}
