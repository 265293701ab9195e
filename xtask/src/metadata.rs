use serde_json::Value;

use crate::step::{Failure, Shell};

/// Every package in `Cargo.lock`, as `cargo metadata` describes it. The workspace's own have no `source`.
pub(crate) fn packages() -> Result<Vec<Value>, Failure> {
    let output = Shell::cargo().args("metadata --format-version 1 --locked").output();
    let output = output.ok_or_else(|| Failure::Found("cargo metadata fails here".into()))?;
    match serde_json::from_slice::<Value>(&output) {
        Ok(mut metadata) => match metadata["packages"].take() {
            Value::Array(packages) => Ok(packages),
            _ => Err(Failure::Found("cargo metadata names no packages".into())),
        },
        Err(error) => Err(Failure::Found(format!("cargo metadata: {error}"))),
    }
}
