use std::collections::HashMap;
use std::fmt;
use std::iter;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use milepost_protocol::{JobId, MAX_LEVELS, Timestamp, Update};
use milepost_redis::{Address, Client, Failure as RedisFailure, Reply, Retention};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::cause::Cause;
use crate::invalid_url::InvalidUrl;
use crate::outcome::Outcome;
use crate::requested::Requested;
use crate::transport::{Failure, Outgoing, Transport};

/// A Redis or Valkey that keeps jobs' states: `spec/README.md`, section 14.
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    address: Address,
}

/// Reports straight to Redis: one script for each update, over one connection.
pub(crate) struct RedisTransport {
    address: Address,
    patience: Duration,
    /// Created by the sending thread, so that a process that forks before does not share it.
    running: Option<Running>,
}

/// The runtime runs only while a caller waits for it here: none of its tasks run between two batches.
struct Running {
    runtime: Runtime,
    client: Client,
}

/// The most updates in flight. Their order does not matter, because no two are of the same job.
const AT_ONCE: usize = 128;

/// Redis may just have closed a kept connection, or the connection is dead. So an update without a known
/// outcome is sent once more before it counts as failed.
const ROUNDS: usize = 2;

/// The longest time for one reply, however long a batch may take.
const LONGEST_PATIENCE: Duration = Duration::from_secs(2);

impl Redis {
    /// # Errors
    /// If the URL does not name a Redis.
    pub(crate) fn new(url: &str) -> Result<Self, InvalidUrl> {
        let address = Address::parse(url);
        address
            .map(|address| Self { address })
            .map_err(|error| InvalidUrl::Redis { reason: error.to_string() })
    }

    /// A transport whose batches may take `timeout`. A reply may take three quarters of it, so that there is
    /// time for a second try.
    pub(crate) fn reporting(self, timeout: Duration) -> RedisTransport {
        let patience = (timeout * 3 / 4).min(LONGEST_PATIENCE);
        RedisTransport { address: self.address, patience, running: None }
    }

    /// A job's state; `None` if it is not known. It waits on its own thread, because the caller may be a task
    /// of an async program, in which a second runtime may not block.
    ///
    /// # Errors
    /// If Redis does not answer.
    pub(crate) fn state(&self, job: &JobId, timeout: Duration) -> Result<Option<Value>, Failure> {
        let client = Client::new(self.address.clone(), Retention::default()).with_patience(timeout);
        let asking = || {
            let states = async {
                tokio::time::timeout(timeout, client.states(job, 1, Timestamp::now())).await
            };
            let runtime = runtime()?;
            let answer = runtime.block_on(states);
            runtime.shutdown_background();
            match answer {
                Ok(Ok(states)) => Ok(states),
                Ok(Err(failure)) => Err(lost(&failure)),
                Err(_) => Err(lost(&in_time())),
            }
        };
        let states = thread::scope(|scope| {
            let thread = thread::Builder::new().name("milepost-status".to_owned());
            let asking = thread.spawn_scoped(scope, asking).map_err(|error| lost(&error))?;
            asking.join().unwrap_or_else(|_| Err(lost(&"the thread that asks panicked")))
        })?;
        let state = states.last().map(|state| serde_json::from_str(state.json()));
        state.transpose().map_err(|error| lost(&error))
    }
}

impl Transport for RedisTransport {
    fn send(
        &mut self,
        updates: &[Outgoing<'_>],
        timeout: Duration,
    ) -> Result<Vec<Outcome>, Failure> {
        let running = match self.running.take() {
            Some(running) => running,
            None => Running {
                runtime: runtime()?,
                client: Client::new(self.address.clone(), Retention::default())
                    .with_patience(self.patience),
            },
        };
        let Running { runtime, client } = self.running.insert(running);
        let mut batch = Batch::new(updates, self.address.is_cluster());
        let sending = async {
            batch.send(client).await;
            client.notify_parents().await;
        };
        // After that, outcomes that are not known are lost.
        let _ = runtime.block_on(async { tokio::time::timeout(timeout, sending).await });
        batch.outcomes()
    }
}

impl Drop for RedisTransport {
    /// Dropping a runtime would wait for a name server that does not respond.
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_background();
        }
    }
}

/// Updates that are sent together.
struct Batch {
    sendings: Vec<Sending>,
    /// How many levels of its descendants each of them has among the others.
    heights: Vec<usize>,
    cluster: bool,
    /// Whether any part of the Cluster responds.
    cluster_answers: bool,
}

enum Sending {
    /// Not sent, or not answered.
    Waiting(Update),
    Lost(Update, RedisFailure),
    Settled(Outcome),
}

impl Batch {
    fn new(updates: &[Outgoing<'_>], cluster: bool) -> Self {
        let sending =
            |update: &Outgoing<'_>| match Update::parse(Some(update.job), update.json.as_bytes()) {
                Ok(update) => Sending::Waiting(update),
                Err(error) => Sending::Settled(Outcome::Rejected { reason: error.to_string() }),
            };
        let sendings: Vec<_> = updates.iter().map(sending).collect();
        let heights = heights(&sendings);
        Self { sendings, heights, cluster, cluster_answers: false }
    }

    async fn send(&mut self, client: &Client) {
        let (sendings, heights, cluster) = (&mut self.sendings, &self.heights, self.cluster);
        let highest = heights.iter().copied().max().unwrap_or(0);
        let rounds = async {
            for _ in 0..ROUNDS {
                // Children first, so that the end of a parent that is sent with theirs shows them.
                for height in 0..=highest {
                    let level = sendings.iter_mut().zip(heights);
                    let level =
                        level.filter(|(sending, at)| **at == height && !sending.is_settled());
                    let level: Vec<&mut Sending> = level.map(|(sending, _)| sending).collect();
                    if !round(level, cluster, client).await {
                        break;
                    }
                }
            }
        };
        if cluster {
            let answers = async { self.cluster_answers = client.ping().await.is_ok() };
            futures_util::future::join(rounds, answers).await;
        } else {
            rounds.await;
        }
    }

    /// The outcome of each update, or why it is unknown. If a part of a Cluster is down, only its own jobs
    /// are affected.
    fn outcomes(self) -> Result<Vec<Outcome>, Failure> {
        let some_settled = self.sendings.iter().any(Sending::is_settled);
        let unsettled = || self.sendings.iter().filter(|sending| !sending.is_settled());
        let only_a_part = self.cluster && (some_settled || self.cluster_answers);
        if unsettled().next().is_some() && !only_a_part {
            let mut failures = unsettled().filter_map(Sending::failure);
            return Err(match failures.next() {
                Some(failure) => lost(failure),
                // The batch was too large for the time.
                None if some_settled => Failure::BatchRejected,
                None => lost(&in_time()),
            });
        }
        let outcome = |sending| match sending {
            Sending::Settled(outcome) => outcome,
            Sending::Lost(_, failure) => busy(&failure),
            Sending::Waiting(_) => busy(&in_time()),
        };
        Ok(self.sendings.into_iter().map(outcome).collect())
    }
}

fn heights(sendings: &[Sending]) -> Vec<usize> {
    let updates = || {
        sendings.iter().enumerate().filter_map(|(at, sending)| match sending {
            Sending::Waiting(update) | Sending::Lost(update, _) => Some((at, update)),
            Sending::Settled(_) => None,
        })
    };
    let places: HashMap<&JobId, usize> = updates().map(|(at, update)| (update.job(), at)).collect();
    let parents: HashMap<usize, usize> =
        updates().filter_map(|(at, update)| Some((at, *places.get(&update.parent()?)?))).collect();
    let mut heights = vec![0; sendings.len()];
    for &child in parents.keys() {
        let ancestors = iter::successors(Some(child), |at| parents.get(at).copied());
        for (height, at) in ancestors.enumerate().take(MAX_LEVELS) {
            heights[at] = heights[at].max(height);
        }
    }
    heights
}

/// Sends updates, in any order. Returns whether Redis answers.
async fn round(sendings: Vec<&mut Sending>, cluster: bool, client: &Client) -> bool {
    let reports = sendings.into_iter().map(|sending| async move {
        sending.send(client).await;
        matches!(sending, Sending::Lost(..))
    });
    let mut reports = futures_util::stream::iter(reports).buffer_unordered(AT_ONCE);
    // In a Cluster, one server may be down while the others work. Otherwise, the other updates would fail
    // like the first.
    let mut chances = if cluster { AT_ONCE } else { 1 };
    while let Some(was_lost) = reports.next().await {
        if was_lost {
            chances -= 1;
        } else if cluster {
            chances = usize::MAX;
        }
        if chances == 0 {
            return false;
        }
    }
    true
}

impl Sending {
    fn is_settled(&self) -> bool {
        matches!(self, Self::Settled(_))
    }

    fn failure(&self) -> Option<&RedisFailure> {
        if let Self::Lost(_, failure) = self { Some(failure) } else { None }
    }

    async fn send(&mut self, client: &Client) {
        let (Self::Waiting(update) | Self::Lost(update, _)) = self else { return };
        *self = match client.report(update, Timestamp::now()).await {
            Ok(reply) => Self::Settled(outcome(&reply)),
            // Redis works, so it may accept the other updates.
            Err(
                failure @ (RedisFailure::Full(_)
                | RedisFailure::Refused(_)
                | RedisFailure::Unreadable(_)),
            ) => Self::Settled(busy(&failure)),
            Err(failure) => Self::Lost(update.clone(), failure),
        };
    }
}

fn outcome(reply: &Reply) -> Outcome {
    match reply {
        Reply::Accepted(accepted) => {
            let requested =
                accepted.state.requested().and_then(|json| serde_json::from_str(json).ok());
            Outcome::Accepted { requested: requested.as_ref().and_then(Requested::read) }
        }
        Reply::InvalidParent(invalid) => {
            Outcome::Rejected { reason: format!("parent_id {invalid}") }
        }
        Reply::Refused(refusal) => Outcome::AttemptOver { reason: refusal.to_string() },
        // An unexpected reply: another client is deleting and writing the job's keys.
        _ => busy(&RedisFailure::Unavailable("the job's keys changed concurrently".to_owned())),
    }
}

fn busy(failure: &RedisFailure) -> Outcome {
    let full = matches!(failure, RedisFailure::Full(_));
    Outcome::Busy { retry_after: None, reason: failure.to_string(), full, cause: Cause::Busy }
}

fn in_time() -> RedisFailure {
    RedisFailure::Unavailable("Redis did not answer in time".to_owned())
}

fn lost(reason: &impl fmt::Display) -> Failure {
    Failure::Lost { reason: reason.to_string() }
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(|error| lost(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted() -> Outcome {
        Outcome::Accepted { requested: None }
    }

    fn batch(cluster: bool, cluster_answers: bool, what: &str) -> Result<Vec<Outcome>, Failure> {
        let update = || Update::parse(None, br#"{"job_id":"a"}"#).unwrap();
        let sending = |what| match what {
            's' => Sending::Settled(accepted()),
            'w' => Sending::Waiting(update()),
            _ => Sending::Lost(update(), RedisFailure::Unavailable("gone".to_owned())),
        };
        let sendings: Vec<_> = what.chars().map(sending).collect();
        let heights = vec![0; sendings.len()];
        Batch { sendings, heights, cluster, cluster_answers }.outcomes()
    }

    fn because(reason: &str) -> Failure {
        Failure::Lost { reason: reason.to_owned() }
    }

    #[test]
    fn one_server_answers_for_all_or_for_none() {
        assert_eq!(batch(false, false, "ss"), Ok(vec![accepted(); 2]));
        assert_eq!(batch(false, false, "slw"), Err(because("gone")));
        assert_eq!(batch(false, false, "ww"), Err(because("Redis did not answer in time")));
    }

    #[test]
    fn what_is_too_much_for_the_time_is_tried_in_smaller_batches() {
        assert_eq!(batch(false, false, "sw"), Err(Failure::BatchRejected));
    }

    #[test]
    fn a_part_of_a_cluster_that_is_away_affects_its_own_jobs() {
        let busy = |reason: &str| busy(&RedisFailure::Unavailable(reason.to_owned()));
        let expected = [accepted(), busy("gone"), busy("Redis did not answer in time")];
        assert_eq!(batch(true, false, "slw"), Ok(expected.to_vec()));
        assert_eq!(batch(true, true, "l"), Ok(vec![busy("gone")]));
        assert_eq!(batch(true, false, "wl"), Err(because("gone")));
    }
}
