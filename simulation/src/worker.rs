//! A worker: it changes its job, and the reporter's schedule decides when that is sent.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use milepost_protocol::{JobId, Refusal, Update};
use milepost_reporter::simulation::{Answer, Look, Schedule};
use tokio::time::{Instant, sleep, sleep_until};

use crate::instance::Instance;
use crate::network::{Network, Place};
use crate::redis::Redis;

/// What a worker's job is, by its own account.
#[derive(Debug, Default)]
pub(crate) struct Job {
    pub(crate) id: String,
    /// Counts what the worker has changed.
    pub(crate) number: u64,
    pub(crate) attempt: u32,
    pub(crate) ended: bool,
    stage: u64,
    /// The highest number that was acknowledged.
    pub(crate) acknowledged: u64,
    /// Whether the last attempt's end was acknowledged.
    pub(crate) end_acknowledged: bool,
}

impl Job {
    pub(crate) fn new(id: String) -> Self {
        Self { id, ..Self::default() }
    }
}

pub(crate) struct Worker {
    pub(crate) job: Rc<RefCell<Job>>,
    pub(crate) network: Rc<Network>,
    pub(crate) redis: Rc<Redis>,
    pub(crate) instances: Vec<Rc<Instance>>,
    /// How many attempts there are.
    pub(crate) attempts: u32,
    pub(crate) seed: u64,
}

/// Why no answer came.
struct Lost;

impl Worker {
    pub(crate) async fn run(self) {
        for attempt in 1..=self.attempts {
            self.attempt(attempt).await;
        }
    }

    async fn attempt(&self, attempt: u32) {
        {
            let mut job = self.job.borrow_mut();
            (job.attempt, job.ended) = (attempt, false);
            job.number += 1;
        }
        let mut schedule = Schedule::new(now(), self.seed ^ u64::from(attempt));
        schedule.add(1, now());
        let steps = self.network.random(|random| random.u64(3..25));
        let mut step = 0;
        let mut changes_at = Instant::now();
        loop {
            if step <= steps && Instant::now() >= changes_at {
                let (wait, stage) =
                    self.network.random(|random| (random.u64(20..800), random.u8(..4) == 0));
                changes_at = Instant::now() + Duration::from_millis(wait);
                let mut job = self.job.borrow_mut();
                job.number += 1;
                job.ended = step == steps;
                step += 1;
                if stage || job.ended {
                    job.stage += 1;
                    schedule.ring(1, job.ended, now());
                }
            }
            let due = schedule.due(now(), |_| self.look());
            if !due.is_empty() {
                let (number, is_end) = {
                    let job = self.job.borrow();
                    (job.number, job.ended)
                };
                match self.send(attempt, number, is_end).await {
                    Ok(answer) => schedule.answered(1, answer, now()),
                    Err(Lost) => schedule.failed(1, now()),
                }
                if self.job.borrow().end_acknowledged {
                    self.job.borrow_mut().end_acknowledged = false;
                    if attempt == self.attempts {
                        self.job.borrow_mut().end_acknowledged = true;
                    }
                    return;
                }
                continue;
            }
            let wake = schedule.wake_at().map(Instant::from_std);
            let next = if step <= steps { Some(changes_at) } else { None };
            match wake.into_iter().chain(next).min() {
                Some(at) => sleep_until(at.max(Instant::now() + Duration::from_millis(1))).await,
                None => return,
            }
        }
    }

    fn look(&self) -> Look {
        let job = self.job.borrow();
        Look { version: job.number, attempt: job.attempt, urgent: job.stage, ended: job.ended }
    }

    /// `POST /jobs/{job_id}`, at whichever instance.
    async fn send(&self, attempt: u32, number: u64, is_end: bool) -> Result<Answer, Lost> {
        let id = self.job.borrow().id.clone();
        let result = report(self, &id, attempt, number, is_end).await?;
        Ok(match result {
            Ok(()) => {
                let mut job = self.job.borrow_mut();
                job.acknowledged = job.acknowledged.max(number);
                job.end_acknowledged = is_end;
                Answer::Accepted
            }
            Err(_) => Answer::AttemptOver,
        })
    }

    /// A worker of an earlier attempt, which does not know that it is over.
    pub(crate) async fn haunt(self, times: u32) {
        for _ in 0..times {
            let wait = self.network.random(|random| random.u64(200..3_000));
            sleep(Duration::from_millis(wait)).await;
            let (id, attempt, ended) = {
                let job = self.job.borrow();
                (job.id.clone(), job.attempt, job.ended)
            };
            // It may report only what is rejected: an attempt that is over.
            let named = if ended { attempt } else { attempt.saturating_sub(1) };
            if named > 0 && self.redis.has_ended(&id, named) {
                let _ = report(&self, &id, named, 1, false).await;
            }
        }
    }
}

async fn report(
    worker: &Worker,
    id: &str,
    attempt: u32,
    number: u64,
    is_end: bool,
) -> Result<Result<(), Refusal>, Lost> {
    let status = if is_end { "completed" } else { "processing" };
    let json =
        format!(r#"{{"status":"{status}","attempt":{attempt},"metadata":{{"n":{number}}}}}"#);
    let (Ok(job), network) = (JobId::parse(id), &worker.network) else { return Err(Lost) };
    let Ok(update) = Update::parse(Some(&job), json.as_bytes()) else { return Err(Lost) };
    let at = network.random(|random| random.usize(..worker.instances.len()));
    let instance = &worker.instances[at];
    sleep(network.delay()).await;
    if network.is_refused(Place::Clients, Place::Instance(at)) || !instance.reaches_redis() {
        sleep(Duration::from_millis(50)).await;
        return Err(Lost);
    }
    sleep(network.delay()).await;
    let result = worker.redis.report(&update).map(drop);
    sleep(network.delay()).await;
    // The answer may be lost though the update was taken.
    if network.is_refused(Place::Clients, Place::Instance(at)) || !instance.reaches_redis() {
        return Err(Lost);
    }
    Ok(result)
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
