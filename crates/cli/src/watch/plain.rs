//! Lines for a pipe or a CI log: only what changed enough to be worth one.

use std::time::{Duration, Instant};

use milepost_protocol::{Health, Status};

use super::watched_jobs::{Watched, silence_text};
use crate::bars::{JobSummary, SILENCE};

/// A line is due for each such part of the way.
const STEP: f64 = 0.05;

/// How long after a reconnect states may be those of the time without a connection. Of these, a job's latest is printed.
const REPLAY: Duration = Duration::from_millis(500);

/// The lines of all jobs.
#[derive(Debug, Default)]
pub(super) struct PlainLines {
    /// In the order of the jobs.
    printed: Vec<LastPrinted>,
    replay_until: Option<Instant>,
}

impl PlainLines {
    /// The connection is up again.
    pub(super) fn reconnected(&mut self, now: Instant) {
        self.replay_until = Some(now + REPLAY);
    }

    /// The line that a job's new state is worth, if any.
    pub(super) fn state(&mut self, jobs: &[Watched], index: usize, now: Instant) -> Option<String> {
        self.printed.resize_with(jobs.len(), LastPrinted::default);
        let printed = &mut self.printed[index];
        printed.is_held = self.replay_until.is_some_and(|until| now < until);
        if printed.is_held { None } else { printed.state(&jobs[index]) }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, jobs: &[Watched], now: Instant) -> Vec<String> {
        self.printed.resize_with(jobs.len(), LastPrinted::default);
        let mut lines = Vec::new();
        if self.replay_until.is_some_and(|until| now >= until) {
            lines = self.held(jobs);
        }
        for (printed, watched) in self.printed.iter_mut().zip(jobs) {
            lines.extend(printed.unknown(watched, now));
            lines.extend(printed.silence(watched, now));
        }
        lines
    }

    /// The lines of what was replayed.
    pub(super) fn held(&mut self, jobs: &[Watched]) -> Vec<String> {
        self.replay_until = None;
        let all = self.printed.iter_mut().zip(jobs);
        let held = all.filter_map(|(printed, watched)| {
            std::mem::take(&mut printed.is_held).then(|| printed.state(watched)).flatten()
        });
        held.collect()
    }
}

/// What was last printed for one job.
#[derive(Debug, Default)]
pub(super) struct LastPrinted {
    stage: Option<String>,
    status: Option<Status>,
    step: Option<u32>,
    health: Option<Health>,
    /// How many of its children had failed.
    failed: u32,
    /// After how long a silence the next line is due; none: no silence has been printed.
    silence: Option<Duration>,
    /// It was printed that the server does not know the job.
    unknown: bool,
    /// Its latest state was not printed yet.
    is_held: bool,
}

impl LastPrinted {
    fn state(&mut self, watched: &Watched) -> Option<String> {
        let clock = watched.clock();
        self.line(watched.job.as_str(), watched.summary.as_ref()?, clock)
    }

    /// The line that this summary is worth, if any. `clock`: the time since the start, and what is left of it.
    pub(super) fn line(
        &mut self,
        job: &str,
        summary: &JobSummary,
        clock: Option<String>,
    ) -> Option<String> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0…1"
        )]
        let step = summary.progress.map(|p| ((p.clamp(0.0, 1.0) + 1e-9) / STEP) as u32);
        let failed = summary.children.as_ref().map_or(0, |children| children.failed);
        let changed = self.status != Some(summary.status)
            || self.stage.as_deref() != Some(&summary.stage)
            || self.step != step
            || self.health != summary.health
            || self.failed != failed;
        self.silence = None;
        if !changed {
            return None;
        }
        self.status = Some(summary.status);
        self.stage = Some(summary.stage.clone());
        self.step = step;
        self.health = summary.health;
        self.failed = failed;
        let parts = [summary.details(), clock.unwrap_or_default()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let line = format!("{job} {} {}", summary.short().trim_start(), parts.join(" · "));
        Some(line.trim_end().to_owned())
    }

    /// A line, once, when the server has not known the job for a while.
    pub(super) fn unknown(&mut self, watched: &Watched, now: Instant) -> Option<String> {
        let is_unknown = watched.unknown_for(now).is_some();
        let before = std::mem::replace(&mut self.unknown, is_unknown);
        let what = if watched.summary.is_some() {
            "is forgotten by the server"
        } else {
            "is not known yet"
        };
        (is_unknown && !before).then(|| format!("{} {what}", watched.job))
    }

    /// A line when a job becomes silent, and again each time that the silence has doubled.
    pub(super) fn silence(&mut self, watched: &Watched, now: Instant) -> Option<String> {
        let silent = watched.silent_for(now)?;
        if silent < self.silence.unwrap_or(SILENCE) {
            return None;
        }
        self.silence = Some(silent * 2);
        Some(format!("{} {}", watched.job, silence_text(silent)))
    }
}

#[cfg(test)]
mod tests {
    use milepost_protocol::JobId;

    use super::super::watched_jobs::{WatchedJobs, tests::state};
    use super::*;

    #[test]
    fn stages_steps_and_ends_are_worth_a_line() {
        let mut printed = LastPrinted::default();
        let mut lines = Vec::new();
        for thousandth in 0..=1000 {
            let summary = JobSummary {
                progress: Some(f64::from(thousandth) / 1000.0),
                stage: if thousandth < 500 { "one" } else { "two" }.to_owned(),
                ..JobSummary::new(Status::Processing)
            };
            lines.extend(printed.line("j", &summary, None));
        }
        assert_eq!(lines.len(), 21, "{lines:?}");
        assert_eq!(
            (lines[0].as_str(), lines[1].as_str(), lines[10].as_str()),
            ("j 0 % one", "j 5 % one", "j 50 % two")
        );
        let end = JobSummary { progress: Some(1.0), ..JobSummary::new(Status::Completed) };
        assert_eq!(printed.line("j", &end, None).as_deref(), Some("j done"));
        assert_eq!(printed.line("j", &end, None), None);
    }

    #[test]
    fn a_change_of_health_is_worth_a_line_with_the_clock() {
        let mut printed = LastPrinted::default();
        let summary = JobSummary { stage: "cut".into(), ..JobSummary::new(Status::Processing) };
        let clock = |text: &str| Some(text.to_owned());
        assert_eq!(printed.line("j", &summary, clock("0:05")).as_deref(), Some("j … cut · 0:05"));
        assert_eq!(printed.line("j", &summary, clock("0:06")), None);
        let lost = JobSummary { health: Some(Health::Lost), ..summary };
        let line = printed.line("j", &lost, clock("1:05"));
        assert_eq!(line.as_deref(), Some("j … lost · cut · 1:05"));
    }

    #[test]
    fn of_what_is_replayed_the_latest_is_printed() {
        let t0 = Instant::now();
        let mut jobs = WatchedJobs::new(vec![JobId::parse("j").unwrap()], t0);
        let mut lines = PlainLines::default();
        let mut reports = |lines: &mut PlainLines, stage: &str, now| {
            let json = format!(r#""status":"processing","stage":"{stage}""#);
            jobs.state(&state("j", &json), now, Duration::ZERO);
            let line = lines.state(jobs.watched(), 0, now);
            line.into_iter().chain(lines.tick(jobs.watched(), now)).collect::<Vec<_>>()
        };
        assert_eq!(reports(&mut lines, "one", t0), ["j … one"]);
        lines.reconnected(t0);
        assert!(reports(&mut lines, "two", t0).is_empty());
        assert!(reports(&mut lines, "three", t0).is_empty());
        let later = t0 + REPLAY;
        assert_eq!(reports(&mut lines, "four", later), ["j … four"]);
        lines.reconnected(later);
        assert!(reports(&mut lines, "five", later).is_empty());
        assert_eq!(lines.held(jobs.watched()), ["j … five"], "watch ends");
        assert!(lines.held(jobs.watched()).is_empty());
    }

    #[test]
    fn an_unknown_total_is_printed_once() {
        let mut printed = LastPrinted::default();
        let summary = JobSummary::new(Status::Processing);
        assert_eq!(printed.line("j", &summary, None).as_deref(), Some("j …"));
        assert_eq!(printed.line("j", &summary, None), None);
    }

    #[test]
    fn a_silence_is_printed_at_growing_intervals() {
        let t0 = Instant::now();
        let mut watched_jobs = WatchedJobs::new(vec![JobId::parse("j").unwrap()], t0);
        watched_jobs.connected();
        watched_jobs.state(&state("j", r#""status":"processing","stage":"s""#), t0, Duration::ZERO);
        let mut printed = LastPrinted::default();
        let at: Vec<u64> = (0..300)
            .filter(|second| {
                printed
                    .silence(&watched_jobs.watched()[0], t0 + Duration::from_secs(*second))
                    .is_some()
            })
            .collect();
        assert_eq!(at, [30, 60, 120, 240]);
    }
}
