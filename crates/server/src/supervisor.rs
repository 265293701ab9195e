//! Long-lived tasks: if one ends early, it is restarted, or the server stops.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::drain::Drain;

/// The first wait before a restart. Each next one is twice as long, …
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
/// … up to this.
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// After a task has run for this long, its next restart has the first wait again.
const STEADY: Duration = Duration::from_secs(60);

/// Watches the server's long-lived tasks. Cheap to clone: all clones share one record.
#[derive(Clone)]
pub(crate) struct Supervisor {
    record: Arc<Mutex<Record>>,
    fatal: watch::Sender<Option<&'static str>>,
    drain: Drain,
}

#[derive(Default)]
struct Record {
    tasks: BTreeMap<&'static str, TaskStatus>,
}

/// The status of a supervised task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskStatus {
    /// How many of the name run now. Shards' tasks share a name.
    pub(crate) running: usize,
    /// How many of the name should run.
    pub(crate) expected: usize,
    /// How often one has panicked or returned early since the start.
    pub(crate) failures: u64,
}

impl Supervisor {
    pub(crate) fn new(drain: Drain) -> Self {
        Self { record: Arc::default(), fatal: watch::Sender::new(None), drain }
    }

    /// A future that runs the task that `make` returns. Whenever the task panics or returns, it is made again after a
    /// growing wait. Ends when the task returns while the server shuts down.
    pub(crate) async fn restarting<F: Future<Output = ()>>(
        self,
        name: &'static str,
        mut make: impl FnMut() -> F,
    ) {
        self.change(name, |task| task.expected += 1);
        let mut backoff = FIRST_BACKOFF;
        loop {
            let began = Instant::now();
            let ended = self.run_once(name, make()).await;
            let Err(reason) = ended else { return };
            if began.elapsed() >= STEADY {
                backoff = FIRST_BACKOFF;
            }
            tracing::error!(task = name, reason, retry_in = ?backoff, "a task ended; restarting it");
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// A future that runs a task that cannot be restarted. If it panics or returns early, the server shuts down: see
    /// [`Supervisor::fatal`].
    pub(crate) async fn critical(self, name: &'static str, task: impl Future<Output = ()>) {
        self.change(name, |task| task.expected += 1);
        if let Err(reason) = self.run_once(name, task).await {
            tracing::error!(task = name, reason, "an essential task ended");
            self.fatal.send_replace(Some(name));
        }
    }

    /// Waits until a critical task has failed, and names it.
    pub(crate) async fn fatal(&self) -> &'static str {
        let mut fatal = self.fatal.subscribe();
        let failed = fatal.wait_for(Option::is_some).await.ok().and_then(|failed| *failed);
        match failed {
            Some(name) => name,
            // `self` holds the sender.
            None => std::future::pending().await,
        }
    }

    /// Every supervised task by its name.
    pub(crate) fn tasks(&self) -> Vec<(&'static str, TaskStatus)> {
        self.lock().tasks.iter().map(|(name, task)| (*name, *task)).collect()
    }

    /// The tasks that should run but do not.
    pub(crate) fn failing(&self) -> Vec<&'static str> {
        let down = |(name, task): (&'static str, TaskStatus)| {
            (task.running < task.expected).then_some(name)
        };
        self.tasks().into_iter().filter_map(down).collect()
    }

    /// The error describes how the task ended early.
    async fn run_once(
        &self,
        name: &'static str,
        task: impl Future<Output = ()>,
    ) -> Result<(), &'static str> {
        self.change(name, |task| task.running += 1);
        let ended = AssertUnwindSafe(task).catch_unwind().await;
        let going_down = self.drain.has_begun();
        self.change(name, |task| {
            task.running -= 1;
            if ended.is_err() || !going_down {
                task.failures += 1;
            } else {
                task.expected -= 1;
            }
        });
        match ended {
            Ok(()) if going_down => Ok(()),
            Ok(()) => Err("returned"),
            Err(_) => Err("panicked"),
        }
    }

    fn change(&self, name: &'static str, change: impl FnOnce(&mut TaskStatus)) {
        change(self.lock().tasks.entry(name).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::drain::Stage;

    fn status(running: usize, expected: usize, failures: u64) -> TaskStatus {
        TaskStatus { running, expected, failures }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_or_returns_is_restarted() {
        let (_stage, drain) = Drain::new();
        let supervisor = Supervisor::new(drain);
        let made = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&made);
        let task = tokio::spawn(supervisor.clone().restarting("broker", move || {
            let nth = count.fetch_add(1, Ordering::Relaxed);
            async move {
                match nth {
                    0 => panic!("on purpose"),
                    1 => {}
                    _ => pending().await,
                }
            }
        }));
        tokio::task::yield_now().await;
        assert_eq!(supervisor.failing(), ["broker"], "while it waits for its restart");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(made.load(Ordering::Relaxed), 3);
        assert_eq!(supervisor.tasks(), [("broker", status(1, 1, 2))]);
        assert!(supervisor.failing().is_empty());
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn restarts_come_at_most_every_five_seconds() {
        let (_stage, drain) = Drain::new();
        let supervisor = Supervisor::new(drain);
        let task = tokio::spawn(supervisor.clone().restarting("hub", || async {}));
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        let failures = supervisor.tasks()[0].1.failures;
        assert!((195..=210).contains(&failures), "{failures}");
        task.abort();
    }

    #[tokio::test]
    async fn a_critical_task_that_ends_is_fatal() {
        let (_stage, drain) = Drain::new();
        let supervisor = Supervisor::new(drain);
        tokio::spawn(supervisor.clone().critical("shard", async { panic!("on purpose") }));
        assert_eq!(supervisor.fatal().await, "shard");
        assert_eq!(supervisor.failing(), ["shard"]);
    }

    #[tokio::test]
    async fn a_task_may_return_while_the_server_goes_down() {
        let (stage, drain) = Drain::new();
        let supervisor = Supervisor::new(drain.clone());
        let until_down = || async { drain.begun().await };
        stage.send(Stage::GoingDown).unwrap();
        supervisor.clone().restarting("accept", until_down).await;
        assert_eq!(supervisor.tasks(), [("accept", status(0, 0, 0))]);
    }
}
