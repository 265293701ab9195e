//! Every route, on one screen.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use milepost_protocol::ProblemType;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::origin::{Unnamed, is_local};
use crate::access::{Guarded, Need};
use crate::instance::Instance;
use crate::operating::documents::{self, OpenApiText};
use crate::operating::{health, metrics};
use crate::reporting::{job_log as append_log, requests, update};
use crate::request::id;
use crate::response::problem::Refused;
use crate::watching::{badge, events, job_log, jobs, state, watchers};
use crate::websocket::handshake;
use crate::{openapi, pages};

/// The routes, each with the permission that it needs, and their description for `/openapi.json`: the handlers'
/// annotations name the paths. A route without a permission is open to every client.
fn routes(instance: &Arc<Instance>) -> OpenApiRouter<Arc<Instance>> {
    OpenApiRouter::with_openapi(openapi::base())
        // Watching.
        .routes(routes!(handshake::one_job).needs(instance, Need::Socket)) // /ws/jobs/{job_id}
        .routes(routes!(handshake::many_jobs).needs(instance, Need::Socket)) // /ws
        .routes(routes!(events::stream).needs(instance, Need::Watch)) // /jobs/{job_id}/events
        .routes(routes!(state::state).needs(instance, Need::Watch)) // /jobs/{job_id}
        .routes(routes!(state::status).needs(instance, Need::Watch)) // /jobs/{job_id}/status
        .routes(routes!(state::history).needs(instance, Need::Watch)) // /jobs/{job_id}/history
        .routes(routes!(badge::svg).needs(instance, Need::Watch)) // /jobs/{job_id}/badge.svg
        .routes(routes!(badge::data).needs(instance, Need::Watch)) // /jobs/{job_id}/badge.json
        .routes(routes!(jobs::list).needs(instance, Need::Watch)) // /jobs
        .routes(routes!(job_log::read).needs(instance, Need::Watch)) // /jobs/{job_id}/log
        // Reporting, and forgetting.
        .routes(routes!(update::one).needs(instance, Need::Report)) // /jobs/{job_id}
        .routes(routes!(update::many).needs(instance, Need::Report)) // /updates
        .routes(routes!(append_log::append).needs(instance, Need::Report)) // /jobs/{job_id}/log
        .routes(routes!(update::forget).needs(instance, Need::Control)) // /jobs/{job_id}
        // Requesting. The worker learns of it by reporting, or by waiting.
        .routes(routes!(requests::request).needs(instance, Need::Control)) // /jobs/{job_id}/requests
        .routes(routes!(requests::pending).needs(instance, Need::Report)) // /jobs/{job_id}/requests
        // Operating.
        .routes(routes!(health::live)) //           /health
        .routes(routes!(health::livez))
        .routes(routes!(health::ready).needs(instance, Need::Anything)) // /readyz
        .routes(routes!(health::stats).needs(instance, Need::Operate)) // /ws/stats
        .routes(routes!(watchers::count).needs(instance, Need::Watch)) // /watchers
        .merge(metrics_here(instance)) //           /metrics
        .routes(routes!(documents::openapi)) //          /openapi.json
        .routes(routes!(documents::asyncapi)) //      /asyncapi.yaml
}

/// Nothing, if metrics have a port of their own.
fn metrics_here(instance: &Arc<Instance>) -> OpenApiRouter<Arc<Instance>> {
    if instance.config.metrics_address.is_some() {
        return OpenApiRouter::new();
    }
    OpenApiRouter::new().routes(routes!(metrics::text).needs(instance, Need::Operate))
}

pub(crate) fn router(instance: Arc<Instance>) -> Router {
    let cors = cors(&instance);
    let pages = pages::routes(&instance);
    let (router, document) = routes(&instance).split_for_parts();
    // A tree of strings and numbers under string keys: it can be written.
    let document = OpenApiText(document.to_json().unwrap_or_default().into());
    router
        .merge(pages)
        .layer(Extension(document))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(cors)
        .with_state(instance)
}

/// A handler's panic is its request's alone. The panic hook has logged the panic, but knows no request.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!(request_id = id::current_text(), "a handler panicked");
    Refused::new(ProblemType::Internal, "the server failed at this request").into_response()
}

pub(crate) async fn not_found(uri: http::Uri) -> Refused {
    Refused::new(ProblemType::NotFound, format!("there is nothing at {}", uri.path()))
}

pub(crate) async fn method_not_allowed(method: Method, uri: http::Uri) -> Refused {
    let detail = format!("{method} is not allowed at {}", uri.path());
    Refused::new(ProblemType::MethodNotAllowed, detail)
}

/// Pages of any origin may watch, if the origins allow it; only those of a named one may report.
fn cors(instance: &Instance) -> CorsLayer {
    let exposed = ["etag", "retry-after", "x-request-id"].map(HeaderName::from_static);
    let layer = CorsLayer::new().expose_headers(exposed);
    let asks = instance.gate.is_some();
    // To browsers, * is every header but `Authorization`.
    let layer = if asks {
        layer.allow_headers(AllowHeaders::mirror_request())
    } else {
        layer.allow_headers(Any)
    };
    match instance.origins.unnamed() {
        Unnamed::Any => layer.allow_origin(Any).allow_methods([Method::GET]),
        Unnamed::Local => {
            let is_local = |origin: &HeaderValue, _: &Parts| origin.to_str().is_ok_and(is_local);
            layer.allow_origin(AllowOrigin::predicate(is_local)).allow_methods([Method::GET])
        }
        Unnamed::None => {
            let named = instance.origins.named().iter().filter_map(|origin| origin.parse().ok());
            // With the cookie, if there are credentials.
            let layer = layer.allow_credentials(asks).allow_origin(AllowOrigin::list(named));
            layer.allow_methods([Method::GET, Method::POST, Method::DELETE])
        }
    }
}
