//! The children of the jobs that are watched, listed regularly while the jobs advance.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{Children, JobId, State};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use crate::client::Client;
use crate::jobs::children;

/// The most children of a job that are listed, those that need attention first.
pub(super) const MAX_LISTED: usize = 20;

/// The most jobs whose children are listed each time.
const MAX_PARENTS: usize = 5;

/// How often they are listed.
const EVERY: Duration = Duration::from_secs(1);

/// A job whose children are to be listed.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    pub(super) job: JobId,
    /// Of its latest state: while it stays, so do the children.
    pub(super) position: String,
    pub(super) counts: Children,
}

/// The children of each parent in a query. Empty if the server did not answer.
type Listed = Vec<(Parent, Vec<State>)>;

/// Lists children every [`EVERY`], and not before the previous response has arrived.
#[derive(Debug)]
pub(super) struct Family {
    client: Arc<Client>,
    ticks: Interval,
    asking: Option<JoinHandle<Listed>>,
    /// Positions of the parents as of the latest lists of their children.
    listed: HashMap<JobId, String>,
}

impl Family {
    pub(super) fn new(client: Client) -> Self {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { client: Arc::new(client), ticks, asking: None, listed: HashMap::new() }
    }

    /// The next list, for those of the parents that have advanced since their last list. Cancel-safe.
    pub(super) async fn next(&mut self, parents: &[Parent]) -> Listed {
        loop {
            if let Some(asking) = &mut self.asking {
                let listed = asking.await;
                self.asking = None;
                // An error: the runtime ends.
                let Ok(listed) = listed else { return std::future::pending().await };
                for (parent, _) in &listed {
                    self.listed.insert(parent.job.clone(), parent.position.clone());
                }
                return listed;
            }
            self.ticks.tick().await;
            let advanced =
                |parent: &&Parent| self.listed.get(&parent.job) != Some(&parent.position);
            let due: Vec<Parent> =
                parents.iter().filter(advanced).take(MAX_PARENTS).cloned().collect();
            if due.is_empty() {
                continue;
            }
            let client = Arc::clone(&self.client);
            self.asking = Some(tokio::task::spawn_blocking(move || list(&client, due)));
        }
    }
}

fn list(client: &Client, parents: Vec<Parent>) -> Listed {
    let found = parents.into_iter().map(|parent| {
        let states = children(client, &parent.job, &parent.counts, MAX_LISTED).unwrap_or_default();
        (parent, states)
    });
    found.collect()
}
