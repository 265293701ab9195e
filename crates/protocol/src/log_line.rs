use std::borrow::Cow;

use serde::Deserialize;

use crate::Timestamp;
use crate::json;

/// A line of a job's log as everybody sees it: `spec/README.md`, section 17.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    json: Box<str>,
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(rename_all = "lowercase"))]
pub enum LogStream {
    /// The standard output.
    Stdout,
    /// The standard error.
    Stderr,
}

/// The longest text of a line, in bytes; the rest of a longer one is cut off.
pub const MAX_LOG_LINE_BYTES: usize = 4_096;

/// Why a line of a log was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidLogLine {
    /// It is no JSON.
    Json(String),
    /// A field of it is wrong: which, and how.
    Field(&'static str, String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    at: Option<Cow<'a, str>>,
}

impl LogStream {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Stdout, Self::Stderr].into_iter().find(|stream| stream.as_str() == name)
    }
}

impl LogLine {
    /// A line with that text. What is beyond [`MAX_LOG_LINE_BYTES`] is cut off, and the line says so.
    pub fn new(text: &str, stream: Option<LogStream>, at: Timestamp) -> Self {
        let most = text.len().min(MAX_LOG_LINE_BYTES);
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let kept = &text[..end];
        let mut out = format!("{{\"at\":\"{}\"", at.with_millis());
        if let Some(stream) = stream {
            out.push_str(",\"stream\":\"");
            out.push_str(stream.as_str());
            out.push('"');
        }
        out.push_str(",\"text\":");
        json::push_string(&mut out, kept);
        if kept.len() < text.len() {
            out.push_str(",\"cut\":true");
        }
        out.push('}');
        Self { json: out.into() }
    }

    /// Reads a line that a client sends as JSON, `{"text":…,"stream":…,"at":…}`; one without `at` was written `now`.
    ///
    /// # Errors
    /// When it is no such object.
    pub fn parse(line: &[u8], now: Timestamp) -> Result<Self, InvalidLogLine> {
        let fields: Fields<'_> = serde_json::from_slice(line)
            .map_err(|error| InvalidLogLine::Json(error.to_string()))?;
        let stream = fields.stream.as_deref().map(|name| {
            LogStream::from_name(name).ok_or_else(|| {
                InvalidLogLine::Field("stream", format!("is {name:?}; it is stdout or stderr"))
            })
        });
        let at = fields.at.as_deref().map(|at| {
            Timestamp::parse(at).ok_or_else(|| {
                InvalidLogLine::Field("at", format!("is {at:?}; it is an RFC 3339 time"))
            })
        });
        Ok(Self::new(&fields.text, stream.transpose()?, at.transpose()?.unwrap_or(now)))
    }

    /// A line as [`LogLine::json`] gave it.
    pub fn from_json(json: impl Into<Box<str>>) -> Self {
        Self { json: json.into() }
    }

    /// The line as one line of JSON.
    pub fn json(&self) -> &str {
        &self.json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_characters_and_says_so() {
        let now = Timestamp::from_micros(0);
        let line = LogLine::new(&"ä".repeat(2_049), Some(LogStream::Stderr), now);
        let start = "{\"at\":\"1970-01-01T00:00:00.000Z\",\"stream\":\"stderr\",\"text\":\"";
        let text = line.json().strip_prefix(start).unwrap();
        assert_eq!(text, format!("{}\",\"cut\":true}}", "ä".repeat(2_048)));
        let line = LogLine::new(&format!("x{}", "ä".repeat(2_048)), None, now);
        assert!(line.json().ends_with("ä\",\"cut\":true}"));
        assert!(!LogLine::new(&"ä".repeat(2_048), None, now).json().contains("cut"));
    }

    #[test]
    fn a_line_of_json_is_read_and_what_is_wrong_is_named() {
        let now = Timestamp::from_micros(0);
        let parse = |line: &str| LogLine::parse(line.as_bytes(), now);
        let line =
            parse(r#"{"text":"a\u001b[1m","stream":"stdout","at":"2024-05-06T07:08:09.1234Z"}"#);
        let json =
            "{\"at\":\"2024-05-06T07:08:09.123Z\",\"stream\":\"stdout\",\"text\":\"a\\u001b[1m\"}";
        assert_eq!(line.unwrap().json(), json);
        for (line, field) in [
            (r#"{"text":"a","stream":"stdin"}"#, "stream"),
            (r#"{"text":"a","at":"yesterday"}"#, "at"),
        ] {
            assert!(
                matches!(parse(line), Err(InvalidLogLine::Field(name, _)) if name == field),
                "{line}"
            );
        }
        for line in
            ["", "a", r#"{"stream":"stdout"}"#, r#"{"text":1}"#, r#"{"text":"a","level":1}"#]
        {
            assert!(matches!(parse(line), Err(InvalidLogLine::Json(_))), "{line}");
        }
    }
}
