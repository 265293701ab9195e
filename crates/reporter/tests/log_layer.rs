//! A job's log: lines that the program writes, and those that it logs with `tracing` inside the job's span.

mod fake_server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_server::{FakeServer, Mode};
use milepost_reporter::{LogLayer, Notice, Reporter};
use tracing::Instrument;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::prelude::*;

#[test]
fn events_in_a_jobs_span_are_lines_of_its_log() {
    let server = FakeServer::start();
    let reporter = Reporter::connect(&server.url()).unwrap();
    let (job, other) = (reporter.job("a"), reporter.job("b"));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(LogLayer::new()), || {
        tracing::info!("outside of any job");
        let span = job.span();
        let entered = span.enter();
        tracing::info!(rows = 400, file = "in.csv", "opened {}", "the file");
        tracing::warn!(target: "milepost", "a notice of the reporter");
        // Inside a span of the program's own, and of another job.
        tracing::info_span!("step", n = 1).in_scope(|| {
            tracing::debug!(why = ?Some("disk"), "nearly full");
            other.span().in_scope(|| tracing::error!("of the other job\nin two lines"));
        });
        drop(entered);
        tracing::info!("outside again");
        span.in_scope(|| tracing::info!("the last"));
    });
    assert_eq!(
        server.wait_for_log("a", 3),
        [
            "INFO opened the file rows=400 file=in.csv",
            "DEBUG nearly full why=Some(\"disk\")",
            "INFO the last",
        ]
    );
    assert_eq!(server.wait_for_log("b", 2), ["ERROR of the other job", "in two lines"]);
    job.complete();
    other.complete();
    reporter.close();
}

#[test]
fn a_filter_of_the_layer_leaves_events_out_but_not_the_span() {
    let server = FakeServer::start();
    let reporter = Reporter::connect(&server.url()).unwrap();
    let job = reporter.job("a");
    let layer = LogLayer::new().with_filter(LevelFilter::WARN);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        job.span().in_scope(|| {
            tracing::info!("too little");
            tracing::warn!("enough");
        });
    });
    job.complete();
    // What was logged just before the end is sent as well.
    reporter.close();
    assert_eq!(server.wait_for_log("a", 1), ["WARN enough"]);
}

#[test]
fn a_job_of_an_async_program_is_instrumented() {
    let server = FakeServer::start();
    let reporter = Reporter::connect(&server.url()).unwrap();
    let job = reporter.job("a");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(LogLayer::new()), || {
        let work = async { tracing::info!("within a future") }.instrument(job.span());
        futures_util::FutureExt::now_or_never(work).expect("it never waits");
        // A job that nobody reports has no span.
        let silent = Reporter::silent().job("x");
        silent.span().in_scope(|| tracing::info!("nowhere"));
    });
    assert_eq!(server.wait_for_log("a", 1), ["INFO within a future"]);
    job.complete();
    reporter.close();
}

#[test]
fn lines_survive_an_outage_and_what_does_not_fit_is_counted() {
    let server = FakeServer::with_mode(Mode::HangUp);
    let reporter = Reporter::connect(&server.url()).unwrap();
    let job = reporter.job("a");
    for number in 0..700 {
        job.log(format!("line {number}"));
    }
    server.wait_for_requests(2);
    server.set_mode(Mode::Serve);
    job.log("after the outage");
    let lines = server.wait_for_log("a", 512);
    assert!(lines[0].ends_with("lines are left out here)"), "{}", lines[0]);
    assert_eq!(server.wait_for_log("a", 513).last().unwrap(), "after the outage");
    job.complete();
    reporter.close();
}

#[test]
fn a_server_without_logs_is_noticed_once_and_harms_nothing() {
    let notices = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&notices);
    let server = FakeServer::with_mode(Mode::Problem {
        name: "not-found-here",
        status: 405,
        retry_after: None,
    });
    let reporter = Reporter::builder()
        .on_notice(move |notice| into.lock().unwrap().push(notice.clone()))
        .flush_timeout(Duration::from_secs(5))
        .connect(&server.url())
        .unwrap();
    let job = reporter.job("a");
    for _ in 0..3 {
        job.log("nobody wants it");
    }
    job.complete();
    reporter.close();
    let notices = notices.lock().unwrap();
    let about_logs = notices.iter().filter(|notice| matches!(notice, Notice::LogNotSent { .. }));
    assert_eq!(about_logs.count(), 1, "{notices:?}");
}
