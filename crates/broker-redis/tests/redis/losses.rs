//! Most workers are silent at once: then their reports probably do not arrive.

use milepost_broker_contract::eventually;
use milepost_protocol::{JobId, State, Timestamp};
use milepost_redis_servers::{Options, Server};

use crate::instance_of;

#[tokio::test(flavor = "multi_thread")]
async fn if_most_workers_are_silent_none_is_lost_for_now() {
    let server = Server::start();
    let it = instance_of(&server).await;
    // The shortest time that a worker may choose: no job is lost within 30 s, but it may end sooner.
    let jobs: Vec<_> = (0..15).map(|n| it.job(&format!("silent-{n}"))).collect();
    for job in &jobs {
        it.report(job, r#"{"lost_after":3}"#).await;
    }
    eventually("the warning", || async { it.broker().warnings().len() == 1 }).await;
    let warnings = it.broker().warnings();
    assert!(warnings[0].contains("15 of 15"), "{warnings:?}");
    assert_eq!(it.broker().stats().mass_losses, 1);
    let ended = async |jobs: &[JobId]| {
        let mut ended = 0;
        for job in jobs {
            ended += usize::from(it.state(job).await.expect("known").status().is_end());
        }
        ended
    };
    assert_eq!(ended(&jobs).await, 0);
    // Anything may stand under one job's key.
    server.answer(&["SET", &format!("job_meta:{}", jobs[0]), "no hash"]);
    // Most of them report again; the others have their time anew, and then end.
    for job in &jobs[5..] {
        it.report(job, r#"{"lost_after":600}"#).await;
    }
    eventually("it is over", || async { it.broker().warnings().is_empty() }).await;
    // Other servers start the clocks over as well.
    let at = server.answer(&["GET", "{milepost}:started_over"]);
    assert!(at.text().is_some_and(|at| at.parse::<u64>().is_ok()), "{at:?}");
    assert_eq!(ended(&jobs[1..]).await, 0);
    eventually("the silent ones end", || async { ended(&jobs[1..5]).await == 4 }).await;
    assert_eq!((ended(&jobs[5..]).await, it.broker().stats().mass_losses), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_sample_workers_are_lost_as_they_are_due() {
    let rules = "+@all -zrandmember ~* &*".to_owned();
    let user = Some(("milepost".to_owned(), "secret".to_owned(), rules));
    let server = Server::with(Options { user, ..Options::default() });
    let it = instance_of(&server).await;
    let job = it.job("a");
    it.report(&job, r#"{"lost_after":3}"#).await;
    eventually("it ends", || async { it.state(&job).await.expect("known").status().is_end() })
        .await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_another_server_starts_over_start_over_here() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    let begun = it.report(&job, r#"{"lost_after":3}"#).await;
    // As another server does two seconds from now.
    let at = reported_at(&begun) + 2_000;
    server.answer(&["SET", "{milepost}:started_over", &at.to_string()]);
    let ended = || async { it.state(&job).await.expect("known").status().is_end() };
    eventually("it ends", ended).await;
    let end = reported_at(&it.state(&job).await.expect("known"));
    assert!(end >= at + 3_000, "{end} {at}");
    it.close().await;
}

/// The state's own time, in milliseconds.
fn reported_at(state: &State) -> i64 {
    let view = state.view();
    let at = Timestamp::parse(&view.timestamp.expect("a time")).expect("a time");
    at.as_millis()
}
