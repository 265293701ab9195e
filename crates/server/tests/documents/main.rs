//! What the server says of itself, and what `docs/` says of it, is so.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../support/mod.rs"]
#[allow(unused_imports, reason = "each test binary uses a part of this")]
mod support;

mod asyncapi;
mod docs;
mod ignored;
mod metrics;
mod openapi;
