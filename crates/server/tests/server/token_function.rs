//! The watcher for Rust whose token is a function, at a server whose tokens expire.

use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milepost_watcher::{Connection, ConnectionError, Event, Watch, Watcher};

use crate::credentials::{KEY, bearer, get, guarded, token, watches};
use crate::support::{Server, until, within};

/// Tokens for the job `a`, valid for so many seconds each, and for the last of these from then on.
#[derive(Clone)]
struct Supply {
    seconds: Vec<f64>,
    given: Arc<Mutex<Vec<String>>>,
}

impl Supply {
    fn new(seconds: &[f64]) -> Self {
        Self { seconds: seconds.to_vec(), given: Arc::default() }
    }

    fn next(&self) -> Ready<Result<String, String>> {
        let mut given = self.given.lock().unwrap();
        let seconds = self.seconds[given.len().min(self.seconds.len() - 1)];
        given.push(token(watches(&["a"]), seconds));
        ready(Ok(given.last().unwrap().clone()))
    }

    fn given(&self) -> Vec<String> {
        self.given.lock().unwrap().clone()
    }
}

fn watcher(server: &Server, supply: &Supply) -> Watcher {
    let supply = supply.clone();
    let url = format!("http://{}", server.address);
    Watcher::new(&url).unwrap().token_from(move || supply.next())
}

async fn report(server: &Server, update: &str) {
    assert_eq!(server.request("POST", "/jobs/a", &bearer(KEY), update).await.status, 200);
}

async fn next(watch: &mut Watch) -> Event {
    within("an event", watch.next()).await.expect("it is over")
}

async fn next_progress(watch: &mut Watch) -> String {
    match next(watch).await {
        Event::State(state) => {
            let state: serde_json::Value = serde_json::from_str(state.json()).unwrap();
            state["progress"].to_string()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_renewed_token_keeps_the_watcher_s_connection() {
    let server = Server::with(guarded()).await;
    report(&server, r#"{"progress":0.25}"#).await;
    let supply = Supply::new(&[2.0, 60.0]);
    let mut watch = watcher(&server, &supply).watch("a".parse().unwrap());
    assert_eq!(next(&mut watch).await, Event::Connection(Connection::Connected));
    assert_eq!(next_progress(&mut watch).await, "0.25");
    let first = supply.given().remove(0);
    until("the first token to expire", async || {
        get(&server, "/jobs/a", &first).await.status == 401
    })
    .await;
    report(&server, r#"{"progress":0.5}"#).await;
    assert_eq!(next_progress(&mut watch).await, "0.5");
    assert_eq!(supply.given().len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_watcher_closed_for_its_token_resumes() {
    let server = Server::with(guarded()).await;
    report(&server, r#"{"progress":0.25}"#).await;
    // The second one is over before the first is.
    let supply = Supply::new(&[2.0, -1.0, 60.0]);
    let mut watch = watcher(&server, &supply).watch("a".parse().unwrap());
    assert_eq!(next(&mut watch).await, Event::Connection(Connection::Connected));
    assert_eq!(next_progress(&mut watch).await, "0.25");
    let Event::Connection(Connection::Lost { reason, retry_in }) = next(&mut watch).await else {
        panic!("it is not closed")
    };
    assert!(matches!(reason, ConnectionError::Closed { code: Some(4401), .. }), "{reason:?}");
    assert!(retry_in <= Duration::from_secs(1));
    assert_eq!(next(&mut watch).await, Event::Connection(Connection::Connected));
    report(&server, r#"{"progress":0.5}"#).await;
    assert_eq!(next_progress(&mut watch).await, "0.5");
    server.stop().await;
}
