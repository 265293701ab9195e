//! A parent with many children, on several instances.

use futures_util::StreamExt;
use milepost_broker_contract::eventually;
use milepost_protocol::{State, Timestamp};
use milepost_redis_servers::Server;

use crate::instance_of;

/// When the state's job progressed last, by the server's clock, in milliseconds.
fn progressed_at(state: &State) -> i64 {
    let at = state.progressed_at().expect("it runs").trim_matches('"').to_owned();
    Timestamp::parse(&at).expect("a time").as_millis()
}

/// By the time that the states have, so that it does not matter how long this takes.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_10_000_children_get_five_updates_a_second() {
    const CHILDREN: usize = 10_000;
    const AT_ONCE: usize = 32;
    let server = Server::start();
    let instances = [instance_of(&server).await, instance_of(&server).await];
    let it = &instances[0];
    let parent = it.job("p");
    it.report(&parent, &format!(r#"{{"children_expected":{CHILDREN}}}"#)).await;
    let watchers = [it.attach(&parent).await, instances[1].attach(&parent).await];
    let update = format!(r#"{{"parent_id":"{parent}","progress":0.5}}"#);
    let reports = futures_util::stream::iter(0..CHILDREN).map(|child| {
        let instance = &instances[child % 2];
        let (job, update) = (it.job(&format!("c{child}")), &update);
        async move { instance.report(&job, update).await }
    });
    assert_eq!(reports.buffer_unordered(AT_ONCE).count().await, CHILDREN);
    for watcher in watchers {
        eventually("all children are shown", || async {
            let latest = watcher.latest().and_then(|state| state.view().children);
            latest.is_some_and(|children| children.processing as usize == CHILDREN)
        })
        .await;
        let updates = watcher.updates();
        let shown: Vec<i64> = updates.iter().map(|state| progressed_at(state)).collect();
        let (Some(first), Some(last)) = (shown.first(), shown.last()) else {
            panic!("nothing was shown");
        };
        // What changes between the look and the roll-up is due 200 ms after itself, which is a moment earlier.
        let most = usize::try_from((last - first) / 200 + 2).expect("time does not go back");
        assert!((3..=most).contains(&shown.len()), "{shown:?}");
        assert_eq!(watcher.latest().and_then(|state| state.view().progress), Some(0.5));
    }
    for instance in instances {
        instance.close().await;
    }
}
