//! How the instance is: `spec/README.md`, section 12.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;

use crate::instance::Instance;
use crate::openapi;
use crate::response::json;

/// A check that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The process works
#[utoipa::path(
    get, path = "/health", operation_id = "health", tag = "Operating",
    responses((status = 200, description = "It does.", body = openapi::Liveness)),
)]
pub(crate) async fn live(State(instance): State<Arc<Instance>>) -> Response {
    json(format!(
        r#"{{"status":"healthy","version":"{}","timestamp":"{}"}}"#,
        env!("CARGO_PKG_VERSION"),
        instance.clock.now()
    ))
}

/// The process works
///
/// As `/health`, under the name that orchestrators use.
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = "Operating",
    responses((status = 200, description = "It does.", body = openapi::Liveness)),
)]
pub(crate) async fn livez(instance: State<Arc<Instance>>) -> Response {
    live(instance).await
}

/// An update sent now would arrive
///
/// Proven, not assumed: the broker is asked, and every shard of the hub has to answer.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "Operating",
    responses(
        (status = 200, description = "It would.", body = openapi::Readiness),
        (status = 503, description = "It would not: which check failed.", body = openapi::Readiness,
            headers(("Retry-After" = u32, description = "Seconds after which to ask again."))),
    ),
)]
pub(crate) async fn ready(State(instance): State<Arc<Instance>>) -> Response {
    let broker = async {
        let probe = tokio::time::timeout(PATIENCE, instance.broker.probe()).await;
        match probe {
            Ok(Ok(())) => Ok(()),
            Ok(Err(unavailable)) => Err(unavailable.to_string()),
            Err(_) => Err("no answer".to_owned()),
        }
    };
    let hub = async {
        for (index, shard) in instance.shards.iter().enumerate() {
            let answer = tokio::time::timeout(PATIENCE, shard.probe()).await;
            if !matches!(answer, Ok(true)) {
                return Err(format!("shard {index} does not answer"));
            }
        }
        Ok(())
    };
    let (broker, hub) = tokio::join!(broker, hub);
    let draining = instance.drain.has_begun();
    let server = if draining { Err("going down".to_owned()) } else { Ok(()) };

    let ready = broker.is_ok() && hub.is_ok() && !draining;
    let mut checks = serde_json::Map::new();
    for (name, check) in [("broker", broker), ("hub", hub), ("server", server)] {
        checks.insert(name.to_owned(), check.err().unwrap_or_else(|| "ok".to_owned()).into());
    }
    let status = if ready { "ready" } else { "not ready" };
    let body = serde_json::json!({ "status": status, "checks": checks });
    let mut response = json(body.to_string());
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    response.into_response()
}

/// What the server counts, as the old service has it
///
/// `/metrics` has more.
#[utoipa::path(
    get, path = "/ws/stats", operation_id = "stats", tag = "Operating",
    responses((status = 200, description = "The counts.", body = openapi::Stats)),
)]
pub(crate) async fn stats(State(instance): State<Arc<Instance>>) -> Response {
    let counters = &instance.counters;
    let body = serde_json::json!({
        "status": "healthy",
        "stats": {
            "total_connections": counters.total_connections.load(Ordering::Relaxed),
            "active_jobs": instance.hub.watched(),
            "messages_sent": counters.messages_sent.load(Ordering::Relaxed),
            "errors": counters.errors.load(Ordering::Relaxed),
            "active_connections": counters.active_connections.load(Ordering::Relaxed),
        },
        "timestamp": instance.clock.now().to_string(),
    });
    json(body.to_string())
}
