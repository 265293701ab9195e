//! Health: two clocks for each job, and what the broker does when they run out.

use std::sync::Arc;
use std::time::Duration;

use milepost_broker::{Broker, ManualClock, ReportError};
use milepost_broker_embedded::{Embedded, Limits};
use milepost_protocol::{Health, State, Status, Update};

use crate::{clock, in_memory, job, report, state};

/// Lets time pass as for a running process, which checks every second.
fn pass(broker: &Embedded, clock: &ManualClock, seconds: u64) {
    for _ in 0..seconds {
        clock.advance(Duration::from_secs(1));
        broker.check_clocks();
    }
}

async fn health(broker: &Embedded, id: &str) -> Option<Health> {
    state(broker, id).await.expect("it is known").health()
}

async fn history(broker: &Embedded, id: &str) -> Vec<Arc<State>> {
    broker.history(&job(id)).await.expect("it answers").states
}

#[tokio::test]
async fn a_silent_worker_is_lost_once_until_it_reports() {
    let (broker, clock) = in_memory(Limits::default());
    let first = report(&broker, "a", r#"{"heartbeat":10,"progress":0.5}"#).await;
    report(&broker, "ordinary", r#"{"progress":0.5}"#).await;
    assert_eq!(first.health(), Some(Health::Ok));
    pass(&broker, &clock, 29);
    assert_eq!(health(&broker, "a").await, Some(Health::Ok));
    pass(&broker, &clock, 1);
    let lost = state(&broker, "a").await.expect("it is known");
    assert_eq!((lost.health(), lost.position()), (Some(Health::Lost), first.position().next()));
    // Apart from health and position nothing has changed, not even `last_seen_at`.
    let as_before = lost.json().replace(r#""lost""#, r#""ok""#);
    let position = (lost.position().to_string(), first.position().to_string());
    assert_eq!(as_before.replace(&position.0, &position.1), first.json());
    pass(&broker, &clock, 300);
    assert_eq!(history(&broker, "a").await.len(), 2, "exactly one transition");
    assert_eq!(history(&broker, "ordinary").await.len(), 1, "nobody said how often it reports");

    let back = report(&broker, "a", r#"{"progress":0.5}"#).await;
    assert_eq!(back.health(), Some(Health::Ok));
    pass(&broker, &clock, 30);
    assert_eq!(health(&broker, "a").await, Some(Health::Lost));
    let end = report(&broker, "a", r#"{"status":"completed"}"#).await;
    assert_eq!(end.health(), None);
    pass(&broker, &clock, 60);
    assert_eq!(state(&broker, "a").await, Some(end));
}

#[tokio::test]
async fn a_hanging_worker_is_stalled_once_until_it_gets_on() {
    let (broker, clock) = in_memory(Limits::default());
    let update = r#"{"heartbeat":10,"stall_after":45,"progress":0.5}"#;
    report(&broker, "a", update).await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        pass(&broker, &clock, 10);
        seen.push(health(&broker, "a").await);
        report(&broker, "a", update).await;
    }
    let stalled_from_the_fifth =
        (1..=10).map(|n| Some(if n < 5 { Health::Ok } else { Health::Stalled }));
    assert_eq!(seen, stalled_from_the_fifth.collect::<Vec<_>>());
    let healths: Vec<_> = history(&broker, "a").await.iter().map(|state| state.health()).collect();
    let changes = healths.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(changes, 1, "{healths:?}");
    // Then the worker is silent, and returns with progress.
    pass(&broker, &clock, 30);
    assert_eq!(health(&broker, "a").await, Some(Health::Lost));
    let back = report(&broker, "a", r#"{"progress":0.6}"#).await;
    assert_eq!(back.health(), Some(Health::Ok));
    // A queued job cannot be stalled.
    report(&broker, "q", r#"{"status":"queued","stall_after":10}"#).await;
    pass(&broker, &clock, 60);
    assert_eq!(health(&broker, "q").await, Some(Health::Ok));
}

#[tokio::test]
async fn a_server_that_was_frozen_gives_everybody_time() {
    let (broker, clock) = in_memory(Limits::default());
    report(&broker, "a", r#"{"heartbeat":10}"#).await;
    pass(&broker, &clock, 20);
    clock.advance(Duration::from_secs(600));
    pass(&broker, &clock, 29);
    assert_eq!(health(&broker, "a").await, Some(Health::Ok));
    pass(&broker, &clock, 2);
    assert_eq!(health(&broker, "a").await, Some(Health::Lost));
}

#[tokio::test]
async fn a_server_that_was_restarted_gives_everybody_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let open = || Embedded::open(Limits::default(), clock.clone(), directory.path());
    let broker = open().expect("the directory can be used");
    report(&broker, "a", r#"{"heartbeat":10}"#).await;
    broker.probe().await.expect("it is on disk");
    drop(broker);
    clock.advance(Duration::from_secs(600));
    let broker = open().expect("the directory can be used");
    pass(&broker, &clock, 29);
    assert_eq!(health(&broker, "a").await, Some(Health::Ok));
    pass(&broker, &clock, 1);
    assert_eq!(health(&broker, "a").await, Some(Health::Lost));
    // `lost` outlives the process, too.
    broker.probe().await.expect("it is on disk");
    drop(broker);
    let broker = open().expect("the directory can be used");
    assert_eq!(health(&broker, "a").await, Some(Health::Lost));
    assert_eq!(report(&broker, "a", "{}").await.health(), Some(Health::Ok));
}

#[tokio::test]
async fn a_clock_that_is_taken_away_is_not_looked_at() {
    let (broker, clock) = in_memory(Limits::default());
    report(&broker, "a", r#"{"heartbeat":10}"#).await;
    let without = report(&broker, "a", r#"{"heartbeat":null}"#).await;
    assert_eq!(without.health(), None);
    report(&broker, "b", r#"{"heartbeat":600}"#).await;
    report(&broker, "b", r#"{"heartbeat":10}"#).await;
    report(&broker, "c", r#"{"heartbeat":10}"#).await;
    broker.forget(&job("c")).await.expect("it answers");
    pass(&broker, &clock, 40);
    assert_eq!(state(&broker, "a").await, Some(without));
    assert_eq!(health(&broker, "b").await, Some(Health::Lost));
    assert!(state(&broker, "c").await.is_none());
}

#[tokio::test]
async fn a_lost_worker_is_ended_only_if_it_says_so() {
    let (broker, clock) = in_memory(Limits::default());
    report(&broker, "a", r#"{"heartbeat":10,"lost_after":60,"stage":"x","progress":0.5}"#).await;
    report(&broker, "only", r#"{"lost_after":60}"#).await;
    report(&broker, "soon", r#"{"heartbeat":10,"lost_after":1}"#).await;
    report(&broker, "queued", r#"{"status":"queued","lost_after":60}"#).await;
    assert_eq!(health(&broker, "only").await, Some(Health::Ok));
    pass(&broker, &clock, 29);
    assert!(!state(&broker, "soon").await.expect("it is known").status().is_end());
    report(&broker, "only", "{}").await;
    pass(&broker, &clock, 1);
    assert!(state(&broker, "soon").await.expect("it is known").status().is_end(), "3 heartbeats");
    pass(&broker, &clock, 29);
    assert_eq!(health(&broker, "a").await, Some(Health::Lost));
    pass(&broker, &clock, 1);

    let end = state(&broker, "a").await.expect("it is known");
    let view = end.view();
    assert_eq!((end.status(), end.health(), end.attempt()), (Status::Failed, None, 1));
    assert_eq!((&*view.stage, view.progress), ("x", Some(0.5)));
    let error = "The worker has not reported for 60 s: its lost_after ended the job";
    assert_eq!(view.error.as_deref(), Some(error));
    assert!(state(&broker, "queued").await.expect("it is known").status().is_end());
    // The worker reported in between.
    assert_eq!(health(&broker, "only").await, Some(Health::Ok));
    pass(&broker, &clock, 300);
    assert_eq!(history(&broker, "a").await.len(), 3, "ok, lost, failed: each once");
    // The end is final: a worker that returns is rejected, and may begin another attempt.
    let update = Update::parse(Some(&job("a")), br#"{"progress":0.6}"#).expect("an update");
    assert!(matches!(broker.report(update).await, Err(ReportError::Refused(_))));
    let retried = report(&broker, "a", r#"{"attempt":2}"#).await;
    assert_eq!((retried.attempt(), retried.health()), (2, None), "nothing is carried over");
}

#[tokio::test]
async fn after_a_restart_a_lost_worker_has_its_time_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let open = || Embedded::open(Limits::default(), clock.clone(), directory.path());
    let broker = open().expect("the directory can be used");
    report(&broker, "a", r#"{"lost_after":60}"#).await;
    broker.probe().await.expect("it is on disk");
    drop(broker);
    clock.advance(Duration::from_secs(600));
    let broker = open().expect("the directory can be used");
    pass(&broker, &clock, 59);
    assert_eq!(health(&broker, "a").await, Some(Health::Ok));
    pass(&broker, &clock, 1);
    assert_eq!(state(&broker, "a").await.expect("it is known").status(), Status::Failed);
}

#[tokio::test]
async fn progress_of_children_winds_the_clock_of_a_standstill() {
    let (broker, clock) = in_memory(Limits::default());
    report(&broker, "p", r#"{"stall_after":5}"#).await;
    pass(&broker, &clock, 5);
    assert_eq!(health(&broker, "p").await, Some(Health::Stalled));
    report(&broker, "a", r#"{"parent_id":"p","progress":0.5}"#).await;
    broker.roll_up();
    assert_eq!(health(&broker, "p").await, Some(Health::Ok));
    pass(&broker, &clock, 4);
    assert_eq!(health(&broker, "p").await, Some(Health::Ok));
    pass(&broker, &clock, 1);
    assert_eq!(health(&broker, "p").await, Some(Health::Stalled), "it stands still again");
}

/// So many jobs that report every ten seconds, or are to.
async fn fleet(broker: &Embedded, jobs: usize) {
    for n in 0..jobs {
        report(broker, &format!("fleet-{n}"), r#"{"heartbeat":10}"#).await;
    }
}

async fn lost(broker: &Embedded, jobs: usize) -> usize {
    let mut lost = 0;
    for n in 0..jobs {
        lost += usize::from(health(broker, &format!("fleet-{n}")).await == Some(Health::Lost));
    }
    lost
}

#[tokio::test]
async fn if_most_workers_are_silent_none_is_lost_for_now() {
    let (broker, clock) = in_memory(Limits::default());
    fleet(&broker, 40).await;
    report(&broker, "ends", r#"{"lost_after":30}"#).await;
    pass(&broker, &clock, 29);
    assert_eq!(broker.warnings(), [""; 0]);
    pass(&broker, &clock, 60);
    assert_eq!(lost(&broker, 40).await, 0);
    assert!(!state(&broker, "ends").await.expect("it is known").status().is_end());
    let warnings = broker.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("41 of 41"), "{warnings:?}");
    assert_eq!(broker.stats().mass_losses, 1);

    // Half of them report again. The others have their time anew, and are then lost one by one.
    for n in 0..20 {
        report(&broker, &format!("fleet-{n}"), "{}").await;
    }
    report(&broker, "ends", r#"{"status":"completed"}"#).await;
    pass(&broker, &clock, 1);
    assert_eq!(broker.warnings(), [""; 0]);
    for _ in 0..2 {
        pass(&broker, &clock, 14);
        assert_eq!(lost(&broker, 40).await, 0);
        for n in 0..20 {
            report(&broker, &format!("fleet-{n}"), "{}").await;
        }
    }
    // A job that was held is looked at every ten seconds.
    pass(&broker, &clock, 11);
    assert_eq!(lost(&broker, 40).await, 20);
    assert_eq!(broker.stats().mass_losses, 1);
}

#[tokio::test]
async fn silent_workers_are_lost_after_five_minutes_at_last() {
    let (broker, clock) = in_memory(Limits::default());
    fleet(&broker, 40).await;
    pass(&broker, &clock, 30 + 299);
    assert_eq!(lost(&broker, 40).await, 0);
    pass(&broker, &clock, 12);
    assert_eq!(lost(&broker, 40).await, 40);
    assert_eq!((broker.warnings().len(), broker.stats().mass_losses), (0, 1));
    // Lost jobs do not count any more: those that come now are watched by themselves.
    report(&broker, "alone", r#"{"heartbeat":10}"#).await;
    pass(&broker, &clock, 30);
    assert_eq!(health(&broker, "alone").await, Some(Health::Lost));
}

#[tokio::test]
async fn a_few_workers_are_lost_beside_many() {
    let (broker, clock) = in_memory(Limits::default());
    fleet(&broker, 40).await;
    for _ in 0..6 {
        pass(&broker, &clock, 10);
        // Those that have ended, been forgotten or never said how often they report do not count.
        for n in 20..40 {
            report(&broker, &format!("fleet-{n}"), "{}").await;
        }
    }
    assert_eq!(lost(&broker, 40).await, 20);
    for n in 20..30 {
        report(&broker, &format!("fleet-{n}"), r#"{"status":"completed"}"#).await;
    }
    broker.forget(&job("fleet-30")).await.expect("it answers");
    report(&broker, "fleet-31", r#"{"heartbeat":null}"#).await;
    pass(&broker, &clock, 30);
    for n in 32..40 {
        assert_eq!(health(&broker, &format!("fleet-{n}")).await, Some(Health::Lost), "8 are few");
    }
    assert_eq!(broker.stats().mass_losses, 0);
}

#[tokio::test]
async fn lost_jobs_that_were_found_on_disk_do_not_count() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let open = || {
        let opened = Embedded::open(Limits::default(), clock.clone(), directory.path());
        opened.expect("the directory can be used")
    };
    let broker = open();
    fleet(&broker, 20).await;
    pass(&broker, &clock, 400);
    assert_eq!(lost(&broker, 20).await, 20);
    drop(broker);
    let broker = open();
    assert_eq!(lost(&broker, 20).await, 20);
    pass(&broker, &clock, 100);
    report(&broker, "alone", r#"{"heartbeat":10}"#).await;
    pass(&broker, &clock, 30);
    assert_eq!(health(&broker, "alone").await, Some(Health::Lost));
    assert_eq!(broker.stats().mass_losses, 0);
}
