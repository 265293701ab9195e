//! One job, watched by every transport at once: all show the same, to the last field and digit.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::{Events, Server, until};

/// By position, the JSON as it was sent.
type Shown = HashMap<String, String>;

fn note(shown: &mut Shown, text: String) -> bool {
    let state: Value = serde_json::from_str(&text).unwrap();
    let position = state["position"].as_str().unwrap().to_owned();
    assert_eq!(shown.insert(position, text), None, "each position once");
    state["status"] == "completed"
}

#[tokio::test]
async fn every_transport_shows_the_same() {
    let server = Server::start().await;
    let mut one = server.watch("/ws/jobs/a").await;
    one.next().await;
    let mut many = server.watch("/ws").await;
    many.next().await;
    many.say(r#"{"type":"subscribe","job_id":"a"}"#).await;
    many.next().await;
    let mut events = Events::open(&server, "/jobs/a/events", "").await;
    events.next().await;

    let socket = async {
        let mut shown = Shown::new();
        while !note(&mut shown, one.text().await) {}
        shown
    };
    let sockets = async {
        let mut shown = Shown::new();
        while !note(&mut shown, many.text().await) {}
        shown
    };
    let stream = async {
        let mut shown = Shown::new();
        loop {
            let event = events.next().await.expect("the end first");
            let id = event.id.clone().expect("a position");
            let ended = note(&mut shown, event.data.unwrap());
            assert!(shown.contains_key(&id), "the id is the state's position");
            if ended {
                return shown;
            }
        }
    };
    let polling = async {
        let (mut shown, mut seen) = (Shown::new(), String::new());
        loop {
            let header = if seen.is_empty() { seen } else { format!("If-None-Match: {seen}\r\n") };
            let answer = server.request("GET", "/jobs/a?wait=60", &header, "").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            seen = answer.header("etag").unwrap().to_owned();
            if note(&mut shown, answer.body) {
                return shown;
            }
        }
    };
    let reporting = async {
        until("all to wait", async || {
            server.get("/ws/stats").await.json()["stats"]["active_connections"] == 3
        })
        .await;
        for n in 0..40 {
            let update = format!(
                "{{ \"progress\": 0.{n:02}0, \"stage\":\"s{n}\", \"message\":\"é\\u00e9\\n\",\n\
                 \"mine\":{{\"big\":123456789012345678901234567890.10,\"e\":1E5}}, \"n\":{n}.00 }}"
            );
            assert_eq!(server.report("a", &update).await.status, 200);
        }
        server.report("a", r#"{"status":"completed","result":{"r":[1.0,{}]}}"#).await;
    };
    let (socket, sockets, stream, polling, ()) =
        tokio::join!(socket, sockets, stream, polling, reporting);

    assert_eq!(socket.len(), 41);
    assert_eq!(sockets, socket);
    assert_eq!(stream, socket);
    // Polling sees what is newest at each moment, and nothing else.
    assert!(!polling.is_empty());
    for (position, text) in &polling {
        assert_eq!(Some(text), socket.get(position));
    }
    // So do the state, the history and the list.
    let status = server.get("/jobs/a/status").await.body;
    assert_eq!(Some(&status), socket.get(json_position(&status).as_str()));
    let history = server.get("/jobs/a/history").await.body;
    let list = server.get("/jobs").await.body;
    assert!(list.contains(&status), "{list}");
    let kept = socket.values().filter(|text| history.contains(*text)).count();
    assert_eq!(kept, 32);
    // And whoever comes late.
    assert_eq!(server.watch("/ws/jobs/a").await.second().await, status);
}

fn json_position(text: &str) -> String {
    let state: Value = serde_json::from_str(text).unwrap();
    assert_eq!(state["result"], json!({ "r": [1.0, {}] }));
    state["position"].as_str().unwrap().to_owned()
}
