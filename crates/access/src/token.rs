use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::Permissions;

/// A longer token is refused unread.
pub const MAX_TOKEN_BYTES: usize = 8 << 10;

/// What a token says, as far as it matters here: RFC 7519, section 4.1, and our own claim.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// When it expires, in seconds since 1970. RFC 7519 allows fractions; some libraries read whole numbers only.
    #[serde(serialize_with = "whole_seconds")]
    pub(crate) exp: f64,
    /// From when it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nbf: Option<f64>,
    /// Whom it is for, for the audit log.
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

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// It has more bytes than [`MAX_TOKEN_BYTES`].
    TooLong,
    /// It is not a JWT, or of an algorithm that is not supported: `none` among them.
    Malformed,
    /// None of the keys has its algorithm and its `kid`.
    UnknownKey,
    /// It was not signed with the key, or was changed.
    Signature,
    /// It has expired.
    Expired,
    /// It does not hold yet.
    NotYet,
    /// It is for another audience, or names none where one is expected.
    Audience,
    /// It is of another issuer, or names none where one is expected.
    Issuer,
    /// A claim is missing or cannot be read: what is wrong.
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
