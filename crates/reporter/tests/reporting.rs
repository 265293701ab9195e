//! A worker, its reporter and a server over real sockets.

#![allow(clippy::unwrap_used, reason = "a fault in here fails the test")]

mod fake_server;

use std::io::{BufRead, Cursor, Read, Write};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_server::{FakeServer, Mode, PATIENCE};
use futures_util::StreamExt;
use milepost_reporter::{Builder, Cause, InvalidUrl, Job, Notice, ProgressReporter, Reporter};
use serde_json::{Value, json};

/// What the reporter had to say.
#[derive(Clone, Default)]
struct Notices(Arc<Mutex<Vec<Notice>>>);

impl Notices {
    fn all(&self) -> Vec<Notice> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, wanted: impl Fn(&Notice) -> bool) -> usize {
        self.all().iter().filter(|notice| wanted(notice)).count()
    }

    fn wait_for(&self, wanted: impl Fn(&Notice) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(&wanted) == 0 {
            assert!(Instant::now() < deadline, "it was not said: {:?}", self.all());
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn is_failing(notice: &Notice) -> bool {
    matches!(notice, Notice::Failing { .. })
}

/// A reporter that is quick, so that tests are.
fn builder() -> (Builder, Notices) {
    let notices = Notices::default();
    let into = notices.clone();
    let builder = Reporter::builder()
        .interval(Duration::from_millis(20))
        .flush_timeout(PATIENCE)
        .on_notice(move |notice| into.0.lock().unwrap().push(notice.clone()));
    (builder, notices)
}

fn connect(server: &FakeServer) -> (Reporter, Notices) {
    let (builder, notices) = builder();
    (builder.connect(&server.url()).unwrap(), notices)
}

fn is_processing(update: &Value) -> bool {
    update["status"] == "processing"
}

#[test]
fn handles_go_between_threads() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<Reporter>();
    check::<Job>();
    check::<ProgressReporter>();
}

#[test]
fn a_job_is_seen_from_its_beginning_to_its_end() {
    let server = FakeServer::start();
    let (reporter, notices) = connect(&server);
    let job = reporter.job("video-42").ttl(Duration::from_secs(60));
    let first = server.wait_for("video-42", is_processing);
    assert_eq!(first["progress"], Value::Null);
    assert_eq!(first["ttl"], 60);

    job.stage("rendering");
    job.unit("frames");
    job.set_total(2_000);
    job.inc(1_000);
    job.inc(500);
    job.message("Rendering frame 1500/2000");
    job.metadata("codec", "h264");
    let update =
        server.wait_for("video-42", |u| u["progress"] == 0.75 && u["metadata"]["codec"] == "h264");
    assert_eq!(update["stage"], "rendering");
    assert_eq!(update["message"], "Rendering frame 1500/2000");
    assert_eq!(update["metadata"]["current"], 1_500);
    assert_eq!(update["metadata"]["total"], 2_000);
    assert_eq!(update["metadata"]["unit"], "frames");
    let clock = update["timestamp"].as_str().unwrap();
    assert!(milepost_protocol::Timestamp::parse(clock).is_some(), "{clock}");

    job.complete_with(json!({"video_url": "https://cdn.example.com/video.mp4"}));
    assert!(reporter.flush(PATIENCE));
    let updates = server.updates("video-42");
    let end = updates.last().unwrap();
    assert_eq!(end["status"], "completed");
    assert_eq!(end["stage"], "complete");
    assert_eq!(end["progress"], 1.0);
    assert_eq!(end["message"], "Job completed");
    assert_eq!(end["result"]["video_url"], "https://cdn.example.com/video.mp4");
    assert_eq!(end["metadata"]["codec"], "h264");
    reporter.close();
    assert_eq!(notices.all(), []);
}

#[test]
fn failures_and_cancellations_say_why() {
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    let failed = reporter.job("failed");
    failed.stage("rendering");
    failed.fail("Out of memory");
    reporter.job("cancelled").cancel("by its owner");
    reporter.close();
    let failed = server.updates("failed").pop().unwrap();
    assert_eq!(failed["status"], "failed");
    assert_eq!(failed["stage"], "rendering");
    assert_eq!(failed["message"], "Error: Out of memory");
    assert_eq!(failed["error"], "Out of memory");
    let cancelled = server.updates("cancelled").pop().unwrap();
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(cancelled["message"], "by its owner");
}

#[test]
fn dropping_everything_delivers_the_end_first() {
    let server = FakeServer::start();
    {
        let (builder, _) = builder();
        // The reporter is gone before the job is: the job keeps what it needs.
        let job = builder.connect(&server.url()).unwrap().job("a");
        job.inc(1);
        job.complete();
    }
    assert_eq!(server.updates("a").last().unwrap()["status"], "completed");
}

#[test]
fn a_job_that_is_dropped_without_an_outcome_has_failed() {
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    let job = reporter.job("a");
    let other = job.clone();
    drop(job);
    assert!(reporter.flush(PATIENCE));
    assert!(server.updates("a").iter().all(is_processing));
    drop(other);
    let end = server.wait_for("a", |u| u["status"] == "failed");
    assert_eq!(end["error"], "dropped without an outcome");

    let job = reporter.job("b");
    let worker = std::thread::spawn(move || {
        job.inc(1);
        panic!("for the test");
    });
    assert!(worker.join().is_err());
    let end = server.wait_for("b", |u| u["status"] == "failed");
    assert!(end["error"].as_str().unwrap().contains("panicked"));
}

#[test]
fn the_first_outcome_counts_and_what_follows_is_passed_over() {
    let server = FakeServer::start();
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    job.clone().complete();
    job.message("too late");
    job.inc(3);
    job.stage("too late");
    job.fail("too late");
    reporter.close();
    assert_eq!(server.updates("a").last().unwrap()["status"], "completed");
    assert_eq!(notices.all(), []);
}

#[test]
fn a_queued_job_is_shown_so_until_it_moves() {
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    let job = reporter.job("a");
    job.queued();
    server.wait_for("a", |u| u["status"] == "queued");
    job.inc(1);
    server.wait_for("a", is_processing);
    job.complete();
}

#[test]
fn a_progress_in_percent_is_a_notice_once_for_each_job() {
    let server = FakeServer::start();
    let (reporter, notices) = connect(&server);
    for name in ["a", "b"] {
        let job = reporter.job(name);
        for progress in [f64::NAN, -0.0001, 1.000_000_1, 50.0, 51.0] {
            job.progress(progress);
        }
        job.stage_within("encoding", 0.5..1.0).progress(52.0);
        server.wait_for(name, |u| u["progress"] == 1.0);
        job.complete();
    }
    let found = notices.0.lock().unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
    let text = "progress must be between 0 and 1, so 50 counts as 1; 50 % is 0.5";
    assert_eq!(found, [format!("a: {text}"), format!("b: {text}")]);
}

#[test]
fn stages_take_the_job_through_their_ranges() {
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    let job = reporter.job("a");
    let upload = job.stage_within("uploading", 0.0..0.5);
    upload.set_total(10);
    upload.inc(5);
    let update = server.wait_for("a", |u| u["progress"] == 0.25);
    assert_eq!(update["stage"], "uploading");
    let captions = job.stage_within("captioning", 0.5..1.0);
    server.wait_for("a", |u| u["progress"] == 0.5 && u["stage"] == "captioning");
    let mut words = captions.track(["one", "two"]);
    words.next();
    words.next();
    let update = server.wait_for("a", |u| u["progress"] == 0.75);
    assert_eq!(update["metadata"]["total"], 2);
    job.complete();
}

#[test]
fn iterators_and_streams_count_what_is_done() {
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    let job = reporter.job("known");
    let mut items = job.track(vec!["a", "b", "c", "d"]);
    items.next();
    assert_eq!(items.len(), 3);
    let update = server.wait_for("known", |u| u["metadata"]["total"] == 4);
    assert_eq!(update["progress"], 0.0, "the first item is not done yet");
    items.next();
    server.wait_for("known", |u| u["progress"] == 0.25);
    assert_eq!(items.count(), 2);
    server.wait_for("known", |u| u["progress"] == 1.0);

    let unknown = reporter.job("unknown");
    assert_eq!(unknown.track((0..9).filter(|n| n % 2 == 0)).count(), 5);
    let update = server.wait_for("unknown", |u| u["metadata"]["current"] == 5);
    assert_eq!((&update["progress"], &update["metadata"]["total"]), (&Value::Null, &Value::Null));

    let stream = reporter.job("stream");
    let tracked = pin!(stream.track_stream(futures_util::stream::iter(0..8)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut all = tracked.collect::<Vec<_>>();
    let ready = Future::poll(std::pin::Pin::new(&mut all), &mut context);
    assert_eq!(ready.map(|items| items.len()), std::task::Poll::Ready(8));
    server.wait_for("stream", |u| u["metadata"]["current"] == 8 && u["progress"] == 1.0);
}

#[test]
fn readers_and_writers_count_bytes() {
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    let job = reporter.job("a");
    job.set_total(12);
    let mut reader = job.wrap_read(Cursor::new(b"one\ntwo\n"));
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!((line.as_str(), rest.as_slice()), ("one\n", b"two\n".as_slice()));
    let mut writer = job.wrap_write(Vec::new());
    writer.write_all(b"four").unwrap();
    writer.flush().unwrap();
    assert_eq!(writer.into_inner(), b"four");
    let update = server.wait_for("a", |u| u["progress"] == 1.0);
    assert_eq!(update["metadata"]["unit"], "bytes");
}

#[test]
fn an_attempt_starts_clean_and_may_follow_one_that_ended() {
    let server = FakeServer::start();
    let (reporter, notices) = connect(&server);
    let first = reporter.job("a").attempt(1);
    first.inc(5);
    first.metadata("gpu", 1);
    first.fail("out of memory");
    let second = reporter.job("a").attempt(2);
    let update = server.wait_for("a", |u| u["attempt"] == 2);
    assert_eq!((&update["status"], &update["metadata"]), (&json!("processing"), &Value::Null));
    second.complete();
    reporter.close();
    let ends: Vec<_> = server.updates("a").into_iter().filter(|u| !is_processing(u)).collect();
    assert_eq!((&ends[0]["status"], &ends[1]["status"]), (&json!("failed"), &json!("completed")));
    assert_eq!(notices.all(), []);
}

#[test]
fn the_same_id_is_the_same_job_while_it_is_under_way() {
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    let one = reporter.job("a");
    let two = reporter.job("a");
    one.inc(1);
    two.inc(1);
    drop(one);
    server.wait_for("a", |u| is_processing(u) && u["metadata"]["current"] == 2);
    two.complete();
}

#[test]
fn an_outage_is_logged_once_and_the_end_arrives_after_it() {
    let address = FakeServer::start().stop();
    let (builder, notices) = builder();
    let reporter = builder.connect(&format!("http://{address}")).unwrap();
    let job = reporter.job("a");
    for n in 0..10_000 {
        job.inc(1);
        job.message(format!("item {n}"));
        job.metadata("n", n);
    }
    notices.wait_for(is_failing);
    job.complete();
    let server = FakeServer::start_at(address);
    reporter.close();
    let updates = server.updates("a");
    assert_eq!(updates.last().unwrap()["status"], "completed");
    assert_eq!(updates.last().unwrap()["metadata"]["current"], 10_000);
    assert!(updates.len() <= 2, "one slot for each job, not a queue: {}", updates.len());
    assert_eq!(notices.count(is_failing), 1);
    assert_eq!(notices.count(|n| *n == Notice::Recovered), 1);
    assert_eq!(notices.all().len(), 2);
}

#[test]
fn children_are_sent_before_their_parents() {
    let address = FakeServer::start().stop();
    let (builder, notices) = builder();
    let reporter = builder.connect(&format!("http://{address}")).unwrap();
    let batch = reporter.job("batch");
    let [a, b] = ["a", "b"].map(|id| batch.child(id));
    let part_of_a = a.child("a-1");
    notices.wait_for(is_failing);
    for job in [batch, a, b, part_of_a] {
        job.complete();
    }
    let server = FakeServer::start_at(address);
    reporter.close();
    assert_eq!(server.ended(), ["a-1", "b", "a", "batch"]);
}

#[test]
fn a_server_that_dies_and_comes_back_sees_the_newest_state() {
    let server = FakeServer::start();
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    job.stage("one");
    server.wait_for("a", |u| u["stage"] == "one");
    let address = server.stop();
    job.stage("two");
    notices.wait_for(is_failing);
    job.stage("three");
    let server = FakeServer::start_at(address);
    server.wait_for("a", |u| u["stage"] == "three");
    notices.wait_for(|n| *n == Notice::Recovered);
    job.complete();
    reporter.close();
    assert_eq!(server.updates("a").last().unwrap()["status"], "completed");
    assert_eq!(notices.count(is_failing), 1);
}

#[test]
fn a_connection_closed_between_two_updates_is_no_failure() {
    let server = FakeServer::start();
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    job.stage("one");
    server.wait_for("a", |u| u["stage"] == "one");
    let address = server.stop();
    let server = FakeServer::start_at(address);
    job.stage("two");
    server.wait_for("a", |u| u["stage"] == "two");
    job.complete();
    reporter.close();
    assert_eq!(notices.all(), []);
}

#[test]
fn a_connection_closed_during_a_request_is_no_failure() {
    let server = FakeServer::with_mode(Mode::HangUpOnTheSecond);
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    for stage in ["one", "two", "three"] {
        job.stage(stage);
        server.wait_for("a", |u| u["stage"] == stage);
    }
    job.complete();
    reporter.close();
    assert_eq!(notices.all(), []);
}

#[test]
fn a_server_that_never_answers_does_not_delay_the_exit() {
    let server = FakeServer::with_mode(Mode::Hang);
    let (builder, notices) = builder();
    let reporter =
        builder.flush_timeout(Duration::from_millis(300)).connect(&server.url()).unwrap();
    let job = reporter.job("a");
    server.wait_for_requests(1);
    job.inc(1);
    job.stage("goes on");
    job.complete();
    reporter.close();
    assert_eq!(notices.count(is_failing), 1);
    assert_eq!(notices.all().last(), Some(&Notice::Undelivered { jobs: 1 }));
}

#[test]
fn a_server_that_hangs_up_or_lies_is_asked_again() {
    for mode in [Mode::HangUp, Mode::Garbage] {
        let server = FakeServer::with_mode(mode);
        let (reporter, notices) = connect(&server);
        let job = reporter.job("a");
        notices.wait_for(is_failing);
        job.complete();
        server.wait_for_requests(2);
        server.set_mode(Mode::Serve);
        reporter.close();
        assert_eq!(server.updates("a").last().unwrap()["status"], "completed");
        assert_eq!(notices.count(is_failing), 1);
        assert_eq!(notices.count(|n| *n == Notice::Recovered), 1);
    }
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let busy = Mode::Problem { name: "shutting-down", status: 503, retry_after: Some(1) };
    let server = FakeServer::with_mode(busy);
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    notices.wait_for(is_failing);
    assert_eq!(server.requests().len(), 1);
    server.set_mode(Mode::Serve);
    job.complete();
    reporter.close();
    // One at first, and one when a second was over, which the end is in.
    assert_eq!(server.requests().len(), 2);
    assert_eq!(server.updates("a").last().unwrap()["status"], "completed");
}

#[test]
fn an_attempt_that_is_over_is_not_reported_to_any_more() {
    let over = Mode::Problem { name: "attempt-ended", status: 409, retry_after: None };
    let server = FakeServer::with_mode(over);
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    notices.wait_for(|n| matches!(n, Notice::AttemptOver { .. }));
    for n in 0..50 {
        job.inc(1);
        job.stage(&format!("stage {n}"));
    }
    assert!(reporter.flush(PATIENCE));
    job.complete();
    reporter.close();
    assert_eq!(server.requests().len(), 1);
    assert_eq!(notices.all().len(), 1);
}

#[test]
fn a_rejected_update_is_notified_once() {
    let refused = Mode::Problem { name: "invalid-update", status: 422, retry_after: None };
    let server = FakeServer::with_mode(refused);
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    notices.wait_for(|n| matches!(n, Notice::Rejected { .. }));
    for _ in 0..5 {
        job.inc(1);
        assert!(reporter.flush(PATIENCE));
    }
    job.complete();
    reporter.close();
    assert_eq!(notices.all().len(), 1);
    let requests = "the first, five that were asked for, the end, and without metadata";
    assert_eq!(server.requests().len(), 8, "{requests}");
}

#[test]
fn jobs_that_change_together_go_in_one_request() {
    let server = FakeServer::with_mode(Mode::Hang);
    let address = server.address();
    let (builder, notices) = builder();
    let reporter =
        builder.flush_timeout(Duration::from_millis(500)).connect(&server.url()).unwrap();
    let first = reporter.job("first");
    server.wait_for_requests(1);
    let jobs: Vec<Job> = (0..100).map(|n| reporter.job(&format!("job-{n}"))).collect();
    server.stop();
    notices.wait_for(is_failing);
    let server = FakeServer::start_at(address);
    while !reporter.flush(PATIENCE) {}
    let requests = server.requests();
    assert_eq!(requests, [("/updates".to_owned(), 101)]);
    for job in jobs {
        job.complete();
    }
    first.complete();
    reporter.close();
    for n in 0..100 {
        assert_eq!(server.updates(&format!("job-{n}")).last().unwrap()["status"], "completed");
    }
}

#[test]
fn each_job_of_a_batch_has_its_own_outcome() {
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    reporter.job("ended").complete();
    assert!(reporter.flush(PATIENCE));
    let address = server.address();
    let (builder, notices) = builder();
    let other = builder.connect(&format!("http://{address}")).unwrap();
    let zombie = other.job("ended");
    let fresh = other.job("fresh");
    notices.wait_for(|n| matches!(n, Notice::AttemptOver { job, .. } if job.as_str() == "ended"));
    server.wait_for("fresh", is_processing);
    zombie.complete();
    fresh.complete();
    other.close();
    assert_eq!(server.updates("fresh").last().unwrap()["status"], "completed");
    assert_eq!(server.updates("ended").len(), 1);
}

#[test]
fn a_server_that_takes_no_batches_gets_the_jobs_one_by_one() {
    let server = FakeServer::with_mode(Mode::BatchRejected);
    let (reporter, notices) = connect(&server);
    for n in 0..5 {
        reporter.job(&format!("job-{n}")).complete();
    }
    reporter.close();
    for n in 0..5 {
        assert_eq!(server.updates(&format!("job-{n}")).last().unwrap()["status"], "completed");
    }
    assert_eq!(notices.all(), []);
}

#[test]
fn at_the_bound_new_jobs_are_dropped_and_ended_ones_evicted() {
    let server = FakeServer::start();
    let (builder, notices) = builder();
    let reporter = builder.max_jobs(2).connect(&server.url()).unwrap();
    let one = reporter.job("one");
    let _two = reporter.job("two");
    for n in 0..10 {
        let beyond = reporter.job(&format!("beyond-{n}"));
        assert_eq!(beyond.id(), None);
        beyond.inc(1);
    }
    assert_eq!(notices.all(), [Notice::TooManyJobs { limit: 2 }]);
    one.complete();
    let deadline = Instant::now() + PATIENCE;
    while reporter.job("three").id().is_none() {
        assert!(Instant::now() < deadline, "no room was made");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_end_that_is_too_large_is_sent_without_its_result() {
    let server = FakeServer::with_mode(Mode::Limit(1_024));
    let (reporter, notices) = connect(&server);
    let (one, two) = (reporter.job("one"), reporter.job("two"));
    one.metadata("codec", "h264");
    one.complete_with("y".repeat(5_000));
    two.fail("z".repeat(5_000));
    reporter.close();
    let end = server.updates("one").pop().unwrap();
    assert_eq!((&end["status"], &end["result"]), (&json!("completed"), &Value::Null));
    assert_eq!(
        (&end["metadata"], &end["truncated"]),
        (&json!({"codec": "h264"}), &json!(["result"]))
    );
    let end = server.updates("two").pop().unwrap();
    assert_eq!(end["status"], "failed");
    assert_eq!(end["error"], "z".repeat(128));
    assert_eq!(end["truncated"], json!(["error", "message"]));
    assert_eq!(notices.count(|n| matches!(n, Notice::Truncated { .. })), 2);
    assert_eq!(notices.count(|n| matches!(n, Notice::Rejected { .. })), 0);
}

#[test]
fn a_notice_says_what_kind_of_failure_it_is() {
    let problem = |name, status| Mode::Problem { name, status, retry_after: None };
    for (mode, expected) in [
        (problem("unauthenticated", 401), Cause::Credential),
        (problem("forbidden", 403), Cause::Credential),
        (problem("broker-unavailable", 503), Cause::Busy),
        (Mode::Foreign(502), Cause::Busy),
        (Mode::Foreign(404), Cause::NoAnswer),
        (Mode::HangUp, Cause::NoAnswer),
    ] {
        let what = format!("{mode:?}");
        let server = FakeServer::with_mode(mode);
        let (reporter, notices) = connect(&server);
        let job = reporter.job("a");
        job.stage("s");
        notices.wait_for(|notice| match notice {
            Notice::Failing { cause, .. } | Notice::Delayed { cause, .. } => {
                assert_eq!(*cause, expected, "{what}");
                true
            }
            _ => false,
        });
        // Then closing it takes no time.
        server.set_mode(Mode::Serve);
    }
}

#[test]
fn a_proxy_that_takes_no_body_costs_no_end() {
    let server = FakeServer::with_mode(Mode::Foreign(413));
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    job.metadata("frame", 1);
    job.complete_with("done");
    // All that can be left out is, and then the end is not given up.
    notices.wait_for(|notice| matches!(notice, Notice::Delayed { .. }));
    server.set_mode(Mode::Serve);
    reporter.close();
    let end = server.updates("a").pop().unwrap();
    assert_eq!(
        (&end["status"], &end["truncated"]),
        (&json!("completed"), &json!(["metadata", "result"]))
    );
    assert_eq!(notices.count(|n| matches!(n, Notice::Rejected { .. })), 0);
}

#[test]
fn a_job_whose_metadata_is_too_large_goes_on_without() {
    let server = FakeServer::with_mode(Mode::Limit(1_024));
    let (reporter, _) = connect(&server);
    let job = reporter.job("a");
    job.metadata("large", "x".repeat(5_000));
    job.stage("reading");
    server.wait_for("a", |update| update["stage"] == "reading");
    job.stage("writing");
    let update = server.wait_for("a", |update| update["stage"] == "writing");
    assert_eq!((&update["metadata"], &update["truncated"]), (&Value::Null, &json!(["metadata"])));
}

#[test]
fn a_result_that_panics_or_never_ends_is_left_out() {
    struct Rude;
    impl serde::Serialize for Rude {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("a fault of the worker's own")
        }
    }
    struct Endless;
    impl serde::Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(std::iter::repeat(1))
        }
    }
    let server = FakeServer::start();
    let (reporter, _) = connect(&server);
    reporter.job("rude").complete_with(Rude);
    reporter.job("endless").complete_with(Endless);
    reporter.close();
    for job in ["rude", "endless"] {
        let end = server.updates(job).pop().unwrap();
        assert_eq!((&end["status"], &end["truncated"]), (&json!("completed"), &json!(["result"])));
    }
}

#[test]
fn a_redirect_that_keeps_the_method_is_followed() {
    let server = FakeServer::start();
    let front = FakeServer::with_mode(Mode::Redirect { status: 308, to: server.url() });
    let (reporter, notices) = connect(&front);
    reporter.job("a").complete();
    assert!(reporter.flush(PATIENCE));
    assert_eq!(server.updates("a").pop().unwrap()["status"], "completed");
    assert_eq!(notices.all(), []);
}

#[test]
fn a_redirect_that_would_change_the_method_fails() {
    for status in [301, 302, 303] {
        let server = FakeServer::start();
        let front = FakeServer::with_mode(Mode::Redirect { status, to: server.url() });
        let (builder, notices) = builder();
        let reporter =
            builder.flush_timeout(Duration::from_millis(200)).connect(&front.url()).unwrap();
        reporter.job("a").complete();
        notices.wait_for(|n| is_failing(n) && n.to_string().contains(&server.url()));
        assert_eq!(server.requests(), []);
    }
}

#[test]
fn what_is_too_large_is_left_out_and_said_once() {
    let server = FakeServer::start();
    let (reporter, notices) = connect(&server);
    let job = reporter.job("a");
    job.metadata("large", "x".repeat(100_000));
    job.metadata("larger", "x".repeat(200_000));
    job.metadata("small", 1);
    job.complete_with("y".repeat(100_000));
    reporter.close();
    let end = server.updates("a").pop().unwrap();
    assert_eq!((&end["status"], &end["result"]), (&json!("completed"), &Value::Null));
    assert_eq!(notices.count(|n| matches!(n, Notice::Truncated { .. })), 1);
}

#[test]
fn ids_and_urls_that_are_none_are_said() {
    let (builder, notices) = builder();
    let reporter = builder.clone().connect("http://localhost:1/behind/a/proxy/").unwrap();
    let job = reporter.job("no spaces");
    job.inc(1);
    job.complete();
    assert!(matches!(notices.all()[..], [Notice::InvalidJobId { .. }]));

    let refused = |url: &str| builder.clone().connect(url).unwrap_err();
    assert!(matches!(refused("ftp://a"), InvalidUrl::Scheme { .. }));
    assert!(matches!(refused("http://a b"), InvalidUrl::Malformed { .. }));
    assert!(matches!(refused("http://a/?b=c"), InvalidUrl::Query { .. }));
    assert!(matches!(refused("localhost:8084"), InvalidUrl::Scheme { .. }));
    let error = refused("ftp://me:secret@host").to_string();
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn a_closed_reporter_takes_nothing_and_says_so_once() {
    let server = FakeServer::start();
    let (reporter, notices) = connect(&server);
    let under_way = reporter.job("under-way");
    reporter.clone().close();
    reporter.job("a").complete();
    reporter.job("b").complete();
    under_way.complete();
    assert_eq!(notices.all(), [Notice::Closed]);
    assert!(reporter.flush(PATIENCE));
    assert_eq!(server.updates("a"), Vec::<Value>::new());
}

#[test]
fn the_old_names_send_the_old_messages() {
    let server = FakeServer::start();
    let progress = ProgressReporter::new(&server.url()).unwrap();
    progress.initialize();
    assert_eq!(progress.get_status("a"), None);
    progress.report("a", "rendering", 7.5, "frame 1", json!({"frame": 1}));
    let update = server.wait_for("a", |u| u["stage"] == "rendering");
    assert_eq!(update["status"], "processing");
    assert_eq!(update["progress"], 1.0);
    assert_eq!(update["message"], "frame 1");
    assert_eq!(update["metadata"], json!({"frame": 1}));
    assert_eq!(progress.get_status("a").unwrap()["message"], "frame 1");

    progress.report("a", "rendering", 0.5, "", None::<()>);
    assert_eq!(progress.get_status("a").unwrap()["progress"], 0.5);
    assert_eq!(progress.get_status("a").unwrap()["metadata"], Value::Null);
    progress.report_complete("a", json!({"url": "u"}), "Job completed");
    progress.report_error("b", "Out of memory", "error");
    progress.close();

    let end = server.updates("a").pop().unwrap();
    assert_eq!((&end["status"], &end["stage"]), (&json!("completed"), &json!("complete")));
    assert_eq!((&end["progress"], &end["result"]), (&json!(1.0), &json!({"url": "u"})));
    assert_eq!(end["message"], "Job completed");
    let end = server.updates("b").pop().unwrap();
    assert_eq!((&end["status"], &end["stage"]), (&json!("failed"), &json!("error")));
    assert_eq!(end["message"], "Error: Out of memory");
    assert_eq!(end["error"], "Out of memory");
}

#[test]
fn the_legacy_methods_never_overwrite_an_end() {
    let address = FakeServer::start().stop();
    let progress = ProgressReporter::new(&format!("http://{address}")).unwrap();
    progress.report_complete("a", 1, "Job completed");
    progress.report("a", "zombie", 0.1, "", ());
    let server = FakeServer::start_at(address);
    progress.close();
    let updates = server.updates("a");
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0]["status"], "completed");
}
