//! Workers whose jobs end, or are lost, if they are silent for too long, all behind one network.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Proxy, Way};
use serde::Deserialize;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::http::Connection;

/// More than the ten that have to be silent at once.
const JOBS: usize = 200;
/// The first so many jobs end after [`LOST_AFTER`]. They are more than half, so that most workers are known to be silent by then.
const ENDING: usize = 120;
/// Seconds without a report after which these jobs end.
const LOST_AFTER: u64 = 5;
/// Seconds between the heartbeats of the others, which are lost after 30 s: `spec/README.md`, section 3.
const HEARTBEAT: u64 = 5;
const REPORTED_EVERY: Duration = Duration::from_millis(500);
/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the log and `/readyz` say.
const WARNING: &str = "many workers are silent";

/// The network between these workers and the instance that they report to.
pub(crate) struct Network(Proxy);

impl Network {
    pub(crate) fn to(instance: SocketAddr) -> Self {
        Self(Proxy::to(instance))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Nothing gets through any more.
    pub(crate) fn part(&self) {
        self.0.hold(Way::ToServer);
        self.0.hold(Way::ToClient);
        self.0.refuse();
        self.0.cut();
    }

    pub(crate) fn heal(&self) {
        self.0.heal();
    }
}

/// Reports all jobs together until it is dropped.
pub(crate) async fn report(network: SocketAddr) {
    let mut batch = String::new();
    for number in 0..JOBS {
        let id = id(number);
        // Writing to a String cannot fail.
        let _ = if number < ENDING {
            writeln!(batch, r#"{{"job_id":"{id}","progress":0.5,"lost_after":{LOST_AFTER}}}"#)
        } else {
            writeln!(batch, r#"{{"job_id":"{id}","progress":0.5,"heartbeat":{HEARTBEAT}}}"#)
        };
    }
    loop {
        if let Ok(mut connection) = Connection::open(network).await {
            while connection.post("/updates", &batch).await.is_ok() {
                sleep(REPORTED_EVERY).await;
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until every job is known.
pub(crate) async fn until_known(instance: SocketAddr) -> Result<(), Failure> {
    until("every worker has reported", async || {
        states(instance).await.is_some_and(|all| all.len() == JOBS)
    })
    .await
}

/// Waits until `/readyz` warns of silent workers, or does so no longer.
pub(crate) async fn until_warned(instance: SocketAddr, warned: bool) -> Result<(), Failure> {
    let what = if warned { "/readyz warns" } else { "/readyz warns no longer" };
    until(what, async || {
        let Some((status, body)) = get(instance, "/readyz").await else { return false };
        // The instance itself is fine.
        status == 200 && body.contains(WARNING) == warned
    })
    .await
}

/// Checks that none of the jobs has ended, nor become lost.
pub(crate) async fn check_none_lost(instance: SocketAddr) -> Result<(), Failure> {
    let states = states(instance).await;
    let states = states.ok_or_else(|| Failure("the silent jobs cannot be read".into()))?;
    let not_well = states.iter().filter(|state| !state.is_well()).count();
    if states.len() == JOBS && not_well == 0 {
        return Ok(());
    }
    let known = states.len();
    Err(Failure(format!("of {JOBS} silent jobs, {known} are known, {not_well} ended or are lost")))
}

/// Checks that the log warns at most once. Returns whether it does.
pub(crate) fn check_log(log: &str) -> Result<bool, Failure> {
    match log.matches(WARNING).count() {
        count @ 0..=1 => Ok(count == 1),
        count => Err(Failure(format!("the log warns {count} times of silent workers"))),
    }
}

#[derive(Deserialize)]
struct State {
    status: String,
    health: String,
}

impl State {
    /// Whether watchers are shown that its worker is at work.
    fn is_well(&self) -> bool {
        self.status == "processing" && self.health == "ok"
    }
}

/// The states of the jobs that are known; none if the instance did not answer.
async fn states(instance: SocketAddr) -> Option<Vec<State>> {
    let mut connection = Connection::open(instance).await.ok()?;
    let mut states = Vec::new();
    for number in 0..JOBS {
        let answer = connection.get(&format!("/jobs/{}", id(number))).await.ok()?;
        if answer.status == 200 {
            states.push(serde_json::from_str(&answer.body).ok()?);
        }
    }
    Some(states)
}

async fn get(instance: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut connection = Connection::open(instance).await.ok()?;
    let answer = connection.get(path).await.ok()?;
    Some((answer.status, answer.body))
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        if Instant::now() > deadline {
            return Err(Failure(format!("not within {PATIENCE:?}: {what}")));
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn id(number: usize) -> String {
    format!("silent-{number}")
}
