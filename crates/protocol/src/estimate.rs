//! The fields of a state that say when the attempt is expected to complete: `spec/README.md`, section 3.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::{number, text};
use crate::pace::{Basis, Expected, Pace};
use crate::timestamp::Written;
use crate::{Health, State, Status, Timestamp, Usual};

/// What an attempt's progress has come to, and what follows for its end.
#[derive(Default)]
pub(crate) struct Estimate {
    /// What the next estimate is computed from.
    pub(crate) pace: Option<Box<Pace>>,
    expected: Option<Expected>,
}

/// An attempt at a moment.
#[derive(Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// The state before, if it is of the same attempt.
    pub(crate) previous: Option<&'a State>,
    /// The progress now, as JSON.
    pub(crate) progress: Option<&'a str>,
    pub(crate) now: Timestamp,
    /// Whether the worker works: the attempt is neither queued nor paused.
    pub(crate) is_running: bool,
    /// Whether a worker that was lost has reported.
    pub(crate) was_lost: bool,
    /// What attempts of the job's name usually take, if that is known.
    pub(crate) usual: Option<&'a Usual>,
    /// When the attempt began, as JSON.
    pub(crate) started_at: Option<&'a str>,
    /// For how many milliseconds it has been paused, which do not count.
    pub(crate) paused: u64,
}

impl Moment<'_> {
    pub(crate) fn estimate(self) -> Estimate {
        let mut pace = self.advance();
        if !self.is_running || pace.is_none() && self.usual.is_none() {
            return Estimate { pace, expected: None };
        }
        let now = millis(self.now);
        let by_usual = self.by_usual(now);
        let expected = match &mut pace {
            Some(pace) => pace.estimate(now, by_usual),
            None => by_usual.map(|instants| Expected { instants, basis: Basis::History }),
        };
        Estimate { pace, expected }
    }

    /// When the attempt is expected to complete by what its name usually takes.
    fn by_usual(self, now: f64) -> Option<[f64; 2]> {
        let usual = self.usual?;
        let is_done = self.progress.and_then(number).is_some_and(|progress| progress >= 1.0);
        let started = text(self.started_at?).as_deref().and_then(Timestamp::parse)?;
        let paused = Duration::from_millis(self.paused);
        usual.expected(millis(started + paused), now).filter(|_| !is_done)
    }

    /// The pace after the update; none if there is nothing to keep.
    fn advance(self) -> Option<Box<Pace>> {
        let text = self.progress?;
        let known = self.previous.and_then(|previous| previous.pace.as_deref().copied());
        if known.is_none() && self.is_running && !self.was_lost {
            // No step yet: most jobs at rest end here, at the cost of a comparison.
            let before = self.previous.and_then(State::progress_json);
            if before.is_none_or(|before| before == text) {
                return None;
            }
        }
        let progress = number(text)?;
        let now = millis(self.now);
        if !self.is_running {
            let pace = known.unwrap_or_else(|| Pace::since(0.0, progress)).stopped();
            return Some(Box::new(pace));
        }
        let known = if self.was_lost {
            known.unwrap_or_default().stopped()
        } else {
            known.or_else(|| self.first_pace(progress))?
        };
        known.advanced(now, progress).map(Box::new)
    }

    /// The pace before the attempt's first step, which leads to `next`.
    fn first_pace(&self, next: f64) -> Option<Pace> {
        let previous = self.previous.filter(|state| state.status == Status::Processing)?;
        let progress = previous.progress_json().and_then(number)?;
        if next <= progress {
            return None;
        }
        let at = text(previous.progressed_at()?).as_deref().and_then(Timestamp::parse)?;
        Some(Pace::since(millis(at), progress))
    }
}

impl Estimate {
    /// Adds the fields to a state, if there is an estimate.
    pub(crate) fn push_to(&self, json: &mut String) {
        let Some(Expected { instants, basis }) = self.expected else { return };
        let [eta, eta_high] = instants.map(instant);
        let [eta, eta_high] = [&eta, &eta_high].map(Written::as_str);
        for part in [ETA, eta, "\",\"eta_high\":\"", eta_high, BASIS, basis.as_str(), "\""] {
            json.push_str(part);
        }
    }
}

const ETA: &str = ",\"eta\":\"";
const BASIS: &str = "\",\"eta_basis\":\"";

/// What follows the fields that the fold added, if `json` begins with them.
pub(crate) fn strip(json: &str) -> Option<&str> {
    let (_, after) = json.strip_prefix(ETA)?.split_once(BASIS)?;
    Some(after.split_once('"')?.1)
}

/// Which fields that concern the estimate a worker has reported. Only for states that no update leads to: it parses the JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reported {
    #[serde(deserialize_with = "given")]
    eta: bool,
    #[serde(deserialize_with = "given")]
    eta_high: bool,
    #[serde(deserialize_with = "is_true")]
    pub(crate) paused: bool,
}

impl Reported {
    pub(crate) fn of(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or_default()
    }

    /// Whether there is an estimate, the worker's own or the fold's.
    pub(crate) fn has_estimate(&self) -> bool {
        self.eta || self.eta_high
    }
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

fn is_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    <&RawValue>::deserialize(deserializer).map(|value| value.get() == "true")
}

impl State {
    /// The `eta` that the fold has computed. Costs a comparison if there is none.
    pub fn estimated_eta(&self) -> Option<Timestamp> {
        let (_, after) = self.layout.progressed_at.around(&self.json)?;
        let (eta, _) = after.strip_prefix(ETA)?.split_once('"')?;
        Timestamp::parse(eta)
    }

    /// The progress, 0…1; none if it is not known.
    pub fn progress(&self) -> Option<f64> {
        self.progress_json().and_then(number)
    }

    /// The progress as JSON.
    pub fn progress_json(&self) -> Option<&str> {
        self.layout.progress.get(&self.json)
    }

    /// Whether the worker is lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.health() == Some(Health::Lost)
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds need 42 bits")]
fn millis(moment: Timestamp) -> f64 {
    moment.as_millis() as f64
}

/// A moment in milliseconds since 1970, as it is written.
#[expect(clippy::cast_possible_truncation, reason = "ten years from now at most")]
fn instant(millis: f64) -> Written {
    Timestamp::from_micros((millis as i64).saturating_mul(1_000)).written(3)
}
