use std::collections::BTreeMap;
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

/// The checks of one look.
struct Checks<'a> {
    client: &'a Client,
    clock: &'a dyn Clock,
    asked: i64,
    /// When jobs are due next: in a Cluster, that has to be written apart.
    next: BTreeMap<JobId, Option<i64>>,
}

impl Checks<'_> {
    /// Checks these jobs. Returns those that are held back. A job whose check fails is due again in a second or two.
    async fn check(
        &mut self,
        jobs: &[JobId],
        from: i64,
        holds: bool,
    ) -> Result<Vec<JobId>, Failure> {
        let mut held = Vec::new();
        for job in jobs {
            let times = (from, self.asked);
            match self.client.clock(job, times, holds, self.clock.now()).await {
                Ok(checked) => {
                    if let Some(next) = checked.next {
                        self.next.insert(job.clone(), next);
                    }
                    if checked.is_held {
                        held.push(job.clone());
                    }
                }
                Err(failure @ Failure::Unavailable(_)) => return Err(failure),
                // What stands under one job's keys is not to hide the others.
                Err(_) => {}
            }
        }
        Ok(held)
    }
}

impl Losses {
    /// Changes the health of jobs whose worker has been silent, or whose progress has stood still, for too long. After a
    /// pause of Redis or of this process, in which no report could arrive, all clocks start over. Runs until it is dropped.
    pub(crate) async fn run(&self, client: &Client, clock: &dyn Clock) {
        const EVERY: Duration = Duration::from_secs(1);
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
        let mut checks = Checks { client, clock, asked, next: BTreeMap::new() };
        let looked = self.look_at(&due, look, &mut checks).await;
        if looked.is_err() {
            // A server that does not answer, such as one of a Cluster, cannot be reported to either.
            look.last = None;
        }
        let next: Vec<_> = checks.next.into_iter().collect();
        looked.and(client.due_next(asked, &next).await)
    }

    async fn look_at(
        &self,
        due: &[JobId],
        look: &mut Look,
        checks: &mut Checks<'_>,
    ) -> Result<(), Failure> {
        // Nobody is lost before it is known whether most workers are silent.
        let held = checks.check(due, look.from, true).await?;
        if held.is_empty() && self.lock().is_ordinary() {
            return Ok(());
        }
        let workers = match checks.client.silent(look.from).await {
            Ok((known, silent)) => Workers { known, silent },
            // A user without the rights for it (ACL) must not keep every dead worker's job alive.
            Err(Failure::Refused(_)) => Workers::default(),
            Err(failure) => return Err(failure),
        };
        let now = checks.clock.elapsed();
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
                look.from = checks.asked;
                // Another server might lose a worker that has its time anew here. If Redis does not accept this, it may.
                let _ = checks.client.start_over(checks.asked).await;
            }
            Verdict::GiveUp => {
                tracing::warn!("workers are still silent: their jobs are lost");
            }
            Verdict::Lose => {}
        }
        checks.check(&held, look.from, false).await?;
        Ok(())
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
