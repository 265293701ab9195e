//! The parameters of the transports: `spec/README.md`, sections 5, 8 and 9.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use http::HeaderMap;
use http::request::Parts;
use milepost_hub::{Mode, Subscribe};
use milepost_protocol::Position;
use serde::Deserialize;

use crate::response::problem::{Outcome, Refused};

/// The `{job_id}` of a path, as it stands there: `JobId::parse` says what is wrong with it.
pub(crate) struct NamedJob(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for NamedJob {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        // What is no UTF-8 when it is decoded is no job id, and refused like one with this character.
        Ok(Self(path.map_or_else(|_| '\u{fffd}'.to_string(), |Path(job)| job)))
    }
}

/// A query's parameters, as they stand in the URL. Others are ignored, as browsers' cache busters ask.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WatchQuery {
    pub(crate) since: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) max_rate: Option<String>,
    pub(crate) close: Option<String>,
}

impl WatchQuery {
    pub(crate) fn parse(query: Option<&str>) -> Outcome<Self> {
        from_query(query)
    }

    pub(crate) fn subscribe(&self) -> Outcome<Subscribe> {
        Ok(Subscribe {
            since: since(self.since.as_deref()),
            mode: mode(self.mode.as_deref())?,
            max_rate: match self.max_rate.as_deref() {
                None => None,
                Some(text) => Some(max_rate(text.parse().ok(), text)?),
            },
            close_at_end: match self.close.as_deref() {
                None | Some("never") => false,
                Some("end") => true,
                Some(other) => {
                    return Err(Refused::parameter(
                        "close",
                        format!("is {other:?}; it is never or end"),
                    ));
                }
            },
        })
    }
}

/// A position that is none is foreign: the watcher begins with the present state.
pub(crate) fn since(text: Option<&str>) -> Option<Position> {
    let text = text?.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    parse_position(text.trim_matches('"'))
}

/// A position, perhaps with the suffix that a proxy's content coding adds to an entity tag (Apache: `-gzip`; others:
/// `;gzip`).
fn parse_position(text: &str) -> Option<Position> {
    let coding = |end: &str| matches!(end, "gzip" | "br" | "deflate" | "zstd");
    let bare = text.rsplit_once(['-', ';']).filter(|(_, end)| coding(end)).map(|(bare, _)| bare);
    Position::parse(bare.unwrap_or(text))
}

pub(crate) fn mode(text: Option<&str>) -> Outcome<Mode> {
    match text {
        None | Some("all") => Ok(Mode::All),
        Some("latest") => Ok(Mode::Latest),
        Some(other) => {
            Err(Refused::parameter("mode", format!("is {other:?}; it is all or latest")))
        }
    }
}

pub(crate) fn max_rate(rate: Option<f64>, shown: &str) -> Outcome<f64> {
    rate.filter(|rate| (0.01..=1000.0).contains(rate)).ok_or_else(|| {
        Refused::parameter("max_rate", format!("is {shown:?}; it is 0.01 to 1000 updates a second"))
    })
}

/// `?wait=`, in seconds.
pub(crate) fn wait(text: Option<&str>) -> Outcome<Duration> {
    let Some(text) = text else { return Ok(Duration::ZERO) };
    let seconds = text.parse::<f64>().ok().filter(|wait| (0.0..=60.0).contains(wait));
    let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    wait.ok_or_else(|| Refused::parameter("wait", format!("is {text:?}; it is 0 to 60 seconds")))
}

/// The positions in `If-None-Match` (RFC 9110, section 13.1.2); one is all that a client of ours sends.
pub(crate) fn if_none_match(headers: &HeaderMap) -> Vec<Position> {
    let headers = headers.get_all(http::header::IF_NONE_MATCH).iter();
    let tags = headers.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(','));
    tags.filter_map(|tag| {
        let tag = tag.trim();
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        parse_position(tag.strip_prefix('"')?.strip_suffix('"')?)
    })
    .collect()
}

/// Reads a query into its parameters.
pub(crate) fn from_query<T: Default + for<'de> Deserialize<'de>>(
    query: Option<&str>,
) -> Outcome<T> {
    let Some(query) = query else { return Ok(T::default()) };
    let uri = http::Uri::builder().path_and_query(format!("/?{query}")).build();
    let parsed = uri.map_err(|error| error.to_string()).and_then(|uri| {
        axum::extract::Query::try_from_uri(&uri).map_err(|error| error.to_string())
    });
    parsed
        .map(|axum::extract::Query(parameters)| parameters)
        .map_err(|error| Refused::parameter("query", error))
}
