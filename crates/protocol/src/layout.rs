use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::json::number;
use crate::{Attribute, Usual};

/// Where in an update's or a state's JSON the values stand that the fold needs, so that it need not read the JSON again.
///
/// The fields of [`Rare`] read and write like the layout's own: a broker holds a layout for each state that it keeps, and
/// those of most jobs pay for none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) stage: Span,
    pub(crate) progress: Span,
    pub(crate) started_at: Span,
    pub(crate) progressed_at: Span,
    /// Made by the first write to one of its fields.
    rare: Option<Box<Rare>>,
}

/// What most jobs do not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rare {
    pub(crate) current: Span,
    pub(crate) paused_seconds: Span,
    pub(crate) paused_at: Span,
    pub(crate) health: Span,
    pub(crate) requested: Span,
    pub(crate) children: Span,
    /// In the order in which they stand there.
    pub(crate) attributes: Vec<(Attribute, Span)>,
    /// Not a place, but what attempts of the state's name usually take: only jobs with a name have it.
    pub(crate) usual: Option<Arc<Usual>>,
}

impl Deref for Layout {
    type Target = Rare;

    fn deref(&self) -> &Rare {
        const NONE: &Rare = &Rare {
            current: Span::NONE,
            paused_seconds: Span::NONE,
            paused_at: Span::NONE,
            health: Span::NONE,
            requested: Span::NONE,
            children: Span::NONE,
            attributes: Vec::new(),
            usual: None,
        };
        self.rare.as_deref().unwrap_or(NONE)
    }
}

impl DerefMut for Layout {
    fn deref_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

/// The bytes of a value; empty if there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    const NONE: Self = Self { start: 0, end: 0 };

    pub(crate) fn new(range: &Range<usize>) -> Self {
        // A text of 4 GiB is none that anybody may send.
        let [start, end] = [range.start, range.end].map(|at| u32::try_from(at).unwrap_or(0));
        Self { start, end }
    }

    /// The span of a value in the text that it was read from.
    pub(crate) fn of(value: &RawValue, text: &str) -> Self {
        let start = value.get().as_ptr().addr().saturating_sub(text.as_ptr().addr());
        Self::new(&(start..start + value.get().len()))
    }

    pub(crate) fn is_given(self) -> bool {
        self.end > self.start
    }

    /// The value, if there is one.
    pub(crate) fn get(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.end as usize).filter(|value| !value.is_empty())
    }

    /// What stands before the value, and after it, if there is one.
    pub(crate) fn around(self, text: &str) -> Option<(&str, &str)> {
        let [start, end] = [self.start as usize, self.end as usize];
        Some((text.get(..start)?, text.get(end..)?)).filter(|_| self.is_given())
    }

    fn moved(self, by: u32) -> Self {
        if self.is_given() { Self { start: self.start + by, end: self.end + by } } else { self }
    }
}

impl Layout {
    /// Remembers where a field's value stands, if the fold needs it.
    pub(crate) fn note(&mut self, name: &str, value: &RawValue, span: Span) {
        match name {
            "stage" => self.stage = span,
            "progress" => self.progress = span,
            "current" if number(value.get()).is_some() => self.current = span,
            "started_at" if is_moment(value) => self.started_at = span,
            "progressed_at" if is_moment(value) => self.progressed_at = span,
            "paused_seconds" if number(value.get()).is_some() => self.paused_seconds = span,
            "paused_at" if is_moment(value) => self.paused_at = span,
            "health" => self.health = span,
            "requested" if value.get().starts_with('{') => self.requested = span,
            "children" if value.get().starts_with('{') => self.children = span,
            _ => {
                if let Some(attribute) = Attribute::from_name(name)
                    && attribute.accepts(value)
                {
                    self.attributes.push((attribute, span));
                }
            }
        }
    }

    /// The same when so many bytes stand before the text.
    pub(crate) fn moved(&self, by: u32) -> Self {
        Self {
            stage: self.stage.moved(by),
            progress: self.progress.moved(by),
            started_at: self.started_at.moved(by),
            progressed_at: self.progressed_at.moved(by),
            rare: self.rare.as_ref().map(|rare| Box::new(rare.moved(by))),
        }
    }

    pub(crate) fn attribute(&self, wanted: Attribute) -> Span {
        let found = self.attributes.iter().find(|(attribute, _)| *attribute == wanted);
        found.map(|(_, span)| *span).unwrap_or_default()
    }
}

impl Rare {
    fn moved(&self, by: u32) -> Self {
        let attributes = self.attributes.iter();
        Self {
            current: self.current.moved(by),
            paused_seconds: self.paused_seconds.moved(by),
            paused_at: self.paused_at.moved(by),
            health: self.health.moved(by),
            requested: self.requested.moved(by),
            children: self.children.moved(by),
            attributes: attributes.map(|(attribute, span)| (*attribute, span.moved(by))).collect(),
            usual: self.usual.clone(),
        }
    }
}

/// Whether it may be a moment as the fold writes it. States of older versions may have a worker's own field there.
fn is_moment(value: &RawValue) -> bool {
    value.get().len() == r#""2024-05-06T07:08:09.123Z""#.len() && value.get().starts_with('"')
}
