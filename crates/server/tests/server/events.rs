//! Server-sent events, as `spec/README.md` has them in section 8.

use milepost_server::Config;
use serde_json::{Value, json};

use crate::support::{Event, Events, Server, quick};

async fn open(server: &Server, path: &str) -> Events {
    let mut events = Events::open(server, path, "").await;
    assert_eq!(events.head.status, 200, "{:?}", events.head);
    let connected = events.next().await.unwrap();
    assert_eq!(connected.name.as_deref(), Some("connected"));
    events
}

async fn report(server: &Server, job: &str, update: &str) -> Value {
    let reported = server.report(job, update).await;
    assert_eq!(reported.status, 200, "{reported:?}");
    reported.json()["position"].clone()
}

fn text(position: &Value) -> &str {
    position.as_str().unwrap()
}

#[tokio::test]
async fn the_first_event_is_connected_and_says_when_to_come_back() {
    let server = Server::start().await;
    let mut retries = Vec::new();
    for _ in 0..8 {
        let mut events = Events::open(&server, "/jobs/a/events", "").await;
        assert_eq!(events.head.header("content-type"), Some("text/event-stream"));
        assert_eq!(events.head.header("cache-control"), Some("no-cache, no-transform"));
        let connected = events.next_block().await.unwrap();
        let retry: u32 = connected.retry.as_deref().unwrap().parse().unwrap();
        assert!((1_000..=5_000).contains(&retry), "{retry}");
        retries.push(retry);
        assert_eq!((connected.name.as_deref(), &connected.id), (Some("connected"), &None));
        let data = connected.json();
        let timestamp = &data["timestamp"];
        assert!(timestamp.is_string());
        let expected = json!({
            "type": "connected", "job_id": "a", "known": false,
            "message": "Connected to job progress stream", "timestamp": timestamp,
        });
        assert_eq!(data, expected);
    }
    retries.dedup();
    assert!(retries.len() > 1, "at random: {retries:?}");
}

#[tokio::test]
async fn each_state_is_an_event_with_its_position_and_the_same_json() {
    let server = Server::start().await;
    report(&server, "a", r#"{"message":"a\nb\r\n","n":1.50}"#).await;
    let mut events = Events::open(&server, "/jobs/a/events", "").await;
    assert_eq!(events.next().await.unwrap().json()["known"], true);
    for n in 0..3 {
        let polled = server.get("/jobs/a").await;
        let expected = Event {
            id: Some(text(&polled.json()["position"]).to_owned()),
            data: Some(polled.body),
            ..Event::default()
        };
        assert_eq!(events.next().await, Some(expected));
        report(&server, "a", &format!("{{\n  \"step\": {n}\n}}")).await;
    }
}

#[tokio::test]
async fn the_stream_closes_after_the_end_and_a_return_gets_204() {
    let server = Server::start().await;
    let mut events = open(&server, "/jobs/a/events").await;
    report(&server, "a", "{}").await;
    let end = report(&server, "a", r#"{"status":"completed","result":[1]}"#).await;
    assert_eq!(events.data().await["status"], "processing");
    let last = events.next().await.unwrap();
    assert_eq!((last.name.as_deref(), last.id.as_deref()), (None, Some(text(&end))));
    assert_eq!(last.json()["result"], json!([1]));
    let after = events.next().await.unwrap();
    assert_eq!((after.name.as_deref(), &after.id), (Some("end"), &None));
    assert_eq!(after.json(), json!({ "job_id": "a", "position": end }));
    assert_eq!(events.next_block().await, None);

    let header = format!("Last-Event-ID: {}\r\n", text(&end));
    let back = server.request("GET", "/jobs/a/events", &header, "").await;
    assert_eq!((back.status, back.body.as_str()), (204, ""));
    let back = server.get(&format!("/jobs/a/events?since={}", text(&end))).await;
    assert_eq!(back.status, 204);

    // Who comes late, or with another position, is shown the end.
    for headers in ["", "Last-Event-ID: 1-1\r\n"] {
        let mut late = Events::open(&server, "/jobs/a/events", headers).await;
        assert_eq!(late.next().await.unwrap().json()["known"], true);
        assert_eq!(late.next().await.unwrap().id.as_deref(), Some(text(&end)));
        assert_eq!(late.next().await.unwrap().name.as_deref(), Some("end"));
        assert_eq!(late.next_block().await, None);
    }

    // The next attempt is newer than that end.
    let next = report(&server, "a", r#"{"attempt":2}"#).await;
    let mut back = Events::open(&server, "/jobs/a/events", &header).await;
    assert_eq!(back.next().await.unwrap().name.as_deref(), Some("connected"));
    assert_eq!(back.next().await.unwrap().id.as_deref(), Some(text(&next)));
}

#[tokio::test]
async fn a_stream_resumes_where_the_client_was() {
    let server = Server::start().await;
    let mut positions = Vec::new();
    for _ in 0..5 {
        positions.push(report(&server, "a", "{}").await);
    }
    let header = |at: usize| format!("Last-Event-ID: {}\r\n", text(&positions[at]));
    let since = |at: usize| format!("/jobs/a/events?since={}", text(&positions[at]));
    let cases = [
        ("/jobs/a/events".to_owned(), header(1), &positions[2..]),
        (since(2), String::new(), &positions[3..]),
        // The header is younger than the address.
        (since(0), header(3), &positions[4..]),
        (since(3), header(0), &positions[1..]),
        // Foreign ones begin with the present state.
        ("/jobs/a/events?since=1-1".to_owned(), String::new(), &positions[4..]),
        (since(0), "Last-Event-ID: 1-1\r\n".to_owned(), &positions[4..]),
        (since(0), "Last-Event-ID: nonsense\r\n".to_owned(), &positions[4..]),
        // mode=latest: the newest of them.
        (since(0) + "&mode=latest", String::new(), &positions[4..]),
    ];
    for (path, headers, expected) in cases {
        let mut events = Events::open(&server, &path, &headers).await;
        events.next().await;
        assert_eq!(events.until(&positions[4]).await, expected, "{path} {headers}");
    }
    // Current: nothing until there is something newer.
    let mut events = Events::open(&server, "/jobs/a/events", &header(4)).await;
    events.next().await;
    let newer = report(&server, "a", "{}").await;
    assert_eq!(events.data().await["position"], newer);
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive_by_comments() {
    let server = Server::with(Config { ping_interval: 0.25, ..quick() }).await;
    let mut events = open(&server, "/jobs/a/events").await;
    for _ in 0..2 {
        let block = events.next_block().await.unwrap();
        let keepalive = Event { comment: Some("keepalive".to_owned()), ..Event::default() };
        assert_eq!(block, keepalive);
    }
    let position = report(&server, "a", "{}").await;
    assert_eq!(events.data().await["position"], position);
}

#[tokio::test]
async fn a_rate_holds_updates_back_over_keepalives_and_ends_not() {
    // The rate's interval is longer than the keepalive's.
    let server = Server::with(Config { ping_interval: 0.05, ..quick() }).await;
    let mut slow = open(&server, "/jobs/a/events?max_rate=0.01").await;
    let mut fast = open(&server, "/jobs/a/events?max_rate=2&mode=all").await;
    let first = report(&server, "a", "{}").await;
    assert_eq!(slow.data().await["position"], first);
    assert_eq!(fast.data().await["position"], first);
    let mut newest = first;
    for _ in 0..10 {
        newest = report(&server, "a", "{}").await;
    }
    // What is held back is shown in the end, though nothing comes after it.
    fast.until(&newest).await;
    assert_eq!(slow.next_block().await.unwrap().comment.as_deref(), Some("keepalive"));
    let end = report(&server, "a", r#"{"status":"failed"}"#).await;
    assert_eq!(slow.data().await["position"], end);
    assert_eq!(slow.next().await.unwrap().name.as_deref(), Some("end"));
    assert_eq!(slow.next_block().await, None);
}

#[tokio::test]
async fn no_end_is_skipped() {
    let server = Server::start().await;
    let first = report(&server, "a", "{}").await;
    let mut ends = Vec::new();
    for attempt in 1..=3 {
        ends.push(
            report(&server, "a", &format!(r#"{{"attempt":{attempt},"status":"failed"}}"#)).await,
        );
        report(&server, "a", &format!(r#"{{"attempt":{}}}"#, attempt + 1)).await;
    }
    let newest = report(&server, "a", "{}").await;
    ends.push(newest.clone());
    for how in ["mode=latest", "max_rate=0.01"] {
        let path = format!("/jobs/a/events?since={}&{how}", text(&first));
        let mut events = open(&server, &path).await;
        assert_eq!(events.until(&newest).await, ends, "{how}");
    }
}

#[tokio::test]
async fn a_deleted_job_is_shown_anew_when_it_is_reported_again() {
    let server = Server::start().await;
    report(&server, "a", "{}").await;
    let mut events = open(&server, "/jobs/a/events").await;
    events.next().await;
    assert_eq!(server.request("DELETE", "/jobs/a", "", "").await.status, 204);
    assert_eq!(events.data().await["type"], "urn:milepost:problem:unknown-job");
    let position = report(&server, "a", "{}").await;
    assert_eq!(events.data().await["position"], position);
}

#[tokio::test]
async fn what_is_refused_is_a_problem() {
    let server = Server::start().await;
    let cases = [
        ("/jobs/a%20b/events", "invalid-job-id"),
        ("/jobs/%ff/events", "invalid-job-id"),
        ("/jobs/a/events?mode=x", "invalid-parameter"),
        ("/jobs/a/events?max_rate=0", "invalid-parameter"),
        ("/jobs/a/events?since=a&since=b", "invalid-parameter"),
    ];
    for (path, problem) in cases {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, problem), "{path}");
    }
}

#[tokio::test]
async fn streams_are_counted_as_watchers_while_they_last() {
    let server = Server::start().await;
    let events = open(&server, "/jobs/a/events").await;
    let stats = async || server.get("/ws/stats").await.json()["stats"].clone();
    let now = stats().await;
    assert_eq!((&now["active_connections"], &now["active_jobs"]), (&json!(1), &json!(1)));
    drop(events);
    crate::support::until("the stream to be let go", async || {
        stats().await["active_connections"] == 0
    })
    .await;
    assert_eq!(stats().await["total_connections"], 1);
}
