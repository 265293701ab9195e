use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use milepost_protocol::{Action, JobId, MAX_STAGE_BYTES, MAX_UPDATE_BYTES, Status};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::attributes::Attributes;

/// What a worker reports: `spec/README.md`, section 2.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Update {
    pub(crate) job_id: String,
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Progress>,
    /// Of a declared stage, 0…1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage_progress: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
    pub(crate) timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<u32>,
    #[serde(skip_serializing_if = "Truncated::is_empty")]
    pub(crate) truncated: Truncated,
    #[serde(flatten)]
    pub(crate) attributes: Attributes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) acknowledged: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) paused: Option<bool>,
}

/// 0…1, or `null`: the total is not known.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Progress(pub(crate) Option<f64>);

/// The worker's metadata: by key, or any JSON as given.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Metadata {
    Keyed(BTreeMap<String, Box<RawValue>>),
    Given(Box<RawValue>),
}

/// A part of an update that may be dropped or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    Error,
    Message,
    Metadata,
    Result,
}

/// The parts that an update lacks or has in a shorter form, because they were too large or could not be
/// encoded. Watchers see them in `truncated`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Truncated(BTreeSet<Part>);

/// The bound of an error or a message, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 8_192;

/// The lengths to which texts are cut, one after the other, if dropping metadata and result is not enough.
const SHORT_TEXTS: [usize; 2] = [1_024, 128];

impl Update {
    /// An update with only the job, the status and the worker's clock.
    pub(crate) fn new(job: &JobId, status: Status, timestamp: String) -> Self {
        Self {
            job_id: job.to_string(),
            status,
            stage: None,
            progress: None,
            stage_progress: None,
            message: None,
            timestamp,
            metadata: None,
            result: None,
            error: None,
            attempt: None,
            ttl: None,
            truncated: Truncated::default(),
            attributes: Attributes::default(),
            current: None,
            total: None,
            acknowledged: None,
            paused: None,
        }
    }

    /// The JSON of the update, at most [`MAX_UPDATE_BYTES`]: [reduced](Self::reduce) as often as needed.
    pub(crate) fn encode(&mut self) -> String {
        if let Some(stage) = &mut self.stage {
            cut(stage, MAX_STAGE_BYTES);
        }
        self.cut_texts(MAX_TEXT_BYTES);
        loop {
            let json = self.to_json();
            if json.len() <= MAX_UPDATE_BYTES || !self.reduce() {
                return json;
            }
        }
    }

    /// Drops the larger of metadata and result; without either, cuts the texts. Adds the affected part to
    /// `truncated`. Returns whether there was anything to drop or cut; after four times, there is not.
    pub(crate) fn reduce(&mut self) -> bool {
        let metadata = self.metadata.as_ref().map_or(0, Metadata::len);
        let result = self.result.as_ref().map_or(0, |result| result.get().len());
        if metadata > 0 && metadata >= result {
            self.metadata = None;
            self.truncated.insert(Part::Metadata);
            return true;
        }
        if result > 0 {
            self.result = None;
            self.truncated.insert(Part::Result);
            return true;
        }
        SHORT_TEXTS.into_iter().any(|limit| self.cut_texts(limit))
    }

    /// Cuts error and message to `limit` bytes. Returns whether one was longer.
    fn cut_texts(&mut self, limit: usize) -> bool {
        let mut any = false;
        for (text, part) in [(&mut self.error, Part::Error), (&mut self.message, Part::Message)] {
            if text.as_mut().is_some_and(|text| cut(text, limit)) {
                any = true;
                self.truncated.insert(part);
            }
        }
        any
    }

    /// Strings, finite numbers and checked JSON always serialize. If they did not, the update would still
    /// name the job.
    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| {
            format!(r#"{{"job_id":"{}","status":"{}"}}"#, self.job_id, self.status)
        })
    }
}

impl Metadata {
    /// The approximate size of its JSON.
    fn len(&self) -> usize {
        match self {
            Self::Keyed(values) => {
                values.iter().map(|(key, value)| key.len() + value.get().len() + 4).sum()
            }
            Self::Given(value) => value.get().len(),
        }
    }
}

impl Truncated {
    pub(crate) fn insert(&mut self, part: Part) {
        self.0.insert(part);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// For messages: `the metadata and the result`.
impl fmt::Display for Truncated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(" and ")?;
            }
            f.write_str(match part {
                Part::Error => "the end of the error",
                Part::Message => "the end of the message",
                Part::Metadata => "the metadata",
                Part::Result => "the result",
            })?;
        }
        Ok(())
    }
}

/// Shortens a text to at most `limit` bytes at a character boundary. Returns whether it was longer.
pub(crate) fn cut(text: &mut String, limit: usize) -> bool {
    if text.len() <= limit {
        return false;
    }
    let boundary = (0..=limit).rev().find(|at| text.is_char_boundary(*at));
    text.truncate(boundary.unwrap_or(0));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn update() -> Update {
        Update::new(&JobId::parse("a").unwrap(), Status::Completed, "t".into())
    }

    fn raw(len: usize) -> Box<RawValue> {
        RawValue::from_string(format!("\"{}\"", "x".repeat(len))).unwrap()
    }

    fn encoded(mut update: Update) -> (serde_json::Value, String) {
        let json: serde_json::Value = serde_json::from_str(&update.encode()).unwrap();
        let truncated = json["truncated"].to_string();
        (json, truncated)
    }

    #[test]
    fn only_the_part_that_is_too_large_is_dropped_and_it_is_named() {
        let with = |metadata, result| Update {
            metadata: Some(Metadata::Given(raw(metadata))),
            result: Some(raw(result)),
            ..update()
        };
        let (json, truncated) = encoded(with(9, 9));
        assert!(json.get("truncated").is_none(), "{truncated}");
        let (json, truncated) = encoded(with(9, 70_000));
        assert_eq!((truncated.as_str(), json["metadata"].is_null()), (r#"["result"]"#, false));
        let (json, truncated) = encoded(with(70_000, 9));
        assert_eq!((truncated.as_str(), json["result"].is_null()), (r#"["metadata"]"#, false));
        assert_eq!(encoded(with(40_000, 40_000)).1, r#"["metadata"]"#);
        assert_eq!(encoded(with(70_000, 70_000)).1, r#"["metadata","result"]"#);
    }

    #[test]
    fn an_update_shrinks_to_next_to_nothing_in_four_steps() {
        let mut update = Update {
            metadata: Some(Metadata::Given(raw(9))),
            result: Some(raw(90)),
            error: Some("x".repeat(5_000)),
            ..update()
        };
        let steps = std::iter::from_fn(|| update.reduce().then(|| update.to_json().len()));
        assert_eq!(steps.take(9).count(), 4);
        assert!(update.to_json().len() < 300);
        assert_eq!(
            update.truncated.to_string(),
            "the end of the error and the metadata and the result"
        );
    }

    proptest! {
        /// Whatever texts a worker passes, a server accepts the update.
        #[test]
        fn every_update_is_valid_and_within_the_limit(
            stage in any::<String>(), message in any::<String>(), times in 1usize..3_000, len in 0usize..70_000,
        ) {
            let json = Update {
                stage: Some(stage.repeat(times)),
                message: Some(message.repeat(times)),
                error: Some("\u{1}".repeat(len)),
                result: Some(raw(len)),
                progress: Some(Progress(None)),
                ..update()
            }.encode();
            prop_assert!(json.len() <= MAX_UPDATE_BYTES);
            prop_assert!(milepost_protocol::Update::parse(None, json.as_bytes()).is_ok());
        }
    }
}
