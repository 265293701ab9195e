//! A watcher that stands still costs what it did when it stopped, however much its job goes on. A process of
//! its own, because it looks at what the process holds.

#[expect(dead_code, reason = "what the tests of a shard share, of which this needs a part")]
#[path = "../shard/stage.rs"]
mod stage;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use milepost_broker::{Broker, SystemClock};
use milepost_broker_embedded::{Embedded, Limits};
use milepost_hub::{Hub, HubLimits, LogLimits, Notice, Shard, Subscribe, Wire};
use milepost_protocol::{JobId, State, Timestamp, Update};

use crate::stage::{PING_INTERVAL, Stage};

/// What the process holds in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is there");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok());
    kib.expect("a number") << 10
}

#[test]
fn a_stalled_watcher_holds_no_more_than_a_frame() {
    let mut stage = Stage::new(LogLimits::default());
    let stalled: Vec<_> = (0..100)
        .map(|room| {
            let (key, pipe) = stage.admit(room, false);
            stage.subscribe(key, "a", Subscribe::default());
            (key, pipe)
        })
        .collect();
    let update = format!(r#"{{"message":"{}"}}"#, "x".repeat(900));
    let mut go_on = |updates: usize| {
        for _ in 0..updates {
            stage.report("a", &update);
            stage.drain();
        }
        resident()
    };
    let before = go_on(1_000);
    // 10 MB of updates for each of 100 watchers.
    let after = go_on(10_000);
    assert!(after.saturating_sub(before) < 8 << 20, "from {before} to {after} bytes");
    assert!(stalled.iter().all(|(_, pipe)| pipe.borrow().bytes.len() < 100));
}

/// A wire that takes everything.
struct Sink;

impl Wire for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn frame(state: &State, out: &mut Vec<u8>) {
        out.extend_from_slice(state.json().as_bytes());
    }
    fn ping(_: Option<&JobId>, _: Timestamp, _: &mut Vec<u8>) {}
    fn notice(_: Notice, _: &JobId, _: Timestamp, _: &mut Vec<u8>) {}
}

/// An update of about 250 bytes, as workers send.
fn typical(job: &str, n: u32) -> Update {
    let json = format!(
        r#"{{"stage":"rendering","progress":0.{n:04},"message":"Rendering frame {n}/2000","timestamp":"2026-01-01T00:00:00Z","metadata":{{"current_frame":{n},"total_frames":2000,"fps":24.5}}}}"#,
    );
    Update::parse(Some(&job_id(job)), json.as_bytes()).expect("an update")
}

fn job_id(id: &str) -> JobId {
    JobId::parse(id).expect("a job id")
}

/// What a report costs, and what a job does: to look at, in a release build, with `--nocapture`.
#[tokio::test]
#[ignore = "prints figures and asserts nothing"]
async fn figures() {
    const JOBS: usize = 10_000;
    let clock = Arc::new(SystemClock::default());
    let broker = Arc::new(Embedded::with_clock(Limits::default(), clock.clone()));
    let hub = Hub::new(broker.clone(), 1, HubLimits::default());
    let mut shard = Shard::<Sink>::new(0, hub.mailboxes()[0].clone(), clock, PING_INTERVAL);
    let ids: Vec<String> = (0..JOBS).map(|n| format!("job-{n:05}")).collect();

    let per_job = |from: usize| resident().saturating_sub(from) / JOBS;
    let before = resident();
    for id in &ids {
        broker.report(typical(id, 1)).await.expect("there is room");
    }
    let known = resident();
    let state = broker.state(&job_id(&ids[0])).await.expect("it answers").expect("it is known");
    println!("a known job, whose state has {} bytes: {}", state.json().len(), per_job(before));
    let mut leases = Vec::with_capacity(JOBS);
    for id in &ids {
        leases.push(hub.topic(&job_id(id)).await.expect("it attaches"));
    }
    println!("its topic: {} bytes", per_job(known));
    let topics = resident();
    for lease in leases {
        let key = shard.admit(Sink, false);
        shard.subscribe(key, lease, Subscribe::default());
    }
    println!("its watcher, without the socket: {} bytes", per_job(topics));
    println!("all of it: {} bytes", per_job(before));

    let rounds = 20;
    for (what, watched) in [("watched by one each", true), ("watched by nobody", false)] {
        if !watched {
            for key in shard.keys() {
                shard.remove(key);
            }
        }
        let updates: Vec<Update> =
            (0..rounds).flat_map(|n| ids.iter().map(move |id| typical(id, n))).collect();
        let count = u32::try_from(updates.len()).expect("not so many");
        let began = Instant::now();
        for update in updates {
            broker.report(update).await.expect("there is room");
            shard.serve();
        }
        println!("a report to a job {what}: {} ns", (began.elapsed() / count).as_nanos());
        println!("all of it then: {} bytes", per_job(before));
    }
    let parsed = Instant::now();
    for n in 0..100_000 {
        std::hint::black_box(typical("job-00001", n % 10_000));
    }
    println!(
        "of which before the broker, to parse: {} ns",
        (parsed.elapsed() / 100_000).as_nanos()
    );
}
