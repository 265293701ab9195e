use milepost_protocol::Attribute;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// A link to what a job made, as [`Job::artifact`](crate::Job::artifact) adds it.
///
/// ```
/// use milepost_reporter::Artifact;
///
/// let rows = Artifact::new("rows", "https://example.com/10.csv").media_type("text/csv").size(12_345);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artifact {
    name: String,
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

impl Artifact {
    /// What people read, and where it is. Neither may be empty.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self { name: name.into(), url: url.into(), media_type: None, size: None }
    }

    /// What kind of file it is, such as `text/csv`.
    #[must_use]
    pub fn media_type(mut self, media_type: impl Into<String>) -> Self {
        self.media_type = Some(media_type.into());
        self
    }

    /// How large it is, in bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    pub(crate) fn is_complete(&self) -> bool {
        !self.name.is_empty() && !self.url.is_empty()
    }
}

/// The artifacts of a job, as they are sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Artifacts {
    all: Vec<Artifact>,
    json: Option<Box<RawValue>>,
}

impl Serialize for Artifacts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(serializer)
    }
}

impl Artifacts {
    pub(crate) fn is_empty(&self) -> bool {
        self.json.is_none()
    }

    /// With one more, which replaces one of the same name. `None` if a server would not take them for artifacts.
    pub(crate) fn with(&self, artifact: Artifact) -> Option<Self> {
        let others = self.all.iter().filter(|each| each.name != artifact.name);
        let mut all: Vec<_> = others.cloned().collect();
        all.push(artifact);
        let json = to_raw_value(&all).ok().filter(|json| Attribute::Artifacts.accepts(json))?;
        Some(Self { all, json: Some(json) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(all: impl IntoIterator<Item = Artifact>) -> Option<Artifacts> {
        all.into_iter().try_fold(Artifacts::default(), |known, artifact| known.with(artifact))
    }

    #[test]
    fn an_artifact_of_the_same_name_is_replaced() {
        let report = Artifact::new("report", "https://example.com/1.pdf");
        let artifacts = added([
            report.clone().media_type("application/pdf").size(12),
            Artifact::new("video", "/videos/1.mp4"),
            report.size(13),
        ]);
        assert_eq!(
            serde_json::to_string(&artifacts.unwrap()).unwrap(),
            r#"[{"name":"video","url":"/videos/1.mp4"},{"name":"report","url":"https://example.com/1.pdf","size":13}]"#
        );
    }

    #[test]
    fn there_is_room_for_64_and_for_8192_bytes() {
        let many = |count: usize| (0..count).map(|n| Artifact::new(n.to_string(), "u"));
        assert!(added(many(64)).is_some());
        assert!(added(many(65)).is_none());
        // At the bound, one can still be replaced.
        let full = added(many(64)).unwrap();
        assert!(full.with(Artifact::new("63", "another")).is_some());
        // `[{"name":"","url":""}]` is 22 bytes.
        let of = |bytes: usize| added([Artifact::new("n", "u".repeat(bytes - 23))]);
        assert!(of(8_192).is_some());
        assert!(of(8_193).is_none());
    }
}
