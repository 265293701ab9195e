//! Responses: JSON, or a problem.

pub(crate) mod body;
mod json;
pub(crate) mod problem;

pub(crate) use json::{json, json_text};
