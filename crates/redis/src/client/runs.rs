//! How long jobs of one name took: `spec/README.md`, sections 3 and 14. In a Cluster, a name is on another server than most jobs of it.
//! So the client that reports a job reads the durations of the name, and passes them to the script that folds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use milepost_protocol::{JobId, Run, Runs, State, Timeline, Timestamp, Update};

use super::Client;
use crate::Failure;
use crate::call::Call;
use crate::names::Names;

/// The durations of names that a client has read lately, so that it does not read them for each report.
#[derive(Default)]
pub(super) struct KnownRuns(Mutex<HashMap<Box<str>, Known>>);

/// The recorded durations of a name when they were read; empty if there were none.
struct Known {
    read_at: Timestamp,
    runs: Arc<[u8]>,
}

/// The most names. At the bound, all of them are read again.
const MOST_NAMES: usize = 1_000;

/// For how long the durations that were read are used.
const FRESH: Duration = Duration::from_secs(10);

impl KnownRuns {
    fn names(&self) -> MutexGuard<'_, HashMap<Box<str>, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, name: &str, now: Timestamp) -> Option<Arc<[u8]>> {
        let names = self.names();
        let known = names.get(name)?;
        // `since` is 0 if the clock was set back: one of the two is the distance.
        let age = now.since(known.read_at).max(known.read_at.since(now));
        (age < FRESH).then(|| Arc::clone(&known.runs))
    }

    fn put(&self, name: &str, read_at: Timestamp, runs: Arc<[u8]>) {
        let mut names = self.names();
        if names.len() >= MOST_NAMES && !names.contains_key(name) {
            names.clear();
        }
        names.insert(name.into(), Known { read_at, runs });
    }

    fn forget(&self, name: &str) {
        self.names().remove(name);
    }
}

impl Client {
    /// The recorded durations of the name that the update gives its job. None if there are none, or Redis does not answer: then the
    /// estimate does without them.
    pub(super) async fn runs_for(&self, update: &Update, now: Timestamp) -> Option<Arc<[u8]>> {
        let name = update.name().filter(|_| !update.status().is_end())?;
        let runs = if let Some(known) = self.runs.get(&name, now) {
            known
        } else {
            // In a box, so that the reports of other jobs are no larger for it.
            let read = Box::pin(self.runs(&name)).await.unwrap_or_default();
            let is_valid =
                |bytes: &Vec<u8>| Runs::decode(bytes).is_some_and(|runs| !runs.is_over(now));
            let runs: Arc<[u8]> = read.filter(is_valid).unwrap_or_default().into();
            self.runs.put(&name, now, Arc::clone(&runs));
            runs
        };
        Some(runs).filter(|runs| !runs.is_empty())
    }

    /// The weights of the stages that the update declares without any, by what is recorded of its name.
    pub(super) fn weights_for(update: &Update, runs: Option<&[u8]>) -> Option<String> {
        let declared = runs.and(update.unweighted_stages())?;
        Runs::decode(runs?)?.stage_weights(declared)
    }

    /// How long the latest attempts of that name took, as [`Runs::encode`] has it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn runs(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let mut command = redis::cmd("HGET");
        command.arg(Names::runs(name)).arg(format!("={name}"));
        self.connection.query(&command).await
    }

    /// Records how long an attempt took, if this state completes it. If that fails, estimates do without: it is not tried again.
    pub(super) async fn record_run(&self, state: &State) {
        if let Some(run) = Run::of(state) {
            Box::pin(self.record(run, state)).await;
        }
    }

    async fn record(&self, mut run: Run<'_>, state: &State) {
        if Run::has_stages(state)
            && let Ok(Some(bytes)) = self.timeline(state.job()).await
            && let Some(timeline) = Timeline::decode(&bytes, state)
        {
            run = run.with_stages(state, &timeline);
        }
        let _ = self.run(&Call::run(&run)).await;
        self.runs.forget(&run.name);
    }

    async fn timeline(&self, job: &JobId) -> Result<Option<Vec<u8>>, Failure> {
        let [_, job_key] = self.names.keys(job);
        let mut command = redis::cmd("HGET");
        command.arg(job_key).arg("timeline");
        self.connection.query(&command).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_again_after_a_while_and_names_are_bounded() {
        let known = KnownRuns::default();
        let at = |second: i64| Timestamp::from_micros(1_700_000_000_000_000 + second * 1_000_000);
        let bytes: Arc<[u8]> = Arc::from([1_u8]);
        known.put("a", at(0), Arc::clone(&bytes));
        known.put("b", at(0), Arc::default());
        assert_eq!(known.get("a", at(9)), Some(bytes));
        assert_eq!(
            known.get("b", at(9)),
            Some(Arc::default()),
            "that there is nothing is known too"
        );
        assert_eq!(known.get("a", at(10)), None);
        assert_eq!(known.get("a", at(-10)), None, "the clock was set back");
        for number in 0..MOST_NAMES - 2 {
            known.put(&number.to_string(), at(0), Arc::default());
        }
        known.put("a", at(1), Arc::default());
        assert_eq!(known.names().len(), MOST_NAMES);
        known.put("one more", at(1), Arc::default());
        assert_eq!(known.names().len(), 1);
        known.forget("one more");
        assert_eq!(known.get("one more", at(1)), None);
    }
}
