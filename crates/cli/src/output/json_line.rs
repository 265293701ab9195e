//! A line that is a JSON object: `{"progress":0.4,"stage":"encode","message":"…"}`.
//!
//! Understood are `progress` (0…1, or a percentage if the stream's first that is neither 0 nor 1 is above 1), `percent` or `percentage` (0…100),
//! `percent_done` (0…1), `current` (or `completed`, `done`) with `total`, `stage`, `message`, `status` (a text that is
//! not one of Milepost's statuses names the stage), `metadata` (an object), `result` and `error`. An object with none
//! of them is text. How the job ends is the command's exit code's to say, not a line's.

use milepost_protocol::Status;
use serde_json::{Map, Value};

use super::reading::text;
use super::{Progress, Reading};

/// Sums of fractions may exceed 1 by this.
const OVERSHOOT: f64 = 0.01;

/// Remembers in which unit this stream's `progress` is.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    unit: Option<Unit>,
}

/// The unit of `progress`. The first number that is neither 0 nor 1 decides it for good: a job whose progress was 0.5 is never at 0.9 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Fraction,
    Percent,
}

impl JsonLines {
    pub(super) fn read(&mut self, line: &str) -> Option<Reading> {
        let Ok(Value::Object(object)) = serde_json::from_str(line) else { return None };
        let texts = |name| object.get(name).and_then(Value::as_str).and_then(text);
        let counts = counts(&object);
        let progress = self
            .progress(&object)
            .or_else(|| counts.map(|(done, total)| Progress::of(done, total)));
        let status = texts("status").filter(|s| Status::from_name(s).is_none());
        let mut reading = Reading {
            progress,
            stage: texts("stage").or(status),
            names_stage: false,
            is_only_bar: false,
            message: texts("message"),
            metadata: match object.get("metadata") {
                Some(Value::Object(metadata)) => metadata.clone(),
                _ => Map::new(),
            },
            result: object.get("result").filter(|r| !r.is_null()).cloned(),
            error: texts("error"),
            bytes: None,
            resets: false,
        };
        if reading == Reading::default() {
            return None;
        }
        if let Some((done, total)) = counts {
            reading = reading.with("done", done).with("total", total);
        }
        // restic's.
        let seconds =
            object.get("seconds_remaining").filter(|_| object.contains_key("percent_done"));
        reading = reading.with("time_left", seconds.cloned());
        Some(reading)
    }

    fn progress(&mut self, object: &Map<String, Value>) -> Option<Progress> {
        // restic's is a fraction.
        if let Some(fraction) = object.get("percent_done").and_then(number) {
            return Some(Progress::percent(fraction * 100.0));
        }
        for name in ["percent", "percentage"] {
            if let Some(percent) = object.get(name).and_then(number) {
                return Some(Progress::percent(percent));
            }
        }
        let value = object.get("progress")?;
        if value.is_null() {
            return Some(Progress::Unknown);
        }
        let number = number(value)?;
        if value.as_str().is_some_and(|text| text.contains('%')) {
            return Some(Progress::percent(number));
        }
        if self.unit.is_none() && number > 0.0 && number.to_bits() != 1_f64.to_bits() {
            let is_fraction = number <= 1.0 + OVERSHOOT;
            self.unit = Some(if is_fraction { Unit::Fraction } else { Unit::Percent });
        }
        Some(match self.unit {
            Some(Unit::Percent) => Progress::percent(number),
            // What it means cannot be known.
            Some(Unit::Fraction) if number > 1.0 + OVERSHOOT => Progress::Unknown,
            Some(Unit::Fraction) | None => Progress::percent(number * 100.0),
        })
    }
}

/// A number, also as `"42%"` or `"42"`.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => text
            .trim()
            .trim_end_matches('%')
            .trim_end()
            .parse()
            .ok()
            .filter(|n: &f64| n.is_finite()),
        other => other.as_f64(),
    }
}

fn counts(object: &Map<String, Value>) -> Option<(u64, u64)> {
    let total = object.get("total")?.as_u64().filter(|t| *t > 0)?;
    let done =
        ["current", "completed", "done"].iter().find_map(|name| object.get(*name)?.as_u64())?;
    Some((done, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Reading> {
        JsonLines::default().read(line)
    }

    #[test]
    fn fields_of_ours() {
        let reading =
            read(r#"{"progress":0.4,"stage":"encode","message":"half","metadata":{"k":1},"ts":5}"#)
                .unwrap();
        assert_eq!(reading.progress, Some(Progress::Fraction(0.4)));
        assert_eq!(
            (reading.stage.as_deref(), reading.message.as_deref()),
            (Some("encode"), Some("half"))
        );
        assert_eq!(reading.metadata["k"], 1);
        let of = |line| read(line).unwrap().progress;
        assert_eq!(of(r#"{"percent":40}"#), Some(Progress::Fraction(0.4)));
        assert_eq!(of(r#"{"percentage":"40%"}"#), Some(Progress::Fraction(0.4)));
        assert_eq!(of(r#"{"current":2,"total":8}"#), Some(Progress::Fraction(0.25)));
        assert_eq!(
            of(r#"{"status":"pulling","completed":2,"total":8}"#),
            Some(Progress::Fraction(0.25))
        );
        assert_eq!(of(r#"{"progress":null}"#), Some(Progress::Unknown));
        assert_eq!(of(r#"{"progress":-7}"#), Some(Progress::Fraction(0.0)));
    }

    #[test]
    fn a_status_of_ours_is_no_stage_and_no_outcome() {
        assert_eq!(read(r#"{"status":"completed"}"#), None);
        assert_eq!(
            read(r#"{"status":"pulling layer"}"#).unwrap().stage.as_deref(),
            Some("pulling layer")
        );
    }

    #[test]
    fn other_objects_and_broken_ones_are_text() {
        for line in [
            "{}",
            r#"{"level":"info","msg":"x"}"#,
            "{\"progress\":",
            r#"{"progress":"soon"}"#,
            "{a}",
            r#"{"status":200}"#,
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    fn progress_of(values: &[&str]) -> Vec<Progress> {
        let mut lines = JsonLines::default();
        let line = |value: &&str| lines.read(&format!(r#"{{"progress":{value}}}"#));
        values.iter().map(line).map(|reading| reading.unwrap().progress.unwrap()).collect()
    }

    #[test]
    fn the_first_progress_decides_the_unit_for_good() {
        use Progress::{Fraction, Unknown};
        let percentages = [0.0, 0.5, 0.01, 0.002, 1.0].map(Fraction);
        assert_eq!(progress_of(&["0", "50", "1", "0.2", "100"]), percentages);
        let overshoot = [0.2, 0.5, 1.0, 0.9].map(Fraction);
        assert_eq!(progress_of(&["0.2", "0.5", "1.0000001", "0.9"]), overshoot);
        assert_eq!(progress_of(&["1.0000001", "0.5"]), [1.0, 0.5].map(Fraction));
        assert_eq!(progress_of(&["0.3", "42", "0.4"]), [Fraction(0.3), Unknown, Fraction(0.4)]);
        assert_eq!(progress_of(&["0", "1", "0.5"]), [0.0, 1.0, 0.5].map(Fraction));
    }

    #[test]
    fn a_percent_sign_says_what_the_unit_is() {
        let progress = progress_of(&["\"42%\"", "0.5", "\"0.5%\"", "0.9"]);
        assert_eq!(progress, [0.42, 0.5, 0.005, 0.9].map(Progress::Fraction));
    }
}
