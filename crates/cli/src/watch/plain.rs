//! Lines for a pipe or a CI log: only what changed enough to be worth one.

use std::time::{Duration, Instant};

use milepost_protocol::Status;

use super::roster::{SILENCE, Watched, no_word};
use crate::bars::Face;

/// A line is due for each such part of the way.
const STEP: f64 = 0.05;

/// What was last said of one job.
#[derive(Debug, Default)]
pub(super) struct Told {
    stage: Option<String>,
    status: Option<Status>,
    step: Option<u32>,
    /// After how long a silence the next line is due; none: no silence has been told.
    silence: Option<Duration>,
}

impl Told {
    /// The line that this face is worth, if any.
    pub(super) fn line(&mut self, job: &str, face: &Face) -> Option<String> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0…1"
        )]
        let step = face.progress.map(|p| ((p.clamp(0.0, 1.0) + 1e-9) / STEP) as u32);
        let changed = self.status != Some(face.status)
            || self.stage.as_deref() != Some(&face.stage)
            || self.step != step;
        self.silence = None;
        if !changed {
            return None;
        }
        self.status = Some(face.status);
        self.stage = Some(face.stage.clone());
        self.step = step;
        Some(
            format!("{job} {} {}", face.short().trim_start(), face.details()).trim_end().to_owned(),
        )
    }

    /// A line when nothing is heard any more, and again each time that the silence has doubled.
    pub(super) fn silence(&mut self, watched: &Watched, now: Instant) -> Option<String> {
        let silent = watched.silent_for(now)?;
        if silent < self.silence.unwrap_or(SILENCE) {
            return None;
        }
        self.silence = Some(silent * 2);
        Some(format!("{} {}", watched.job, no_word(silent)))
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::JobId;

    use super::super::roster::{Roster, tests::state};
    use super::*;

    #[test]
    fn stages_steps_and_ends_are_worth_a_line() {
        let mut told = Told::default();
        let mut lines = Vec::new();
        for thousandth in 0..=1000 {
            let face = Face {
                progress: Some(f64::from(thousandth) / 1000.0),
                stage: if thousandth < 500 { "one" } else { "two" }.to_owned(),
                ..Face::new(Status::Processing)
            };
            lines.extend(told.line("j", &face));
        }
        assert_eq!(lines.len(), 21, "{lines:?}");
        assert_eq!(
            (lines[0].as_str(), lines[1].as_str(), lines[10].as_str()),
            ("j 0 % one", "j 5 % one", "j 50 % two")
        );
        let end = Face { progress: Some(1.0), ..Face::new(Status::Completed) };
        assert_eq!(told.line("j", &end).as_deref(), Some("j done"));
        assert_eq!(told.line("j", &end), None);
    }

    #[test]
    fn an_unknown_total_is_told_once() {
        let mut told = Told::default();
        let face = Face::new(Status::Processing);
        assert_eq!(told.line("j", &face).as_deref(), Some("j …"));
        assert_eq!(told.line("j", &face), None);
    }

    #[test]
    fn a_silence_is_told_at_growing_intervals() {
        let t0 = Instant::now();
        let mut roster = Roster::new(vec![JobId::parse("j").unwrap()], t0);
        roster.connected();
        roster.state(&state("j", r#""status":"processing","stage":"s""#), t0, Duration::ZERO);
        let mut told = Told::default();
        let at: Vec<u64> = (0..300)
            .filter(|second| {
                told.silence(&roster.watched()[0], t0 + Duration::from_secs(*second)).is_some()
            })
            .collect();
        assert_eq!(at, [15, 30, 60, 120, 240]);
    }
}
