//! The progress in one line of output.

use serde_json::{Map, Value};

/// The progress in a line of output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// 0…1.
    Fraction(f64),
    /// Something moves, but the total is not known.
    Unknown,
}

impl Progress {
    /// Out of a percentage; beyond 0…100 is clamped.
    pub(crate) fn percent(percent: f64) -> Self {
        Self::Fraction((percent / 100.0).clamp(0.0, 1.0))
    }

    /// `done` of `total`, in any unit.
    pub(crate) fn ratio(done: f64, total: f64) -> Self {
        if total > 0.0 { Self::Fraction((done / total).clamp(0.0, 1.0)) } else { Self::Unknown }
    }

    /// `done` of `total`.
    #[expect(clippy::cast_precision_loss, reason = "a bar needs no more than 53 bits")]
    pub(crate) fn of(done: u64, total: u64) -> Self {
        if total == 0 {
            return Self::Unknown;
        }
        Self::Fraction((done as f64 / total as f64).clamp(0.0, 1.0))
    }
}

/// The content of one line. `None` for what is not in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// How far.
    pub progress: Option<Progress>,
    /// The command's own word for what it is doing.
    pub stage: Option<String>,
    /// For people.
    pub message: Option<String>,
    /// Counts, rates and the like, by name.
    pub metadata: Map<String, Value>,
    /// The result that a JSON line names.
    pub result: Option<Value>,
    /// The error that a JSON line names.
    pub error: Option<String>,
    /// Earlier rates, counts and times no longer hold.
    pub resets: bool,
    /// Bytes done and in all, if the line has both. Bars that have this can be added up.
    pub(crate) bytes: Option<(f64, f64)>,
}

/// Bound of a text that is shown to people, in bytes.
const MAX_TEXT_BYTES: usize = 240;

impl Reading {
    pub(crate) fn at(progress: Progress) -> Self {
        Self { progress: Some(progress), ..Self::default() }
    }

    /// A bar has ended, and the command continues with this.
    pub(crate) fn phase_over(next: &str) -> Self {
        Self { resets: true, ..Self::at(Progress::Unknown) }.message(next)
    }

    pub(crate) fn stage(mut self, stage: &str) -> Self {
        self.stage = text(stage);
        self
    }

    pub(crate) fn message(mut self, message: &str) -> Self {
        self.message = text(message);
        self
    }

    pub(crate) fn bytes(mut self, done: f64, total: f64) -> Self {
        self.bytes = Some((done, total));
        self
    }

    /// The fraction, where there is one.
    pub(crate) fn fraction(&self) -> Option<f64> {
        match self.progress {
            Some(Progress::Fraction(fraction)) => Some(fraction),
            _ => None,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.metadata.insert(name.to_owned(), value);
        }
        self
    }
}

/// The text bounded and trimmed, or nothing if nothing is left.
pub(crate) fn text(text: &str) -> Option<String> {
    let text = text.trim();
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (end > 0).then(|| text[..end].to_owned())
}
