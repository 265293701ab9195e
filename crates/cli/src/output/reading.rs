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
    /// What the command is doing, most often in its own words.
    pub stage: Option<String>,
    /// The stage's name is ours, not a text of the output.
    pub(crate) names_stage: bool,
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
    /// The message counts, and does not tell this bar from others: the tool has one at a time.
    pub(crate) is_only_bar: bool,
    /// Bytes done and in all, if the line has both. Bars that have this can be added up.
    pub(crate) bytes: Option<(f64, f64)>,
}

/// The metadata that counts and measures: of other names, the output has chosen the name.
const QUANTITIES: [&str; 17] = [
    "bitrate_kbit_s",
    "bytes",
    "done",
    "dropped_frames",
    "duplicated_frames",
    "duration",
    "fps",
    "frame",
    "out_time",
    "rate",
    "size_bytes",
    "speed",
    "time_left",
    "total",
    "total_bytes",
    "total_frames",
    "transferred",
];

/// A number with a unit, such as `9.9MB/s`.
fn is_quantity(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','));
    let unit = unit.trim_start();
    let is_unit = UNITS.contains(&unit.trim_end_matches("/s").trim_start_matches("s/"));
    text.starts_with(|c: char| c.is_ascii_digit()) && is_unit
}

/// The units of rates and sizes. Another one may be any word of the output.
const UNITS: [&str; 24] = [
    "", "B", "b", "k", "K", "kB", "KB", "KiB", "m", "M", "MB", "MiB", "g", "G", "GB", "GiB", "t",
    "T", "TB", "TiB", "Mbit", "it", "kit", "Mit",
];

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

    /// A stage of a name that is no text of the output.
    pub(crate) fn named_stage(self, stage: &str) -> Self {
        Self { names_stage: true, ..self.stage(stage) }
    }

    /// The same without any text of the output: how far the command is, in numbers, and a stage that the output does not name.
    pub(crate) fn without_text(self) -> Self {
        let is_kept = |(name, value): &(String, Value)| {
            QUANTITIES.contains(&name.as_str())
                && (value.is_number() || value.as_str().is_some_and(is_quantity))
        };
        Self {
            stage: self.stage.filter(|_| self.names_stage),
            message: None,
            metadata: self.metadata.into_iter().filter(is_kept).collect(),
            result: None,
            error: None,
            ..self
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_text_numbers_remain() {
        let reading = Reading::at(Progress::percent(40.0))
            .stage("secret")
            .message("secret")
            .with("done", 4)
            .with("rate", "9.9MB/s")
            .with("total", "secret")
            .with("transferred", "1secret/s")
            .with("secret", 5);
        let reading =
            Reading { result: Some("secret".into()), error: Some("secret".to_owned()), ..reading };
        let expected = Reading::at(Progress::percent(40.0)).with("done", 4).with("rate", "9.9MB/s");
        assert_eq!(reading.without_text(), expected);
        let ours = Reading::default().named_stage("audio");
        assert_eq!(ours.clone().without_text(), ours);
        for quantity in ["7", "1.5 GiB", "9765k", "12.5it/s", "2s/it", "1,000"] {
            assert!(is_quantity(quantity), "{quantity}");
        }
    }
}
