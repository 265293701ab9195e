//! What is kept of a whole attempt, however long it takes: `spec/README.md`, section 9.

use std::borrow::Cow;

use serde::Serialize;

use crate::json::text;
use crate::{Attribute, State, Status, Timestamp, stages};

/// At most so many samples in a timeline. With more, every second one is dropped.
pub const MAX_SAMPLES: usize = 128;
/// At most so many stages in a timeline: the latest.
pub const MAX_STAGES: usize = 64;
/// At most so many attempts in a timeline: the latest, the present one included.
pub const MAX_ATTEMPTS: usize = 8;

/// The largest timeline, in bytes as it is encoded.
pub const MAX_TIMELINE_BYTES: usize = HEADER
    + MAX_SAMPLES * SAMPLE
    + MAX_STAGES_BYTES
    + (MAX_ATTEMPTS - 1) * (ATTEMPT + MAX_ERROR_BYTES);

const MAX_STAGES_BYTES: usize = 1_200;
const MAX_ERROR_BYTES: usize = 96;
/// Between samples, in tenths of a second, until there are too many.
const FIRST_INTERVAL: u32 = 10;

// The sizes of what is encoded, without texts.
const HEADER: usize = 14;
const SAMPLE: usize = 6;
const ATTEMPT: usize = 19;

/// A job's progress over its present attempt, the attempt's stages, and the attempts before it, in at most
/// [`MAX_TIMELINE_BYTES`].
///
/// Invariant: `timeline.lua` writes the same bytes after the same updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// When the attempt began, in milliseconds since 1970; 0 while it is queued.
    started: i64,
    /// Between samples, in tenths of a second.
    interval: u32,
    samples: Vec<Sample>,
    /// Where stages began, oldest first: [`Boundary`]s as they are encoded.
    boundaries: Vec<u8>,
    /// The attempts before the present one, oldest first: [`Earlier`]s as they are encoded.
    earlier: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// Of seconds since the attempt began.
    tenths: u32,
    share: Share,
}

/// A progress in ten-thousandths, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share(u16);

/// Where a stage began and the one before it ended.
struct Boundary<'a> {
    /// The progress at the end of the stage before.
    before: Share,
    /// In milliseconds since 1970.
    at: i64,
    /// The progress at the beginning of this stage.
    after: Share,
    /// The stage as JSON; empty where the attempt ended.
    stage: &'a str,
}

/// An attempt before the present one.
struct Earlier<'a> {
    attempt: u32,
    status: Status,
    /// In milliseconds since 1970; 0 if it did not.
    started: i64,
    ended: i64,
    error: &'a str,
}

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

    /// The present attempt is over: what is kept of it is how it ended.
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

    /// Progress over the present attempt, oldest first: seconds since it began, and the progress then.
    pub fn samples(&self) -> Vec<(f64, f64)> {
        let sample =
            |sample: &Sample| Some((f64::from(sample.tenths) / 10.0, sample.share.progress()?));
        self.samples.iter().filter_map(sample).collect()
    }

    /// The stages of the present attempt, oldest first. `present` is the job's present state.
    pub fn stages<'a>(&'a self, present: &'a State) -> Vec<StageSpan<'a>> {
        let declared = present.attribute(Attribute::Stages).and_then(stages::parse);
        let declared = declared.unwrap_or_default();
        let mut spans: Vec<StageSpan<'a>> = Vec::new();
        for boundary in read_all(&self.boundaries, Boundary::read) {
            if let Some(last) = spans.last_mut() {
                last.ended_at = written(boundary.at);
                last.progress_to = boundary.before.progress();
            }
            let Some(id) = text(boundary.stage) else { continue };
            let stage = declared.iter().find(|stage| stage.id == id);
            spans.push(StageSpan {
                id,
                label: stage.and_then(|stage| stage.label.clone()),
                weight: stage.map(|stage| stage.weight),
                started_at: written(boundary.at),
                ended_at: None,
                progress_from: boundary.after.progress(),
                progress_to: Share::of(present).progress(),
            });
        }
        let surplus = spans.len().saturating_sub(MAX_STAGES);
        spans.drain(..surplus);
        spans
    }

    /// The latest attempts, oldest first, the present one last. `present` is the job's present state.
    pub fn attempts<'a>(&'a self, present: &'a State) -> Vec<AttemptSpan<'a>> {
        let earlier = read_all(&self.earlier, Earlier::read).map(|earlier| AttemptSpan {
            attempt: earlier.attempt,
            status: earlier.status,
            started_at: written(earlier.started),
            ended_at: written(earlier.ended),
            error: Some(earlier.error.into()).filter(|error: &Cow<'_, str>| !error.is_empty()),
        });
        let view = present.view();
        let moment = |moment: Option<Cow<'_, str>>| written(moment.as_deref().and_then(millis)?);
        let error = view.error.as_deref().map(last_line).filter(|error| !error.is_empty());
        earlier
            .chain([AttemptSpan {
                attempt: present.attempt(),
                status: present.status(),
                started_at: moment(view.started_at),
                ended_at: moment(view.ended_at),
                error: error.map(|error| error.to_owned().into()),
            }])
            .collect()
    }

    /// How many bytes it has when it is encoded.
    pub fn encoded_len(&self) -> usize {
        HEADER + self.samples.len() * SAMPLE + self.boundaries.len() + self.earlier.len()
    }

    /// The timeline as it is stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        write_millis(self.started, &mut bytes);
        bytes.extend(self.interval.to_be_bytes());
        write_len(self.samples.len(), &mut bytes);
        write_len(self.boundaries.len(), &mut bytes);
        for Sample { tenths, share } in &self.samples {
            bytes.extend(tenths.to_be_bytes());
            bytes.extend(share.0.to_be_bytes());
        }
        bytes.extend(&self.boundaries);
        bytes.extend(&self.earlier);
        bytes
    }

    /// The timeline that was stored for a job in this state. None if the bytes are not one, or are of an earlier attempt: a
    /// version that knows no timelines may have written the states since. It may also have begun the present attempt, whose
    /// timeline then begins later.
    pub fn decode(bytes: &[u8], present: &State) -> Option<Self> {
        let (started, bytes) = read_millis(bytes)?;
        let is_of_attempt = started_at(present).map_or(started == 0, |began| started >= began);
        is_of_attempt.then_some(())?;
        let (interval, bytes) = bytes.split_first_chunk()?;
        let (count, bytes) = read_len(bytes)?;
        let (stages_len, bytes) = read_len(bytes)?;
        let (mut encoded, bytes) = bytes.split_at_checked(count.checked_mul(SAMPLE)?)?;
        let (boundaries, earlier) = bytes.split_at_checked(stages_len)?;
        let is_bounded = count <= MAX_SAMPLES && earlier.len() <= MAX_TIMELINE_BYTES;
        is_bounded.then_some(())?;
        let mut samples = Vec::with_capacity(count);
        while let Some((tenths, rest)) = encoded.split_first_chunk() {
            let (share, rest) = rest.split_first_chunk()?;
            let share = Share(u16::from_be_bytes(*share));
            samples.push(Sample { tenths: u32::from_be_bytes(*tenths), share });
            encoded = rest;
        }
        Some(Self {
            started,
            interval: u32::from_be_bytes(*interval).max(1),
            samples,
            boundaries: boundaries.to_vec(),
            earlier: earlier.to_vec(),
        })
    }
}

/// A stage of an attempt, and when it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageSpan<'a> {
    /// What updates call it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Cow<'a, str>,
    /// What people call it, if the job declares that.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub label: Option<Cow<'a, str>>,
    /// Its share of the work beside those of the other stages, if the job declares it.
    pub weight: Option<f64>,
    /// When it began, by the server's clock.
    pub started_at: Option<String>,
    /// When it ended; none while it lasts.
    pub ended_at: Option<String>,
    /// The job's progress when it began.
    pub progress_from: Option<f64>,
    /// The job's progress when it ended, or now.
    pub progress_to: Option<f64>,
}

/// An attempt, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptSpan<'a> {
    /// Which one, from 1.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub attempt: u32,
    /// Its latest status.
    pub status: Status,
    /// When it began, by the server's clock; none if it was queued only.
    pub started_at: Option<String>,
    /// When it ended; none if it did not.
    pub ended_at: Option<String>,
    /// Why it failed: the last line, cut after 96 bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub error: Option<Cow<'a, str>>,
}

impl Boundary<'_> {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.before.0.to_be_bytes());
        write_millis(self.at, bytes);
        bytes.extend(self.after.0.to_be_bytes());
        write_len(self.stage.len(), bytes);
        bytes.extend(self.stage.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<(Boundary<'_>, &[u8])> {
        let (before, bytes) = bytes.split_first_chunk()?;
        let (at, bytes) = read_millis(bytes)?;
        let (after, bytes) = bytes.split_first_chunk()?;
        let (stage, bytes) = read_text(bytes)?;
        let [before, after] = [*before, *after].map(|share| Share(u16::from_be_bytes(share)));
        Some((Boundary { before, at, after, stage }, bytes))
    }
}

impl Earlier<'_> {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.attempt.to_be_bytes());
        let status = Status::ALL.iter().position(|status| *status == self.status);
        bytes.push(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(0));
        write_millis(self.started, bytes);
        write_millis(self.ended, bytes);
        write_len(self.error.len(), bytes);
        bytes.extend(self.error.as_bytes());
    }

    fn read(bytes: &[u8]) -> Option<(Earlier<'_>, &[u8])> {
        let (attempt, bytes) = bytes.split_first_chunk()?;
        let (status, bytes) = bytes.split_first()?;
        let status = *Status::ALL.get(usize::from(*status))?;
        let (started, bytes) = read_millis(bytes)?;
        let (ended, bytes) = read_millis(bytes)?;
        let (error, bytes) = read_text(bytes)?;
        let attempt = u32::from_be_bytes(*attempt);
        Some((Earlier { attempt, status, started, ended, error }, bytes))
    }
}

/// All that are encoded one after the other.
fn read_all<'a, T>(
    mut bytes: &'a [u8],
    read: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>,
) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || {
        let (item, rest) = read(bytes)?;
        bytes = rest;
        Some(item)
    })
}

/// Milliseconds since 1970, as six bytes: until the year 10889.
fn write_millis(millis: i64, bytes: &mut Vec<u8>) {
    bytes.extend(&millis.max(0).to_be_bytes()[2..]);
}

fn read_millis(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (millis, rest) = bytes.split_first_chunk::<6>()?;
    let mut wide = [0; 8];
    wide[2..].copy_from_slice(millis);
    Some((i64::from_be_bytes(wide), rest))
}

fn write_len(len: usize, bytes: &mut Vec<u8>) {
    bytes.extend(u16::try_from(len).unwrap_or(0).to_be_bytes());
}

fn read_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*len).into(), rest))
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, bytes) = read_len(bytes)?;
    let (text, rest) = bytes.split_at_checked(len)?;
    Some((std::str::from_utf8(text).ok()?, rest))
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

fn written(millis: i64) -> Option<String> {
    let moment = Timestamp::from_micros(millis.saturating_mul(1_000));
    (millis > 0).then(|| moment.with_millis().to_string())
}

/// The last line of an error, which says the most of a traceback.
fn last_line(error: &str) -> &str {
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\x0b';
    let lines = error.split(['\r', '\n']).map(|line| line.trim_matches(is_space));
    let line = lines.rev().find(|line| !line.is_empty()).unwrap_or_default();
    let end = (0..=line.len().min(MAX_ERROR_BYTES)).rev().find(|end| line.is_char_boundary(*end));
    &line[..end.unwrap_or(0)]
}
