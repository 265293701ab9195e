use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use milepost_protocol::ProblemType;

use crate::config::{Config, seconds};
use crate::response::problem::{Outcome, Refused};

/// Reads a request's body of at most `limit` bytes; `too_large` is the problem with a larger one.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    too_large: ProblemType,
    config: &Config,
) -> Outcome<Bytes> {
    let refuse = || Refused::new(too_large, format!("at most {limit} bytes are allowed"));
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if announced.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > limit)
    {
        return Err(refuse());
    }
    let collect = Limited::new(body, limit).collect();
    match tokio::time::timeout(seconds(config.body_timeout), collect).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(refuse()),
        Ok(Err(error)) => {
            Err(Refused::new(ProblemType::IncompleteBody, format!("the body broke off: {error}")))
        }
        Err(_) => {
            let detail = format!("the body was not there after {} s", config.body_timeout);
            Err(Refused::new(ProblemType::RequestTimeout, detail))
        }
    }
}
