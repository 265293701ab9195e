//! What a request is answered with: JSON, or a problem.

mod json;
pub(crate) mod problem;

pub(crate) use json::{join, json, json_text};
