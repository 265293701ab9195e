//! Attempts as they are recorded under the name of their job, and that name: `spec/README.md`, section 3.

use std::borrow::Cow;

use crate::json::text;
use crate::{Attribute, Run, State, Status, Timeline, Timestamp, Update, stages};

/// An attempt that took longer than ten years, in tenths of a second, is none to estimate others by.
const LONGEST: u128 = 3_153_600_000;

impl<'a> Run<'a> {
    /// The attempt that ends with this state; none if it is not one that counts.
    pub fn of(state: &'a State) -> Option<Self> {
        if state.status() != Status::Completed {
            return None;
        }
        let name = text(state.attribute(Attribute::Name)?)?;
        let view = state.view();
        let started = Timestamp::parse(&view.started_at?)?;
        let took = Timestamp::parse(&view.ended_at?)?.since(started).as_millis();
        let took = took.saturating_sub(state.paused_millis().into()) / 100;
        let tenths = u32::try_from(took).ok().filter(|_| took <= LONGEST)?;
        Some(Self { name, tenths, stages: Vec::new() })
    }

    /// The same with the durations of the stages that the attempt declared, by the timeline of its job. `state` is the end.
    #[must_use]
    pub fn with_stages(self, state: &'a State, timeline: &Timeline) -> Self {
        Self { stages: timeline.stage_durations(state), ..self }
    }

    /// Whether it has stages whose durations are of interest.
    pub fn has_stages(state: &State) -> bool {
        state.attribute(Attribute::Stages).is_some()
    }
}

impl Update {
    /// The stages that it declares without any weight, as JSON, if it also gives its job a name: then their weights may follow from
    /// the past of that name.
    pub fn unweighted_stages(&self) -> Option<&str> {
        if self.status.is_end() || self.name().is_none() {
            return None;
        }
        let (_, declared) =
            self.attributes().find(|(attribute, _)| *attribute == Attribute::Stages)?;
        let stages = stages::parse(declared)?;
        (!stages.iter().any(|stage| stage.is_weighted)).then_some(declared)
    }

    /// The name that it gives its job.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        let mut attributes = self.attributes();
        let (_, name) = attributes.find(|(attribute, _)| *attribute == Attribute::Name)?;
        text(name)
    }
}
