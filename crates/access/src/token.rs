use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::Permissions;

/// The longest token that is read.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// The claims of a token that matter here: RFC 7519, section 4.1, and our own.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// When the token expires, in seconds since 1970. RFC 7519 allows fractions, but some libraries read only whole numbers.
    #[serde(serialize_with = "whole_seconds")]
    pub(crate) exp: f64,
    /// From when the token is valid, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<f64>,
    /// For whom it was made. Appears in the audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sub: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aud: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iss: Option<String>,
    pub(crate) milepost: Permissions,
}

#[expect(clippy::cast_possible_truncation, reason = "it saturates, at a time that never comes")]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn whole_seconds<S: Serializer>(seconds: &f64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_i64(seconds.floor() as i64)
}

/// Why a token is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It has more bytes than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// It is not a JWT, or its algorithm is not supported, such as `none`.
    Malformed,
    /// No key has its algorithm and its `kid`.
    UnknownKey,
    /// It was not signed with this key, or it was changed.
    Signature,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYet,
    /// It names another audience, or none although one is expected.
    Audience,
    /// It names another issuer, or none although one is expected.
    Issuer,
    /// A claim is missing or invalid: what is wrong.
    Claims(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the token has more than {MAX_TOKEN_BYTES} bytes"),
            Self::Malformed => f.write_str("the credential is neither a key of this server nor a token that it supports (HS256, ES256, EdDSA, RS256)"),
            Self::UnknownKey => f.write_str("the server has no key for the token"),
            Self::Signature => f.write_str("the token's signature is wrong"),
            Self::Expired => f.write_str("the token has expired"),
            Self::NotYet => f.write_str("the token is not valid yet"),
            Self::Audience => f.write_str("the token is for another audience"),
            Self::Issuer => f.write_str("the token is from another issuer"),
            Self::Claims(why) => write!(f, "the token's claims: {why}"),
        }
    }
}

impl std::error::Error for TokenError {}
