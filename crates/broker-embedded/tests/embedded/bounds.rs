//! Guarantee 5, and expiry's queues.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use milepost_broker::{Broker, Listener, ReportError, Stats};
use milepost_broker_embedded::{Embedded, Limits};
use milepost_protocol::{State, Status};

use crate::{in_memory, job, report, state, try_report};

const END: &str = r#"{"status":"completed"}"#;

async fn is_full(broker: &Embedded, id: &str, json: &str) -> bool {
    match try_report(broker, id, json).await {
        Ok(_) => false,
        Err(ReportError::Full(bound)) => {
            assert!(bound.contains("it holds"), "{bound}");
            true
        }
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn at_its_bound_in_jobs_it_refuses_new_ones_only() {
    let (broker, _) = in_memory(Limits { max_jobs: 3, ..Limits::default() });
    for id in ["a", "b", "c"] {
        report(&broker, id, "{}").await;
    }
    assert!(is_full(&broker, "d", "{}").await);
    assert!(is_full(&broker, "d", END).await, "not even an end begins a job");
    assert!(state(&broker, "d").await.is_none());
    report(&broker, "a", r#"{"progress":0.5}"#).await;
    assert_eq!(report(&broker, "b", END).await.status(), Status::Completed);
    assert_eq!(broker.stats().jobs, 3);
    assert_eq!(broker.stats().evicted, 0);

    // The end made room.
    report(&broker, "d", "{}").await;
    assert!(state(&broker, "b").await.is_none());
    assert_eq!(broker.stats().evicted, 1);
    assert!(is_full(&broker, "e", "{}").await);
}

#[tokio::test]
async fn ended_jobs_are_evicted_in_the_order_of_their_expiry() {
    let (broker, _) = in_memory(Limits { max_jobs: 40, ..Limits::default() });
    // Spread over the locks, and not in the order of their expiry.
    for n in 0_u32..40 {
        let ttl = 100 + (n * 17) % 40;
        report(&broker, &format!("old-{n}"), &format!(r#"{{"ttl":{ttl}}}"#)).await;
        report(&broker, &format!("old-{n}"), END).await;
    }
    for gone in 0_u32..40 {
        report(&broker, &format!("new-{gone}"), "{}").await;
        for n in 0_u32..40 {
            let expected = (n * 17) % 40 > gone;
            let known = state(&broker, &format!("old-{n}")).await.is_some();
            assert_eq!(known, expected, "old-{n} after {gone}");
        }
    }
    assert_eq!(broker.stats().evicted, 40);
    assert!(is_full(&broker, "one-more", "{}").await);
}

#[tokio::test]
async fn what_prolongs_an_ended_job_counts_when_one_is_given_up() {
    let (broker, clock) = in_memory(Limits { max_jobs: 2, ..Limits::default() });
    report(&broker, "a", END).await;
    clock.advance(Duration::from_secs(1));
    report(&broker, "b", END).await;
    clock.advance(Duration::from_secs(1));
    // A second attempt of the first ends after the other.
    report(&broker, "a", r#"{"attempt":2}"#).await;
    report(&broker, "a", r#"{"attempt":2,"status":"failed"}"#).await;
    report(&broker, "c", "{}").await;
    assert!(state(&broker, "a").await.is_some());
    assert!(state(&broker, "b").await.is_none());
}

#[tokio::test]
async fn max_bytes_evicts_ended_jobs_then_histories_then_rejects() {
    let (broker, _) = in_memory(Limits { max_bytes: 20_000, ..Limits::default() });
    let large = format!(r#"{{"message":"{}"}}"#, "x".repeat(1_000));
    report(&broker, "ended", END).await;
    let mut jobs = 0;
    while !is_full(&broker, &format!("job-{jobs}"), &large).await {
        jobs += 1;
        assert!(jobs < 20, "there is a bound");
    }
    assert!(jobs > 10);
    assert!(state(&broker, "ended").await.is_none());
    assert!(broker.stats().bytes <= 20_000);

    // Known jobs continue: each new state has the room of the one before.
    for _ in 0..3 {
        for n in 0..jobs {
            report(&broker, &format!("job-{n}"), &large).await;
        }
    }
    assert_eq!(broker.stats().jobs, jobs);
    assert!(broker.stats().bytes <= 20_000, "{:?}", broker.stats());
    let larger = format!(r#"{{"message":"{}"}}"#, "x".repeat(19_000));
    assert!(is_full(&broker, "job-0", &larger).await, "there is no room for that");

    // The end of a known job is never rejected, even beyond the bound.
    let end = format!(r#"{{"status":"completed","result":"{}"}}"#, "x".repeat(19_000));
    report(&broker, "job-0", &end).await;
    assert_eq!(state(&broker, "job-0").await.expect("kept").status(), Status::Completed);
    // Then it is evicted first.
    report(&broker, "job-1", &large).await;
    assert!(state(&broker, "job-0").await.is_none());
    assert!(broker.stats().bytes <= 20_000);
}

#[tokio::test]
async fn ends_evict_earlier_ends_instead_of_growing() {
    let (broker, _) = in_memory(Limits { max_bytes: 100_000, ..Limits::default() });
    for n in 0..100 {
        report(&broker, &format!("job-{n}"), "{}").await;
    }
    let end = format!(r#"{{"status":"completed","result":"{}"}}"#, "x".repeat(20_000));
    for n in 0..100 {
        let id = format!("job-{n}");
        report(&broker, &id, &end).await;
        assert_eq!(state(&broker, &id).await.expect("kept").status(), Status::Completed);
        assert!(broker.stats().bytes <= 100_000, "{:?}", broker.stats());
    }
    assert!(broker.stats().evicted >= 90, "{:?}", broker.stats());
}

#[tokio::test]
async fn an_end_exceeds_the_bound_by_itself_at_most() {
    let (broker, _) = in_memory(Limits { max_bytes: 20_000, ..Limits::default() });
    let large = format!(r#"{{"message":"{}"}}"#, "x".repeat(1_000));
    let mut jobs = 0;
    while !is_full(&broker, &format!("job-{jobs}"), &large).await {
        jobs += 1;
    }
    // There is no ended job to evict, and each end is larger than what its job held.
    let end = format!(r#"{{"status":"failed","error":"{}"}}"#, "x".repeat(15_000));
    for n in 0..jobs {
        report(&broker, &format!("job-{n}"), &end).await;
        assert!(broker.stats().bytes <= 20_000 + 16_000, "{:?}", broker.stats());
    }
}

#[tokio::test]
async fn histories_are_given_up_for_room_and_kept_where_there_is_some() {
    let (broker, _) = in_memory(Limits { max_bytes: 8_000, ..Limits::default() });
    let json = format!(r#"{{"message":"{}"}}"#, "x".repeat(500));
    for _ in 0..100 {
        report(&broker, "a", &json).await;
    }
    let history = broker.history(&job("a")).await.expect("it answers").states;
    assert_eq!(history.last(), state(&broker, "a").await.as_ref());
    assert!(broker.stats().bytes <= 8_000);
}

#[tokio::test]
async fn a_history_is_bounded_in_bytes_and_keeps_the_present_state() {
    let limits = Limits { history_bytes: 2_000, ..Limits::default() };
    let (broker, _) = in_memory(limits);
    let json = format!(r#"{{"message":"{}"}}"#, "x".repeat(700));
    for _ in 0..10 {
        report(&broker, "a", &json).await;
    }
    let lengths = async || -> Vec<usize> {
        let history = broker.history(&job("a")).await.expect("it answers").states;
        history.iter().map(|state| state.json().len()).collect()
    };
    assert_eq!(lengths().await.len(), 2);
    let large = format!(r#"{{"message":"{}"}}"#, "x".repeat(5_000));
    report(&broker, "a", &large).await;
    assert_eq!(lengths().await.len(), 1);
    assert!(lengths().await[0] > 5_000);
}

#[tokio::test]
async fn counts_come_back_to_zero() {
    let one = NonZeroUsize::MIN;
    for history in [one, one.saturating_add(1), one.saturating_add(31)] {
        let (broker, clock) = in_memory(Limits { history, ..Limits::default() });
        for n in 0..50 {
            let id = format!("job-{n}");
            for _ in 0..n % 7 {
                report(&broker, &id, r#"{"message":"of some length"}"#).await;
            }
            report(&broker, &id, if n % 3 == 0 { END } else { "{}" }).await;
        }
        assert_eq!(broker.stats().jobs, 50);
        for n in 0..25 {
            assert!(broker.forget(&job(&format!("job-{n}"))).await.expect("it answers"));
        }
        assert_eq!(broker.stats().jobs, 25);
        clock.advance(Duration::from_secs(3_601));
        broker.expire();
        assert_eq!(broker.stats(), Stats::default());
    }
}

#[tokio::test]
async fn jobs_expire_when_their_latest_update_says() {
    let (broker, clock) = in_memory(Limits::default());
    report(&broker, "prolonged", r#"{"ttl":10}"#).await;
    report(&broker, "shortened", r#"{"ttl":1000}"#).await;
    report(&broker, "ended", r#"{"ttl":10}"#).await;
    clock.advance(Duration::from_secs(5));
    report(&broker, "prolonged", r#"{"ttl":100}"#).await;
    report(&broker, "shortened", r#"{"ttl":3}"#).await;
    report(&broker, "ended", END).await;
    let known = async |seconds: u64| {
        clock.advance(Duration::from_secs(seconds));
        broker.expire();
        let mut known = Vec::new();
        for id in ["prolonged", "shortened", "ended"] {
            known.extend(state(&broker, id).await.map(|_| id));
        }
        known
    };
    assert_eq!(known(2).await, ["prolonged", "shortened", "ended"]);
    assert_eq!(known(1).await, ["prolonged", "ended"]);
    assert_eq!(known(6).await, ["prolonged", "ended"]);
    assert_eq!(known(1).await, ["prolonged"]);
    assert_eq!(known(89).await, ["prolonged"]);
    assert_eq!(known(1).await, [""; 0]);
    assert_eq!(broker.stats(), Stats::default());
}

#[tokio::test]
async fn many_jobs_expire_at_once() {
    let (broker, clock) = in_memory(Limits::default());
    for n in 0..20_000 {
        report(&broker, &format!("job-{n}"), "{}").await;
    }
    clock.advance(Duration::from_secs(3_600));
    broker.expire();
    assert_eq!(broker.stats(), Stats::default());
}

#[tokio::test]
async fn a_listener_is_notified_that_its_job_was_evicted() {
    #[derive(Default)]
    struct Forgotten(Mutex<u32>);
    impl Listener for Forgotten {
        fn attached(&self, _: &[Arc<State>]) {}
        fn update(&self, _: &Arc<State>) {}
        fn forgotten(&self) {
            *self.0.lock().expect("no panic") += 1;
        }
        fn unreadable(&self) {}
        fn readable(&self) {}
    }
    let (broker, _) = in_memory(Limits { max_jobs: 1, ..Limits::default() });
    let listener = Arc::new(Forgotten::default());
    broker.attach(&job("a"), listener.clone()).await.expect("it answers");
    report(&broker, "a", END).await;
    report(&broker, "b", "{}").await;
    assert_eq!(*listener.0.lock().expect("no panic"), 1);
}
