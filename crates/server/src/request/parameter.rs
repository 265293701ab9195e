//! The parameters of the transports: `spec/README.md`, sections 5, 8 and 9.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path};
use http::HeaderMap;
use http::request::Parts;
use milepost_hub::{Mode, Subscribe};
use milepost_protocol::Position;

use crate::response::problem::{Outcome, Refused};

/// The `{job_id}` of a path, not checked yet: `JobId::parse` names what is wrong with it.
pub(crate) struct NamedJob(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for NamedJob {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        // If the decoded text is not UTF-8, it is rejected like a job id with this character.
        Ok(Self(path.map_or_else(|_| '\u{fffd}'.to_string(), |Path(job)| job)))
    }
}

/// Ignored at every address: browsers' cache busters, and the token that a page passes to a proxy that checks who may watch. A page
/// cannot set a header on a WebSocket or an event stream.
const FOR_OTHERS: [&str; 2] = ["_", "token"];

/// The parameters that an address understands.
pub(crate) struct Known<'a> {
    /// Those that may be given once, …
    pub(crate) once: &'a [&'a str],
    /// … and those that may be given several times.
    pub(crate) repeatable: &'a [&'a str],
}

impl Known<'_> {
    const NONE: Self = Self { once: &[], repeatable: &[] };

    /// The query's parameters as pairs, in their order.
    ///
    /// # Errors
    /// `invalid-parameter` if one is not known, or is given more than once although it may not be.
    pub(crate) fn pairs(&self, query: Option<&str>) -> Outcome<Vec<(String, String)>> {
        let pairs = decode(query)?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !self.contains(name) {
                return Err(self.unknown(name));
            }
            let is_given_before = || pairs[..index].iter().any(|(before, _)| before == name);
            if self.once.contains(&name.as_str()) && is_given_before() {
                return Err(given_twice(name));
            }
        }
        Ok(pairs)
    }

    fn contains(&self, name: &str) -> bool {
        [self.once, self.repeatable, &FOR_OTHERS].iter().any(|names| names.contains(&name))
    }

    fn unknown(&self, name: &str) -> Refused {
        let known = [self.once, self.repeatable].concat().join(", ");
        let known = match known.as_str() {
            "" => "this address has no parameters".to_owned(),
            known => format!("known here: {known}"),
        };
        Refused::parameter(name, format!("is not known; {known}"))
    }
}

/// The query's parameters as pairs, in their order, each given once.
///
/// # Errors
/// As [`Known::pairs`].
pub(crate) fn pairs(query: Option<&str>, once: &[&str]) -> Outcome<Vec<(String, String)>> {
    Known { once, repeatable: &[] }.pairs(query)
}

fn given_twice(name: &str) -> Refused {
    Refused::parameter(name, "is given more than once")
}

/// An argument of a handler that takes no parameters: rejects a request that has some.
pub(crate) struct NoParameters;

impl<S: Send + Sync> FromRequestParts<S> for NoParameters {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        Known::NONE.pairs(parts.uri.query()).map(|_| Self)
    }
}

/// The parameters of watching, as they stand in the URL.
#[derive(Debug, Default)]
pub(crate) struct WatchQuery {
    pub(crate) since: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) max_rate: Option<String>,
    pub(crate) close: Option<String>,
}

impl WatchQuery {
    /// Parses the query of a transport that understands the parameters `known`.
    pub(crate) fn parse(query: Option<&str>, known: &[&str]) -> Outcome<Self> {
        Self::from_pairs(pairs(query, known)?)
    }

    /// Parses the query of a transport that legacy pages use: the service before Milepost ignored unknown parameters,
    /// so they are returned, and the response names them.
    pub(crate) fn parse_leniently(query: Option<&str>) -> Outcome<(Self, Vec<String>)> {
        const KNOWN: Known<'_> =
            Known { once: &["since", "mode", "max_rate", "close"], repeatable: &[] };
        /// The most unknown names that are returned, and the most characters of each.
        const MOST: (usize, usize) = (8, 64);
        let (known, unknown): (Vec<_>, Vec<_>) =
            decode(query)?.into_iter().partition(|(name, _)| KNOWN.contains(name));
        let unknown = unknown.into_iter().take(MOST.0);
        let unknown = unknown.map(|(name, _)| name.chars().take(MOST.1).collect());
        Ok((Self::from_pairs(known)?, unknown.collect()))
    }

    fn from_pairs(pairs: Vec<(String, String)>) -> Outcome<Self> {
        let mut parsed = Self::default();
        for (name, value) in pairs {
            let field = match name.as_str() {
                "since" => &mut parsed.since,
                "mode" => &mut parsed.mode,
                "max_rate" => &mut parsed.max_rate,
                "close" => &mut parsed.close,
                _ => continue,
            };
            if field.replace(value).is_some() {
                return Err(given_twice(&name));
            }
        }
        Ok(parsed)
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
                        format!("is {other:?}; it must be never or end"),
                    ));
                }
            },
            ..Subscribe::default()
        })
    }
}

/// An invalid position counts as foreign: the watcher begins with the present state.
pub(crate) fn since(text: Option<&str>) -> Option<Position> {
    let text = text?.trim();
    let text = text.strip_prefix("W/").unwrap_or(text);
    parse_position(text.trim_matches('"'))
}

/// A position in a job's log. An invalid one is rejected, because no server sent it.
pub(crate) fn log_position(name: &str, text: &str) -> Outcome<Position> {
    let detail = || format!("is {text:?}; it must be the next of an earlier response");
    Position::parse(text).ok_or_else(|| Refused::parameter(name, detail()))
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
            Err(Refused::parameter("mode", format!("is {other:?}; it must be all or latest")))
        }
    }
}

pub(crate) fn max_rate(rate: Option<f64>, shown: &str) -> Outcome<f64> {
    rate.filter(|rate| (0.01..=1000.0).contains(rate)).ok_or_else(|| {
        Refused::parameter(
            "max_rate",
            format!("is {shown:?}; it must be 0.01 to 1000 updates a second"),
        )
    })
}

/// `?wait=`, in seconds, the only parameter of a poll.
pub(crate) fn wait(query: Option<&str>) -> Outcome<Duration> {
    let pairs = pairs(query, &["wait"])?;
    let wait = pairs.iter().find(|(name, _)| name == "wait");
    wait.map_or(Ok(Duration::ZERO), |(_, text)| wait_seconds(text))
}

/// `Last-Event-ID`, which `EventSource` sends when it reconnects.
///
/// # Errors
/// `invalid-parameter` if the request has several.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Outcome<Option<&str>> {
    const NAME: &str = "Last-Event-ID";
    let mut ids = headers.get_all(NAME).iter();
    let first = ids.next();
    if ids.next().is_some() {
        return Err(given_twice(NAME));
    }
    Ok(first.map(|id| id.to_str().unwrap_or_default()))
}

/// How long a response is held.
pub(crate) fn wait_seconds(text: &str) -> Outcome<Duration> {
    let seconds = text.parse::<f64>().ok().filter(|wait| (0.0..=60.0).contains(wait));
    let wait = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    wait.ok_or_else(|| {
        Refused::parameter("wait", format!("is {text:?}; it must be 0 to 60 seconds"))
    })
}

/// The positions in `If-None-Match` (RFC 9110, section 13.1.2); Milepost's own clients send one.
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

/// Decodes a query.
pub(crate) fn decode(query: Option<&str>) -> Outcome<Vec<(String, String)>> {
    let Some(query) = query else { return Ok(Vec::new()) };
    let uri = http::Uri::builder().path_and_query(format!("/?{query}")).build();
    let parsed = uri.map_err(|error| error.to_string()).and_then(|uri| {
        axum::extract::Query::try_from_uri(&uri).map_err(|error| error.to_string())
    });
    parsed
        .map(|axum::extract::Query(parameters)| parameters)
        .map_err(|error| Refused::parameter("query", error))
}
