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

/// The most jobs whose children are listed each time. One list is one request, or five if there are more than [`MAX_LISTED`] children.
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
    rota: Rota,
}

impl Family {
    pub(super) fn new(client: Client) -> Self {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { client: Arc::new(client), ticks, asking: None, rota: Rota::default() }
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
                    self.rota.answered(parent);
                }
                return listed;
            }
            self.ticks.tick().await;
            let due = self.rota.due(parents);
            if due.is_empty() {
                continue;
            }
            let client = Arc::clone(&self.client);
            self.asking = Some(tokio::task::spawn_blocking(move || list(&client, due)));
        }
    }
}

/// Whose turn it is, if more parents advance than are listed at a time. Has an entry for each job that is watched, at most.
#[derive(Debug, Default)]
struct Rota {
    rounds: u64,
    last: HashMap<JobId, Turn>,
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    round: u64,
    /// The parent's as of the latest list of its children.
    position: Option<Position>,
}

impl Rota {
    /// Those of the parents that have advanced since their latest list. If there are too many, those that have waited longest.
    fn due(&mut self, parents: &[Parent]) -> Vec<Parent> {
        let last = |parent: &Parent| self.last.get(&parent.job);
        let mut due: Vec<Parent> = parents
            .iter()
            .filter(|parent| last(parent).and_then(|turn| turn.position) != Some(parent.position))
            .cloned()
            .collect();
        due.sort_by_key(|parent| last(parent).map_or(0, |turn| turn.round));
        due.truncate(MAX_PARENTS);
        self.rounds += 1;
        for parent in &due {
            let position = self.last.get(&parent.job).and_then(|turn| turn.position);
            self.last.insert(parent.job.clone(), Turn { round: self.rounds, position });
        }
        due
    }

    fn answered(&mut self, parent: &Parent) {
        if let Some(turn) = self.last.get_mut(&parent.job) {
            turn.position = Some(parent.position);
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
        assert!(list(&client, vec![parent(0, 1)]).is_empty());
    }

    fn parent(number: usize, position: u64) -> Parent {
        let counts = r#"{"expected":1,"queued":0,"processing":1,"completed":0,"failed":0,"cancelled":0,"lost":0}"#;
        Parent {
            job: JobId::parse(&format!("batch-{number}")).unwrap(),
            position: Position::parse(&format!("1-{position}")).unwrap(),
            counts: serde_json::from_str(counts).unwrap(),
        }
    }

    #[test]
    fn parents_take_turns_if_all_of_them_advance() {
        let mut rota = Rota::default();
        let mut listed = vec![0; 12];
        for round in 1..=12 {
            let parents: Vec<Parent> = (0..12).map(|number| parent(number, round)).collect();
            let due = rota.due(&parents);
            assert_eq!(due.len(), MAX_PARENTS);
            for parent in &due {
                listed[parents.iter().position(|p| p.job == parent.job).unwrap()] += 1;
                // Those that the server does not answer have to wait for their next turn as well.
                if parent.job.as_str() != "batch-3" {
                    rota.answered(parent);
                }
            }
        }
        // All twelve are listed within three rounds.
        assert!(listed.iter().all(|&times| times >= 4), "{listed:?}");
    }

    #[test]
    fn a_parent_that_stays_as_it_is_is_listed_once() {
        let mut rota = Rota::default();
        assert_eq!(rota.due(&[parent(0, 1)]).len(), 1);
        assert_eq!(rota.due(&[parent(0, 1)]).len(), 1, "not answered yet");
        rota.answered(&parent(0, 1));
        assert!(rota.due(&[parent(0, 1)]).is_empty());
        assert_eq!(rota.due(&[parent(0, 2)]).len(), 1);
    }
}
