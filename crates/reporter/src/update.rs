use std::collections::BTreeMap;

use milepost_protocol::{JobId, MAX_STAGE_BYTES, MAX_UPDATE_BYTES, Status};
use serde::Serialize;
use serde_json::value::RawValue;

/// What a worker reports: `spec/README.md`, section 2.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Update {
    pub(crate) job_id: String,
    pub(crate) status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Progress>,
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
}

/// 0…1, or `null`: the total is not known.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Progress(pub(crate) Option<f64>);

/// The worker's own facts: by key, or any JSON as it was given.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Metadata {
    Keyed(BTreeMap<String, Box<RawValue>>),
    Given(Box<RawValue>),
}

/// What had to be left out of an update so that it is not larger than a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LeftOut {
    Nothing,
    Metadata,
    Result,
    Text,
}

/// Texts longer than this many bytes are cut where even without metadata and result there is no room.
const SHORT_TEXT: usize = 1_024;

impl Update {
    /// An update of which only the job, the status and the worker's clock are known.
    pub(crate) fn new(job: &JobId, status: Status, timestamp: String) -> Self {
        Self {
            job_id: job.to_string(),
            status,
            stage: None,
            progress: None,
            message: None,
            timestamp,
            metadata: None,
            result: None,
            error: None,
            attempt: None,
            ttl: None,
        }
    }

    /// The JSON of the update, at most [`MAX_UPDATE_BYTES`]: what does not fit is left out, the metadata
    /// first, then the result, and at last the texts are cut. So an end is never too large to be told.
    pub(crate) fn encode(mut self) -> (String, LeftOut) {
        if let Some(stage) = &mut self.stage {
            cut(stage, MAX_STAGE_BYTES);
        }
        for step in [LeftOut::Nothing, LeftOut::Metadata, LeftOut::Result] {
            match step {
                LeftOut::Metadata => self.metadata = None,
                LeftOut::Result => self.result = None,
                LeftOut::Nothing | LeftOut::Text => {}
            }
            let json = self.to_json();
            if json.len() <= MAX_UPDATE_BYTES {
                return (json, step);
            }
        }
        for text in [&mut self.message, &mut self.error].into_iter().flatten() {
            cut(text, SHORT_TEXT);
        }
        (self.to_json(), LeftOut::Text)
    }

    /// Strings, finite numbers and JSON that has been checked: serialising these does not fail. Were it to,
    /// the job is still named.
    fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| {
            format!(r#"{{"job_id":"{}","status":"{}"}}"#, self.job_id, self.status)
        })
    }
}

/// Shortens a text to at most `limit` bytes, between two characters.
pub(crate) fn cut(text: &mut String, limit: usize) {
    if text.len() > limit {
        let boundary = (0..=limit).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(boundary.unwrap_or(0));
    }
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

    #[test]
    fn what_fits_is_sent_whole_and_the_rest_loses_metadata_before_the_result() {
        let small =
            Update { result: Some(raw(9)), metadata: Some(Metadata::Given(raw(9))), ..update() };
        assert_eq!(small.encode().1, LeftOut::Nothing);

        let both = Update {
            result: Some(raw(40_000)),
            metadata: Some(Metadata::Given(raw(40_000))),
            ..update()
        };
        let (json, left_out) = both.encode();
        assert_eq!(left_out, LeftOut::Metadata);
        assert!(json.contains("\"result\"") && !json.contains("\"metadata\""));

        let huge = Update { result: Some(raw(MAX_UPDATE_BYTES)), ..update() };
        assert_eq!(huge.encode().1, LeftOut::Result);
    }

    proptest! {
        /// Whatever texts a worker passes, the update is one that a server takes.
        #[test]
        fn every_update_is_valid_and_within_the_limit(
            stage in any::<String>(), message in any::<String>(), times in 1usize..3_000, len in 0usize..70_000,
        ) {
            let (json, _) = Update {
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
