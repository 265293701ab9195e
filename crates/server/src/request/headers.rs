//! Headers that would change what a request means, and that this server does not act on.

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{
    CONTENT_ENCODING, CONTENT_RANGE, HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, TRANSFER_ENCODING,
};
use http::request::Parts;

use crate::response::problem::{Outcome, Refused};

/// A request that changes something and has no headers that the server would have to ignore: no condition (RFC 9110,
/// section 13.1), and its body is whole and not compressed.
pub(crate) struct Unconditional;

const CONDITIONS: [HeaderName; 4] =
    [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

impl<S: Send + Sync> FromRequestParts<S> for Unconditional {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        Self::check(&parts.headers)
    }
}

impl Unconditional {
    /// Checks a request's headers.
    ///
    /// # Errors
    /// `invalid-parameter` with a condition or an encoding.
    pub(crate) fn check(headers: &HeaderMap) -> Outcome<Self> {
        for (name, value) in headers {
            if CONDITIONS.contains(name) {
                let detail = "is not supported: requests that change something are unconditional";
                return Err(Refused::parameter(name.as_str(), detail));
            }
            if name == CONTENT_RANGE {
                return Err(Refused::parameter(
                    "content-range",
                    "is not supported: send the whole body",
                ));
            }
            // hyper reads `gzip, chunked` as `chunked`, and would hand over what is compressed.
            if name == TRANSFER_ENCODING && !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                let coding = String::from_utf8_lossy(value.as_bytes());
                let detail = format!("is {coding:?}; only chunked is supported");
                return Err(Refused::parameter("transfer-encoding", detail));
            }
            if name == CONTENT_ENCODING && value != "identity" {
                let encoding = String::from_utf8_lossy(value.as_bytes());
                let detail = format!("is {encoding:?}; send the body without an encoding");
                return Err(Refused::parameter("content-encoding", detail));
            }
        }
        Ok(Self)
    }
}
