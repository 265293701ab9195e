//! A job whose keys in Redis become unreadable while it is watched: `spec/README.md`, sections 5, 6, 8 and 9.

use milepost_redis_servers::Server as Redis;
use milepost_server::Config;
use serde_json::json;

use crate::support::{Events, Server, Watcher, quick, until};

/// Lets something else lie under the job's key, and has the server read it.
fn make_unreadable(redis: &Redis) {
    redis.answer(&["DEL", "job_status:a"]);
    redis.answer(&["HSET", "job_status:a", "somebody", "else"]);
    have_read(redis);
}

fn have_read(redis: &Redis) {
    redis.answer(&["PUBLISH", "job_progress:a", r#"{"type":"forgotten","job_id":"a"}"#]);
}

async fn start(redis: &Redis) -> Server {
    let redis_url = Some(redis.url().clone().try_into().unwrap());
    let server = Server::with(Config { redis_url, ..quick() }).await;
    until("readiness", async || server.get("/readyz").await.status == 200).await;
    server
}

async fn receives_the_error(watcher: &mut Watcher) {
    let error = watcher.next().await;
    let expected = json!({
        "type": "error", "problem": "unreadable-job", "job_id": "a",
        "message": error["message"], "timestamp": error["timestamp"],
    });
    assert_eq!(error, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_watcher_learns_once_that_its_job_is_unreadable() {
    let redis = Redis::start();
    let server = start(&redis).await;
    assert_eq!(server.report("a", "{}").await.status, 200);
    let mut one = server.watch("/ws/jobs/a").await;
    assert_eq!(one.next().await["type"], "connected");
    assert_eq!(one.next().await["status"], "processing");
    let mut many = server.watch("/ws").await;
    assert_eq!(many.next().await["type"], "connected");
    many.say(r#"{"type":"subscribe","job_id":"a"}"#).await;
    assert_eq!(many.next().await["type"], "subscribed");
    let state = many.next().await;
    let mut events = Events::open(&server, "/jobs/a/events", "").await;
    assert_eq!(events.next().await.unwrap().name.as_deref(), Some("connected"));
    assert_eq!(events.next().await.unwrap().json(), state);

    let position = state["position"].as_str().unwrap();
    let unless = format!("If-None-Match: \"{position}\"\r\n");
    let poll = server.request("GET", "/jobs/a?wait=30", &unless, "");
    let broken = async {
        until("the poll to wait", async || {
            let watchers = server.get("/watchers?job_id=a").await.json();
            watchers["watchers"]["a"] == 4
        })
        .await;
        make_unreadable(&redis);
    };
    let (polled, ()) = tokio::join!(poll, broken);
    assert_eq!((polled.status, polled.problem().as_str()), (503, "unreadable-job"));
    receives_the_error(&mut one).await;
    receives_the_error(&mut many).await;
    let event = events.next().await.unwrap();
    assert_eq!(event.name.as_deref(), Some("unreadable-job"));
    assert_eq!(event.json()["type"], "urn:milepost:problem:unreadable-job");

    // A later watcher gets the last state, and learns of it too. Those that know are not notified again.
    have_read(&redis);
    let mut late = server.watch("/ws/jobs/a").await;
    assert_eq!(late.next().await["type"], "connected");
    assert_eq!(late.next().await, state);
    receives_the_error(&mut late).await;

    redis.answer(&["DEL", "job_status:a"]);
    have_read(&redis);
    assert_eq!(server.report("a", r#"{"progress":0.5}"#).await.status, 200);
    for watcher in [&mut one, &mut many, &mut late] {
        assert_eq!(watcher.next().await["progress"], 0.5);
    }
    assert_eq!(events.next().await.unwrap().json()["progress"], 0.5);
    // It may become unreadable again.
    make_unreadable(&redis);
    for watcher in [&mut one, &mut many, &mut late] {
        receives_the_error(watcher).await;
    }
    server.stop().await;
}
