//! Jobs with children: a rejected report changes nothing, and children count towards the bound.

use std::sync::Arc;
use std::time::Duration;

use milepost_broker::Broker;
use milepost_broker_contract::Recorder;
use milepost_broker_embedded::{Embedded, Limits};
use milepost_protocol::Children;

use super::{in_memory, job, report, state, try_report};

async fn children(broker: &Embedded, parent: &str) -> Children {
    broker.roll_up();
    let state = state(broker, parent).await.expect("the parent is known");
    state.view().children.expect("it has children")
}

#[tokio::test]
async fn a_rejected_report_takes_no_children() {
    let (broker, clock) = in_memory(Limits { max_bytes: 20_000, ..Limits::default() });
    let large = "x".repeat(30_000);
    report(&broker, "p", "{}").await;
    report(&broker, "a", r#"{"parent_id":"p","progress":0.5}"#).await;
    // The change that the rejected state would have shown is shown later.
    try_report(&broker, "p", &format!(r#"{{"result":"{large}"}}"#)).await.unwrap_err();
    assert_eq!(children(&broker, "p").await.processing, 1);
    clock.advance(Duration::from_millis(200));
    // The attempt continues with its children.
    let retry = format!(r#"{{"attempt":2,"result":"{large}"}}"#);
    try_report(&broker, "p", &retry).await.unwrap_err();
    report(&broker, "b", r#"{"parent_id":"p","progress":0.5}"#).await;
    assert_eq!(children(&broker, "p").await.processing, 2);
}

#[tokio::test]
async fn what_children_take_is_counted_and_given_back() {
    let (broker, clock) = in_memory(Limits { history: 1.try_into().unwrap(), ..Limits::default() });
    let alone = |of: &str| format!(r#"{{"parent_id":"{of}","ttl":10}}"#);
    report(&broker, "a", &alone("other")).await;
    report(&broker, "p", r#"{"ttl":10}"#).await;
    report(&broker, "a", &alone("p")).await;
    report(&broker, "b", &alone("p")).await;
    assert!(broker.forget(&job("a")).await.unwrap());
    assert_eq!(children(&broker, "p").await.lost, 1, "the parent keeps what it has to know");
    assert!(broker.forget(&job("p")).await.unwrap());
    // If the parent is never reported, its children are kept as long as the last of them.
    report(&broker, "c", &alone("q")).await;
    clock.advance(Duration::from_secs(11));
    broker.expire();
    assert_eq!(broker.stats().bytes, 0);
}

/// Each of 10,000 children progresses once a second, for three seconds. Whatever is due is shown at once.
#[tokio::test]
async fn watchers_of_10_000_children_get_five_updates_a_second() {
    const CHILDREN: u64 = 10_000;
    let (broker, clock) = in_memory(Limits::default());
    report(&broker, "p", &format!(r#"{{"children_expected":{CHILDREN}}}"#)).await;
    let watcher = Arc::new(Recorder::default());
    broker.attach(&job("p"), watcher.clone()).await.unwrap();
    let mut until = Vec::new();
    for progress in ["0.25", "0.5", "0.75"] {
        for child in 0..CHILDREN {
            let update = format!(r#"{{"parent_id":"p","progress":{progress}}}"#);
            report(&broker, &format!("c{child}"), &update).await;
            if (child + 1).is_multiple_of(CHILDREN / 1_000) {
                clock.advance(Duration::from_millis(1));
                broker.roll_up();
            }
        }
        until.push(watcher.updates().len());
    }
    assert_eq!(until, [5, 10, 15]);
    clock.advance(Duration::from_millis(200));
    broker.roll_up();
    let last = watcher.latest().unwrap();
    let processing = last.view().children.map(|children| u64::from(children.processing));
    assert_eq!((processing, last.view().progress), (Some(CHILDREN), Some(0.75)));
}
