//! How a client sends the summaries of children to their parents.

#![recursion_limit = "256"]

use std::time::Duration;

use milepost_protocol::{Action, JobId, Request, Timestamp, Update};
use milepost_redis::{Address, Client, Reply, Retention};
use milepost_redis_servers::Server;

fn now() -> Timestamp {
    Timestamp::from_micros(1_780_000_000_000_000)
}

async fn report(client: &Client, id: &str, json: &str) {
    let job = JobId::parse(id).expect("a job id");
    let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
    let reply = client.report(&update, now()).await.expect("it answers");
    assert!(matches!(reply, Reply::Accepted(_)), "{reply:?}");
}

#[tokio::test]
async fn pending_summaries_reach_the_parent_later() {
    let server = Server::start();
    let address = Address::parse(&server.url()).expect("a URL");
    let client = Client::new(address, Retention::default());
    let parent = JobId::parse("p").expect("a job id");
    report(&client, "p", "{}").await;
    // The script for the parent fails, that of the child does not.
    server.answer(&["SET", "job_children:p", "not a hash"]);
    report(&client, "a", r#"{"parent_id":"p"}"#).await;
    report(&client, "b", r#"{"parent_id":"p","status":"completed"}"#).await;
    client.notify_parents().await;
    server.answer(&["DEL", "job_children:p"]);
    assert_eq!(client.due_parents(10).await.expect("it answers"), []);
    client.notify_parents().await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(client.due_parents(10).await.expect("it answers"), std::slice::from_ref(&parent));
    client.roll_up(&parent, now()).await.expect("it answers");
    let states = client.states(&parent, 1, now()).await.expect("it answers");
    let children = states.last().and_then(|state| state.view().children).expect("it has children");
    assert_eq!((children.processing, children.completed), (1, 1));
    // Nothing is sent again after it was acknowledged.
    server.answer(&["DEL", "job_children:p"]);
    client.notify_parents().await;
    assert_eq!(
        server.answer(&["EXISTS", "job_children:p"]),
        milepost_redis_servers::Reply::Integer(0)
    );
}

#[tokio::test]
async fn a_report_tells_the_parent_that_the_child_has_left() {
    let server = Server::start();
    let client = Client::new(Address::parse(&server.url()).expect("a URL"), Retention::default());
    let has = |parent: &str| {
        let exists = server.answer(&["HEXISTS", &format!("job_children:{parent}"), "ca"]);
        exists == milepost_redis_servers::Reply::Integer(1)
    };
    report(&client, "a", r#"{"parent_id":"p"}"#).await;
    assert!(has("p"));
    report(&client, "a", r#"{"parent_id":"p","progress":0.5}"#).await;
    report(&client, "a", r#"{"progress":0.6}"#).await;
    assert!(has("p"), "it has not left");
    report(&client, "a", r#"{"parent_id":"q"}"#).await;
    assert!(!has("p") && has("q"));
    report(&client, "a", r#"{"parent_id":null}"#).await;
    assert!(!has("q"));
    report(&client, "a", r#"{"parent_id":"p","status":"failed"}"#).await;
    assert!(has("p"));
    report(&client, "a", r#"{"attempt":2}"#).await;
    assert!(!has("p"), "the next attempt has no parent");
}

#[tokio::test]
async fn a_server_that_keeps_jobs_for_less_shortens_no_life() {
    let server = Server::start();
    let client = |seconds| {
        let address = Address::parse(&server.url()).expect("a URL");
        let ttl = Duration::from_secs(seconds);
        Client::new(address, Retention { ttl, ..Retention::default() })
    };
    let (long, short) = (client(3_600), client(60));
    let left = || match server.answer(&["TTL", "job_status:p"]) {
        milepost_redis_servers::Reply::Integer(seconds) => seconds,
        other => panic!("{other:?}"),
    };
    let parent = JobId::parse("p").expect("a job id");
    report(&long, "p", r#"{"cancellable":true}"#).await;
    report(&short, "a", r#"{"parent_id":"p"}"#).await;
    short.roll_up(&parent, now()).await.expect("it answers");
    let states = long.states(&parent, 1, now()).await.expect("it answers");
    assert!(states[0].view().children.is_some(), "it was rolled up");
    assert!(left() > 3_000, "{} s", left());
    let request = Request { action: Action::Cancel, by: None, reason: None };
    short.request(&parent, &request, now()).await.expect("it answers");
    assert!(left() > 3_000, "{} s", left());
    // Its own report does: whoever reports a job decides.
    report(&short, "p", "{}").await;
    assert!(left() <= 60, "{} s", left());
}
