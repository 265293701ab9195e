//! Reporting does no harm, whatever befalls Redis: no call waits for it, the end arrives afterwards, and it is said once
//! that it fails and once that it does no more.

use std::time::Duration;

use milepost_redis_servers::{Data, Options, Proxy, Server, Way};
use milepost_reporter::{Job, Notice};

use crate::bench::{
    PATIENCE, builder, connect, eventually, is_delayed, is_failing, is_recovered, stored, wait_for,
    wait_for_end,
};

/// A worker's calls, many, on a thread of their own, with the end. Whoever gets past this has seen that they waited for
/// nothing that comes after.
fn work(job: Job) {
    let worker = std::thread::spawn(move || {
        job.stage("working");
        for n in 0..10_000 {
            job.inc(1);
            job.message(format!("item {n}"));
            job.metadata("n", n);
        }
        job.complete();
    });
    worker.join().unwrap();
}

#[test]
fn redis_that_is_down_at_first_gets_the_end_when_it_is_up() {
    let mut server = Server::start();
    server.kill();
    let (reporter, notices) = connect(&server.url());
    let jobs: Vec<Job> = (0..300).map(|n| reporter.job(&format!("job-{n}"))).collect();
    notices.wait_for(is_failing);
    let job = reporter.job("a");
    work(job);
    for job in jobs {
        job.complete();
    }
    server.restart(Data::Lost);
    let end = wait_for_end(&server, "a");
    assert_eq!(end["metadata"]["current"], 10_000);
    for n in 0..300 {
        wait_for_end(&server, &format!("job-{n}"));
    }
    // The meta, the timeline and one state.
    assert_eq!(server.answer(&["HLEN", "job_meta:a"]).integer(), Some(3), "no queue");
    reporter.close();
    notices.assert_one_outage();
}

#[test]
fn redis_that_is_slow_is_no_failure() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let delay = Duration::from_millis(50);
    proxy.delay(Way::ToServer, delay);
    proxy.delay(Way::ToClient, delay);
    let (reporter, notices) = connect(&server.url_through(proxy.address()));
    work(reporter.job("a"));
    wait_for_end(&server, "a");
    reporter.close();
    notices.assert_none();
}

#[test]
fn redis_that_is_frozen_holds_nobody_up() {
    let server = Server::start();
    let (reporter, notices) = connect(&server.url());
    let job = reporter.job("a");
    job.stage("before");
    wait_for(&server, "a", |state| state["stage"] == "before");
    server.freeze();
    work(job);
    notices.wait_for(is_failing);
    server.thaw();
    wait_for_end(&server, "a");
    notices.wait_for(is_recovered);
    reporter.close();
    notices.assert_one_outage();
}

#[test]
fn a_black_hole_delays_neither_the_job_nor_its_exit() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (builder, notices) = builder();
    let builder = builder.flush_timeout(Duration::from_millis(300));
    let reporter = builder.connect(&server.url_through(proxy.address())).unwrap();
    let job = reporter.job("a");
    job.stage("before");
    wait_for(&server, "a", |state| state["stage"] == "before");
    assert!(reporter.flush(PATIENCE));
    // With so little time a slow machine may have failed, too.
    let before = notices.all().len();
    proxy.hold(Way::ToClient);
    work(job);
    reporter.close();
    let seen = &notices.all()[before..];
    let undelivered = Notice::Undelivered { jobs: 1 };
    assert!(matches!(seen, [Notice::Failing { .. }, last] if *last == undelivered), "{seen:?}");
}

#[test]
fn a_connection_that_leads_nowhere_is_given_up() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let (reporter, notices) = connect(&server.url_through(proxy.address()));
    let job = reporter.job("a");
    job.stage("before");
    wait_for(&server, "a", |state| state["stage"] == "before");
    proxy.hold(Way::ToServer);
    work(job);
    notices.wait_for(is_failing);
    // What was swallowed stays so: those connections never answer.
    proxy.cut();
    proxy.heal();
    wait_for_end(&server, "a");
    notices.wait_for(is_recovered);
    reporter.close();
    notices.assert_one_outage();
}

#[test]
fn a_full_redis_accepts_ends_and_is_logged_once() {
    let server = Server::start();
    let (reporter, notices) = connect(&server.url());
    let mut jobs: Vec<Job> = (0..5).map(|n| reporter.job(&format!("job-{n}"))).collect();
    for n in 0..5 {
        wait_for(&server, &format!("job-{n}"), |state| state["status"] == "processing");
    }
    server.answer(&["CONFIG", "SET", "maxmemory", "1"]);
    for job in &jobs {
        job.stage("full");
    }
    let seen = notices.wait_for(is_delayed);
    assert!(seen.to_string().contains("maxmemory"), "{seen}");
    jobs.remove(0).complete_with("in spite of all");
    let end = wait_for_end(&server, "job-0");
    assert_eq!(end["result"], "in spite of all");
    // Also one that begins and ends meanwhile, with scripts that Redis does not know.
    server.answer(&["SCRIPT", "FLUSH"]);
    reporter.job("late").complete();
    wait_for_end(&server, "late");
    for job in &jobs {
        assert_ne!(
            stored(&server, &format!("job_status:{}", job.id().unwrap())).unwrap()["stage"],
            "full"
        );
    }

    server.answer(&["CONFIG", "SET", "maxmemory", "0"]);
    for n in 1..5 {
        wait_for(&server, &format!("job-{n}"), |state| state["stage"] == "full");
    }
    notices.wait_for(is_recovered);
    for job in jobs {
        job.complete();
    }
    reporter.close();
    let all = notices.all();
    assert!(matches!(all[..], [Notice::Delayed { .. }, Notice::Recovered]), "{all:?}");
}

#[test]
fn a_job_whose_keys_are_somebody_else_s_does_not_hinder_others() {
    let server = Server::start();
    server.answer(&["RPUSH", "job_meta:a", "not Milepost's"]);
    let (reporter, notices) = connect(&server.url());
    let job = reporter.job("a");
    let seen = notices.wait_for(is_delayed).to_string();
    assert!(seen.contains("WRONGTYPE"), "{seen}");
    work(reporter.job("b"));
    wait_for_end(&server, "b");
    job.complete();
    server.answer(&["DEL", "job_meta:a"]);
    wait_for_end(&server, "a");
    notices.wait_for(is_recovered);
    reporter.close();
    let all = notices.all();
    assert!(matches!(all[..], [Notice::Delayed { .. }, Notice::Recovered]), "{all:?}");
}

#[test]
fn an_end_needs_no_memory_for_what_a_legacy_worker_left() {
    let server = Server::start();
    let left = r#"{"job_id":"a","status":"processing","stage":"rendering","progress":0.5}"#;
    server.answer(&["SETEX", "job_status:a", "3600", left]);
    server.answer(&["CONFIG", "SET", "maxmemory", "1"]);
    let (reporter, _) = connect(&server.url());
    reporter.job("a").complete();
    wait_for_end(&server, "a");
    reporter.close();
}

#[test]
fn a_replica_accepts_nothing_until_it_is_a_primary() {
    let server = Server::start();
    let (reporter, notices) = connect(&server.url());
    let job = reporter.job("a");
    job.stage("before");
    wait_for(&server, "a", |state| state["stage"] == "before");
    let nobody = milepost_redis_servers::free_port().to_string();
    server.answer(&["REPLICAOF", "127.0.0.1", &nobody]);
    work(job);
    let seen = notices.wait_for(is_failing).to_string();
    assert!(seen.to_lowercase().contains("read"), "{seen}");
    server.answer(&["REPLICAOF", "NO", "ONE"]);
    wait_for_end(&server, "a");
    notices.wait_for(is_recovered);
    reporter.close();
    notices.assert_one_outage();
}

#[test]
fn a_password_that_changed_is_said_without_the_password() {
    let options = Options { password: Some("before".into()), ..Options::default() };
    let server = Server::with(options);
    let (reporter, notices) = connect(&server.url());
    let job = reporter.job("a");
    job.stage("one");
    wait_for(&server, "a", |state| state["stage"] == "one");
    server.answer(&["CONFIG", "SET", "requirepass", "after"]);
    job.stage("two");
    wait_for(&server, "a", |state| state["stage"] == "two");
    // The connection that was let in stays, until it breaks.
    server.answer(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    work(job);
    let seen = notices.wait_for(is_failing).to_string();
    assert!(seen.contains("authentication") && !seen.contains("before"), "{seen}");
    server.answer(&["CONFIG", "SET", "requirepass", "before"]);
    wait_for_end(&server, "a");
    notices.wait_for(is_recovered);
    reporter.close();
    notices.assert_one_outage();
}

#[test]
fn flushed_scripts_and_closed_connections_are_no_failure() {
    let server = Server::start();
    let (reporter, notices) = connect(&server.url());
    let job = reporter.job("a");
    for (stage, what) in [
        ("one", &["SCRIPT", "FLUSH"][..]),
        ("two", &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]),
        ("three", &["SCRIPT", "FLUSH"]),
    ] {
        job.stage(stage);
        wait_for(&server, "a", |state| state["stage"] == stage);
        server.answer(what);
    }
    job.complete();
    wait_for_end(&server, "a");
    reporter.close();
    notices.assert_none();
}

#[test]
fn a_heartbeat_restores_a_job_that_redis_lost() {
    let mut server = Server::start();
    let (builder, notices) = builder();
    let builder = builder.heartbeat(Duration::from_millis(100));
    let reporter = builder.connect(&server.url()).unwrap();
    let job = reporter.job("a");
    job.stage("before");
    wait_for(&server, "a", |state| state["stage"] == "before");
    server.kill();
    notices.wait_for(is_failing);
    server.restart(Data::Lost);
    wait_for(&server, "a", |state| state["stage"] == "before");
    notices.wait_for(is_recovered);
    work(job);
    wait_for_end(&server, "a");
    reporter.close();
    notices.assert_one_outage();
}

#[test]
fn an_ended_attempt_stays_ended_and_hinders_no_other() {
    let server = Server::start();
    let (first, _) = connect(&server.url());
    first.job("a").complete_with(1);
    wait_for_end(&server, "a");
    first.close();

    let (reporter, notices) = connect(&server.url());
    let zombie = reporter.job("a");
    let others: Vec<Job> = (0..200).map(|n| reporter.job(&format!("job-{n}"))).collect();
    notices.wait_for(|n| matches!(n, Notice::AttemptOver { job, .. } if job.as_str() == "a"));
    zombie.stage("undead");
    zombie.fail("undead");
    for job in others {
        job.complete();
    }
    reporter.close();
    for n in 0..200 {
        wait_for_end(&server, &format!("job-{n}"));
    }
    assert_eq!(stored(&server, "job_status:a").unwrap()["result"], 1);
    assert_eq!(notices.all().len(), 1);

    let (reporter, notices) = connect(&server.url());
    reporter.job("a").attempt(2).complete_with(2);
    reporter.close();
    assert_eq!(stored(&server, "job_status:a").unwrap()["result"], 2);
    notices.assert_none();
}

#[test]
fn a_busy_job_is_sent_once_per_interval_and_kept() {
    let server = Server::start();
    let (reporter, notices) = connect(&server.url());
    let job = reporter.job("a");
    let done = |server: &Server| stored(server, "job_status:a")?["metadata"]["current"].as_u64();
    eventually(
        || "it does not move".to_owned(),
        || {
            job.inc(1);
            done(&server).filter(|current| *current > 100)
        },
    );
    job.complete();
    reporter.close();
    wait_for_end(&server, "a");
    notices.assert_none();
}
