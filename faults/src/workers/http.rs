//! A worker that reports one job by `POST /jobs/{id}`.

use std::sync::Arc;

use crate::http::Connection;
use crate::job::{Job, Order};
use crate::world::World;

use super::{PAUSE, ticks};

/// Reports until it gets another order, to the instance that answered last. An update that was not acknowledged is not
/// repeated: a newer one takes its place. Only the end is, word by word.
pub(crate) async fn work(job: Arc<Job>, world: Arc<World>, rate: f64, first_instance: usize) {
    let mut ticks = ticks(rate);
    let mut instance = first_instance;
    let mut connection: Option<Connection> = None;
    let path = format!("/jobs/{}", job.id);
    let mut end: Option<(u64, String)> = None;
    while !job.has_ended() {
        ticks.tick().await;
        let order = job.order();
        if order == Order::Stop {
            return;
        }
        let number = if end.is_none() { job.next() } else { 0 };
        if order == Order::Die {
            let body = job.update(number, false);
            if let Some(connection) = connection.take() {
                let sent = if fastrand::bool() { body.len() } else { body.len() / 2 };
                connection.post_and_die(&path, &body, sent).await;
            }
            while job.order() == Order::Die {
                ticks.tick().await;
            }
            continue;
        }
        let (number, body) = match order {
            Order::End => end.get_or_insert_with(|| (number, job.update(number, true))).clone(),
            _ => (number, job.update(number, false)),
        };
        if connection.is_none() {
            connection = Connection::open(world.instance(instance)).await.ok();
        }
        let answer = match &mut connection {
            Some(connection) => connection.post(&path, &body).await.ok(),
            None => None,
        };
        match answer.as_ref().map(|answer| answer.status) {
            Some(200) => job.confirm(number, order == Order::End),
            Some(400..=499) => job.refuse(),
            // It answered, so that the connection can be used again, and there is no other instance.
            Some(_) if !world.has_others() => tokio::time::sleep(PAUSE).await,
            // No connection that a late answer may still come on is used again.
            _ => {
                connection = None;
                instance += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
