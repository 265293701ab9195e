//! Watching one job over WebSocket, as `spec/README.md` has it in sections 5 and 7.

use std::num::NonZeroUsize;

use futures_util::SinkExt;
use futures_util::future::join_all;
use milepost_server::Config;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Server, quick};

/// Reports `{"progress":…}` so many times, and returns the positions.
async fn report_many(server: &Server, job: &str, times: usize) -> Vec<Value> {
    let mut positions = Vec::new();
    for n in 0..times {
        let reported = server.report(job, &format!(r#"{{"step":{n}}}"#)).await;
        assert_eq!(reported.status, 200, "{reported:?}");
        positions.push(reported.json()["position"].clone());
    }
    positions
}

/// The position that is `ahead` of that one.
fn ahead(position: &Value, by: u64) -> String {
    let (epoch, number) = position.as_str().unwrap().split_once('-').unwrap();
    format!("{epoch}-{}", number.parse::<u64>().unwrap() + by)
}

#[tokio::test]
async fn a_watcher_first_receives_that_the_job_is_not_known() {
    let server = Server::start().await;
    let mut watcher = server.watch("/ws/jobs/user:42:render-7").await;
    let connected = watcher.next().await;
    let timestamp = connected["timestamp"].as_str().unwrap().to_owned();
    assert!(timestamp.ends_with('Z') && timestamp.contains('T'), "{timestamp}");
    let expected = json!({
        "type": "connected", "job_id": "user:42:render-7", "known": false,
        "message": "Connected to job progress stream", "timestamp": timestamp,
    });
    assert_eq!(connected, expected);
    watcher.hears_nothing().await;

    let reported = server.report("user:42:render-7", "{}").await.json();
    assert_eq!(watcher.next().await["position"], reported["position"]);
}

#[tokio::test]
async fn a_watcher_is_shown_the_state_and_then_each_update() {
    let server = Server::start().await;
    let reported = server.report("a1", r#"{"stage":"rendering","progress":0.5,"mine":1.0}"#).await;
    assert_eq!(reported.status, 200, "{reported:?}");

    let mut watcher = server.watch("/ws/jobs/a1").await;
    let connected = watcher.next().await;
    assert_eq!((&connected["type"], &connected["known"]), (&json!("connected"), &json!(true)));
    let state = watcher.next().await;
    assert_eq!(state["position"], reported.json()["position"]);
    assert_eq!((&state["progress"], &state["status"]), (&json!(0.5), &json!("processing")));
    assert_eq!(state.get("type"), None, "an update has no type");

    server.report("a1", r#"{"progress":0.75}"#).await;
    let state = watcher.next().await;
    assert_eq!((&state["progress"], &state["stage"]), (&json!(0.75), &json!("rendering")));
    assert_eq!(server.get("/jobs/a1").await.json(), state);
}

#[tokio::test]
async fn every_state_comes_once_and_in_order() {
    let server = Server::start().await;
    let mut watcher = server.watch("/ws/jobs/a").await;
    watcher.next().await;
    let reported = report_many(&server, "a", 60).await;
    assert_eq!(watcher.until(&reported[59]).await, reported);
    watcher.hears_nothing().await;
}

#[tokio::test]
async fn what_a_worker_says_passes_through_to_the_last_digit() {
    let server = Server::start().await;
    let mut watcher = server.watch("/ws/jobs/a").await;
    watcher.next().await;
    // The first as legacy workers write it, without a zone; the last with names of attributes and other types.
    let fields = [
        r#""timestamp":"2024-01-01T00:00:00.123456""#,
        r#""timestamp":"2024-01-01T01:00:00+05:30""#,
        r#""mine":{"n":12345678901234567890.10,"e":1E400,"u":"\u00e9é\ud83d\ude00","x":[1,2,null]}"#,
        r#""metadata":{"current_frame":1500,"total_frames":2000}"#,
        r#""name":{"n":1.50},"stages":[1],"rate":2.50,"eta":3,"parent_id":7,"tags":"t""#,
    ];
    for field in fields {
        server.report("a", &format!("{{{field}}}")).await;
        let shown = watcher.text().await;
        assert!(shown.contains(field), "{field} in {shown}");
    }
}

#[tokio::test]
async fn a_silent_socket_is_pinged() {
    let server = Server::with(Config { ping_interval: 0.25, ..quick() }).await;
    let mut one = server.watch("/ws/jobs/a").await;
    let mut many = server.watch("/ws").await;
    for watcher in [&mut one, &mut many] {
        assert_eq!(watcher.next().await["type"], "connected");
    }
    // As the interval is configured, not once only.
    for _ in 0..2 {
        let ping: Value = serde_json::from_str(one.message().await.to_text().unwrap()).unwrap();
        let timestamp = &ping["timestamp"];
        assert!(timestamp.is_string());
        let expected = json!({
            "type": "ping", "message": "keepalive", "job_id": "a", "timestamp": timestamp,
        });
        assert_eq!(ping, expected);
        let ping: Value = serde_json::from_str(many.message().await.to_text().unwrap()).unwrap();
        let timestamp = &ping["timestamp"];
        assert_eq!(ping, json!({ "type": "ping", "message": "keepalive", "timestamp": timestamp }));
    }
}

#[tokio::test]
async fn a_ping_is_answered_and_all_else_ignored() {
    let server = Server::start().await;
    let mut watcher = server.watch("/ws/jobs/a").await;
    watcher.next().await;
    let ignored = [
        "",
        "hello",
        "[]",
        "null",
        "{",
        r#"{"type":"nonsense"}"#,
        r#"{"type":7}"#,
        r#"{"type":["ping"]}"#,
        r#"{"ping":"type"}"#,
        r#"{"type":"subscribe","job_id":"b"}"#,
        r#"{"type":"unsubscribe","job_id":"a"}"#,
        r#"{"type":"pong"}"#,
    ];
    for text in ignored {
        watcher.say(text).await;
        watcher.socket.send(Message::binary(text.as_bytes().to_vec())).await.unwrap();
    }
    watcher.socket.send(Message::binary(br#"{"type":"ping"}"#.to_vec())).await.unwrap();
    watcher.say(&"[".repeat(60_000)).await;
    watcher.say(r#"{"type":"ping","mine":1}"#).await;
    let pong = watcher.next().await;
    let timestamp = &pong["timestamp"];
    assert!(timestamp.is_string());
    assert_eq!(pong, json!({ "type": "pong", "timestamp": timestamp }));
    // Neither was another job subscribed to, nor this one unsubscribed from.
    server.report("b", "{}").await;
    server.report("a", "{}").await;
    assert_eq!(watcher.next().await["job_id"], "a");
}

#[tokio::test]
async fn the_socket_stays_open_for_the_next_attempt() {
    let server = Server::start().await;
    let mut watcher = server.watch("/ws/jobs/a?close=never").await;
    watcher.next().await;
    server.report("a", r#"{"status":"failed","error":"Out of memory"}"#).await;
    let end = watcher.next().await;
    assert_eq!((&end["status"], &end["error"]), (&json!("failed"), &json!("Out of memory")));
    watcher.hears_nothing().await;
    // Refused, so nobody sees it.
    assert_eq!(server.report("a", "{}").await.status, 409);
    watcher.hears_nothing().await;
    server.report("a", r#"{"attempt":2}"#).await;
    let state = watcher.next().await;
    assert_eq!((&state["attempt"], &state["status"]), (&json!(2), &json!("processing")));
}

#[tokio::test]
async fn a_watcher_that_comes_after_the_end_is_shown_it() {
    let server = Server::start().await;
    let result = r#"{"status":"completed","result":{"video_url":"https://example.com/v.mp4"}}"#;
    server.report("a", result).await;
    for path in ["/ws/jobs/a", "/ws/jobs/a?mode=latest", "/ws/jobs/a?max_rate=0.01"] {
        let mut watcher = server.watch(path).await;
        assert_eq!(watcher.next().await["known"], true);
        let end = watcher.next().await;
        assert_eq!((&end["status"], &end["progress"]), (&json!("completed"), &json!(1.0)));
        assert_eq!((&end["stage"], &end["attempt"]), (&json!("complete"), &json!(1)));
        watcher.hears_nothing().await;
    }
}

#[tokio::test]
async fn close_at_the_end_closes_with_1000_after_the_end() {
    let server = Server::start().await;
    let mut early = server.watch("/ws/jobs/a?close=end").await;
    early.next().await;
    let mut other = server.watch("/ws/jobs/a").await;
    other.next().await;
    server.report("a", "{}").await;
    assert_eq!(early.next().await["status"], "processing");
    early.hears_nothing().await;
    server.report("a", r#"{"status":"cancelled"}"#).await;
    assert_eq!(early.next().await["status"], "cancelled");
    assert_eq!(early.closed().await.0, 1000);

    let mut late = server.watch("/ws/jobs/a?close=end&mode=latest").await;
    assert_eq!(late.next().await["known"], true);
    assert_eq!(late.next().await["status"], "cancelled");
    assert_eq!(late.closed().await.0, 1000);

    assert_eq!(other.next().await["status"], "processing");
    assert_eq!(other.next().await["status"], "cancelled");
    other.hears_nothing().await;
}

#[tokio::test]
async fn since_resumes_at_a_position() {
    let server = Server::start().await;
    let positions = report_many(&server, "a", 5).await;

    // Behind: what was missed.
    let path = format!("/ws/jobs/a?since={}", positions[1].as_str().unwrap());
    let mut watcher = server.watch(&path).await;
    assert_eq!(watcher.next().await["known"], true);
    assert_eq!(watcher.until(&positions[4]).await, positions[2..]);
    watcher.hears_nothing().await;

    // Current, and ahead: nothing until there is something newer.
    for by in [0, 1_000] {
        let mut watcher =
            server.watch(&format!("/ws/jobs/a?since={}", ahead(&positions[4], by))).await;
        assert_eq!(watcher.next().await["type"], "connected");
        watcher.hears_nothing().await;
        let newer = server.report("a", "{}").await.json();
        if by == 0 {
            assert_eq!(watcher.next().await["position"], newer["position"]);
        }
    }
    let newest = server.get("/jobs/a").await.json()["position"].clone();

    // Foreign: the whole state.
    for since in ["1-1", "nonsense", "", "0-0", "%20", "00-1", &"9".repeat(5_000)] {
        let mut watcher = server.watch(&format!("/ws/jobs/a?since={since}")).await;
        watcher.next().await;
        assert_eq!(watcher.next().await["position"], newest, "since={since}");
        watcher.hears_nothing().await;
    }
}

#[tokio::test]
async fn what_was_missed_too_long_ago_is_replaced_by_the_newest() {
    let history = NonZeroUsize::new(4).unwrap();
    let server = Server::with(Config { history, ..quick() }).await;
    let positions = report_many(&server, "a", 10).await;
    let mut watcher =
        server.watch(&format!("/ws/jobs/a?since={}", positions[0].as_str().unwrap())).await;
    watcher.next().await;
    assert_eq!(watcher.next().await["position"], positions[9]);
    watcher.hears_nothing().await;
}

#[tokio::test]
async fn latest_and_a_rate_skip_to_the_newest_but_over_no_end() {
    let server = Server::start().await;
    let first = server.report("a", "{}").await.json()["position"].clone();
    let mut ends = Vec::new();
    for attempt in 1..=3 {
        server.report("a", &format!(r#"{{"attempt":{attempt},"progress":0.5}}"#)).await;
        let end =
            server.report("a", &format!(r#"{{"attempt":{attempt},"status":"failed"}}"#)).await;
        ends.push(end.json()["position"].clone());
    }
    server.report("a", r#"{"attempt":4}"#).await;
    let newest = server.report("a", r#"{"attempt":4}"#).await.json()["position"].clone();
    ends.push(newest.clone());
    for how in ["mode=latest", "max_rate=0.01", "mode=all&max_rate=1000"] {
        let path = format!("/ws/jobs/a?since={}&{how}", first.as_str().unwrap());
        let mut watcher = server.watch(&path).await;
        watcher.next().await;
        assert_eq!(watcher.until(&newest).await, ends, "{how}");
        watcher.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_rate_holds_updates_back_and_ends_not() {
    let server = Server::start().await;
    server.report("a", "{}").await;
    // One in a hundred seconds: the present state, and then nothing but ends.
    let mut slow = server.watch("/ws/jobs/a?max_rate=0.01").await;
    slow.next().await;
    slow.next().await;
    let mut fast = server.watch("/ws/jobs/a?max_rate=20").await;
    fast.next().await;
    let reported = report_many(&server, "a", 30).await;
    slow.hears_nothing().await;
    // What is held back is shown in the end, though nothing comes after it.
    fast.until(&reported[29]).await;
    let end = server.report("a", r#"{"status":"completed"}"#).await.json();
    assert_eq!(slow.next().await["position"], end["position"]);
    assert_eq!(fast.next().await["position"], end["position"]);
}

#[tokio::test]
async fn a_job_or_a_parameter_that_is_refused_is_said_on_the_socket() {
    let server = Server::start().await;
    let cases = [
        ("/ws/jobs/a%20b", "invalid-job-id", "' '"),
        ("/ws/jobs/a%2Fb", "invalid-job-id", "'/'"),
        ("/ws/jobs/%C3%A9", "invalid-job-id", "'é'"),
        ("/ws/jobs/%ff", "invalid-job-id", "not allowed"),
        ("/ws/jobs/..", "invalid-job-id", ""),
        ("/ws/jobs/a?mode=some", "invalid-parameter", "mode"),
        ("/ws/jobs/a?max_rate=0", "invalid-parameter", "max_rate"),
        ("/ws/jobs/a?max_rate=1001", "invalid-parameter", "max_rate"),
        ("/ws/jobs/a?max_rate=NaN", "invalid-parameter", "max_rate"),
        ("/ws/jobs/a?max_rate=", "invalid-parameter", "max_rate"),
        ("/ws/jobs/a?close=always", "invalid-parameter", "close"),
        ("/ws/jobs/a?mode=all&mode=latest", "invalid-parameter", "mode"),
    ];
    for (path, problem, named) in cases {
        let mut watcher = server.watch(path).await;
        let error = watcher.next().await;
        assert_eq!(
            (&error["type"], &error["problem"]),
            (&json!("error"), &json!(problem)),
            "{path}"
        );
        assert!(error["timestamp"].is_string(), "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(named), "{path}: {message}");
        let (code, reason) = watcher.closed().await;
        assert_eq!(code, 4400, "{path}");
        assert!(reason.contains(named), "{path}: {reason}");
    }
    let mut long = server.watch(&format!("/ws/jobs/{}", "a".repeat(129))).await;
    assert_eq!(long.next().await["problem"], "invalid-job-id");
    assert_eq!(long.closed().await.0, 4400);
    let mut longest = server.watch(&format!("/ws/jobs/{}", "a".repeat(128))).await;
    assert_eq!(longest.next().await["type"], "connected");
    // Others' parameters are nobody's fault.
    let mut busted = server.watch("/ws/jobs/a?_=1700000000").await;
    assert_eq!(busted.next().await["type"], "connected");
}

#[tokio::test]
async fn watchers_that_connect_at_the_same_moment_get_everything_once() {
    let server = Server::start().await;
    let mut watchers = join_all((0..20).map(|_| server.watch("/ws/jobs/a"))).await;
    for watcher in &mut watchers {
        assert_eq!(watcher.next().await["type"], "connected");
    }
    let reported = report_many(&server, "a", 10).await;
    for watcher in &mut watchers {
        assert_eq!(watcher.until(&reported[9]).await, reported);
        watcher.hears_nothing().await;
    }
}

#[tokio::test]
async fn watchers_that_connect_between_reports_miss_nothing() {
    let server = Server::start().await;
    let reports = report_many(&server, "a", 40);
    let watch = async {
        let watching = (0..20).map(async |_| {
            let mut watcher = server.watch("/ws/jobs/a").await;
            watcher.next().await;
            watcher
        });
        join_all(watching).await
    };
    let (reported, mut watchers) = tokio::join!(reports, watch);
    for watcher in &mut watchers {
        let seen = watcher.until(&reported[39]).await;
        assert_eq!(seen, reported[40 - seen.len()..]);
        watcher.hears_nothing().await;
    }
}

#[tokio::test]
async fn a_deleted_job_is_shown_again_when_it_is_reported_again() {
    let server = Server::start().await;
    let mut watcher = server.watch("/ws/jobs/a").await;
    watcher.next().await;
    report_many(&server, "a", 3).await;
    let old = server.report("a", r#"{"status":"completed"}"#).await.json()["position"].clone();
    watcher.until(&old).await;
    assert_eq!(server.request("DELETE", "/jobs/a", "", "").await.status, 204);
    watcher.hears_nothing().await;
    let reported = server.report("a", r#"{"progress":0.25}"#).await.json();
    let state = watcher.next().await;
    assert_eq!((&state["position"], &state["attempt"]), (&reported["position"], &json!(1)));
    assert_eq!(state["progress"], 0.25);

    // Who comes back with the old position is shown the whole state.
    let mut back = server.watch(&format!("/ws/jobs/a?since={}", old.as_str().unwrap())).await;
    back.next().await;
    assert_eq!(back.next().await["position"], reported["position"]);
}
