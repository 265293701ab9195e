//! How long jobs of one name took: `spec/README.md`, section 3.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use milepost_protocol::{Run, Runs, State, Timeline, Timestamp, Update, Usual};

use crate::store::Store;

/// At most so many names: the one of which no attempt has completed for longest makes room. What clients call their jobs is up to
/// them.
pub(crate) const MAX_NAMES: usize = 2_000;

/// What is known of names.
#[derive(Default)]
pub(crate) struct Names(Mutex<HashMap<Box<str>, Named>>);

/// What is known of a name when a job gets it.
pub(crate) struct Past {
    pub(crate) usual: Arc<Usual>,
    /// Of the stages that the job declares without weights.
    pub(crate) stage_weights: Option<String>,
}

struct Named {
    runs: Runs,
    /// Attempts that begin share it.
    usual: Arc<Usual>,
}

impl Named {
    fn of(runs: Runs) -> Self {
        Self { usual: runs.usual(), runs }
    }
}

impl Names {
    fn names(&self) -> MutexGuard<'_, HashMap<Box<str>, Named>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What attempts of the name that the update gives its job usually take; none if it gives none, or the name has no past.
    pub(crate) fn past_of(&self, update: &Update, now: Timestamp) -> Option<Past> {
        let name = update.name()?;
        let names = self.names();
        let named = names.get(&*name).filter(|named| !named.runs.is_over(now))?;
        let stages = update.unweighted_stages();
        let stage_weights = stages.and_then(|declared| named.runs.stage_weights(declared));
        Some(Past { usual: Arc::clone(&named.usual), stage_weights })
    }

    /// A job has entered a state: keeps how long its attempt took, if this state completes it, and how long its stages.
    pub(crate) fn ended(
        &self,
        state: &State,
        timeline: Option<&Timeline>,
        now: Timestamp,
        store: Option<&Store>,
    ) {
        let Some(run) = Run::of(state) else { return };
        let run = match timeline {
            Some(timeline) => run.with_stages(state, timeline),
            None => run,
        };
        let mut names = self.names();
        let mut runs = match names.remove(&*run.name) {
            Some(named) if !named.runs.is_over(now) => named.runs,
            _ => Runs::default(),
        };
        runs.add(&run, now);
        if let Some(store) = store {
            store.save_runs(&run.name, &runs);
        }
        if names.len() >= MAX_NAMES {
            let oldest = names.iter().min_by_key(|(_, named)| named.runs.last());
            let oldest = oldest.map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                names.remove(&oldest);
                if let Some(store) = store {
                    store.forget_runs(&oldest);
                }
            }
        }
        names.insert((*run.name).into(), Named::of(runs));
    }

    /// Knows again what was on disk.
    pub(crate) fn restore(&self, mut stored: Vec<(Box<str>, Runs)>, now: Timestamp, store: &Store) {
        stored.sort_by_key(|(_, runs)| std::cmp::Reverse(runs.last()));
        let mut names = self.names();
        for (name, runs) in stored {
            if names.len() == MAX_NAMES || runs.is_over(now) {
                store.forget_runs(&name);
            } else {
                names.insert(name, Named::of(runs));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use milepost_protocol::{Epoch, Fold, JobId, NAME_TTL, Origin, fold};

    use super::*;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(second)
    }

    fn update(json: &str) -> Update {
        let job = JobId::parse("a").unwrap();
        Update::parse(Some(&job), json.as_bytes()).unwrap()
    }

    /// A job of that name completes, after so many seconds.
    fn complete(names: &Names, name: &str, begun: u64, seconds: u64) {
        let mut state = None::<State>;
        let end = r#"{"status":"completed"}"#.to_owned();
        for (json, second) in [(format!(r#"{{"name":"{name}"}}"#), begun), (end, begun + seconds)] {
            let folded = fold(state.as_ref(), &update(&json), Origin::Report, Epoch(1), at(second));
            let Ok(Fold::New(next)) = folded else { panic!("{folded:?}") };
            names.ended(&next, None, at(second), None);
            state = Some(next);
        }
    }

    fn knows(names: &Names, name: &str, second: u64) -> bool {
        names.past_of(&update(&format!(r#"{{"name":"{name}"}}"#)), at(second)).is_some()
    }

    #[test]
    fn at_the_bound_the_name_used_longest_ago_makes_room() {
        let names = Names::default();
        for number in 0..MAX_NAMES as u64 {
            complete(&names, &format!("n{number}"), number, 1);
        }
        complete(&names, "n0", 5_000, 1);
        complete(&names, "one more", 5_001, 1);
        assert_eq!(names.names().len(), MAX_NAMES);
        assert!(knows(&names, "n0", 5_002) && knows(&names, "one more", 5_002));
        assert!(!knows(&names, "n1", 5_002) && knows(&names, "n2", 5_002));
    }

    #[test]
    fn a_name_without_completions_expires() {
        let names = Names::default();
        complete(&names, "a", 0, 10);
        let expires = 10 + NAME_TTL.as_secs();
        assert!(knows(&names, "a", expires) && !knows(&names, "a", expires + 1));
        // What it took then does not count any more.
        complete(&names, "a", expires + 1, 20);
        let mut only = Runs::default();
        only.add(&Run { name: "a".into(), tenths: 200, ..Run::default() }, at(0));
        assert_eq!(
            names.past_of(&update(r#"{"name":"a"}"#), at(expires + 30)).map(|past| past.usual),
            Some(only.usual())
        );
    }
}
