use std::sync::Arc;

use milepost_protocol::Attribute;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A stage that a job goes through, as [`Job::stages`](crate::Job::stages) declares it.
///
/// ```
/// use milepost_reporter::Stage;
///
/// let stages = [Stage::new("fetch"), Stage::new("encode").label("Encode the film").weight(3.0)];
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    skipped: bool,
}

impl Stage {
    /// A stage with the name that [`Job::stage`](crate::Job::stage) enters it by: 1 to 256 bytes.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), label: None, weight: None, skipped: false }
    }

    /// What people read in place of the id: 1 to 256 bytes.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Its share of the job's work beside those of the other stages, above 0. 1 unless set.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = Some(weight);
        self
    }

    /// The job leaves this stage out, so it has no share of the work.
    #[must_use]
    pub fn skipped(mut self) -> Self {
        self.skipped = true;
        self
    }
}

impl<T: Into<String>> From<T> for Stage {
    fn from(id: T) -> Self {
        Self::new(id)
    }
}

/// The stages that a job declares, as they are sent.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredStages {
    json: Box<RawValue>,
    ids: Arc<[String]>,
}

impl Serialize for DeclaredStages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl DeclaredStages {
    /// `None` if a server would not take them for stages.
    pub(crate) fn new(stages: Vec<Stage>) -> Option<Self> {
        // A number that JSON lacks would become null, which stands for the default.
        if stages.iter().filter_map(|stage| stage.weight).any(|weight| !weight.is_finite()) {
            return None;
        }
        let json = to_raw_value(&stages).ok().filter(|json| Attribute::Stages.accepts(json))?;
        Some(Self { json, ids: stages.into_iter().map(|stage| stage.id).collect() })
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.ids.iter().any(|declared| declared == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_takes_is_sent_and_nothing_else() {
        let json = |stages: Vec<Stage>| Some(DeclaredStages::new(stages)?.json.get().to_owned());
        let encode = Stage::new("encode").label("Encode").weight(2.0);
        assert_eq!(
            json(vec!["fetch".into(), encode, Stage::new("upload").skipped()]).unwrap(),
            r#"[{"id":"fetch"},{"id":"encode","label":"Encode","weight":2.0},{"id":"upload","skipped":true}]"#
        );
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(json(vec![Stage::new("a").weight(weight)]), None);
        }
        assert_eq!(json(vec!["".into()]), None);
        assert_eq!(json(vec!["x".repeat(257).into()]), None);
        let many = |count: usize| (0..count).map(|n| Stage::new(n.to_string())).collect();
        assert!(json(many(64)).is_some());
        assert_eq!(json(many(65)), None);
        // All of them have at most 8,192 bytes.
        assert_eq!(json((0..40).map(|n| Stage::new(format!("{n:0256}"))).collect()), None);
    }
}
