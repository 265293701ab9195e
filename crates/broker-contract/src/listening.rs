//! Guarantees 1 and 2: a listener receives the states in order, from the present one on, without a gap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use milepost_protocol::Position;

use crate::harness::{Harness, Notification, Recorder, Settings, numbers};

pub async fn an_unknown_job_attaches_empty_and_then_gets_updates(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    assert_eq!(listener.attached(), []);
    let first = it.report(&job, "{}").await;
    let second = it.report(&job, "{}").await;
    listener.hears(&second).await;
    assert_eq!(listener.updates(), [first, second]);
    it.close().await;
}

pub async fn a_known_job_attaches_with_its_kept_states(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    for _ in 0..3 {
        it.report(&job, "{}").await;
    }
    let listener = it.attach(&job).await;
    assert_eq!(numbers(&listener.attached()), [1, 2, 3]);
    assert_eq!(listener.attached(), it.history(&job).await);
    let fourth = it.report(&job, "{}").await;
    listener.hears(&fourth).await;
    assert_eq!(listener.updates(), [fourth]);
    it.close().await;
}

pub async fn an_ended_job_attaches_with_its_end(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    it.report(&job, "{}").await;
    let end = it.report(&job, r#"{"status":"completed"}"#).await;
    assert_eq!(it.attach(&job).await.attached().last(), Some(&end));
    it.close().await;
}

pub async fn refused_and_repeated_reports_do_not_notify(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    it.report(&job, r#"{"attempt":2,"status":"failed"}"#).await;
    it.try_report(&job, r#"{"attempt":2,"status":"failed"}"#).await.expect("repeated");
    it.try_report(&job, "{}").await.expect_err("it has ended");
    it.try_report(&job, r#"{"attempt":1}"#).await.expect_err("it is superseded");
    let last = it.report(&job, r#"{"attempt":3}"#).await;
    listener.hears(&last).await;
    assert_eq!(numbers(&listener.updates()), [1, 2]);
    it.close().await;
}

/// Checks that there is no gap and no step back: `heard` begins with the present state, and each later state is the next one, or
/// repeats the latest.
fn assert_contiguous(heard: &[Notification]) -> Option<Position> {
    let Some((Notification::Attached(states), live)) = heard.split_first() else {
        panic!("the first thing heard is the present, not {:?}", heard.first());
    };
    let live = live.iter().map(|heard| match heard {
        Notification::Update(state) => state,
        other => panic!("nobody forgot the job or attached again: {other:?}"),
    });
    let mut last = None;
    for state in states.iter().chain(live) {
        let position = state.position();
        if let Some(last) = last {
            let Position { epoch, number } = last;
            assert_eq!(position.epoch, epoch);
            assert!(
                position.number == number || position.number == number + 1,
                "{position} after {last}"
            );
        }
        last = Some(position);
    }
    last
}

pub async fn attaching_while_reports_are_under_way_leaves_no_gap(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = Arc::new(setup(Settings { history: 4, ..Settings::default() }).await);
    let job = it.job("a");
    let done = Arc::new(AtomicBool::new(false));
    let reporters = (0..3).map(|_| {
        let (it, job, done) = (Arc::clone(&it), job.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                it.report(&job, "{}").await;
                tokio::task::yield_now().await;
            }
        })
    });
    let reporters: Vec<_> = reporters.collect();
    let mut earlier = 0;
    for round in 0..60 {
        let listener = it.attach(&job).await;
        if round % 3 == 0 {
            tokio::task::yield_now().await;
        }
        // An acknowledged state has been received at the latest when a newer one is.
        let own = it.report(&job, "{}").await;
        crate::harness::eventually("it hears of the reports", || async {
            listener.latest().is_some_and(|heard| heard.position().number >= own.position().number)
        })
        .await;
        if round % 2 == 0 {
            it.detach(&job, &listener).await;
        }
        let last =
            assert_contiguous(&listener.notifications()).expect("it heard of its own report");
        assert!(last.number > earlier);
        earlier = last.number;
    }
    let last = it.attach(&job).await;
    done.store(true, Ordering::Relaxed);
    for reporter in reporters {
        reporter.await.expect("all are taken");
    }
    last.hears(&it.state(&job).await.expect("it is known")).await;
    assert_contiguous(&last.notifications());
    Arc::into_inner(it).expect("all reporters are done").close().await;
}

pub async fn another_listener_takes_the_place(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let first = it.attach(&job).await;
    let one = it.report(&job, "{}").await;
    first.hears(&one).await;
    let second = it.attach(&job).await;
    let two = it.report(&job, "{}").await;
    second.hears(&two).await;
    assert_eq!(second.attached(), first.updates());
    assert_eq!(second.updates(), [two]);
    assert_eq!(first.updates(), [one]);
    it.close().await;
}

pub async fn the_one_replaced_cannot_detach_the_other(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let first = it.attach(&job).await;
    let second = it.attach(&job).await;
    it.detach(&job, &first).await;
    let state = it.report(&job, "{}").await;
    second.hears(&state).await;
    assert_eq!(first.updates(), []);
    it.close().await;
}

pub async fn a_detached_listener_is_not_notified(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let (known, unknown) = (it.job("a"), it.job("b"));
    it.report(&known, "{}").await;
    for job in [&known, &unknown] {
        let left = it.attach(job).await;
        it.detach(job, &left).await;
        it.detach(job, &left).await;
        it.report(job, "{}").await;
        // The later listener has received the state, so the detached one would have received it by now too.
        let stayed = it.attach(job).await;
        let state = it.report(job, "{}").await;
        stayed.hears(&state).await;
        assert_eq!(left.updates(), []);
    }
    it.close().await;
}

pub async fn forgetting_notifies_and_so_does_the_next_life(
    setup: impl AsyncFn(Settings) -> Harness,
) {
    let it = setup(Settings::default()).await;
    let job = it.job("a");
    let old = it.report(&job, "{}").await;
    let listener = it.attach(&job).await;
    assert!(it.broker().forget(&job).await.expect("the backend answers"));
    listener.is_notified_of_forgetting().await;
    let anew = it.report(&job, "{}").await;
    listener.hears(&anew).await;
    assert_ne!(anew.position().epoch, old.position().epoch);
    assert_eq!(listener.updates(), [anew]);
    it.close().await;
}

pub async fn a_listener_is_notified_of_its_own_job_only(setup: impl AsyncFn(Settings) -> Harness) {
    let it = setup(Settings::default()).await;
    let jobs: Vec<_> = (0..20).map(|n| it.job(&n.to_string())).collect();
    let mut listeners: Vec<Arc<Recorder>> = Vec::new();
    for job in &jobs {
        listeners.push(it.attach(job).await);
    }
    for job in jobs.iter().rev() {
        it.report(job, "{}").await;
    }
    for (job, listener) in jobs.iter().zip(&listeners) {
        let state = it.report(job, "{}").await;
        listener.hears(&state).await;
        assert!(listener.updates().iter().all(|state| state.job() == job));
        assert_eq!(numbers(&listener.updates()), [1, 2]);
    }
    it.close().await;
}
