//! What is on the operators' own port. `/openapi.json` describes the main port alone.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;

use crate::instance::Instance;
use crate::operating::{health, metrics};
use crate::router::{method_not_allowed, not_found, panicked};

/// The routes, where nobody needs a credential.
pub(crate) fn router(instance: Arc<Instance>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::text))
        .route("/livez", get(health::livez))
        .route("/health", get(health::live))
        .route("/readyz", get(health::ready_in_detail))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(instance)
}
