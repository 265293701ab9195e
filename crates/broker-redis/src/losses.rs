use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost_broker::{Clock, MassLoss, Verdict, Workers};
use milepost_protocol::JobId;
use milepost_redis::{Client, Failure};
use tokio::time::MissedTickBehavior;

/// Looks at the clocks of jobs, by which their health changes, and holds losses back while most workers are silent.
#[derive(Default)]
pub(crate) struct Losses(Mutex<MassLoss>);

/// What one look continues from.
struct Look {
    /// Time before does not count as silence: by the clock of Redis, in milliseconds.
    from: i64,
    last: Option<Duration>,
}

impl Losses {
    /// Changes the health of jobs whose worker has been silent, or whose progress has stood still, for too long. After a
    /// pause of Redis or of this process, in which no report could arrive, all clocks start over. Runs until it is dropped.
    pub(crate) async fn run(&self, client: &Client, clock: &dyn Clock) {
        const EVERY: Duration = Duration::from_secs(1);
        // In a Cluster the list of due jobs may be on another server than the jobs, so health does not change by time there.
        if client.names().is_cluster() {
            return std::future::pending().await;
        }
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = Look { from: 0, last: None };
        loop {
            tick.tick().await;
            // If Redis does not answer, the jobs are due again in a second.
            let _ = self.look(&mut look, client, clock).await;
        }
    }

    async fn look(
        &self,
        look: &mut Look,
        client: &Client,
        clock: &dyn Clock,
    ) -> Result<(), Failure> {
        const PAUSE: Duration = Duration::from_secs(3);
        const SLICE: usize = 256;
        let (asked, due) = client.due(SLICE).await?;
        let now = clock.elapsed();
        if look.last.is_none_or(|last| now.saturating_sub(last) > PAUSE) {
            look.from = asked;
        }
        look.last = Some(now);
        if due.is_empty() && self.lock().is_ordinary() {
            return Ok(());
        }
        match client.started_over().await {
            // No clock begins later than now.
            Ok(at) => look.from = look.from.max(at.min(asked)),
            // Another program's data, or a user without the right to read it.
            Err(Failure::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
        // Nobody is lost before it is known whether most workers are silent.
        let held = self.pass(&due, (look.from, asked), true, client, clock).await;
        if held.is_empty() && self.lock().is_ordinary() {
            return Ok(());
        }
        let workers = match client.silent(look.from).await {
            Ok((known, silent)) => Workers { known, silent },
            // A user without the rights for it (ACL) must not keep every dead worker's job alive.
            Err(Failure::Refused(_)) => Workers::default(),
            Err(failure) => return Err(failure),
        };
        let verdict = self.lock().look(now, workers);
        match verdict {
            Verdict::Hold if held.is_empty() => return Ok(()),
            Verdict::Hold => {
                let begins = self.lock().hold(now, workers);
                if begins {
                    tracing::warn!("{}", self.warning().unwrap_or_default());
                }
                return Ok(());
            }
            Verdict::StartOver => {
                tracing::info!("silent workers report again");
                look.from = asked;
                // Another server might lose a worker that has its time anew here. If Redis does not accept this, it may.
                let _ = client.start_over(asked).await;
            }
            Verdict::GiveUp => {
                tracing::warn!("workers are still silent: their jobs are lost");
            }
            Verdict::Lose => {}
        }
        self.pass(&held, (look.from, asked), false, client, clock).await;
        Ok(())
    }

    /// Looks at these jobs. Returns those that are held back. A job whose check fails is due again in a second.
    async fn pass(
        &self,
        jobs: &[JobId],
        times: (i64, i64),
        holds: bool,
        client: &Client,
        clock: &dyn Clock,
    ) -> Vec<JobId> {
        let mut held = Vec::new();
        for job in jobs {
            if client.clock(job, times, holds, clock.now()).await == Ok(true) {
                held.push(job.clone());
            }
        }
        held
    }

    pub(crate) fn warning(&self) -> Option<String> {
        self.lock().warning()
    }

    pub(crate) fn count(&self) -> u64 {
        self.lock().count()
    }

    fn lock(&self) -> MutexGuard<'_, MassLoss> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
