//! When the command is expected to complete, for its own bar: as the server's fold estimates it from the same progress.

use milepost_protocol::{Epoch, Fold, JobId, Origin, State, Timestamp, Update, fold};

use crate::bars::{JobSummary, JobTimes};

/// Without a change, the progress is folded again after so many seconds, as the server folds a heartbeat: silence counts as standstill.
const AGAIN: u64 = 10;

/// The job as a server would have it if only its progress were reported.
#[derive(Default)]
pub(super) struct OwnEstimate {
    state: Option<State>,
    progress: Option<f64>,
    folded_at: Option<Timestamp>,
}

impl OwnEstimate {
    /// Adds to the summary, in words, how long the command still takes.
    pub(super) fn add_to(&mut self, summary: &mut JobSummary, now: Timestamp) {
        let is_old = self.folded_at.is_none_or(|at| now.since(at).as_secs() >= AGAIN);
        if is_old || summary.progress != self.progress {
            self.fold(summary.progress, now);
        }
        summary.left = self.state.as_ref().and_then(|state| JobTimes::of(state).left(now));
    }

    fn fold(&mut self, progress: Option<f64>, now: Timestamp) {
        (self.progress, self.folded_at) = (progress, Some(now));
        let progress = progress.map_or_else(|| "null".to_owned(), |progress| progress.to_string());
        let json = format!(r#"{{"progress":{progress}}}"#);
        let Ok(job) = JobId::parse("command") else { return };
        let Ok(update) = Update::parse(Some(&job), json.as_bytes()) else { return };
        let folded = fold(self.state.as_ref(), &update, Origin::Report, Epoch(1), now);
        if let Ok(Fold::New(state)) = folded {
            self.state = Some(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use milepost_protocol::Status;

    use super::*;

    #[test]
    fn a_command_with_progress_has_a_time_left_and_another_has_none() {
        let mut estimate = OwnEstimate::default();
        let mut summary = JobSummary::new(Status::Processing);
        let mut left = |second: u64, progress: Option<f64>| {
            summary.progress = progress;
            let now = Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(second);
            estimate.add_to(&mut summary, now);
            summary.details()
        };
        assert_eq!(left(0, None), "");
        for second in 0..10_u32 {
            assert_eq!(left(second.into(), Some(f64::from(second) / 100.0)), "", "{second}");
        }
        let first = left(10, Some(0.1));
        assert!(first.ends_with(" left") && first.contains("min"), "{first}");
        assert_ne!(left(100, Some(0.1)), first, "it stands still");
        assert_eq!(left(101, Some(1.0)), "");
    }

    #[test]
    fn the_estimate_replaces_the_time_left_that_the_command_prints() {
        let mut summary = JobSummary::new(Status::Processing);
        summary.metadata.insert("time_left".to_owned(), 3.into());
        assert_eq!(summary.details(), "3 s left");
        summary.left = Some("about 4 min left".to_owned());
        assert_eq!(summary.details(), "about 4 min left");
    }
}
