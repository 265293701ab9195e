//! The public view of a job: how far it is, and nothing of what it works on. `spec/README.md`, section 15.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::{Fields, number, push_string};
use crate::{Attribute, State};

/// How much of a job a watcher is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// The whole state.
    #[default]
    Full,
    /// How far the job is: no metadata, result, error, tags or other fields of the worker's own.
    Public,
}

/// The fields that the public view has. It lists what is shown rather than what is hidden, so that a field that is added
/// to states, or a worker's own, stays private until somebody adds it here.
const PUBLIC: [&str; 26] = [
    "job_id",
    "status",
    "stage",
    "stage_progress",
    "progress",
    "current",
    "total",
    "rate",
    "message",
    "paused",
    "eta",
    "eta_high",
    "eta_basis",
    "health",
    "timestamp",
    "started_at",
    "last_seen_at",
    "progressed_at",
    "ended_at",
    "attempt",
    "position",
    "name",
    "unit",
    "stages",
    "children",
    "children_expected",
];

/// Those of them that are numbers.
const NUMBERS: [&str; 5] = ["stage_progress", "progress", "current", "total", "rate"];

impl State {
    /// The same state as the public view has it: the same position, and a part of the fields in the same order.
    #[must_use]
    pub fn public(&self) -> Self {
        let fields: Fields<'_> = serde_json::from_str(&self.json).unwrap_or(Fields(Vec::new()));
        let mut json = String::with_capacity(self.json.len().min(1024));
        for (name, value) in &fields.0 {
            if is_public(name, value) {
                json.push(if json.is_empty() { '{' } else { ',' });
                push_string(&mut json, name);
                json.push(':');
                json.push_str(value.get());
            }
        }
        json.push('}');
        // The fields that a state must have are public, so that this parses as the whole did.
        Self::parse(&json).unwrap_or_else(|_| self.bare())
    }

    /// What every state has, in case the rest cannot be read.
    fn bare(&self) -> Self {
        let json = format!(
            r#"{{"job_id":"{}","status":"{}","attempt":{},"position":"{}"}}"#,
            self.job,
            self.status.as_str(),
            self.attempt,
            self.position
        );
        Self { json: json.into(), layout: crate::layout::Layout::default(), ..self.clone() }
    }
}

/// Whether the field is in the public view. A worker may have a field of its own by one of these names, of another type,
/// and with anything in it.
fn is_public(name: &str, value: &RawValue) -> bool {
    if !PUBLIC.contains(&name) {
        return false;
    }
    match Attribute::from_name(name) {
        Some(attribute) => attribute.accepts(value),
        None if NUMBERS.contains(&name) => number(value.get()).is_some() || value.get() == "null",
        // Only the server sets it.
        None => name == "children" || !value.get().starts_with(['{', '[']),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(fields: &str) -> String {
        let json =
            format!(r#"{{"job_id":"a","status":"failed"{fields},"attempt":2,"position":"1-7"}}"#);
        let state = State::parse(&json).unwrap();
        let public = state.public();
        assert_eq!(public.position(), state.position());
        let (start, end) =
            (r#"{"job_id":"a","status":"failed""#, r#","attempt":2,"position":"1-7"}"#);
        let middle = public.json().strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
        middle.unwrap_or_else(|| panic!("{}", public.json())).to_owned()
    }

    #[test]
    fn the_public_view_shows_how_far_a_job_is() {
        for shown in [
            r#","stage":"a","progress":0.50,"message":"x \" y","current":5,"total":10,"unit":"rows""#,
            r#","eta":"2024-01-01T00:00:00.000Z","eta_basis":"rate","health":"ok""#,
            r#","name":"export","stages":["a",{"id":"b","label":"B"}],"children":{"expected":2}"#,
            r#","started_at":"2024-01-01T00:00:00.000Z","ended_at":"2024-01-01T00:00:01.000Z""#,
        ] {
            assert_eq!(public(shown), shown);
        }
    }

    #[test]
    fn the_public_view_hides_the_rest() {
        for hidden in [
            r#","metadata":{"a":1}"#,
            r#","result":"x","error":"Traceback""#,
            r#","tags":["user:42"],"parent_id":"b","traceparent":"x""#,
            r#","artifacts":[{"name":"a","url":"https://example.com"}]"#,
            r#","requested":{"action":"cancel","by":"alice"},"log":{"lines":1,"dropped":0}"#,
            r#","customer":"x","job_\u0069d2":1,"ttl":60"#,
            // A worker's own, of another type than the field has.
            r#","name":{"first":"Ada"},"eta":["x"],"stages":7,"current":"x""#,
        ] {
            assert_eq!(public(hidden), "", "{hidden}");
        }
    }
}
