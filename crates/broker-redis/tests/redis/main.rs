//! The Redis broker beyond the contract: it understands legacy workers, and it reports and survives faults of Redis. Runs real
//! servers, and breaks them on purpose.

mod children;
mod faults;
mod hostile;
mod losses;
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

/// Publishes as legacy workers do. Returns how many subscribers received it.
fn publish(server: &Server, job: &JobId, json: &str) -> i64 {
    let heard = server.answer(&["PUBLISH", &format!("job_progress:{job}"), json]);
    heard.integer().expect("a number")
}

/// Sets the key as legacy workers do after they have published.
fn setex(server: &Server, job: &JobId, json: &str) {
    server.answer(&["SETEX", &format!("job_status:{job}"), "3600", json]);
}

/// The n-th update of a legacy worker.
fn update(job: &JobId, n: u32) -> String {
    format!(
        r#"{{"job_id": "{job}", "status": "processing", "stage": "rendering", "progress": 0.{n:03}, "message": "frame {n}", "timestamp": "2024-01-01T00:00:00.{n:06}"}}"#
    )
}

fn message(state: &State) -> String {
    state.view().message.unwrap_or_default().into_owned()
}
