use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json;
use crate::{Epoch, Position, State, Status, Timestamp, Update};

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
    /// The update is the end that the job has already: a reporter asks again. Nothing changes.
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
/// `previous` is the job's present state, `epoch` the broker's present epoch for the job, and `now` the timestamp for an
/// update without one.
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
    let attempt = match attempt(previous, update, origin) {
        Ok(Some(attempt)) => attempt,
        Ok(None) => return Ok(Fold::Repeated),
        Err(refusal) => return Err(refusal),
    };
    let position = match previous {
        Some(state) if state.position.epoch == epoch => state.position.next(),
        _ => Position { epoch, number: 1 },
    };
    let same_attempt = previous.filter(|state| state.attempt == attempt);

    let mut json = String::with_capacity(update.fields.len() + 160);
    json.push('{');
    json.push_str(&update.fields);
    if !(update.given.stage && update.given.progress) {
        carry_over(&mut json, update, same_attempt);
    }
    // Writing into a String cannot fail.
    if !update.given.timestamp {
        let _ = write!(json, ",\"timestamp\":\"{now}\"");
    }
    let carried_ttl = previous.and_then(|state| state.ttl);
    if let (None, Some(ttl)) = (update.ttl, carried_ttl) {
        let _ = write!(json, ",\"ttl\":{ttl}");
    }
    let _ = write!(json, ",\"attempt\":{attempt},\"position\":\"{position}\"}}");

    Ok(Fold::New(State {
        // The previous state's job id, so that the update's allocation can be freed.
        job: previous.map_or(&update.job, |state| &state.job).clone(),
        status: update.status,
        attempt,
        ttl: update.ttl.or(carried_ttl),
        position,
        json: json.into_boxed_str(),
    }))
}

/// The attempt that the update belongs to, or none if it repeats that attempt's end.
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
        return Ok(Some(state.attempt));
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
    let of_the_fold = ["stage", "progress", "timestamp", "ttl", "attempt", "position"];
    added.iter().all(|(name, _)| of_the_fold.contains(&name.as_ref()))
}

/// Adds the stage and the progress that the update leaves out.
fn carry_over(json: &mut String, update: &Update, same_attempt: Option<&State>) {
    #[derive(Deserialize, Default)]
    struct Carried<'a> {
        #[serde(borrow, default)]
        stage: Option<&'a RawValue>,
        // A plain Option would read a null as absent.
        #[serde(borrow, default, deserialize_with = "present")]
        progress: Option<&'a RawValue>,
    }
    fn present<'de: 'a, 'a, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<&'a RawValue>, D::Error> {
        <&RawValue>::deserialize(deserializer).map(Some)
    }
    let carried: Carried<'_> =
        same_attempt.and_then(|state| serde_json::from_str(&state.json).ok()).unwrap_or_default();
    let completed = update.status == Status::Completed;

    if !update.given.stage {
        let stage = match update.status {
            Status::Completed => r#""complete""#,
            status => match (carried.stage, status) {
                (Some(stage), _) => stage.get(),
                (None, Status::Failed) => r#""error""#,
                (None, Status::Queued) => r#""queued""#,
                (None, _) => r#""processing""#,
            },
        };
        json.push_str(",\"stage\":");
        json.push_str(stage);
    }
    if !update.given.progress {
        let progress = if completed { Some("1.0") } else { carried.progress.map(RawValue::get) };
        if let Some(progress) = progress {
            json.push_str(",\"progress\":");
            json.push_str(progress);
        }
    }
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
