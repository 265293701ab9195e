//! Attempts as they are recorded under the name of their job, and that name: `spec/README.md`, section 3.

use std::borrow::Cow;

use crate::json::text;
use crate::{Attribute, Run, State, Status, Timestamp, Update};

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
        let took = Timestamp::parse(&view.ended_at?)?.since(started).as_millis() / 100;
        let tenths = u32::try_from(took).ok().filter(|_| took <= LONGEST)?;
        Some(Self { name, tenths })
    }
}

impl Update {
    /// The name that it gives its job.
    pub fn name(&self) -> Option<Cow<'_, str>> {
        let mut attributes = self.attributes();
        let (_, name) = attributes.find(|(attribute, _)| *attribute == Attribute::Name)?;
        text(name)
    }
}
