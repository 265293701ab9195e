//! Reads the values of arguments that describe a job.

use std::fmt;
use std::time::Duration;

use milepost_protocol::{MAX_NAME_BYTES, MAX_TAGS, Status};
use serde_json::Value;

/// The longest timeout.
const MAX_TIMEOUT_SECONDS: f64 = 3600.0;

pub(crate) fn timeout(text: &str) -> Result<Duration, BadValue> {
    let seconds = text.parse::<f64>().map_err(|_| BadValue::Timeout)?;
    let allowed = seconds > 0.0 && seconds <= MAX_TIMEOUT_SECONDS;
    allowed.then(|| Duration::from_secs_f64(seconds)).ok_or(BadValue::Timeout)
}

/// Why the value of an argument is not allowed.
#[derive(Debug)]
pub(crate) enum BadValue {
    Progress,
    Status,
    Json(serde_json::Error),
    Pair,
    Timeout,
    Keyword,
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Progress => f.write_str("it must be a number from 0 to 1, or \"unknown\""),
            Self::Status => {
                let names: Vec<_> = Status::ALL.iter().map(|s| s.as_str()).collect();
                write!(f, "it must be one of {}", names.join(", "))
            }
            Self::Json(error) => write!(f, "it is not JSON: {error}"),
            Self::Timeout => {
                write!(f, "it must be seconds, more than 0 and at most {MAX_TIMEOUT_SECONDS}")
            }
            Self::Keyword => write!(f, "it must have 1 to {MAX_NAME_BYTES} bytes"),
            Self::Pair => f.write_str("it must be KEY=VALUE"),
        }
    }
}

impl std::error::Error for BadValue {}

/// A name or a tag.
pub(crate) fn keyword(text: &str) -> Result<String, impl std::error::Error + use<>> {
    let allowed = (1..=MAX_NAME_BYTES).contains(&text.len());
    allowed.then(|| text.to_owned()).ok_or(BadValue::Keyword)
}

/// Checks the number of tags.
///
/// # Errors
/// When there are too many, for a person.
pub(crate) fn check_tags(tags: &[String]) -> Result<(), String> {
    let given = tags.len();
    if given > MAX_TAGS {
        return Err(format!("--tag is given {given} times, at most {MAX_TAGS} are allowed"));
    }
    Ok(())
}

pub(crate) fn progress(text: &str) -> Result<Value, BadValue> {
    if matches!(text, "unknown" | "null") {
        return Ok(Value::Null);
    }
    let number: f64 = text.parse().map_err(|_| BadValue::Progress)?;
    if (0.0..=1.0).contains(&number) { Ok(number.into()) } else { Err(BadValue::Progress) }
}

pub(crate) fn status(text: &str) -> Result<Status, impl std::error::Error + use<>> {
    Status::from_name(text).ok_or(BadValue::Status)
}

pub(crate) fn json(text: &str) -> Result<Value, BadValue> {
    serde_json::from_str(text).map_err(BadValue::Json)
}

pub(crate) fn pair(text: &str) -> Result<(String, Value), BadValue> {
    let (key, value) =
        text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or(BadValue::Pair)?;
    Ok((key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}
