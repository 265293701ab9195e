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

/// Reports until all its jobs have ended or are told to stop. If one of them is to die, all do: they are one process.
pub(crate) async fn work(jobs: Vec<Arc<Job>>, world: Arc<World>, rate: f64, first_instance: usize) {
    let mut ticks = ticks(rate);
    let mut instance = first_instance;
    let mut connection: Option<Connection> = None;
    let mut ends: HashMap<String, (u64, String)> = HashMap::new();
    loop {
        ticks.tick().await;
        let left = |job: &&Arc<Job>| !job.has_ended() && job.order() != Order::Stop;
        let present: Vec<_> = jobs.iter().filter(left).collect();
        if present.is_empty() {
            return;
        }
        let dies = present.iter().any(|job| job.order() == Order::Die);
        let mut numbers = Vec::new();
        let mut body = String::new();
        for job in &present {
            let (number, line) = if job.order() == Order::End {
                let end = ends.entry(job.id.clone()).or_insert_with(|| {
                    let number = job.next();
                    (number, job.update(number, true))
                });
                end.clone()
            } else {
                let number = job.next();
                (number, job.update(number, false))
            };
            numbers.push((number, ends.contains_key(&job.id)));
            body.push_str(&line);
            body.push('\n');
        }
        if dies {
            if let Some(connection) = connection.take() {
                let sent = if fastrand::bool() { body.len() } else { body.len() / 2 };
                connection.post_and_die("/updates", &body, sent).await;
            }
            while present.iter().any(|job| job.order() == Order::Die) {
                ticks.tick().await;
            }
            continue;
        }
        if connection.is_none() {
            connection = Connection::open(world.instance(instance)).await.ok();
        }
        let answer = match &mut connection {
            Some(connection) => connection.post("/updates", &body).await.ok(),
            None => None,
        };
        let mut unavailable = true;
        if let Some(answer) = answer.filter(|answer| answer.status == 200) {
            unavailable = false;
            for ((job, (number, is_end)), line) in
                present.iter().zip(numbers).zip(answer.body.lines())
            {
                match serde_json::from_str::<Outcome>(line) {
                    Ok(Outcome { position: Some(_), problem: None, .. }) => {
                        job.confirm(number, is_end);
                    }
                    Ok(Outcome { status: Some(400..=499), .. }) => job.refuse(),
                    _ => unavailable = true,
                }
            }
        }
        if unavailable {
            connection = None;
            instance += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
