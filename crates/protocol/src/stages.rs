//! A job's stages as it declares them, and the progress that follows from them: `spec/README.md`, section 3.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{is_text, number, text};

/// The longest stage, in bytes.
pub const MAX_STAGE_BYTES: usize = 256;
/// At most so many declared stages, and so many artifacts.
pub(crate) const MAX_LIST: usize = 64;

/// A stage that a job declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage<'a> {
    /// What updates call it.
    pub id: Cow<'a, str>,
    /// What people call it, if that is another word.
    pub label: Option<Cow<'a, str>>,
    /// Its share of the work, beside those of the other stages: 1 unless declared. 0 if it is skipped.
    pub weight: f64,
    /// Whether the job leaves it out.
    pub skipped: bool,
}

#[derive(Deserialize)]
struct Declared<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default)]
    label: Option<&'a RawValue>,
    #[serde(borrow, default)]
    weight: Option<&'a RawValue>,
    #[serde(default)]
    skipped: bool,
}

/// The stages in a value of the attribute `stages`; none if the value is not valid.
pub fn parse(json: &str) -> Option<Vec<Stage<'_>>> {
    let list: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    if list.len() > MAX_LIST {
        return None;
    }
    list.into_iter().map(|stage| parse_one(stage.get())).collect()
}

fn parse_one(json: &str) -> Option<Stage<'_>> {
    let declared = if json.starts_with('"') {
        is_text(json, MAX_STAGE_BYTES).then_some(())?;
        return Some(Stage { id: text(json)?, label: None, weight: 1.0, skipped: false });
    } else if json.starts_with('{') {
        serde_json::from_str::<Declared<'_>>(json).ok()?
    } else {
        return None;
    };
    let id = declared.id.get();
    is_text(id, MAX_STAGE_BYTES).then_some(())?;
    let label = match declared.label {
        Some(label) => Some(text(label.get()).filter(|text| text.len() <= MAX_STAGE_BYTES)?),
        None => None,
    };
    let weight = match declared.weight {
        Some(weight) => number(weight.get()).filter(|weight| *weight > 0.0)?,
        None => 1.0,
    };
    let weight = if declared.skipped { 0.0 } else { weight };
    Some(Stage { id: text(id)?, label, weight, skipped: declared.skipped })
}

/// The job's progress while it is that far in a stage: the weights of the stages before it, and its own as far as it
/// is done. None if the stage is not declared, or nothing is left to do.
///
/// Invariant: the same operations on doubles, in the same order, as in `report.lua`.
pub(crate) fn progress(declared: &str, stage: &str, stage_progress: f64) -> Option<f64> {
    let stage = text(stage)?;
    let (mut total, mut done, mut found) = (0.0, 0.0, false);
    for declared in parse(declared)? {
        if !found && declared.id == stage {
            found = true;
            done = total + declared.weight * stage_progress;
        }
        total += declared.weight;
    }
    (found && total > 0.0 && total.is_finite()).then(|| done / total)
}
