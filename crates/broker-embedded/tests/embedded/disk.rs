//! The data directory: what outlives the process, and what happens when the disk fails.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use milepost_broker::{Broker, Clock, ReportError, SystemClock};
use milepost_broker_embedded::{Embedded, Limits, StoreError};
use milepost_protocol::{Refusal, State, Status};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::{clock, job, report, state, try_report, update};

const DIRECTORY: &str = "MILEPOST_TEST_DIRECTORY";

fn open(directory: &Path) -> Embedded {
    try_open(directory).expect("the directory can be used")
}

fn try_open(directory: &Path) -> Result<Embedded, StoreError> {
    Embedded::open(Limits::default(), Arc::new(SystemClock::default()), directory)
}

/// Not a test, but the process that the tests below start and kill. Reads lines `<job> <update>` or `probe`, and answers each
/// with a line that begins with `>`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the other tests"]
async fn another_process() {
    let directory = std::env::var_os(DIRECTORY).expect("started by another test");
    let broker = match try_open(Path::new(&directory)) {
        Ok(broker) => broker,
        Err(error) => return println!("> {error}"),
    };
    println!("> open");
    for line in std::io::stdin().lines() {
        let line = line.expect("the other process writes lines");
        let answer = match line.split_once(' ') {
            None => broker.probe().await.map_or_else(|e| e.to_string(), |()| "ok".to_owned()),
            Some((id, json)) => match broker.report(update(id, json)).await {
                Ok(reported) => reported.state.position().to_string(),
                Err(error) => error.to_string(),
            },
        };
        println!("> {answer}");
    }
}

struct Process {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it. The first answer is `open`, or the error.
    fn start(directory: &Path) -> (Self, String) {
        // A file that may not grow causes an error in this process, not a signal that ends it.
        let script = r#"trap "" XFSZ; exec "$0" "$@""#;
        let mut child = Command::new("sh")
            .args(["-c", script])
            .arg(std::env::current_exe().expect("the test's own binary"))
            .args(["disk::another_process", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let stdin = child.stdin.take().expect("it is piped");
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut process = Self { child, stdin, stdout };
        let answer = process.answer();
        (process, answer)
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.stdout.read_line(&mut line).expect("the process writes text");
            assert!(read > 0, "the process ended");
            // The test harness writes to the same pipe, without a line break before the first answer.
            if let Some((_, answer)) = line.trim_end().split_once("> ") {
                return answer.to_owned();
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.stdin, "{line}").expect("the process reads");
        self.answer()
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is ours");
    }
}

#[tokio::test]
async fn an_acknowledged_end_outlives_kill_9() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut ends = Vec::new();
    for round in 0..5 {
        let (mut process, answer) = Process::start(directory.path());
        assert_eq!(answer, "open");
        let id = format!("job-{round}");
        process.ask(&format!(r#"{id} {{"stage":"s","progress":0.5}}"#));
        let end = r#"{"status":"completed","result":[1,2]}"#;
        ends.push((id.clone(), process.ask(&format!("{id} {end}"))));
        process.kill();

        let broker = open(directory.path());
        for (id, position) in &ends {
            let state = state(&broker, id).await.expect("the end is there");
            assert_eq!(&state.position().to_string(), position);
            assert_eq!(state.status(), Status::Completed);
            // The end is latched as before, and repeated with its position.
            let again = try_report(&broker, id, end).await.expect("it may ask again");
            assert!(again.repeated);
            assert_eq!(&again.state.position().to_string(), position);
            let late = try_report(&broker, id, "{}").await.err();
            assert!(
                matches!(late, Some(ReportError::Refused(Refusal::AttemptEnded { .. }))),
                "{late:?}"
            );
        }
    }
}

#[tokio::test]
async fn other_states_are_on_disk_soon_without_being_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut process, _) = Process::start(directory.path());
    process.ask(r#"a {"message":"the first of them"}"#);
    let position = process.ask(r#"a {"message":"find-this-on-disk"}"#);
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_there = || {
        let bytes = fs::read(directory.path().join("jobs.redb")).expect("it is there");
        bytes.windows(17).any(|window| window == b"find-this-on-disk")
    };
    while !is_there() {
        assert!(Instant::now() < deadline, "the state never came to the disk");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The latest states may not be committed yet. Once a later end is acknowledged, they are.
    process.ask(r#"b {"status":"completed"}"#);
    process.kill();
    let broker = open(directory.path());
    let state = state(&broker, "a").await.expect("it is there");
    assert_eq!(state.position().to_string(), position);
}

#[tokio::test]
async fn a_job_keeps_its_position_and_goes_on_in_a_new_epoch() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path());
    report(&broker, "a", r#"{"stage":"s","progress":0.5,"attempt":2,"ttl":9000}"#).await;
    let last = report(&broker, "a", r#"{"stage":"t","progress":0.75}"#).await;
    let timeline = broker.history(&job("a")).await.expect("it answers").timeline;
    assert_eq!(timeline.stages(&last).len(), 2);
    let ended = report(&broker, "b", r#"{"status":"failed"}"#).await;
    drop(broker);

    for _ in 0..2 {
        let broker = open(directory.path());
        assert_eq!(state(&broker, "a").await, Some(last.clone()));
        let history = broker.history(&job("a")).await.expect("it answers");
        assert_eq!(history.states, std::slice::from_ref(&last));
        assert_eq!(history.timeline, timeline);
        assert_eq!(broker.stats().jobs, 2);
        assert!(broker.stats().bytes > 0);
    }
    let broker = open(directory.path());
    let next = report(&broker, "a", "{}").await;
    assert_ne!(next.position().epoch, last.position().epoch);
    assert_eq!(next.position().number, 1);
    assert_eq!((next.attempt(), next.ttl()), (2, Some(9000)));
    assert_eq!(next.view().stage, "t", "the job goes on, only its positions begin anew");
    let after = report(&broker, "a", "{}").await;
    assert_eq!(after.position(), next.position().next());
    let retry = report(&broker, "b", r#"{"attempt":2}"#).await;
    assert_ne!(retry.position().epoch, ended.position().epoch);
}

#[tokio::test]
async fn an_estimate_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let open = || {
        Embedded::open(Limits::default(), Arc::clone(&clock) as Arc<dyn Clock>, directory.path())
            .expect("the directory can be used")
    };
    let memory = Embedded::with_clock(Limits::default(), Arc::clone(&clock) as Arc<dyn Clock>);
    let mut broker = open();
    for step in 0..8 {
        let json = format!(r#"{{"progress":{}}}"#, f64::from(step) / 100.0);
        let expected = report(&memory, "a", &json).await;
        let state = report(&broker, "a", &json).await;
        let eta = |state: &State| {
            state.json().split_once(r#""eta":"#).map(|(_, eta)| eta[..100].to_owned())
        };
        assert_eq!(eta(&state), eta(&expected));
        assert_eq!(eta(&state).is_some(), step >= 3, "{}", state.json());
        drop(broker);
        broker = open();
        clock.advance(Duration::from_secs(5));
    }
    report(&broker, "a", r#"{"status":"completed"}"#).await;
    drop(broker);
    let state = state(&open(), "a").await.expect("it is there");
    assert!(!state.has_pace());
}

#[tokio::test]
async fn durations_of_a_name_are_known_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let open = || {
        Embedded::open(Limits::default(), Arc::clone(&clock) as Arc<dyn Clock>, directory.path())
            .expect("the directory can be used")
    };
    let has_history = |state: &Arc<State>| state.json().contains(r#""eta_basis":"history""#);
    let broker = open();
    report(&broker, "a", r#"{"name":"export"}"#).await;
    clock.advance(Duration::from_secs(60));
    report(&broker, "a", r#"{"status":"completed"}"#).await;
    assert!(has_history(&report(&broker, "b", r#"{"name":"export"}"#).await));
    drop(broker);

    let broker = open();
    assert!(has_history(&report(&broker, "b", r#"{"message":"m"}"#).await), "of the job");
    assert!(has_history(&report(&broker, "c", r#"{"name":"export"}"#).await), "of the name");
    clock.advance(Duration::from_secs(31 * 86_400));
    drop(broker);
    assert!(!has_history(&report(&open(), "d", r#"{"name":"export"}"#).await), "it has expired");
}

#[tokio::test]
async fn a_timeline_that_was_dropped_is_gone_from_the_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path());
    for json in [r#"{"stage":"first"}"#, r#"{"stage":"second"}"#] {
        report(&broker, "a", json).await;
    }
    let bytes = broker.stats().bytes;
    drop(broker);

    // No room for a timeline and a second state.
    let limits = Limits { max_bytes: bytes, ..Limits::default() };
    let broker = Embedded::open(limits, Arc::new(SystemClock::default()), directory.path());
    let broker = broker.expect("the directory can be used");
    let present = report(&broker, "a", r#"{"stage":"third","message":"longer than before"}"#).await;
    let timeline = broker.history(&job("a")).await.expect("it answers").timeline;
    assert_eq!(timeline.stages(&present).len(), 1);
    drop(broker);

    let history = open(directory.path()).history(&job("a")).await.expect("it answers");
    assert_eq!(history.timeline, timeline);
}

#[tokio::test]
async fn what_was_forgotten_stays_so_and_the_rest_keeps_its_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = clock();
    let open =
        || Embedded::open(Limits::default(), clock.clone(), directory.path()).expect("it opens");
    let broker = open();
    for id in ["forgotten", "expired", "expires-meanwhile", "stays"] {
        report(&broker, id, "{}").await;
    }
    report(&broker, "expired", r#"{"ttl":5}"#).await;
    report(&broker, "expires-meanwhile", r#"{"ttl":20}"#).await;
    report(&broker, "stays", r#"{"ttl":100}"#).await;
    assert_eq!(broker.forget(&job("forgotten")).await, Ok(true));
    clock.advance(Duration::from_secs(10));
    broker.expire();
    drop(broker);

    clock.advance(Duration::from_secs(30));
    let broker = open();
    assert_eq!(broker.stats().jobs, 1);
    clock.advance(Duration::from_secs(59));
    broker.expire();
    assert!(state(&broker, "stays").await.is_some());
    clock.advance(Duration::from_secs(1));
    broker.expire();
    assert!(state(&broker, "stays").await.is_none());
    drop(broker);
    assert_eq!(open().stats().jobs, 0);
}

#[tokio::test]
async fn jobs_are_listed_in_the_same_order_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = open(directory.path());
    for id in ["b", "a", "c"] {
        report(&broker, id, "{}").await;
    }
    drop(broker);
    let broker = open(directory.path());
    report(&broker, "new", "{}").await;
    let all = milepost_broker::JobsQuery { limit: 10, ..Default::default() };
    let listed = broker.jobs(&all).await.expect("it answers");
    let ids: Vec<_> = listed.states.iter().map(|state| state.job().as_str()).collect();
    assert_eq!(ids, ["new", "c", "a", "b"]);
}

#[tokio::test]
async fn run_leaves_everything_on_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let broker = Arc::new(open(directory.path()));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn({
        let broker = Arc::clone(&broker);
        async move { broker.run(stopped).await }
    });
    let last = report(&broker, "a", "{}").await;
    stop.send_replace(true);
    running.await.expect("it ends");
    // After closing, an end can no longer be kept, and is rejected.
    let late = try_report(&broker, "a", r#"{"status":"completed"}"#).await.err();
    assert!(matches!(late, Some(ReportError::Unavailable(_))), "{late:?}");
    assert!(broker.probe().await.is_err());
    // The directory's lock is released too, although the broker still exists.
    assert_eq!(state(&open(directory.path()), "a").await, Some(last));
}

#[test]
fn a_directory_in_use_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let (process, answer) = Process::start(directory.path());
    assert_eq!(answer, "open");
    let error = try_open(directory.path()).err().expect("it is in use").to_string();
    assert!(error.contains("jobs.redb") && error.contains("another process uses it"), "{error}");
    process.kill();

    let held = open(directory.path());
    let (process, answer) = Process::start(directory.path());
    assert!(answer.contains("another process uses it"), "{answer}");
    process.kill();
    drop(held);
    open(directory.path());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    fs::write(&file, "no directory").expect("it can be written");
    let error = try_open(&file).err().expect("it is a file").to_string();
    assert!(error.starts_with(file.to_str().expect("text")), "{error}");
    let error = try_open(&file.join("below")).err().expect("it is below a file").to_string();
    assert!(error.contains("Not a directory"), "{error}");

    // Root may write anywhere, so a directory takes the place of the file.
    let readable = directory.path().join("readable");
    fs::create_dir(&readable).expect("it can be made");
    fs::set_permissions(&readable, fs::Permissions::from_mode(0o500)).expect("it is ours");
    if !rustix::process::geteuid().is_root() {
        let error = try_open(&readable).err().expect("it cannot be written").to_string();
        assert!(error.contains("Permission denied"), "{error}");
    }
    fs::create_dir_all(directory.path().join("taken/jobs.redb")).expect("it can be made");
    let error = try_open(&directory.path().join("taken")).err().expect("taken").to_string();
    assert!(error.contains("Is a directory"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.redb");
    for content in
        [b"not a database, but some text that somebody put there".to_vec(), vec![0; 65_536]]
    {
        fs::write(&path, &content).expect("it can be written");
        let error = try_open(directory.path()).err().expect("it is not ours").to_string();
        assert!(error.starts_with(path.to_str().expect("text")), "{error}");
        assert_eq!(fs::read(&path).expect("it is there"), content, "it is left as it was");
    }
}

/// Whatever happened to the file, opening it yields an error, or the jobs that can be read.
#[tokio::test]
async fn a_damaged_file_is_no_panic() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.redb");
    let broker = open(directory.path());
    for n in 0..200 {
        let json = format!(r#"{{"message":"{}"}}"#, "x".repeat(n * 5));
        report(&broker, &format!("job-{n}"), &json).await;
    }
    report(&broker, "end", r#"{"status":"completed"}"#).await;
    drop(broker);
    let whole = fs::read(&path).expect("it is there");
    let used = whole.iter().rposition(|byte| *byte != 0).expect("something is in it") + 1;

    // As a page number, these bytes name a page of 16 KiB. redb fills a page with zeros before it reads it, in a debug build
    // one by one, and the highest orders name pages of gigabytes.
    let damage = 0x15;
    let mut errors = 0;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).expect("it is below")
    };
    for round in 0..150 {
        let mut damaged = whole.clone();
        match round % 3 {
            0 => damaged.truncate(next(used)),
            1 => damaged[next(if round % 2 == 0 { 4096 } else { used })] ^= 1 << next(8),
            _ => {
                let at = next(used);
                damaged[at..].iter_mut().take(4096).for_each(|byte| *byte = damage);
            }
        }
        fs::write(&path, &damaged).expect("it can be written");
        match try_open(directory.path()) {
            Ok(broker) => assert!(broker.stats().jobs <= 201),
            Err(error) => {
                assert!(error.to_string().starts_with(path.to_str().expect("text")), "{error}");
                errors += 1;
            }
        }
    }
    assert!(errors > 0, "the damage is noticed");
}

#[tokio::test]
async fn a_full_disk_is_reported_and_survived() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jobs.redb");
    let (mut process, answer) = Process::start(directory.path());
    assert_eq!(answer, "open");
    let may_grow = |to: Option<u64>| {
        let pid = Pid::from_child(&process.child);
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: to, maximum: None })
            .expect("the process is ours");
    };
    let size = fs::metadata(&path).expect("it is there").len();
    may_grow(Some(size));
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    let result = "x".repeat(60_000);
    for n in 0..2_000 {
        let id = format!("job-{n}");
        let answer = process.ask(&format!(r#"{id} {{"status":"completed","result":"{result}"}}"#));
        if answer.contains("does not answer") {
            refused.push(id);
        } else {
            kept.push(id);
        }
        if refused.len() == 3 {
            break;
        }
    }
    assert_eq!(refused.len(), 3, "a file that may not grow is full at some time");
    assert!(process.ask("probe").contains("the store"), "nor is it ready");

    // Once there is room, pending states are written without a restart.
    let pid = Pid::from_child(&process.child);
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: None, maximum: None })
        .expect("the process is ours");
    let deadline = Instant::now() + Duration::from_secs(60);
    while process.ask("probe") != "ok" {
        assert!(Instant::now() < deadline, "it never recovers");
    }
    let end = r#"{"status":"completed","result":"after"}"#;
    assert!(!process.ask(&format!("after {end}")).contains("does not answer"));
    process.kill();
    let broker = open(directory.path());
    kept.push("after".to_owned());
    for id in kept.iter().chain(&refused) {
        assert!(state(&broker, id).await.is_some(), "{id} is there");
    }
}
