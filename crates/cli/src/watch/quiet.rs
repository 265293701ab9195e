//! Looks up jobs that have been quiet for a while: the server does not notify watchers of a job that was forgotten.

use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{JobId, Position};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use crate::client::{Client, RequestError};

/// How often jobs are looked up.
const EVERY: Duration = Duration::from_secs(1);

/// A job without a new state for so long is looked up, and again each time that it has passed.
pub(super) const QUIET: Duration = Duration::from_secs(5);

/// The most jobs that are looked up at a time, with a request each.
pub(super) const MAX_LOOKED_UP: usize = 16;

/// A job without a new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Quiet {
    pub(super) job: JobId,
    /// Of its latest state. If the job has a newer one by the time of the answer, the answer says nothing.
    pub(super) position: Position,
}

/// A quiet job, and whether the server knows it. None if the server did not say.
pub(super) type LookedUp = (Quiet, Option<bool>);

/// Looks up quiet jobs every [`EVERY`], and not before the previous responses have arrived.
#[derive(Debug)]
pub(super) struct Lookups {
    client: Arc<Client>,
    ticks: Interval,
    asking: Option<JoinHandle<Vec<LookedUp>>>,
}

impl Lookups {
    pub(super) fn new(client: Client) -> Self {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { client: Arc::new(client), ticks, asking: None }
    }

    /// What the server answers of these jobs. Cancel-safe.
    pub(super) async fn next(&mut self, quiet: &[Quiet]) -> Vec<LookedUp> {
        loop {
            if let Some(asking) = &mut self.asking {
                let answered = asking.await;
                self.asking = None;
                match answered {
                    Ok(answered) => return answered,
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime ends.
                    Err(_) => return std::future::pending().await,
                }
            }
            self.ticks.tick().await;
            if quiet.is_empty() {
                continue;
            }
            let (client, quiet) = (Arc::clone(&self.client), quiet.to_vec());
            self.asking = Some(tokio::task::spawn_blocking(move || look_up(&client, quiet)));
        }
    }
}

/// After a request without a response the rest is not asked for: the server may be away.
fn look_up(client: &Client, quiet: Vec<Quiet>) -> Vec<LookedUp> {
    let mut is_away = false;
    let answers = quiet.into_iter().map(|quiet| {
        let answer = (!is_away).then(|| client.state(&quiet.job));
        is_away |= matches!(answer, Some(Err(RequestError::Unreachable { .. })));
        let is_known = answer.and_then(Result::ok).map(|state| state.is_some());
        (quiet, is_known)
    });
    answers.collect()
}
