//! What the Redis broker promises beyond the contract: legacy workers are understood, and faults of Redis are known
//! and survived. Real servers, broken on purpose.

mod faults;
mod hostile;
mod old_server;
mod retention;
#[path = "../support/mod.rs"]
mod support;
mod workers;

use milepost_broker_contract::{Harness, Settings};
use milepost_protocol::{JobId, State};
use milepost_redis_servers::Server;

async fn instance_of(server: &Server) -> Harness {
    support::redis(&Settings::default(), &server.url(), ()).await
}

/// Publishes as legacy workers do; how many heard it.
fn publish(server: &Server, job: &JobId, json: &str) -> i64 {
    let heard = server.answer(&["PUBLISH", &format!("job_progress:{job}"), json]);
    heard.integer().expect("a number")
}

/// Writes the key as legacy workers do, after they have published.
fn setex(server: &Server, job: &JobId, json: &str) {
    server.answer(&["SETEX", &format!("job_status:{job}"), "3600", json]);
}

/// What a legacy worker sends: its n-th update.
fn update(job: &JobId, n: u32) -> String {
    format!(
        r#"{{"job_id": "{job}", "status": "processing", "stage": "rendering", "progress": 0.{n:03}, "message": "frame {n}", "timestamp": "2024-01-01T00:00:00.{n:06}"}}"#
    )
}

fn message(state: &State) -> String {
    state.view().message.unwrap_or_default().into_owned()
}
