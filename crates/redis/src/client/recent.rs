//! The jobs that a client has reported lately: it may fold their next reports itself, as `swap.rs` says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use milepost_protocol::{JobId, State, Update};

use super::Client;
use crate::Failure;
use crate::answer::Answer;
use crate::connection::wall_clock;
use crate::failure::is_elsewhere;
use crate::reply::Accepted;
use crate::swap::RecentJob;

/// The jobs that the client has reported lately, within a bound in bytes: in two generations. When the younger one has half of the bytes,
/// it becomes the older one, and what was the older one is dropped.
pub(super) struct RecentJobs {
    generations: Mutex<[Generation; 2]>,
    most_bytes: usize,
    swaps: AtomicU64,
}

#[derive(Default)]
struct Generation {
    jobs: HashMap<JobId, RecentJob>,
    bytes: usize,
}

/// How many bytes a client may use if it is not told: enough for a program that reports its own jobs.
const MOST_BYTES: usize = 1 << 20;

impl Default for RecentJobs {
    fn default() -> Self {
        Self { generations: Mutex::default(), most_bytes: MOST_BYTES, swaps: AtomicU64::new(0) }
    }
}

impl RecentJobs {
    pub(super) fn set_most_bytes(&mut self, most: usize) {
        self.most_bytes = most;
    }

    fn generations(&self) -> MutexGuard<'_, [Generation; 2]> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a job out: while its report is under way, nobody else folds from it.
    fn take(&self, job: &JobId) -> Option<RecentJob> {
        self.generations().iter_mut().find_map(|generation| generation.take(job))
    }

    pub(super) fn put(&self, job: &JobId, recent: RecentJob) {
        let cost = recent.cost();
        let mut generations = self.generations();
        generations.iter_mut().for_each(|generation| drop(generation.take(job)));
        let [young, old] = &mut *generations;
        if young.bytes + cost > self.most_bytes / 2 {
            *old = std::mem::take(young);
        }
        if cost <= self.most_bytes / 2 {
            young.bytes += cost;
            young.jobs.insert(job.clone(), recent);
        }
    }
}

impl Generation {
    fn take(&mut self, job: &JobId) -> Option<RecentJob> {
        let recent = self.jobs.remove(job)?;
        self.bytes -= recent.cost();
        Some(recent)
    }
}

/// The outcome of trying to fold a report here.
pub(super) enum Folded {
    /// Redis has stored this state.
    Stored(State),
    /// Redis has to fold it.
    Not,
    /// Somebody else has changed the job, so Redis has to fold it. They may well be the next to change it, too.
    Changed,
}

impl Client {
    /// How many bytes the client may use to remember the jobs that it has reported, 1 MiB by default. Reports of jobs that it
    /// remembers cost Redis less: see `docs/performance.md`.
    #[must_use]
    pub fn remembering(mut self, bytes: usize) -> Self {
        self.recent.set_most_bytes(bytes);
        self
    }

    /// How many reports this client has folded itself.
    pub fn swaps(&self) -> u64 {
        self.recent.swaps.load(Ordering::Relaxed)
    }

    /// Remembers a job after `report.lua` has folded a report of it, if the caller wanted that.
    pub(super) fn remember(&self, accepted: &mut Accepted) {
        let Some((meta, overwrites)) = accepted.meta.take() else { return };
        if let Some(recent) = RecentJob::new(accepted.state.clone(), meta, overwrites) {
            self.recent.put(accepted.state.job(), recent);
        }
    }

    /// Folds a report here, if that is possible.
    ///
    /// # Errors
    /// When Redis does not accept it, or it is not known whether it did.
    pub(super) async fn fold_here(&self, update: &Update) -> Result<Folded, Failure> {
        let connected = self.connection.connected().await?;
        let now = wall_clock() + connected.ahead();
        let Some(server) = connected.known_server_at(now) else { return Ok(Folded::Not) };
        let Some(recent) = self.recent.take(update.job()) else { return Ok(Folded::Not) };
        let Some(swap) = recent.next(update, now, &server, self.names, &self.retention) else {
            return Ok(Folded::Not);
        };
        let value = match self.connection.run_on(&connected, &swap.call).await {
            Err(error) if is_elsewhere(&error) => return Ok(Folded::Not),
            value => value.map_err(|error| Failure::of_script(&error))?,
        };
        let Some(recent) = swap.answered(&Answer::of(value)?) else {
            return Ok(Folded::Changed);
        };
        self.recent.swaps.fetch_add(1, Ordering::Relaxed);
        let state = recent.state().clone();
        self.recent.put(update.job(), recent);
        self.notify_parent(&state).await;
        Ok(Folded::Stored(state))
    }
}
