//! What the model cannot name.

use std::time::Duration;

use milepost_broker::{Clock, Listener};
use milepost_hub::{CloseReason, HubLimits, LogLimits, Mode, Subscribe};
use milepost_protocol::View;

use crate::stage::{PING_INTERVAL, Stage};

const END: &str = r#"{"status":"completed"}"#;

#[test]
fn a_hot_job_delays_another_by_a_slice_at_most() {
    const SLICE: usize = 64;
    let mut stage = Stage::new(LogLimits::default());
    let _hot: Vec<_> = (0..1_000).map(|_| stage.watch("hot", Subscribe::default())).collect();
    let (_, quiet) = stage.watch("quiet", Subscribe::default());
    stage.report("hot", "{}");
    stage.shard.serve();
    for turn in 1..50 {
        // Something new comes in all the time: the pass never ends.
        stage.report("hot", "{}");
        stage.report("quiet", "{}");
        let before = stage.writes.get();
        while quiet.borrow().lines().len() < turn {
            stage.shard.serve();
            assert!(stage.writes.get() - before <= 2 * SLICE);
        }
    }
}

#[test]
fn in_place_a_shard_does_a_slice_and_leaves_more_to_its_task() {
    let mut stage = Stage::new(LogLimits::default());
    let few: Vec<_> = (0..64).map(|_| stage.watch("few", Subscribe::default())).collect();
    let many: Vec<_> = (0..65).map(|_| stage.watch("many", Subscribe::default())).collect();
    stage.report("few", "{}");
    assert!(stage.shard.serve_in_place(), "the task need not be woken");
    assert!(few.iter().all(|(_, pipe)| pipe.borrow().lines().len() == 1));

    stage.report("many", "{}");
    assert!(!stage.shard.serve_in_place(), "the task has to be woken");
    assert!(many.iter().all(|(_, pipe)| pipe.borrow().lines().is_empty()));
    stage.drain();
    assert!(many.iter().all(|(_, pipe)| pipe.borrow().lines().len() == 1));
}

#[test]
fn a_long_batch_wakes_the_shard_before_it_ends() {
    let mut stage = Stage::new(LogLimits::default());
    let jobs: Vec<_> = (0..100).map(|number| format!("job-{number}")).collect();
    let _watchers: Vec<_> = jobs.iter().map(|job| stage.watch(job, Subscribe::default())).collect();
    let is_woken = || {
        let mut arrived = std::pin::pin!(stage.hub.mailboxes()[0].arrived());
        arrived
            .as_mut()
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
            .is_ready()
    };
    let report = |jobs: &[String]| jobs.iter().for_each(|job| drop(stage.report(job, "{}")));
    stage.hub.batch(
        || {
            report(&jobs[..63]);
            assert!(!is_woken(), "the end of the batch may be near");
            report(&jobs[63..]);
            assert!(is_woken());
        },
        |_| true,
    );
}

#[test]
fn what_panics_in_a_batch_leaves_no_shard_asleep() {
    let mut stage = Stage::new(LogLimits::default());
    let _watcher = stage.watch("a", Subscribe::default());
    let panics = std::panic::AssertUnwindSafe(|| {
        stage.hub.batch(|| drop(stage.report("a", "{}")), |_| panic!("serving fails"));
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    let mut arrived = std::pin::pin!(stage.hub.mailboxes()[0].arrived());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(arrived.as_mut().poll(&mut context).is_ready());
}

#[test]
fn many_that_are_due_at_once_are_served_in_slices() {
    let mut stage = Stage::new(LogLimits::default());
    let slow = Subscribe { max_rate: Some(1.0), ..Subscribe::default() };
    stage.report("slow", "{}");
    let watchers: Vec<_> = (0..500).map(|_| stage.watch("slow", slow)).collect();
    let (_, quiet) = stage.watch("quiet", Subscribe::default());
    stage.report("slow", "{}");
    stage.drain();
    stage.pass(Duration::from_secs(1));
    stage.report("quiet", "{}");
    let before = stage.writes.get();
    while quiet.borrow().lines().is_empty() {
        assert!(stage.shard.serve());
    }
    assert!(stage.writes.get() - before <= 65, "{}", stage.writes.get() - before);
    stage.drain();
    assert!(watchers.iter().all(|(_, pipe)| pipe.borrow().lines().len() == 2));
}

#[test]
fn each_watcher_learns_once_that_its_job_is_unreadable() {
    const UNREADABLE: &str = r#"{"type":"unreadable","of":"a"}"#;
    let mut stage = Stage::new(LogLimits::default());
    let watchers: Vec<_> = (0..200).map(|_| stage.watch("a", Subscribe::default())).collect();
    let state = stage.report("a", "{}");
    let state = state.json();
    stage.drain();
    let (slow, pipe) = stage.admit(0, false);
    stage.subscribe(slow, "a", Subscribe::default());
    let topic = stage.lease("a");
    let before = stage.writes.get();
    topic.unreadable();
    assert!(stage.shard.serve(), "in slices");
    assert!(stage.writes.get() - before <= 65);
    stage.drain();
    stage.drain();
    for (_, pipe) in &watchers {
        assert_eq!(pipe.borrow().lines(), [state, UNREADABLE]);
    }
    assert_eq!(pipe.borrow().lines(), [""; 0]);
    stage.make_room(slow, &pipe, usize::MAX);
    stage.drain();
    assert_eq!(pipe.borrow().lines(), [state, UNREADABLE], "it was blocked");

    let (_, late) = stage.watch("a", Subscribe::default());
    assert_eq!(late.borrow().lines(), [state, UNREADABLE]);
    topic.readable();
    let (_, later) = stage.watch("a", Subscribe::default());
    assert_eq!(later.borrow().lines(), [state]);
    topic.unreadable();
    stage.drain();
    assert_eq!(later.borrow().lines(), [state, UNREADABLE]);
    assert_eq!(late.borrow().lines(), [state, UNREADABLE, UNREADABLE], "another time");
}

#[test]
fn each_watcher_learns_once_that_its_job_is_forgotten() {
    const FORGOTTEN: &str = r#"{"type":"forgotten","of":"a"}"#;
    let mut stage = Stage::new(LogLimits::default());
    let (_, full) = stage.watch("a", Subscribe::default());
    let (_, slow) = stage.watch("a", Subscribe { max_rate: Some(0.01), ..Subscribe::default() });
    let first = stage.report("a", "{}");
    stage.drain();
    stage.report("a", r#"{"progress":0.5}"#);
    stage.forget("a");
    stage.drain();
    stage.drain();
    // States that were not sent by then are forgotten with the job.
    assert_eq!(full.borrow().lines(), [first.json(), FORGOTTEN]);
    assert_eq!(slow.borrow().lines(), [first.json(), FORGOTTEN], "its rate does not hold it back");
    // Who comes later learns it when it subscribes.
    let (_, late) = stage.watch("a", Subscribe::default());
    assert_eq!(late.borrow().lines(), [""; 0]);
    // But not if it was told that the job is known, and the job was forgotten just then.
    let (_, told) = stage.watch("a", Subscribe { expects_known: true, ..Subscribe::default() });
    assert_eq!(told.borrow().lines(), [FORGOTTEN]);
    let anew = stage.report("a", "{}");
    stage.drain();
    assert_eq!(full.borrow().lines(), [first.json(), FORGOTTEN, anew.json()]);
    assert_eq!(late.borrow().lines(), [anew.json()]);
    // A job that comes back before anybody was notified has only changed.
    stage.forget("a");
    let again = stage.report("a", "{}");
    stage.drain();
    assert_eq!(late.borrow().lines(), [anew.json(), again.json()]);
    let end = stage.report("a", r#"{"status":"completed"}"#);
    stage.drain();
    stage.forget("a");
    stage.drain();
    assert_eq!(late.borrow().lines(), [anew.json(), again.json(), end.json()], "it has ended");

    // Who has not been sent the end learns that there is nothing to wait for. The others have seen it.
    stage.report("a", "{}");
    stage.drain();
    let (blocked, pipe) = stage.admit(0, false);
    stage.subscribe(blocked, "a", Subscribe::default());
    stage.report("a", r#"{"status":"completed"}"#);
    stage.drain();
    stage.forget("a");
    stage.drain();
    stage.make_room(blocked, &pipe, usize::MAX);
    stage.drain();
    assert_eq!(pipe.borrow().lines(), [FORGOTTEN]);
    assert!(late.borrow().lines().last().expect("an end").contains("completed"));
}

#[test]
fn pings_are_sent_in_slices_and_to_everybody() {
    let mut stage = Stage::new(LogLimits::default());
    let watchers: Vec<_> = (0..500).map(|_| stage.watch("a", Subscribe::default())).collect();
    stage.report("a", "{}");
    stage.drain();
    stage.pass(PING_INTERVAL + Duration::from_millis(250));
    let before = stage.writes.get();
    assert!(stage.shard.serve());
    assert!(stage.writes.get() - before <= 64);
    stage.drain();
    for (_, pipe) in &watchers {
        assert_eq!(pipe.borrow().lines()[1..], [r#"{"type":"ping","of":"a"}"#]);
    }
}

#[test]
fn a_shard_that_was_long_empty_pings_new_watchers() {
    let mut stage = Stage::new(LogLimits::default());
    for _ in 0..3 {
        stage.pass(Duration::from_secs(3_600));
        let (key, pipe) = stage.watch("a", Subscribe::default());
        stage.report("a", "{}");
        stage.drain();
        for pings in 0..4 {
            assert_eq!(pipe.borrow().lines().len(), 1 + pings);
            stage.pass(PING_INTERVAL - Duration::from_millis(1));
            stage.drain();
            assert_eq!(pipe.borrow().lines().len(), 1 + pings, "not before its time");
            stage.pass(Duration::from_millis(251));
            stage.drain();
        }
        stage.shard.remove(key);
        stage.forget("a");
    }
}

#[test]
fn wake_at_names_the_moment_of_the_next_work() {
    let mut stage = Stage::new(LogLimits::default());
    assert_eq!(stage.shard.wake_at(), None);
    let twice = Subscribe { max_rate: Some(20.0), ..Subscribe::default() };
    stage.report("a", "{}");
    let (_, pipe) = stage.watch("a", twice);
    stage.report("a", "{}");
    stage.drain();
    assert_eq!(pipe.borrow().lines().len(), 1);
    let at = stage.shard.wake_at().expect("its rate allows the next then");
    assert_eq!(at - stage.clock.elapsed(), Duration::from_millis(50));
    stage.pass(Duration::from_millis(49));
    stage.drain();
    assert_eq!(pipe.borrow().lines().len(), 1);
    stage.pass(Duration::from_millis(1));
    stage.drain();
    assert_eq!(pipe.borrow().lines().len(), 2);
}

#[test]
fn a_busy_job_does_not_keep_others_off_a_narrow_wire() {
    let mut stage = Stage::new(LogLimits::default());
    let (key, pipe) = stage.admit(0, true);
    for id in ["busy", "b", "c", "d"] {
        stage.subscribe(key, id, Subscribe::default());
        stage.report(id, "{}");
    }
    stage.drain();
    for _ in 0..8 {
        stage.report("busy", "{}");
        // Enough for one frame, or the rest of one, not for two.
        stage.make_room(key, &pipe, 150);
        stage.drain();
    }
    let lines = pipe.borrow().lines().concat();
    for id in ["busy", "b", "c", "d"] {
        assert!(lines.contains(&format!(r#""job_id":"{id}""#)), "{id}: {lines}");
    }
}

#[test]
fn a_partly_written_end_finishes_once_it_is_whole() {
    let mut stage = Stage::new(LogLimits::default());
    let (key, pipe) = stage.admit(20, false);
    stage.subscribe(key, "a", Subscribe { close_at_end: true, ..Subscribe::default() });
    stage.report("a", END);
    stage.drain();
    assert_eq!(pipe.borrow().bytes.len(), 20);
    assert!(stage.gone().is_empty());
    stage.make_room(key, &pipe, 10);
    assert!(stage.gone().is_empty());
    // The next attempt is nothing to a watcher that is at its end.
    stage.report("a", r#"{"attempt":2}"#);
    stage.report("a", r#"{"attempt":2,"status":"failed"}"#);
    stage.drain();
    stage.make_room(key, &pipe, usize::MAX);
    stage.drain();
    assert!(matches!(stage.gone()[..], [(gone, CloseReason::Finished)] if gone == key));
    assert_eq!(pipe.borrow().lines().len(), 1);
    // Its transport may still say goodbye.
    stage.shard.send(key, b"goodbye\n");
    assert_eq!(pipe.borrow().lines().last().map(String::as_str), Some("goodbye"));
    assert!(stage.gone().is_empty());
}

#[test]
fn who_has_seen_the_end_and_wants_no_more_is_finished_at_once() {
    let mut stage = Stage::new(LogLimits::default());
    let end = stage.report("a", END);
    let options =
        Subscribe { since: Some(end.position()), close_at_end: true, ..Subscribe::default() };
    let (key, pipe) = stage.watch("a", options);
    assert!(matches!(stage.gone()[..], [(gone, CloseReason::Finished)] if gone == key));
    assert!(pipe.borrow().bytes.is_empty());
    let (_, stays) = stage.watch("a", Subscribe { close_at_end: false, ..options });
    stage.report("a", r#"{"attempt":2}"#);
    stage.drain();
    assert!(stage.gone().is_empty());
    assert_eq!(stays.borrow().lines().len(), 1);
}

#[test]
fn a_failed_wire_is_closed_once_and_left_alone() {
    let mut stage = Stage::new(LogLimits::default());
    let (key, pipe) = stage.watch("a", Subscribe::default());
    pipe.borrow_mut().broken = true;
    stage.report("a", "{}");
    stage.drain();
    let writes = stage.writes.get();
    stage.report("a", "{}");
    stage.drain();
    stage.shard.send(key, b"anything\n");
    stage.shard.writable(key);
    assert_eq!(stage.writes.get(), writes);
    assert!(matches!(&stage.gone()[..], [(gone, CloseReason::Failed(_))] if *gone == key));
}

#[test]
fn a_client_that_reads_no_responses_is_closed() {
    let mut stage = Stage::new(LogLimits::default());
    let (key, _pipe) = stage.admit(0, true);
    let answer = [b'x'; 1_024];
    for _ in 0..256 {
        stage.shard.send(key, &answer);
        assert!(stage.gone().is_empty());
    }
    stage.shard.send(key, &answer);
    stage.shard.send(key, &answer);
    assert!(matches!(&stage.gone()[..], [(gone, CloseReason::Failed(_))] if *gone == key));
}

#[test]
fn all_that_was_missed_goes_out_in_one_write() {
    let mut stage = Stage::new(LogLimits::default());
    let watchers: Vec<_> = (0..3).map(|_| stage.watch("a", Subscribe::default())).collect();
    for _ in 0..20 {
        stage.report("a", "{}");
    }
    stage.drain();
    assert_eq!(stage.writes.get(), watchers.len());
    for (_, pipe) in &watchers {
        assert_eq!(pipe.borrow().lines().len(), 20);
    }
}

#[test]
fn an_end_overtakes_no_rate_but_what_follows_waits() {
    let mut stage = Stage::new(LogLimits::default());
    let options = Subscribe { max_rate: Some(1.0), mode: Mode::All, ..Subscribe::default() };
    stage.report("a", "{}");
    let (_, pipe) = stage.watch("a", options);
    stage.report("a", END);
    stage.report("a", r#"{"attempt":2}"#);
    stage.drain();
    let attempts = || -> Vec<bool> {
        pipe.borrow().lines().iter().map(|line| line.contains(r#""attempt":2"#)).collect()
    };
    assert_eq!(attempts(), [false, false], "the end is there at once, the attempt after it is not");
    stage.pass(Duration::from_secs(1));
    stage.drain();
    assert_eq!(attempts(), [false, false, true]);
}

#[test]
fn who_leaves_during_a_pass_costs_nobody_else_his_turn() {
    for leaves in [0, 10, 63, 64, 100, 149] {
        let mut stage = Stage::new(LogLimits::default());
        let mut watchers: Vec<_> =
            (0..150).map(|_| stage.watch("a", Subscribe::default())).collect();
        stage.report("a", "{}");
        assert!(stage.shard.serve(), "a pass of more than one slice");
        for index in [leaves, leaves / 2] {
            let (key, _) = watchers.swap_remove(index.min(watchers.len() - 1));
            stage.shard.remove(key);
        }
        stage.drain();
        assert!(watchers.iter().all(|(_, pipe)| pipe.borrow().lines().len() == 1), "{leaves}");
    }
}

#[test]
fn what_comes_in_during_a_pass_gets_to_everybody() {
    let mut stage = Stage::new(LogLimits::default());
    let watchers: Vec<_> = (0..200).map(|_| stage.watch("a", Subscribe::default())).collect();
    stage.report("a", "{}");
    for _ in 0..3 {
        stage.shard.serve();
        stage.report("a", "{}");
    }
    stage.drain();
    for (_, pipe) in &watchers {
        assert_eq!(pipe.borrow().lines().len(), 4);
    }
}

#[test]
fn who_comes_after_one_that_failed_is_not_taken_for_it() {
    let mut stage = Stage::new(LogLimits::default());
    let (failed, pipe) =
        stage.watch("a", Subscribe { max_rate: Some(1.0), ..Subscribe::default() });
    pipe.borrow_mut().broken = true;
    stage.report("a", "{}");
    stage.drain();
    stage.shard.remove(failed);
    let (key, pipe) = stage.watch("a", Subscribe::default());
    assert_eq!(key, failed, "keys are used again");
    assert!(stage.gone().is_empty());
    stage.report("a", "{}");
    stage.drain();
    assert_eq!(pipe.borrow().lines().len(), 2);
}

/// What a watcher behind a wire with that much room is sent: a lead, a control frame and the present state.
fn corked(room: usize) -> (Stage, milepost_hub::WatcherKey, crate::stage::Pipes) {
    let mut stage = Stage::new(LogLimits::default());
    stage.report("a", "{}");
    let (key, pipe) = stage.admit(room, false);
    stage.shard.cork(key, b"lead\n".to_vec());
    stage.shard.send(key, b"control\n");
    stage.subscribe(key, "a", Subscribe::default());
    assert_eq!(stage.writes.get(), 0, "it is held back");
    stage.shard.uncork(key);
    (stage, key, pipe)
}

#[test]
fn what_is_held_back_leaves_with_the_present_state_in_one_write() {
    let (mut stage, _, pipe) = corked(usize::MAX);
    assert_eq!(stage.writes.get(), 1);
    assert_eq!(pipe.borrow().lines()[..2], ["lead", "control"]);
    assert_eq!(pipe.borrow().lines().len(), 3);
    assert_eq!(stage.shard.take_frames_sent(), 2, "the control frame and the state");
    stage.report("a", "{}");
    stage.drain();
    assert_eq!(pipe.borrow().lines().len(), 4);
}

#[test]
fn what_is_held_back_is_complete_however_little_a_wire_takes() {
    for room in 0..20 {
        let (mut stage, key, pipe) = corked(room);
        stage.report("a", r#"{"message":"newer"}"#);
        stage.drain();
        assert_eq!(pipe.borrow().bytes.len(), room);
        stage.make_room(key, &pipe, usize::MAX);
        let lines = pipe.borrow().lines();
        assert_eq!(lines[..2], ["lead", "control"], "{room}");
        assert!(lines.last().is_some_and(|line| line.contains("newer")), "{room}: {lines:?}");
        assert_eq!(lines.len(), 4, "{room}: {lines:?}");
    }
}

#[test]
fn what_is_held_back_leaves_though_no_state_is_pending() {
    let mut stage = Stage::new(LogLimits::default());
    let (key, pipe) = stage.admit(usize::MAX, false);
    stage.shard.cork(key, b"lead\n".to_vec());
    stage.subscribe(key, "unknown", Subscribe::default());
    stage.shard.uncork(key);
    assert_eq!((pipe.borrow().lines(), stage.writes.get()), (vec!["lead".to_owned()], 1));
    assert!(!stage.shard.is_blocked(key));
}

#[test]
fn whoever_watches_a_log_that_was_shed_has_to_leave() {
    const LIMIT: usize = 4_000;
    let limits = HubLimits { max_log_bytes: LIMIT, ..HubLimits::default() };
    let mut stage = Stage::with(limits);
    let (small, _) = stage.watch("small", Subscribe::default());
    let (reading, _) = stage.watch("large", Subscribe::default());
    let (stalled, _) = stage.admit(0, false);
    stage.subscribe(stalled, "large", Subscribe::default());
    let late = stage.lease("large");
    stage.report("small", "{}");
    stage.report("large", &format!(r#"{{"message":"{}"}}"#, "x".repeat(6_000)));
    stage.run_hub();
    stage.drain();
    let mut gone = stage.gone();
    gone.sort_by_key(|(key, _)| key.0);
    let gone: Vec<_> =
        gone.into_iter().map(|(key, reason)| (key, matches!(reason, CloseReason::Shed))).collect();
    assert_eq!(gone, [(reading, true), (stalled, true)]);
    // Who was let in before and subscribes after it leaves as well.
    let (key, _) = stage.admit(usize::MAX, false);
    stage.shard.subscribe(key, late, Subscribe::default());
    assert!(matches!(stage.gone()[..], [(shed, CloseReason::Shed)] if shed == key));
    assert!(stage.shard.wire(small).is_some());
    assert!(stage.hub.log_bytes() < LIMIT);
}

#[test]
fn watchers_of_both_views_are_served_in_one_pass() {
    let mut stage = Stage::new(LogLimits::default());
    let public = Subscribe { view: View::Public, ..Subscribe::default() };
    let watchers: Vec<_> = (0..10)
        .map(|n| {
            (n % 2, stage.watch("a", if n % 2 == 0 { public } else { Subscribe::default() }).1)
        })
        .collect();
    let (slow, blocked) = stage.admit(0, false);
    stage.subscribe(slow, "a", public);
    let states: Vec<_> =
        (0..3).map(|n| stage.report("a", &format!(r#"{{"metadata":{n}}}"#))).collect();
    stage.drain();
    for (is_full, pipe) in &watchers {
        let expected = states.iter().map(|state| {
            if *is_full == 1 { state.json().to_owned() } else { state.public().json().to_owned() }
        });
        assert_eq!(pipe.borrow().lines(), expected.collect::<Vec<_>>());
    }
    stage.make_room(slow, &blocked, usize::MAX);
    stage.drain();
    assert!(blocked.borrow().lines().iter().all(|line| !line.contains("metadata")));
    assert_eq!(
        blocked.borrow().lines().last().map(String::as_str),
        Some(states[2].public().json())
    );
}
