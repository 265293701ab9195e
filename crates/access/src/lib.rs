//! Who may watch, report and control which jobs: [`Permissions`], and the two kinds of credentials that carry them.
//!
//! - A *key* is a long-lived secret with a name, for workers and operators ([`KeyRing`]). Only its digest is stored.
//! - A *token* is a short-lived JWT that an application signs for a watcher ([`TokenVerifier`], [`sign`](fn@sign)).
//!
//! This crate does no I/O and does not read the clock.

mod crypto;
mod keys;
mod pattern;
mod permissions;
mod sign;
mod token;
mod verifier;

pub use keys::{InvalidKeys, Key, KeyRing, NewKey, SECRET_PREFIX};
pub use pattern::{InvalidPattern, Pattern};
pub use permissions::Permissions;
pub use sign::{SignError, sign};
pub use token::{MAX_TOKEN_BYTES, TokenError};
pub use verifier::{
    InvalidTokenKey, MIN_SECRET_BYTES, TokenKeys, TokenRules, TokenVerifier, Verified,
};
