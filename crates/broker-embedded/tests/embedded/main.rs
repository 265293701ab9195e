//! The embedded broker beyond the contract: bounds, expiry, the data directory, and a comparison with a model.

mod bounds;
mod children;
mod disk;
mod health;
mod listing;
mod model;

use std::sync::Arc;
use std::time::Duration;

use milepost_broker::{Broker, ManualClock, ReportError, Reported};
use milepost_broker_embedded::{Embedded, Limits};
use milepost_protocol::{JobId, State, Update};

fn job(id: &str) -> JobId {
    JobId::parse(id).expect("a job id")
}

fn update(id: &str, json: &str) -> Update {
    Update::parse(Some(&job(id)), json.as_bytes()).expect("an update")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Duration::from_secs(1_780_000_000)))
}

async fn try_report(broker: &Embedded, id: &str, json: &str) -> Result<Reported, ReportError> {
    broker.report(update(id, json)).await
}

async fn report(broker: &Embedded, id: &str, json: &str) -> Arc<State> {
    try_report(broker, id, json).await.expect("the update is taken").state
}

async fn state(broker: &Embedded, id: &str) -> Option<Arc<State>> {
    broker.state(&job(id)).await.expect("it answers")
}

fn in_memory(limits: Limits) -> (Embedded, Arc<ManualClock>) {
    let clock = clock();
    (Embedded::with_clock(limits, clock.clone()), clock)
}
