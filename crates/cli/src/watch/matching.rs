//! The jobs that match a filter and have not ended, listed regularly while they are watched.

use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::JobId;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior};

use crate::client::{Client, RequestError};
use crate::jobs::{Filter, list};

/// The most jobs that are watched by a filter: what one connection watches.
pub(super) const MAX_MATCHING: usize = 1000;

/// How often the jobs are listed.
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// The matching jobs when they were listed.
#[derive(Debug)]
pub(super) struct Matching {
    /// The most recently begun first, at most [`MAX_MATCHING`].
    pub(super) jobs: Vec<JobId>,
    /// There are more.
    pub(super) more: bool,
}

/// Which jobs those are.
#[derive(Debug)]
struct Query {
    client: Client,
    filter: Filter,
}

impl Query {
    fn run(&self) -> Result<Matching, RequestError> {
        let mut query = vec![("status", "queued"), ("status", "processing")];
        query.extend(self.filter.query());
        let limit = u32::try_from(MAX_MATCHING + 1).unwrap_or(u32::MAX);
        let states = list(&self.client, &query, limit)?;
        let jobs = states.iter().take(MAX_MATCHING).map(|state| state.job().clone()).collect();
        Ok(Matching { jobs, more: states.len() > MAX_MATCHING })
    }
}

/// Lists the jobs every [`EVERY`], and not before the previous response has arrived.
#[derive(Debug)]
pub(super) struct Listing {
    query: Arc<Query>,
    ticks: Option<Interval>,
    asking: Option<JoinHandle<Result<Matching, RequestError>>>,
    /// Whether a message has said that there are more jobs than are watched.
    pub(super) said_more: bool,
}

impl Listing {
    pub(super) fn new(client: Client, filter: Filter) -> Self {
        let query = Arc::new(Query { client, filter });
        Self { query, ticks: None, asking: None, said_more: false }
    }

    /// Lists the jobs once, and blocks.
    pub(super) fn first(&self) -> Result<Matching, RequestError> {
        self.query.run()
    }

    /// The next list. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Matching, RequestError> {
        loop {
            if let Some(asking) = &mut self.asking {
                let listed = asking.await;
                self.asking = None;
                if let Ok(listed) = listed {
                    return listed;
                }
                // The runtime ends.
                std::future::pending::<()>().await;
            }
            let ticks = self.ticks.get_or_insert_with(|| {
                let mut ticks =
                    tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                ticks
            });
            ticks.tick().await;
            self.ask();
        }
    }

    /// Lists the jobs now. The response to an earlier request, which may lack jobs that have begun since, is dropped.
    pub(super) fn ask(&mut self) {
        let query = Arc::clone(&self.query);
        self.asking = Some(tokio::task::spawn_blocking(move || query.run()));
    }
}
