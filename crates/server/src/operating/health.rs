//! The health of the instance: `spec/README.md`, section 12.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::Grant;
use crate::instance::Instance;
use crate::response::json;
use crate::response::problem::warn_once_a_minute;

/// A check that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// The health of the process.
#[derive(Serialize, ToSchema)]
#[schema(examples(
    json!({"status": "healthy", "version": "0.1.0", "timestamp": "2024-01-01T00:00:00.000000Z"}),
    json!({
        "status": "failing", "failing": ["broker"], "version": "0.1.0", "timestamp": "2024-01-01T00:00:00.000000Z"
    }),
))]
pub(crate) struct Liveness {
    #[schema(pattern = "^(healthy|failing)$")]
    status: &'static str,
    /// The tasks that have failed and do not run again yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    failing: Vec<&'static str>,
    version: &'static str,
    #[schema(format = DateTime)]
    timestamp: String,
}

/// Whether the process works
///
/// It works if all of its long-lived tasks run.
#[utoipa::path(
    get, path = "/health", operation_id = "health", tag = "Operating",
    responses(
        (status = 200, description = "It works.", body = Liveness),
        (status = 503, description = "It does not work. The body names the tasks that have failed.", body = Liveness),
    ),
)]
pub(crate) async fn live(State(instance): State<Arc<Instance>>) -> Response {
    let failing = instance.supervisor.failing();
    let (status_code, status) = if failing.is_empty() {
        (StatusCode::OK, "healthy")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "failing")
    };
    let (version, timestamp) = (env!("CARGO_PKG_VERSION"), instance.clock.now().to_string());
    let mut response = json(&Liveness { status, failing, version, timestamp });
    *response.status_mut() = status_code;
    response
}

/// Whether the process works
///
/// The same as `/health`, under the name that orchestrators use.
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = "Operating",
    responses(
        (status = 200, description = "It works.", body = Liveness),
        (status = 503, description = "It does not work. The body names the tasks that have failed.", body = Liveness),
    ),
)]
pub(crate) async fn livez(instance: State<Arc<Instance>>) -> Response {
    live(instance).await
}

/// Whether an update sent now would arrive, and if not, why.
#[derive(Serialize, ToSchema)]
#[schema(examples(
    json!({"status": "ready", "checks": {"broker": "ok", "hub": "ok", "server": "ok"}}),
    json!({"status": "not ready", "checks": {"broker": "ok", "hub": "ok", "server": "going down"}}),
))]
pub(crate) struct Readiness {
    #[schema(pattern = "^(ready|not ready)$")]
    status: &'static str,
    checks: Checks,
    /// What an operator should change, although the server is ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<String>,
}

/// `ok`, or why the check failed.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({"broker": "ok", "hub": "ok", "server": "ok"})))]
pub(crate) struct Checks {
    /// Keeps states and orders updates.
    broker: String,
    /// Delivers states to watchers.
    hub: String,
    /// Whether the server is shutting down.
    server: String,
}

/// The server's counts, in the format of the Python service.
#[derive(Serialize, ToSchema)]
#[schema(examples(json!({
    "status": "healthy",
    "stats": {
        "total_connections": 150, "active_jobs": 25, "messages_sent": 5420, "errors": 0, "active_connections": 45
    },
    "timestamp": "2024-01-01T00:00:00.000000Z"
})))]
#[expect(clippy::struct_field_names, reason = "named on the wire")]
pub(crate) struct Stats {
    #[schema(pattern = "^healthy$")]
    status: &'static str,
    stats: Counts,
    #[schema(format = DateTime)]
    timestamp: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Counts {
    /// Watchers since start.
    total_connections: u64,
    /// Jobs watched now.
    active_jobs: usize,
    /// Messages sent to watchers since start.
    messages_sent: u64,
    /// Errors of the server since start.
    errors: u64,
    /// Watchers now.
    active_connections: usize,
}

/// Whether an update sent now would arrive
///
/// The server tests this: the broker and every shard of the hub have to answer.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "Operating",
    responses(
        (status = 200, description = "It would arrive.", body = Readiness),
        (status = 503, description = "It would not arrive. The body says which check failed.", body = Readiness,
            headers(("Retry-After" = u32, description = "Seconds after which to ask again."))),
    ),
)]
pub(crate) async fn ready(State(instance): State<Arc<Instance>>, grant: Grant) -> Response {
    let shows_details = instance.shows_details(&grant);
    readiness(&instance, shows_details).await
}

/// The same on the operators' own port.
pub(crate) async fn ready_in_detail(State(instance): State<Arc<Instance>>) -> Response {
    readiness(&instance, true).await
}

async fn readiness(instance: &Instance, shows_details: bool) -> Response {
    let broker = async {
        let probe = tokio::time::timeout(PATIENCE, instance.broker.probe()).await;
        match probe {
            Ok(Ok(())) => Ok(()),
            Ok(Err(unavailable)) if shows_details => Err(unavailable.to_string()),
            Ok(Err(unavailable)) => {
                warn_once_a_minute(&unavailable);
                Err("not available; the server's log says why".to_owned())
            }
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
    let result = |check: Result<(), String>| check.err().unwrap_or_else(|| "ok".to_owned());
    let checks = Checks { broker: result(broker), hub: result(hub), server: result(server) };
    let status = if ready { "ready" } else { "not ready" };
    let warnings = if shows_details { instance.broker.warnings() } else { Vec::new() };
    let mut response = json(&Readiness { status, checks, warnings });
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    response.into_response()
}

/// The server's counts, in the format of the Python service
///
/// `/metrics` has more.
#[utoipa::path(
    get, path = "/ws/stats", operation_id = "stats", tag = "Operating",
    responses((status = 200, description = "The counts.", body = Stats)),
)]
pub(crate) async fn stats(State(instance): State<Arc<Instance>>) -> Response {
    let counters = &instance.counters;
    json(&Stats {
        status: "healthy",
        stats: Counts {
            total_connections: counters.total_connections.load(Ordering::Relaxed),
            active_jobs: instance.hub.watched(),
            messages_sent: counters.messages_sent.load(Ordering::Relaxed),
            errors: counters.errors.load(Ordering::Relaxed),
            active_connections: counters.active_connections.load(Ordering::Relaxed),
        },
        timestamp: instance.clock.now().to_string(),
    })
}
