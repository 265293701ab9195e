//! A job's stages as it declares them, and the progress that follows from them: `spec/README.md`, section 3.

use std::borrow::Cow;
use std::collections::HashMap;

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
    /// Whether its weight is declared.
    pub is_weighted: bool,
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
        let id = text(json)?;
        return Some(Stage { id, label: None, weight: 1.0, skipped: false, is_weighted: false });
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
    let given = match declared.weight {
        Some(weight) => Some(number(weight.get()).filter(|weight| *weight > 0.0)?),
        None => None,
    };
    let weight = if declared.skipped { 0.0 } else { given.unwrap_or(1.0) };
    let is_weighted = given.is_some();
    Some(Stage { id: text(id)?, label, weight, skipped: declared.skipped, is_weighted })
}

/// The declared stages with the weights that count: where none is declared and the attempt has [`Attribute::StageWeights`] for all of
/// them, those. None if the value is not valid.
///
/// [`Attribute::StageWeights`]: crate::Attribute::StageWeights
pub(crate) fn weighed<'a>(declared: &'a str, usual: Option<&str>) -> Option<Vec<Stage<'a>>> {
    let mut stages = parse(declared)?;
    let Some(usual) = usual.filter(|_| !stages.iter().any(|stage| stage.is_weighted)) else {
        return Some(stages);
    };
    let usual: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(usual).unwrap_or_default();
    let weight = |stage: &Stage<'_>| number(usual.get(&stage.id)?.get());
    if let Some(weights) = stages.iter().map(weight).collect::<Option<Vec<_>>>() {
        for (stage, weight) in stages.iter_mut().zip(weights).filter(|(stage, _)| !stage.skipped) {
            stage.weight = weight;
        }
    }
    Some(stages)
}

/// The job's progress while it is that far in a stage: the weights of the stages before it, and its own as far as it
/// is done. None if the stage is not declared, or nothing is left to do.
///
/// Invariant: the same operations on doubles, in the same order, as in `attempt.lua`.
pub(crate) fn progress(
    declared: &str,
    usual: Option<&str>,
    stage: &str,
    stage_progress: f64,
) -> Option<f64> {
    let stage = text(stage)?;
    let (mut total, mut done, mut found) = (0.0, 0.0, false);
    for declared in weighed(declared, usual)? {
        if !found && declared.id == stage {
            found = true;
            done = total + declared.weight * stage_progress;
        }
        total += declared.weight;
    }
    (found && total > 0.0 && total.is_finite()).then(|| done / total)
}
