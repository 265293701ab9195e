//! Legacy workers: a plain PUBLISH, then SETEX.

use milepost_protocol::Status;
use milepost_redis_servers::Server;

use crate::{instance_of, message, publish, setex, update};
use milepost_broker_contract::{eventually, numbers};

/// How many publishes at once are all folded. Divides the number that is published below.
const FEW: u32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn publishes_arrive_in_their_order() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    for n in 1..=50 {
        publish(&server, &job, &update(&job, n));
        setex(&server, &job, &update(&job, n));
        if n % FEW == 0 {
            eventually("all arrive", || async { listener.updates().len() == n as usize }).await;
        }
    }
    let received = listener.updates();
    assert_eq!(numbers(&received), (1..=50).collect::<Vec<_>>());
    let messages: Vec<_> = received.iter().map(|state| message(state)).collect();
    assert_eq!(messages, (1..=50).map(|n| format!("frame {n}")).collect::<Vec<_>>());
    let json = received[0].json();
    assert!(json.contains(r#""timestamp":"2024-01-01T00:00:00.000001""#), "the worker's: {json}");
    assert_eq!(it.state(&job).await.as_ref(), received.last());
    assert_eq!(it.history(&job).await, received[50 - 32..]);
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_agree_on_the_order_of_publishes() {
    let server = Server::start();
    let instances = [instance_of(&server).await, instance_of(&server).await];
    let job = instances[0].job("a");
    let listeners = [instances[0].attach(&job).await, instances[1].attach(&job).await];
    for n in 1..=60 {
        // Equal publishes, in a row or later, are publishes of their own.
        publish(&server, &job, &update(&job, n % 7 / 2));
        if n % FEW == 0 {
            eventually("all arrive", || async {
                listeners.iter().all(|listener| listener.updates().len() == n as usize)
            })
            .await;
        }
    }
    publish(&server, &job, &update(&job, 99));
    for listener in &listeners {
        eventually("all arrive", || async {
            listener.updates().last().is_some_and(|state| message(state) == "frame 99")
        })
        .await;
    }
    let [first, second] = listeners.map(|listener| listener.updates());
    assert_eq!(first, second);
    assert_eq!(numbers(&first), (1..=61).collect::<Vec<_>>());
    for it in instances {
        it.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_between_publish_and_setex_sees_the_publish() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    publish(&server, &job, &update(&job, 1));
    setex(&server, &job, &update(&job, 1));
    publish(&server, &job, &update(&job, 2));
    eventually("both arrive", || async { listener.updates().len() == 2 }).await;
    // The worker is killed here, so the key keeps its old value.
    setex(&server, &job, &update(&job, 1));
    let later = instance_of(&server).await;
    let newcomer = later.attach(&job).await;
    assert_eq!(newcomer.attached(), listener.updates());
    assert_eq!(later.state(&job).await.as_ref(), listener.updates().last());
    // A reread does not show the old value.
    publish(&server, &job, &update(&job, 3));
    eventually("the third arrives", || async {
        newcomer.latest().map(|s| message(&s)) == Some("frame 3".into())
    })
    .await;
    assert_eq!(numbers(&newcomer.updates()), [3]);
    it.close().await;
    later.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_publishes_are_read() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    setex(&server, &job, &update(&job, 1));
    let state = it.state(&job).await.expect("it is known by its key");
    assert_eq!(message(&state), "frame 1");
    let listener = it.attach(&job).await;
    assert_eq!(listener.attached(), [state]);
    // Its PUBLISH was lost.
    setex(&server, &job, &update(&job, 2));
    eventually("it is read", || async { listener.updates().len() == 1 }).await;
    assert_eq!(message(&listener.updates()[0]), "frame 2");

    // The first watcher of a job receives all of it, and once.
    let other = it.job("b");
    setex(&server, &other, &update(&other, 7));
    let first = it.attach(&other).await;
    assert_eq!(first.attached().len(), 1);
    assert_eq!(message(&first.attached()[0]), "frame 7");
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processing_after_an_end_is_the_next_attempt() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    let end = format!(r#"{{"job_id":"{job}","status":"completed","result":{{"n":1}}}}"#);
    for json in
        [&update(&job, 1), &end, &end, &end.replace("completed", "failed"), &update(&job, 2)]
    {
        publish(&server, &job, json);
        setex(&server, &job, json);
    }
    eventually("the last arrives", || async { listener.updates().len() == 3 }).await;
    let received: Vec<_> = listener.updates().iter().map(|s| (s.status(), s.attempt())).collect();
    let expected = [(Status::Processing, 1), (Status::Completed, 1), (Status::Processing, 2)];
    assert_eq!(received, expected);
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reporter_takes_over_from_a_legacy_worker() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    setex(&server, &job, &update(&job, 5));
    let end = it.report(&job, r#"{"status":"failed","error":"e"}"#).await;
    assert_eq!(end.position().number, 2, "what was there comes first");
    assert_eq!(end.view().stage, "rendering");
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_readers_understand_what_is_reported() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    let state = it
        .report(
            &job,
            r#"{"stage":"rendering","progress":0.5,"message":"half","metadata":{"frame":3}}"#,
        )
        .await;
    let key = server.answer(&["GET", &format!("job_status:{job}")]).text().expect("a text");
    assert_eq!(key, state.json());
    let ttl = server.answer(&["TTL", &format!("job_status:{job}")]).integer();
    assert!((3_500..=3_600).contains(&ttl.expect("a number")), "{ttl:?}");
    let start = format!(
        r#"{{"job_id":"{job}","status":"processing","stage":"rendering","progress":0.5,"message":"half","metadata":{{"frame":3}},"timestamp":""#
    );
    assert!(key.starts_with(&start), "{key}");
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_harms_nobody() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    for json in
        ["", "{", "[]", "null", r#"{"progress":NaN}"#, r#"{"status":"odd"}"#, r#"{"type":"x"}"#]
    {
        setex(&server, &job, json);
        let listener = it.attach(&job).await;
        publish(&server, &job, json);
        it.detach(&job, &listener).await;
    }
    let listener = it.attach(&job).await;
    setex(&server, &job, "{");
    let state = it.report(&job, "{}").await;
    listener.hears(&state).await;
    publish(&server, &job, "{");
    publish(&server, &job, &update(&job, 1));
    eventually("the readable states arrive", || async {
        listener.latest().is_some_and(|state| message(&state) == "frame 1")
    })
    .await;
    it.close().await;
}
