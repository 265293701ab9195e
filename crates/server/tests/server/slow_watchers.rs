//! Watchers that are slow, or do not read at all: only they miss updates, and never the newest state.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use milepost_server::Config;
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{Events, Raw, Server, quick};

/// A connection whose buffers take little.
async fn narrow(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// Everybody in one shard, so that a watcher that stands still has every opportunity to be in the way.
fn one_shard() -> Config {
    Config { shards: NonZeroUsize::new(1), ..quick() }
}

/// An update of so many bytes and a bit.
fn large(step: usize) -> String {
    format!(r#"{{"step":{step},"message":"{}"}}"#, "m".repeat(32 << 10))
}

#[tokio::test]
async fn a_watcher_that_does_not_read_later_sees_the_newest_state() {
    let server = Server::with(one_shard()).await;
    let mut stalled = Raw::over(narrow(&server).await, "/ws/jobs/a", &[]).await;
    assert_eq!(stalled.next().await["type"], "connected");
    let mut others = join_all((0..5).map(|_| server.watch("/ws/jobs/a"))).await;
    for other in &mut others {
        other.next().await;
    }
    let mut reported = Vec::new();
    for step in 0..300 {
        reported.push(server.report("a", &large(step)).await.json()["position"].clone());
        for other in &mut others {
            assert_eq!(other.next().await["position"], reported[step]);
        }
    }
    // Each frame whole, each newer than the one before, and the newest after what the kernel had.
    let mut seen: Vec<Value> = Vec::new();
    while seen.last() != reported.last() {
        let position = stalled.next().await["position"].clone();
        let number =
            |position: &Value| reported.iter().position(|known| known == position).unwrap();
        assert!(seen.last().is_none_or(|last| number(last) < number(&position)), "a step back");
        seen.push(position);
    }
    assert!(seen.len() < 200, "{} of 300 were kept for it", seen.len());
    stalled.is_answered().await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_skips_no_end() {
    let server = Server::with(one_shard()).await;
    let mut stalled = Raw::over(narrow(&server).await, "/ws/jobs/a?mode=latest", &[]).await;
    stalled.next().await;
    let mut ends = Vec::new();
    for attempt in 1..=5 {
        for step in 0..100 {
            let update = large(step).replacen('{', &format!(r#"{{"attempt":{attempt},"#), 1);
            assert_eq!(server.report("a", &update).await.status, 200);
        }
        let end = server.report("a", r#"{"status":"failed"}"#).await.json();
        ends.push(end["position"].clone());
    }
    let mut seen = Vec::new();
    while seen.last() != ends.last() {
        let state = stalled.next().await;
        if state["status"] == "failed" {
            seen.push(state["position"].clone());
        }
    }
    assert_eq!(seen, ends);
}

#[tokio::test]
async fn a_stalled_watcher_of_many_jobs_gets_the_newest_of_each() {
    let server = Server::with(one_shard()).await;
    let mut stalled = Raw::over(narrow(&server).await, "/ws", &[]).await;
    stalled.next().await;
    let jobs = ["a", "b", "c"];
    for job in jobs {
        stalled.say(&format!(r#"{{"type":"subscribe","job_id":"{job}"}}"#)).await;
        assert_eq!(stalled.next().await["type"], "subscribed");
    }
    let mut newest = std::collections::HashMap::new();
    for step in 0..100 {
        for job in jobs {
            let reported = server.report(job, &large(step)).await.json();
            newest.insert(job.to_owned(), reported["position"].clone());
        }
    }
    let mut frames = 0;
    while !newest.is_empty() {
        let state = stalled.next().await;
        frames += 1;
        let job = state["job_id"].as_str().unwrap();
        if newest.get(job) == Some(&state["position"]) {
            newest.remove(job);
        }
    }
    assert!(frames < 200, "{frames} of 300 were kept for it");
    stalled.is_answered().await;
}

#[tokio::test]
async fn a_stalled_watcher_can_be_closed_and_let_go() {
    let server = Server::with(one_shard()).await;
    let mut stalled = Raw::over(narrow(&server).await, "/ws/jobs/a?close=end", &[]).await;
    stalled.next().await;
    for step in 0..100 {
        server.report("a", &large(step)).await;
    }
    let end = server.report("a", r#"{"status":"completed"}"#).await.json();
    let state = loop {
        let state = stalled.next().await;
        if state["status"] == "completed" {
            break state;
        }
    };
    assert_eq!(state["position"], end["position"]);
    assert_eq!(stalled.closed().await.0, 1000);

    let stalled = Raw::over(narrow(&server).await, "/ws/jobs/b", &[]).await;
    for step in 0..100 {
        server.report("b", &large(step)).await;
    }
    drop(stalled);
    crate::support::until("it to be gone", async || {
        server.get("/ws/stats").await.json()["stats"]["active_connections"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_stream_of_events_that_is_not_read_skips_to_the_newest() {
    let server = Server::with(one_shard()).await;
    let mut stalled = Events::open(&server, "/jobs/a/events", "").await;
    stalled.next().await;
    let mut reported = Vec::new();
    for step in 0..600 {
        reported.push(server.report("a", &large(step)).await.json()["position"].clone());
    }
    let seen = stalled.until(&reported[599]).await;
    assert!(seen.len() < 500, "{} of 600 were kept for it", seen.len());
    let ordered: Vec<&Value> = reported.iter().filter(|position| seen.contains(position)).collect();
    assert_eq!(seen.iter().collect::<Vec<_>>(), ordered, "no step back");
}

#[tokio::test]
async fn a_hot_job_does_not_starve_a_quiet_one() {
    let server = Server::with(one_shard()).await;
    let mut crowd = join_all((0..100).map(|_| server.watch("/ws/jobs/hot"))).await;
    let mut quiet = server.watch("/ws/jobs/quiet").await;
    quiet.next().await;
    let done = AtomicBool::new(false);
    let heat = async {
        let mut last = Value::Null;
        let batch = "{\"job_id\":\"hot\"}\n".repeat(100);
        while !done.load(Ordering::Relaxed) {
            let answer = server.request("POST", "/updates", "", &batch).await;
            let line = answer.body.lines().last().unwrap().to_owned();
            last = serde_json::from_str::<Value>(&line).unwrap()["position"].clone();
        }
        last
    };
    let work = async {
        let mut seen = 0;
        for step in 0..50 {
            let reported = server.report("quiet", &format!("{{\"step\":{step}}}")).await.json();
            assert_eq!(quiet.next().await["position"], reported["position"]);
            seen += 1;
        }
        done.store(true, Ordering::Relaxed);
        seen
    };
    let (newest, seen) = tokio::join!(heat, work);
    assert_eq!(seen, 50);
    // And the crowd has its newest in the end, each frame once.
    for watcher in &mut crowd {
        assert_eq!(watcher.next().await["type"], "connected");
        let mut positions = watcher.until(&newest).await;
        let count = positions.len();
        positions.dedup();
        assert_eq!(positions.len(), count);
    }
}
