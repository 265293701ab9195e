//! The course of a whole attempt, however long it takes: `spec/README.md`, section 9.

mod records;
mod spans;

use crate::json::text;
use crate::{State, Status, Timestamp};

use records::{ATTEMPT, Boundary, Earlier, HEADER, SAMPLE, read_all};
pub use spans::{AttemptSpan, StageSpan};

/// The most samples in a timeline. Beyond that, every second one is dropped.
pub const MAX_SAMPLES: usize = 128;
/// The most stages in a timeline: the latest.
pub const MAX_STAGES: usize = 64;
/// The most attempts in a timeline: the latest, the present one included.
pub const MAX_ATTEMPTS: usize = 8;

/// The size of the largest encoded timeline, in bytes.
pub const MAX_TIMELINE_BYTES: usize = HEADER
    + MAX_SAMPLES * SAMPLE
    + MAX_STAGES_BYTES
    + (MAX_ATTEMPTS - 1) * (ATTEMPT + MAX_ERROR_BYTES);

const MAX_STAGES_BYTES: usize = 1_200;
const MAX_ERROR_BYTES: usize = 96;
/// The time between samples until there are too many, in tenths of a second.
const FIRST_INTERVAL: u32 = 10;

/// A job's progress over its present attempt, the attempt's stages, and the attempts before it, in at most
/// [`MAX_TIMELINE_BYTES`].
///
/// Invariant: `timeline.lua` writes the same bytes after the same updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// When the attempt began, in milliseconds since 1970; 0 while it is queued.
    started: i64,
    /// The time between samples, in tenths of a second.
    interval: u32,
    samples: Vec<Sample>,
    /// The beginnings of stages, oldest first: encoded [`Boundary`]s.
    boundaries: Vec<u8>,
    /// The attempts before the present one, oldest first: encoded [`Earlier`]s.
    earlier: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// Since the attempt began, in tenths of a second.
    tenths: u32,
    share: Share,
}

/// A progress in ten-thousandths, or [`NONE`](Self::NONE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share(u16);

impl Share {
    const NONE: Self = Self(u16::MAX);

    fn of(state: &State) -> Self {
        let progress = progress(state).and_then(|progress| progress.parse::<f64>().ok());
        let Some(progress) = progress.filter(|progress| !progress.is_nan()) else {
            return Self::NONE;
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0…10,000")]
        let share = (progress.clamp(0.0, 1.0) * 10_000.0 + 0.5).floor() as u16;
        Self(share)
    }

    /// The progress at an end. If the job did not complete it is that of the state before: many workers report failures with a
    /// progress of 0.
    fn at_end(previous: Option<&State>, end: &State) -> Self {
        let before = previous.map_or(Self::NONE, Self::of);
        if end.status() == Status::Completed || before == Self::NONE {
            Self::of(end)
        } else {
            before
        }
    }

    fn progress(self) -> Option<f64> {
        (self != Self::NONE).then(|| f64::from(self.0) / 10_000.0)
    }
}

impl Timeline {
    /// The timeline of a job of which no state before this one is known.
    pub fn begun_with(state: &State) -> Self {
        let mut timeline = Self { interval: FIRST_INTERVAL, ..Self::default() };
        let view = state.view();
        let moment = view.last_seen_at.as_deref().or(view.ended_at.as_deref());
        let started = view.started_at.as_deref().and_then(millis);
        if let (Some(started), Some(moment)) = (started, moment.and_then(millis)) {
            timeline.started = started;
            timeline.add_states(None, state, moment);
        }
        timeline
    }

    /// Whether there is something to [`add`](Self::add) when `next` follows `previous`.
    ///
    /// Samples are not due while a clock that was set back has not caught up.
    pub fn is_due(&self, previous: &State, next: &State, now: Timestamp) -> bool {
        if previous.attempt() != next.attempt() {
            return true;
        }
        has_started(next)
            && (self.started == 0
                || next.status().is_end()
                || stage(previous) != stage(next)
                || progress(next).is_some() && self.tenths(now.as_millis()) >= self.next_sample())
    }

    /// Adds what is due when `next` follows `previous`, which has been added: a sample, a stage, the end, or the next
    /// attempt.
    pub fn add(&mut self, previous: &State, next: &State, now: Timestamp) {
        let is_next_attempt = previous.attempt() != next.attempt();
        if is_next_attempt {
            self.end_attempt(previous);
        }
        if !has_started(next) {
            return;
        }
        if self.started == 0 {
            self.started = now.as_millis();
        }
        self.add_states(Some(previous).filter(|_| !is_next_attempt), next, now.as_millis());
    }

    /// Adds a state of the present attempt. Only a state of an attempt that has started says how far the attempt was.
    fn add_states(&mut self, previous: Option<&State>, next: &State, now: i64) {
        let tenths = self.tenths(now);
        let begun = previous.filter(|state| has_started(state));
        if next.status().is_end() {
            let before = Share::at_end(begun, next);
            self.add_sample(tenths, before, true);
            if !self.boundaries.is_empty() {
                self.add_boundary(&Boundary { before, at: now, after: Share::NONE, stage: "" });
            }
            return;
        }
        let share = Share::of(next);
        self.add_sample(tenths, share, false);
        if begun.is_none_or(|previous| stage(previous) != stage(next)) {
            let before = begun.map_or(Share::NONE, Share::of);
            let stage = stage(next).unwrap_or_default();
            self.add_boundary(&Boundary { before, at: now, after: share, stage });
        }
    }

    /// Seconds since the attempt began, in tenths.
    fn tenths(&self, now: i64) -> u32 {
        u32::try_from(now.saturating_sub(self.started).max(0) / 100).unwrap_or(u32::MAX)
    }

    /// When the next sample is due, in tenths.
    fn next_sample(&self) -> u32 {
        self.samples.last().map_or(0, |last| last.tenths.saturating_add(self.interval))
    }

    fn add_sample(&mut self, tenths: u32, share: Share, is_end: bool) {
        if share == Share::NONE || !is_end && tenths < self.next_sample() {
            return;
        }
        let last = self.samples.last().map_or(0, |last| last.tenths);
        if is_end && !self.samples.is_empty() && tenths <= last {
            self.samples.pop();
        }
        if self.samples.len() == MAX_SAMPLES {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.interval = self.interval.saturating_mul(2);
        }
        self.samples.push(Sample { tenths: tenths.max(last), share });
    }

    fn add_boundary(&mut self, boundary: &Boundary<'_>) {
        boundary.write(&mut self.boundaries);
        while self.boundaries.len() > MAX_STAGES_BYTES {
            let first = Boundary::read(&self.boundaries).map_or(0, |(_, rest)| rest.len());
            self.boundaries.drain(..self.boundaries.len() - first);
        }
    }

    /// Begins another attempt: of the present one, only how it ended is kept.
    fn end_attempt(&mut self, last: &State) {
        let view = last.view();
        let attempt = Earlier {
            attempt: last.attempt(),
            status: last.status(),
            started: view.started_at.as_deref().and_then(millis).unwrap_or(0),
            ended: view.ended_at.as_deref().and_then(millis).unwrap_or(0),
            error: view.error.as_deref().map_or("", last_line),
        };
        attempt.write(&mut self.earlier);
        let count = read_all(&self.earlier, Earlier::read).count();
        for _ in MAX_ATTEMPTS - 1..count {
            let rest = Earlier::read(&self.earlier).map_or(0, |(_, rest)| rest.len());
            self.earlier.drain(..self.earlier.len() - rest);
        }
        self.started = 0;
        self.interval = FIRST_INTERVAL;
        self.samples.clear();
        self.boundaries.clear();
    }
}

/// When the attempt began, in milliseconds since 1970; none while it is queued.
fn started_at(state: &State) -> Option<i64> {
    text(state.layout.started_at.get(&state.json)?).as_deref().and_then(millis)
}

fn has_started(state: &State) -> bool {
    state.layout.started_at.is_given()
}

/// As JSON.
fn stage(state: &State) -> Option<&str> {
    state.layout.stage.get(&state.json)
}

/// As JSON.
fn progress(state: &State) -> Option<&str> {
    state.layout.progress.get(&state.json)
}

fn millis(moment: &str) -> Option<i64> {
    Timestamp::parse(moment).map(Timestamp::as_millis)
}

/// The last line of an error, which says the most of a traceback.
fn last_line(error: &str) -> &str {
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let lines = error.split(['\r', '\n']).map(|line| line.trim_matches(is_space));
    let line = lines.rev().find(|line| !line.is_empty()).unwrap_or_default();
    let end = (0..=line.len().min(MAX_ERROR_BYTES)).rev().find(|end| line.is_char_boundary(*end));
    &line[..end.unwrap_or(0)]
}
