use redis::Value;

use crate::Failure;

/// A script's answer, in parts. Numbers are in decimal digits. Other programs may have written under a job's keys, so a part
/// need not be text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer(pub Vec<Vec<u8>>);

impl Answer {
    /// What a script has answered: one part, several, or none.
    pub(crate) fn of(value: Value) -> Result<Self, Failure> {
        let Value::Array(parts) = value else {
            return Ok(Self(bytes(value).into_iter().collect()));
        };
        let parts: Option<Vec<_>> = parts.into_iter().map(bytes).collect();
        parts.map(Self).ok_or_else(|| Failure::unexpected("text"))
    }
}

/// A part of an answer as text.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::unreadable("UTF-8"))
}

/// A value as bytes; none if it is neither text nor a number.
pub(crate) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}
