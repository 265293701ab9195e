//! A line that is a JSON object: `{"progress":0.4,"stage":"encode","message":"…"}`.
//!
//! Understood are `progress` (0…1; once one is over 1, they are percentages), `percent` or `percentage` (0…100),
//! `percent_done` (0…1), `current` (or `completed`, `done`) with `total`, `stage`, `message`, `status` (a text that is
//! not one of Milepost's statuses names the stage), `metadata` (an object), `result` and `error`. An object with none
//! of them is text. How the job ends is the command's exit code's to say, not a line's.

use milepost_protocol::Status;
use serde_json::{Map, Value};

use super::reading::text;
use super::{Progress, Reading};

/// Remembers in which unit this stream's `progress` is.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    percentages: bool,
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
        let value = number(value)?;
        self.percentages |= value > 1.0;
        Some(Progress::percent(if self.percentages { value } else { value * 100.0 }))
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

    #[test]
    fn progress_over_one_turns_a_stream_to_percentages() {
        let mut lines = JsonLines::default();
        assert_eq!(
            lines.read(r#"{"progress":50}"#).unwrap().progress,
            Some(Progress::Fraction(0.5))
        );
        assert_eq!(
            lines.read(r#"{"progress":1}"#).unwrap().progress,
            Some(Progress::Fraction(0.01))
        );
    }
}
