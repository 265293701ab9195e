//! A worker that reports many jobs together by `POST /updates`.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::http::Connection;
use crate::job::{Job, Order};
use crate::world::World;

use super::{PAUSE, ticks};

#[derive(Deserialize)]
struct Outcome {
    position: Option<String>,
    status: Option<u16>,
    /// Of a problem; one of the present state has a position as well.
    #[serde(rename = "type")]
    problem: Option<String>,
}

/// Each job's end: the number of its update, and the update. It is sent again with the same bytes.
type Ends = HashMap<String, (u64, String)>;

/// Updates of several jobs, a line each.
struct Batch<'a> {
    body: String,
    /// The job of each line, the number of its update, and whether that is its end.
    updates: Vec<(&'a Arc<Job>, u64, bool)>,
}

/// Reports until all its jobs have ended or have to stop. If one of them has to die, all do: they are one process.
pub(crate) async fn work(jobs: Vec<Arc<Job>>, world: Arc<World>, rate: f64, first_instance: usize) {
    let mut ticks = ticks(rate);
    let mut instance = first_instance;
    let mut connection: Option<Connection> = None;
    let mut ends = Ends::new();
    loop {
        ticks.tick().await;
        let goes_on = |job: &&Arc<Job>| !job.has_ended() && job.order() != Order::Stop;
        let present: Vec<_> = jobs.iter().filter(goes_on).collect();
        if present.is_empty() {
            return;
        }
        let batch = Batch::of(&present, &mut ends);
        if present.iter().any(|job| job.order() == Order::Die) {
            if let Some(connection) = connection.take() {
                let len = batch.body.len();
                let sent = if fastrand::bool() { len } else { len / 2 };
                connection.post_and_die("/updates", &batch.body, sent).await;
            }
            while present.iter().any(|job| job.order() == Order::Die) {
                ticks.tick().await;
            }
            continue;
        }
        if connection.is_none() {
            connection = Connection::open(world.instance(instance)).await.ok();
        }
        let response = match &mut connection {
            Some(connection) => connection.post("/updates", &batch.body).await.ok(),
            None => None,
        };
        let response = response.filter(|response| response.status == 200);
        let has_answered = response.is_some();
        if !response.is_some_and(|response| batch.settle(&response.body)) {
            // Reporters keep a connection on which they were answered. To open one delays the batch, whose updates have their
            // times already.
            if !has_answered || world.has_others() {
                connection = None;
                instance += 1;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl<'a> Batch<'a> {
    /// The next update of each job. Those that have to end, end.
    fn of(jobs: &[&'a Arc<Job>], ends: &mut Ends) -> Self {
        let mut batch = Self { body: String::new(), updates: Vec::new() };
        for job in jobs {
            let is_end = job.order() == Order::End || ends.contains_key(&job.id);
            let update = || {
                let number = job.next();
                (number, job.update(number, is_end))
            };
            let (number, line) = if is_end {
                ends.entry(job.id.clone()).or_insert_with(update).clone()
            } else {
                update()
            };
            batch.updates.push((job, number, is_end));
            batch.body.push_str(&line);
            batch.body.push('\n');
        }
        batch
    }

    /// Notes the outcome of each update. False if the server was unavailable for one.
    fn settle(&self, outcomes: &str) -> bool {
        let mut is_available = true;
        for ((job, number, is_end), line) in self.updates.iter().zip(outcomes.lines()) {
            match serde_json::from_str::<Outcome>(line) {
                Ok(Outcome { position: Some(_), problem: None, .. }) => {
                    job.confirm(*number, *is_end);
                }
                Ok(Outcome { status: Some(400..=499), .. }) => job.refuse(),
                _ => is_available = false,
            }
        }
        is_available
    }
}
