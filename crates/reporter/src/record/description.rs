//! The description of a job besides its progress: attributes, unit, retention.

use std::time::Duration;

use milepost_protocol::{JobId, MAX_NAME_BYTES, MAX_TAGS};

use super::Record;
use crate::artifact::Artifact;
use crate::stage::DeclaredStages;
use crate::update::cut;

impl Record {
    pub(crate) fn unit(&self, unit: &str, unless_set: bool) {
        let mut fields = self.fields();
        if !(unless_set && fields.attributes.unit.is_some()) {
            fields.attributes.unit = Some(unit.to_owned());
            fields.change();
        }
    }

    /// Sets how often the job is reported at least.
    pub(crate) fn heartbeat(&self, every: Duration) {
        self.fields().attributes.heartbeat = Some(every.as_secs_f64());
    }

    pub(crate) fn name(&self, mut name: String) {
        cut(&mut name, MAX_NAME_BYTES);
        let mut fields = self.fields();
        fields.attributes.name = Some(name).filter(|name| !name.is_empty());
        fields.change_at_once();
    }

    pub(crate) fn parent(&self, parent: &JobId) {
        let mut fields = self.fields();
        fields.attributes.parent_id = Some(parent.to_string());
        fields.change_at_once();
    }

    pub(crate) fn has_parent(&self) -> bool {
        self.fields().attributes.parent_id.is_some()
    }

    /// Ignores a weight that is not above 0.
    pub(crate) fn weight(&self, weight: f64) {
        let mut fields = self.fields();
        fields.attributes.weight =
            Some(weight).filter(|weight| *weight > 0.0 && weight.is_finite());
        fields.change_at_once();
    }

    pub(crate) fn children_expected(&self, count: u32) {
        let mut fields = self.fields();
        fields.attributes.children_expected = Some(count);
        fields.change_at_once();
    }

    pub(crate) fn stages(&self, stages: DeclaredStages) {
        let mut fields = self.fields();
        fields.attributes.stages = Some(stages);
        fields.change_at_once();
    }

    /// Returns whether there is room for it.
    pub(crate) fn artifact(&self, artifact: Artifact) -> bool {
        let mut fields = self.fields();
        let Some(artifacts) = fields.attributes.artifacts.with(artifact) else { return false };
        fields.attributes.artifacts = artifacts;
        fields.change();
        true
    }

    /// Ignores empty tags, and those beyond the limit of an update.
    pub(crate) fn tags(&self, tags: impl Iterator<Item = String>) {
        let tags = tags.map(|mut tag| {
            cut(&mut tag, MAX_NAME_BYTES);
            tag
        });
        let tags = tags.filter(|tag| !tag.is_empty()).take(MAX_TAGS).collect();
        let mut fields = self.fields();
        fields.attributes.tags = tags;
        fields.change_at_once();
    }

    pub(crate) fn ttl(&self, seconds: u32) {
        let mut fields = self.fields();
        fields.ttl = Some(seconds);
        fields.change();
    }
}
