use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use milepost_protocol::JobId;
use milepost_redis::{Client, Node, Slots, slot_of};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::job_queue::JobQueue;
use crate::subscriber::{Shared, Subscriber};
use crate::subscription::{Ended, Socket};

/// A subscriber for each server that has jobs, and the server of each job.
#[derive(Default)]
pub(crate) struct Subscribers {
    routes: Mutex<Routes>,
    /// Notified when a job has no route, so that the slots are queried again.
    unrouted: Notify,
}

#[derive(Default)]
struct Routes {
    slots: Slots,
    queues: HashMap<Node, Arc<JobQueue>>,
}

/// The shortest and the longest wait before the next attempt to connect.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long an attempt to connect may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the slots of a Cluster are queried, even if nothing seems to have changed.
const REFRESH: Duration = Duration::from_secs(10);

impl Subscribers {
    /// Queues a job at the subscriber of its server. If there is none at the moment, the next one subscribes to every watched
    /// job.
    pub(crate) fn push(&self, job: &JobId, channel: &str) {
        let queue = {
            let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
            let node = routes.slots.node_of(slot_of(channel));
            node.and_then(|node| routes.queues.get(node)).cloned()
        };
        match queue {
            Some(queue) => queue.push(job.clone()),
            None => self.unrouted.notify_one(),
        }
    }

    /// Each server, and the channel of this instance's probes there.
    pub(crate) fn probes(&self, instance: &str, shared: &Shared) -> Vec<(Node, String)> {
        let slots = self.routes.lock().unwrap_or_else(PoisonError::into_inner).slots.clone();
        let probe = |(node, slot): (Node, u16)| {
            let channel = probe_channel(instance, &node, slot, &slots, shared);
            (node, channel)
        };
        slots.nodes().into_iter().map(probe).collect()
    }

    /// Runs a subscriber in `tasks` for each server that has jobs, until this is dropped.
    pub(crate) async fn run(
        &self,
        client: &Client,
        shared: &Shared,
        instance: &str,
        tasks: &mut JoinSet<(Node, Ended)>,
    ) {
        let mut running = Running::default();
        let mut failures = 0_u32;
        loop {
            let slots = client.slots().await;
            let found = slots.is_ok();
            match slots {
                Ok(slots) => {
                    self.route(&slots, shared);
                    for (node, slot) in running.replaced_by(&slots) {
                        let probe = probe_channel(instance, &node, slot, &slots, shared);
                        let subscriber =
                            self.subscriber(client, shared.clone(), node.clone(), probe);
                        running.tasks.insert(node, tasks.spawn(subscriber));
                    }
                    if !slots.is_complete() {
                        let why = "some slots of the Cluster have no server".to_owned();
                        shared.health.set_topology_failure(why);
                    }
                    running.slots = slots;
                }
                Err(failure) => {
                    shared.health.set_topology_failure(failure.to_string());
                    failures += 1;
                }
            }
            let wait = if found { REFRESH } else { backoff(failures) };
            tokio::select! {
                Some(ended) = tasks.join_next() => {
                    // An error means that the subscriber was aborted, because another one takes over.
                    let Ok((node, ended)) = ended else { continue };
                    failures += 1;
                    // The first attempt does not wait: Redis may have closed only this connection.
                    if !begins_outage(shared, &node, ended) {
                        tokio::time::sleep(backoff(failures)).await;
                    }
                }
                () = self.unrouted.notified() => tokio::time::sleep(backoff(1)).await,
                () = tokio::time::sleep(wait) => {
                    if found {
                        failures = 0;
                    }
                }
            }
        }
    }

    fn route(&self, slots: &Slots, shared: &Shared) {
        let nodes = slots.nodes();
        shared.health.set_nodes(nodes.keys().cloned(), shared.clock.elapsed());
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.queues.retain(|node, _| nodes.contains_key(node));
        for node in nodes.into_keys() {
            routes.queues.entry(node).or_default();
        }
        routes.slots = slots.clone();
    }

    /// Connects, and serves until the connection is lost.
    fn subscriber(
        &self,
        client: &Client,
        shared: Shared,
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
            shared.health.connected(&node);
            for job in shared.watched.all() {
                if slots.node_of(slot_of(&shared.names.channel(&job))) == Some(&node) {
                    queue.push(job);
                }
            }
            let subscriber = Subscriber::new(shared, node.clone(), queue, socket, probe);
            let ended = subscriber.run().await;
            (node, ended)
        }
    }
}

/// The subscribers that run, and the slots for which they were started.
#[derive(Default)]
struct Running {
    tasks: HashMap<Node, AbortHandle>,
    slots: Slots,
}

impl Running {
    /// Aborts the subscribers that no longer fit these slots. Returns the servers that need a new one, each with one of its
    /// slots.
    fn replaced_by(&mut self, slots: &Slots) -> Vec<(Node, u16)> {
        let nodes = slots.nodes();
        let moved = *slots != self.slots;
        self.tasks.retain(|node, task| {
            // After slots have moved, a server has other jobs.
            let stays = nodes.contains_key(node) && !task.is_finished() && !moved;
            if !stays {
                task.abort();
            }
            stays
        });
        nodes.into_iter().filter(|(node, _)| !self.tasks.contains_key(node)).collect()
    }
}

/// Records and logs that a subscriber ended. Returns whether this begins an outage.
fn begins_outage(shared: &Shared, node: &Node, ended: Ended) -> bool {
    let why = match ended {
        Ended::Lost(error) => error.to_string(),
        Ended::Moved(why) => why,
    };
    let begins = shared.health.subscription_lost(node, why.clone());
    if begins {
        tracing::warn!(%node, why, "the subscription to Redis is lost; reconnecting");
    } else {
        tracing::debug!(%node, why, "no subscription to Redis yet");
    }
    begins
}

/// The channel of an instance's probes of a server: a channel whose slot the server has.
fn probe_channel(instance: &str, node: &Node, slot: u16, slots: &Slots, shared: &Shared) -> String {
    /// Enough to find a name for a server with a single one of the 16,384 slots. Most servers take a few attempts.
    const ATTEMPTS: u32 = 1_000_000;
    if !shared.names.is_cluster() {
        return format!("milepost:probe:{instance}");
    }
    let channel = |tag: u32| format!("milepost:probe:{instance}:{{{tag}}}");
    let is_theirs = |channel: &String| slots.node_of(slot_of(channel)) == Some(node);
    (0..ATTEMPTS).map(channel).find(is_theirs).unwrap_or_else(|| channel(slot.into()))
}

fn backoff(failures: u32) -> Duration {
    let longest = BACKOFF.0.saturating_mul(1 << failures.min(10)).min(BACKOFF.1);
    longest.mul_f64(fastrand::f64() * 0.5 + 0.5)
}
