//! The children of the jobs that are watched, listed regularly while the jobs advance.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{Children, JobId, Position, State};
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
    pub(super) position: Position,
    pub(super) counts: Children,
}

/// The children of each parent for which the server answered.
type Listed = Vec<(Parent, Vec<State>)>;

/// Lists children every [`EVERY`], and not before the previous response has arrived.
#[derive(Debug)]
pub(super) struct Family {
    client: Arc<Client>,
    ticks: Interval,
    asking: Option<JoinHandle<Listed>>,
    /// Positions of the parents as of the latest lists of their children.
    listed: HashMap<JobId, Position>,
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
                    self.listed.insert(parent.job.clone(), parent.position);
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
    let found = parents.into_iter().filter_map(|parent| {
        let states = children(client, &parent.job, &parent.counts, MAX_LISTED).ok()?;
        Some((parent, states))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_stay_as_they_are_if_the_server_does_not_answer() {
        let client = Client::new("http://127.0.0.1:1").unwrap();
        let counts = r#"{"expected":1,"queued":0,"processing":1,"completed":0,"failed":0,"cancelled":0,"lost":0}"#;
        let parent = Parent {
            job: JobId::parse("batch").unwrap(),
            position: Position::parse("1-1").unwrap(),
            counts: serde_json::from_str(counts).unwrap(),
        };
        assert!(list(&client, vec![parent]).is_empty());
    }
}
