use std::cell::Cell;
use std::sync::Arc;
use std::{fmt, mem};

use crate::estimate::Moment;
use crate::json::{Ratio, number, text};
use crate::layout::{Layout, Span};
use crate::pace::Pace;
use crate::state::paused_millis;
use crate::update::SERVER_FIELDS;
use crate::{
    Attribute, Epoch, Health, Position, State, Status, Timestamp, Update, Usual, children, json,
    stages,
};

/// Where an update comes from. Only a reporter learns that its update was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A reporter.
    Report,
    /// A legacy publish, to which there is no answer.
    Publish,
}

/// What an update does to a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fold {
    /// The job is now in this state.
    New(State),
    /// The update is the end that the job has already: a reporter asks again. Or it counts only if the attempt is not known.
    /// Nothing changes.
    Repeated,
}

/// Why an update is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It belongs to an attempt that has ended.
    AttemptEnded {
        /// The attempt, which is the latest.
        attempt: u32,
        /// How it ended.
        status: Status,
        /// The end's position.
        position: Position,
    },
    /// It belongs to an attempt before the latest.
    AttemptSuperseded {
        /// The attempt that it names.
        named: u32,
        /// The latest.
        attempt: u32,
        /// The present state's position.
        position: Position,
    },
}

/// The one place where updates become states: `spec/README.md`, section 3.
///
/// `previous` is the job's present state, `epoch` the broker's present epoch for the job, and `now` the
/// server's clock.
///
/// # Errors
/// When the update belongs to an attempt that has ended or was superseded.
pub fn fold(
    previous: Option<&State>,
    update: &Update,
    origin: Origin,
    epoch: Epoch,
    now: Timestamp,
) -> Result<Fold, Refusal> {
    fold_with_usual(previous, update, origin, epoch, now, None, None)
}

/// The same, if it is known what attempts of the update's name usually take. Until the attempt takes another name, its later states
/// keep that, so that it need not be known for later updates. `stage_weights` are those of [`Update::unweighted_stages`]: they count if
/// the attempt has declared no stages before, and until it ends.
///
/// # Errors
/// As [`fold`].
pub fn fold_with_usual(
    previous: Option<&State>,
    update: &Update,
    origin: Origin,
    epoch: Epoch,
    now: Timestamp,
    usual: Option<&Arc<Usual>>,
    stage_weights: Option<&str>,
) -> Result<Fold, Refusal> {
    let attempt = match attempt(previous, update, origin) {
        Ok(Some(attempt)) => attempt,
        Ok(None) => return Ok(Fold::Repeated),
        Err(refusal) => return Err(refusal),
    };
    let position = Position::following(previous.map(State::position), epoch);
    let same_attempt = previous.filter(|state| state.attempt == attempt);

    let carried_ttl = previous.and_then(|state| state.ttl);
    let mut next = Next::of(update, same_attempt);
    next.stage_weights = stage_weights.filter(|_| next.declares_first_stages());
    next.add_stage();
    next.add_progress();
    next.carry_attributes();
    next.carry_usual(usual);
    if !update.has_timestamp {
        next.add_text("timestamp", now.written(6).as_str());
    }
    if let (None, Some(ttl)) = (update.ttl, carried_ttl) {
        next.add("ttl", &ttl.to_string());
    }
    let has_progressed = next.has_progressed();
    next.add_moments(now, has_progressed);
    next.add_estimate(now);
    next.add_health(has_progressed);
    next.carry_request();
    next.add_children();
    if attempt == 1 {
        next.add("attempt", "1");
    } else {
        next.add("attempt", &attempt.to_string());
    }
    next.add_text("position", position.written().as_str());
    next.json.push('}');

    Ok(Fold::New(State {
        // The previous state's job id, so that the update's allocation can be freed.
        job: previous.map_or(&update.job, |state| &state.job).clone(),
        status: update.status,
        attempt,
        ttl: update.ttl.or(carried_ttl),
        position,
        json: next.take_json(),
        layout: next.layout,
        pace: next.pace,
    }))
}

/// The attempt that the update belongs to, or none if it changes nothing: it repeats that attempt's end, or counts only if
/// the attempt is not known.
fn attempt(
    previous: Option<&State>,
    update: &Update,
    origin: Origin,
) -> Result<Option<u32>, Refusal> {
    let named = update.attempt.map(u32::from);
    let Some(state) = previous else { return Ok(Some(named.unwrap_or(1))) };
    match named {
        Some(named) if named > state.attempt => return Ok(Some(named)),
        Some(named) if named < state.attempt => {
            return Err(Refusal::AttemptSuperseded {
                named,
                attempt: state.attempt,
                position: state.position,
            });
        }
        _ => {}
    }
    if !state.status.is_end() {
        // Whoever runs the attempt has reported it before the one who has put it into a queue.
        let comes_too_late = update.unless_known && origin == Origin::Report;
        return Ok((!comes_too_late).then_some(state.attempt));
    }
    if origin == Origin::Publish && named.is_none() && update.status == Status::Processing {
        // If attempts have reached the last number, the end is final for legacy publishes as well.
        if let Some(next) = state.attempt.checked_add(1) {
            return Ok(Some(next));
        }
    }
    if repeats(state, update) {
        return Ok(None);
    }
    Err(Refusal::AttemptEnded {
        attempt: state.attempt,
        status: state.status,
        position: state.position,
    })
}

/// Whether the state was made from this very update: its JSON begins with the fields as reported, followed only by
/// fields that the fold adds.
fn repeats(state: &State, update: &Update) -> bool {
    let added = state.json.get(1..).and_then(|json| json.strip_prefix(update.fields.as_str()));
    let Some(added) = added.and_then(|rest| rest.strip_prefix(',')) else { return false };
    let added = format!("{{{added}");
    let Ok(json::Fields(added)) = serde_json::from_str(&added) else { return false };
    // Fields of the update are among its own fields, and no field appears twice.
    added.iter().all(|(name, _)| is_added_by_the_fold(name, state))
}

fn is_added_by_the_fold(name: &str, state: &State) -> bool {
    matches!(name, "stage" | "progress" | "timestamp" | "ttl" | "attempt")
        || SERVER_FIELDS.contains(&name)
        || Attribute::from_name(name).is_some_and(|attribute| state.attribute(attribute).is_some())
}

thread_local! {
    /// What the next state is written into: its length is known only at its end, and a state keeps no byte more than it has.
    static SPARE: Cell<String> = const { Cell::new(String::new()) };
}

/// A larger buffer is freed instead of kept for the next state.
const LARGEST_SPARE: usize = 16 << 10;

/// The state that an update leads to, while it is written.
struct Next<'a> {
    update: &'a Update,
    /// The state before, if it is of the same attempt.
    previous: Option<&'a State>,
    json: String,
    layout: Layout,
    pace: Option<Box<Pace>>,
    /// The weights of the stages, if the update declares them and earlier attempts give them.
    stage_weights: Option<&'a str>,
}

impl<'a> Next<'a> {
    fn of(update: &'a Update, previous: Option<&'a State>) -> Self {
        let mut json = SPARE.take();
        json.clear();
        json.push('{');
        json.push_str(&update.fields);
        Self {
            update,
            previous,
            json,
            layout: update.layout.moved(1),
            pace: None,
            stage_weights: None,
        }
    }

    /// What was written; the buffer is kept for the next state.
    fn take_json(&mut self) -> Box<str> {
        let buffer = mem::take(&mut self.json);
        let json = buffer.as_str().into();
        if buffer.capacity() <= LARGEST_SPARE {
            SPARE.set(buffer);
        }
        json
    }

    /// Adds a field; returns where its value stands.
    #[inline]
    fn add(&mut self, name: &str, value: &str) -> Span {
        self.json.push_str(",\"");
        self.json.push_str(name);
        self.json.push_str("\":");
        let start = self.json.len();
        self.json.push_str(value);
        Span::new(&(start..self.json.len()))
    }

    /// Adds a field whose value is a text without characters that JSON escapes.
    #[inline]
    fn add_text(&mut self, name: &str, text: &str) -> Span {
        self.json.push_str(",\"");
        self.json.push_str(name);
        self.json.push_str("\":\"");
        let start = self.json.len() - 1;
        self.json.push_str(text);
        self.json.push('"');
        Span::new(&(start..self.json.len()))
    }

    /// A value of the previous state in the same attempt.
    fn carried(&self, span: impl Fn(&Layout) -> Span) -> Option<&'a str> {
        self.previous.and_then(|state| span(&state.layout).get(&state.json))
    }

    /// The stage that the update leaves out.
    fn add_stage(&mut self) {
        if self.layout.stage.is_given() {
            return;
        }
        let stage = match self.update.status {
            Status::Completed => r#""complete""#,
            status => match (self.carried(|layout| layout.stage), status) {
                (Some(stage), _) => stage,
                (None, Status::Failed) => r#""error""#,
                (None, Status::Queued) => r#""queued""#,
                (None, _) => r#""processing""#,
            },
        };
        self.layout.stage = self.add("stage", stage);
    }

    /// The progress that the update leaves out.
    fn add_progress(&mut self) {
        if self.layout.progress.is_given() || self.update.unknown_progress {
            return;
        }
        let worked_out = || self.of_stages().or_else(|| self.of_total());
        self.layout.progress = if self.update.status == Status::Completed {
            self.add("progress", "1.0")
        } else if let Some(progress) = worked_out() {
            self.add("progress", &Ratio(progress).to_string())
        } else if self.last_progress().is_some() {
            return;
        } else if let Some(progress) = self.carried(|layout| layout.progress) {
            self.add("progress", progress)
        } else {
            return;
        };
    }

    /// `current` of `total`.
    fn of_total(&self) -> Option<f64> {
        let current = number(self.update.value("current")?)?;
        let total = number(self.update.value("total")?)?;
        (total > 0.0).then(|| current / total)
    }

    /// How far the stage is, among those declared: by its own progress, by what is counted in it, or 0 if it has just begun.
    fn of_stages(&self) -> Option<f64> {
        let declared = self.layout.attribute(Attribute::Stages).get(&self.json).or_else(|| {
            let is_over = self.update.cleared.contains(&Attribute::Stages);
            self.carried(|layout| layout.attribute(Attribute::Stages)).filter(|_| !is_over)
        })?;
        let stage = self.layout.stage.get(&self.json)?;
        let stage_progress = match self.update.value("stage_progress") {
            Some(progress) => number(progress)?.clamp(0.0, 1.0),
            None => match self.of_total() {
                Some(share) => share.clamp(0.0, 1.0),
                None if self.carried(|layout| layout.stage) != Some(stage) => 0.0,
                None => return None,
            },
        };
        let usual = self
            .stage_weights
            .or_else(|| self.carried(|layout| layout.attribute(Attribute::StageWeights)));
        stages::progress(declared, usual, stage, stage_progress)
    }

    /// Whether the attempt has declared no stages before this update, which does.
    fn declares_first_stages(&self) -> bool {
        let has = |layout: &Layout, attribute| layout.attribute(attribute).is_given();
        let had = self.previous.is_some_and(|previous| {
            has(&previous.layout, Attribute::Stages)
                || has(&previous.layout, Attribute::StageWeights)
        });
        !had && !self.update.status.is_end() && has(&self.update.layout, Attribute::Stages)
    }

    /// The attributes that hold on: those that the update neither sets nor clears.
    fn carry_attributes(&mut self) {
        if let Some(weights) = self.stage_weights {
            let span = self.add(Attribute::StageWeights.as_str(), weights);
            self.layout.attributes.push((Attribute::StageWeights, span));
        }
        let Some(previous) = self.previous else { return };
        for (attribute, span) in &previous.layout.attributes {
            let is_set = self.update.layout.attribute(*attribute).is_given();
            if is_set || self.update.cleared.contains(attribute) {
                continue;
            }
            if let Some(value) = span.get(&previous.json) {
                let span = self.add(attribute.as_str(), value);
                self.layout.attributes.push((*attribute, span));
            }
        }
    }

    /// What attempts of the name usually take: as it was when the attempt took the name.
    fn carry_usual(&mut self, given: Option<&Arc<Usual>>) {
        let Some(name) = self.layout.attribute(Attribute::Name).get(&self.json) else { return };
        if self.update.status.is_end() {
            return;
        }
        let named = self.previous.filter(|state| state.attribute(Attribute::Name) == Some(name));
        let usual = named.map_or(given, |state| state.layout.usual.as_ref());
        if let Some(usual) = usual {
            self.layout.usual = Some(Arc::clone(usual));
        }
    }

    /// What was requested of the worker in this attempt.
    fn carry_request(&mut self) {
        if let Some(requested) = self.carried(|layout| layout.requested) {
            self.layout.requested = self.add("requested", requested);
        }
    }

    /// The progress that no worker has reported: that of the job's children, or null. It is one of the last fields of a
    /// state, where it can be replaced.
    fn last_progress(&self) -> Option<&'a str> {
        if self.layout.progress.is_given() {
            return None;
        }
        let known = self.carried(|layout| layout.progress);
        let theirs = self.previous.and_then(State::progress_of_children);
        let unknown = self.update.unknown_progress || known == Some("null");
        theirs.or_else(|| unknown.then_some("null"))
    }

    /// The children of the attempt so far, and the progress, if it is theirs or not known.
    fn add_children(&mut self) {
        let progress = self.last_progress();
        if let Some(known) = self.carried(|layout| layout.children) {
            self.layout.children = if progress.is_some() {
                self.add("children", known)
            } else {
                self.add("children", &children::without_progress(known))
            };
        }
        if let Some(progress) = progress {
            self.layout.progress = self.add("progress", progress);
        }
    }

    /// When the attempt began, was heard and progressed last, and ended.
    fn add_moments(&mut self, now: Timestamp, has_progressed: bool) {
        let moment = now;
        let now = now.written(3);
        let now = now.as_str();
        if let Some(started_at) = self.carried(|layout| layout.started_at) {
            self.layout.started_at = self.add("started_at", started_at);
        } else if self.update.status != Status::Queued {
            self.layout.started_at = self.add_text("started_at", now);
        }
        self.add_pauses(moment);
        if self.update.status.is_end() {
            // It was heard last then, and progressed last.
            self.add_text("ended_at", now);
            return;
        }
        self.add_text("last_seen_at", now);
        let progressed_at = self.carried(|layout| layout.progressed_at);
        self.layout.progressed_at = match progressed_at.filter(|_| !has_progressed) {
            Some(progressed_at) => self.add("progressed_at", progressed_at),
            None => self.add_text("progressed_at", now),
        };
    }

    /// For how long the attempt was paused before, and since when it is now. A pause ends with the first update without `paused`.
    fn add_pauses(&mut self, now: Timestamp) {
        let since = self.carried(|layout| layout.paused_at);
        let is_paused = self.update.is_paused
            && !self.update.status.is_end()
            && self.layout.started_at.is_given();
        if let (Some(since), false) = (since, is_paused) {
            let before = self.previous.map_or(0, State::paused_millis);
            let since = text(since).as_deref().and_then(Timestamp::parse).unwrap_or(now);
            let paused = before.saturating_add(millis_between(since, now));
            let seconds = format!("{}.{:03}", paused / 1_000, paused % 1_000);
            self.layout.paused_seconds = self.add("paused_seconds", &seconds);
        } else if let Some(seconds) = self.carried(|layout| layout.paused_seconds) {
            self.layout.paused_seconds = self.add("paused_seconds", seconds);
        }
        if is_paused {
            self.layout.paused_at = match since {
                Some(since) => self.add("paused_at", since),
                None => self.add_text("paused_at", now.written(3).as_str()),
            };
        }
    }

    /// When the attempt is expected to complete: as its worker says, or from how its progress has grown and how long others of its
    /// name took.
    fn add_estimate(&mut self, now: Timestamp) {
        if self.update.status.is_end() {
            return;
        }
        let estimate = Moment {
            previous: self.previous,
            progress: self.progress(),
            now,
            is_running: self.update.status == Status::Processing && !self.update.is_paused,
            was_lost: self.previous.is_some_and(State::is_lost),
            usual: self.layout.usual.as_deref(),
            started_at: self.layout.started_at.get(&self.json),
            paused: paused_millis(&self.layout, &self.json),
        }
        .estimate();
        if !(self.update.eta.is_given() || self.update.eta_high.is_given()) {
            estimate.push_to(&mut self.json);
        } else if self.update.value("eta").is_some_and(is_moment) {
            self.add("eta_basis", r#""worker""#);
        }
        self.pace = estimate.pace;
    }

    /// A job whose worker says how often it reports, when it is stalled, or when it is to be ended, has a health. A report ends `lost`, and progress
    /// ends `stalled`.
    fn add_health(&mut self, has_progressed: bool) {
        if self.layout.attributes.is_empty() || self.update.status.is_end() {
            return;
        }
        let has = |attribute| self.layout.attribute(attribute).is_given();
        let clocks = [Attribute::Heartbeat, Attribute::StallAfter, Attribute::LostAfter];
        if !clocks.into_iter().any(has) {
            return;
        }
        let was_stalled = self.previous.and_then(State::health) == Some(Health::Stalled);
        let stays = was_stalled && has(Attribute::StallAfter) && !has_progressed;
        let health = if stays { Health::Stalled } else { Health::Ok };
        self.layout.health = self.add_text("health", health.as_str());
    }

    fn progress(&self) -> Option<&str> {
        self.layout.progress.get(&self.json).or_else(|| self.last_progress())
    }

    /// Whether the status, the stage, the progress or `current` is another one than in the state before.
    fn has_progressed(&self) -> bool {
        let Some(previous) = self.previous else { return true };
        let changed = |span: fn(&Layout) -> Span| {
            span(&self.layout).get(&self.json) != span(&previous.layout).get(&previous.json)
        };
        previous.status != self.update.status
            || changed(|layout| layout.stage)
            || self.progress() != self.carried(|layout| layout.progress)
            || self.layout.current.is_given() && changed(|layout| layout.current)
    }
}

/// 0 if the clock was set back.
fn millis_between(since: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_millis().saturating_sub(since.as_millis())).unwrap_or(0)
}

/// Whether a worker's `eta` is a moment: a text that begins with a date and a time. Another one is the worker's own.
fn is_moment(json: &str) -> bool {
    let shape = b"\"0000-00-00T00:00:00";
    let is_digit = |(byte, shape): (u8, &u8)| {
        if *shape == b'0' { byte.is_ascii_digit() } else { byte == *shape }
    };
    json.len() > shape.len() && json.bytes().zip(shape).all(is_digit)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AttemptEnded { attempt, status, .. } => {
                write!(
                    f,
                    "attempt {attempt} is {status}; to try again, report attempt {}",
                    attempt.saturating_add(1)
                )
            }
            Self::AttemptSuperseded { named, attempt, .. } => {
                write!(f, "attempt {named} is over: the latest is {attempt}")
            }
        }
    }
}

impl std::error::Error for Refusal {}
