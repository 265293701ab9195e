//! Headers that would change what a request means, and that this server does not act on.

use axum::extract::FromRequestParts;
use http::header::{
    CONTENT_ENCODING, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};
use http::request::Parts;

use crate::response::problem::Refused;

/// That a request which changes something asks for no more than the server does: it names no condition (RFC 9110,
/// section 13.1) and its body is not compressed.
pub(crate) struct Unconditional;

const CONDITIONS: [HeaderName; 4] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

impl<S: Send + Sync> FromRequestParts<S> for Unconditional {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        if let Some(name) = CONDITIONS.iter().find(|name| parts.headers.contains_key(*name)) {
            let detail = "is not supported: reports and deletions are unconditional";
            return Err(Refused::parameter(name.as_str(), detail));
        }
        let mut encodings = parts.headers.get_all(CONTENT_ENCODING).iter();
        if let Some(encoding) = encodings.find(|encoding| *encoding != "identity") {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            let detail = format!("is {encoding:?}; send the body without an encoding");
            return Err(Refused::parameter("content-encoding", detail));
        }
        Ok(Self)
    }
}
