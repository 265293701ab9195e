//! The pages, which are part of the binary.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use crate::card::Card;
use crate::instance::Instance;

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file in the binary, which `build.rs` made of one in `web/`.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
    gzip: &'static [u8],
}

/// A file of `web/`, at the path that it has there, or at another.
macro_rules! web {
    ($content_type:ident $file:literal) => {
        web!($content_type $file, concat!("/", $file))
    };
    ($content_type:ident $file:literal, $path:expr) => {
        Asset {
            path: $path,
            content_type: $content_type,
            text: include_str!(concat!(env!("OUT_DIR"), "/web/", $file)),
            gzip: include_bytes!(concat!(env!("OUT_DIR"), "/web/", $file, ".gz")),
        }
    };
}

/// The list of jobs, and the page of each job.
const INDEX: Asset = web!(HTML "index.html", "/");
/// Before it, a job's page has its card.
const HEAD_END: &str = "</head>";

/// The page of one job's bar.
const EMBED: &str = "/embed/{job_id}";

const ASSETS: &[Asset] = &[
    web!(CSS "index.css"),
    web!(SCRIPT "first.min.js", "/first.js"),
    web!(SCRIPT "index.min.js", "/index.js"),
    web!(HTML "try.html", "/try"),
    web!(CSS "try.css"),
    web!(SCRIPT "try.min.js", "/try.js"),
    // Of both pages.
    web!(CSS "look.css"),
    // In frames of the pages that `frame_ancestors` names.
    web!(HTML "embed.html", EMBED),
    web!(CSS "embed.css"),
    web!(SCRIPT "embed.js"),
    // Of everybody's pages.
    web!(SCRIPT "job-progress.min.js", "/job-progress.js"),
    web!(SCRIPT "languages.js"),
    web!(SCRIPT "milepost.js"),
    web!(SCRIPT "notify.js"),
];

/// `GET` of each page and of what it loads.
pub(crate) fn routes(instance: &Instance) -> Router<Arc<Instance>> {
    let ancestors = &instance.config.frame_ancestors;
    let index_policy = policy(ancestors, NO_POLICIES);
    let index = async move |State(instance): State<Arc<Instance>>, uri: Uri, headers: HeaderMap| {
        match Card::of(&instance, &uri).await {
            Some(card) => respond_with_card(&card, &index_policy, &headers),
            None => respond(&INDEX, &index_policy, &headers),
        }
    };
    ASSETS.iter().fold(Router::new().route(INDEX.path, get(index)), |router, asset| {
        // What frames share is a worker, whose address needs a policy: `web/embed.js`.
        let policies = if asset.path == EMBED { "default" } else { NO_POLICIES };
        let policy = policy(ancestors, policies);
        router.route(
            asset.path,
            get(async move |headers: HeaderMap| respond(asset, &policy, &headers)),
        )
    })
}

/// The `policies` of a page that needs none.
const NO_POLICIES: &str = "'none'";

/// Pages show the content of jobs as text. If a page ever failed to, this policy still lets no foreign script run.
///
/// Images may come from anywhere, because a frame or a plot of a job is worth seeing beside it, and workers keep them where they like.
/// A page loads one only when somebody clicks Preview, and without a referrer: its server learns what it would learn from a click on
/// the link. A page that took text for markup could be made to load one unasked. But scripts cannot turn text into markup or into a script,
/// except by one of the named `policies` (Trusted Types).
fn policy(frame_ancestors: &[String], policies: &str) -> HeaderValue {
    let ancestors = frame_ancestors.join(" ");
    let policy = format!(
        "default-src 'self'; connect-src *; img-src 'self' data: http: https:; \
         object-src 'none'; frame-ancestors {ancestors}; base-uri 'none'; form-action 'self'; \
         require-trusted-types-for 'script'; trusted-types {policies}"
    );
    // The setting was checked where it came in.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn respond(asset: &Asset, policy: &HeaderValue, request: &HeaderMap) -> Response {
    let tag = asset.tag();
    let mut headers = headers(asset, policy, &tag);
    if is_known(&tag, request) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    if listed(request, ACCEPT_ENCODING).any(takes_gzip) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return (headers, asset.gzip).into_response();
    }
    (headers, asset.text).into_response()
}

/// The page of a job, which has another card with each state. It is not compressed.
fn respond_with_card(card: &Card, policy: &HeaderValue, request: &HeaderMap) -> Response {
    let tag = INDEX.tag();
    let tag = format!("{}-{}\"", tag.trim_end_matches('"'), card.position);
    let headers = headers(&INDEX, policy, &tag);
    if is_known(&tag, request) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let head_end = format!("{}{HEAD_END}", card.html);
    (headers, INDEX.text.replacen(HEAD_END, &head_end, 1)).into_response()
}

/// Whether the browser has what this tag names.
fn is_known(tag: &str, request: &HeaderMap) -> bool {
    listed(request, IF_NONE_MATCH).any(|known| known == tag || known == "*")
}

fn headers(asset: &Asset, policy: &HeaderValue, tag: &str) -> HeaderMap {
    // Modules are for the pages of others too; what a page shows is for itself.
    let shared_with = if asset.content_type == HTML { "same-origin" } else { "cross-origin" };
    // Revalidated each time, so that a page is never of another version than its server.
    let mut headers = HeaderMap::from_iter([
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (CONTENT_SECURITY_POLICY, policy.clone()),
        (CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (VARY, HeaderValue::from_static("accept-encoding")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (OPENER_POLICY, HeaderValue::from_static("same-origin")),
        (RESOURCE_POLICY, HeaderValue::from_static(shared_with)),
    ]);
    headers.extend(HeaderValue::try_from(tag).map(|tag| (ETAG, tag)));
    headers
}

impl Asset {
    /// Weak, because the same text is sent as it is and gzipped. Gzip ends with a checksum of the text and its length.
    fn tag(&self) -> String {
        let end = self.gzip.last_chunk().map_or(0, |end| u64::from_be_bytes(*end));
        format!("W/\"{end:016x}\"")
    }
}

/// The elements of a header that is a list.
fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lists = headers.get_all(name).into_iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

/// Whether an element of `Accept-Encoding` asks for gzip, or does not forbid it.
fn takes_gzip(element: &str) -> bool {
    let (name, weight) = element.split_once(';').unwrap_or((element, ""));
    let forbidden = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
    name.trim().eq_ignore_ascii_case("gzip") && !forbidden
}
