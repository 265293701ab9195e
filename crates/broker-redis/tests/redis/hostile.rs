//! Data from Redis is input: whatever is under one job's keys, or is published on its channel, affects only that job.

use std::sync::Arc;

use milepost_broker::{JobsQuery, LogPart, Unavailable};
use milepost_broker_contract::{Harness, Recorder, eventually, numbers};
use milepost_protocol::{JobId, LogLine, Timestamp};
use milepost_redis_servers::Server;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::{instance_of, message, publish, setex, update};

/// A healthy job beside a broken one.
struct Healthy {
    job: JobId,
    listener: Arc<Recorder>,
    reported: u64,
}

impl Healthy {
    async fn new(it: &Harness) -> Self {
        let job = it.job("healthy");
        Self { listener: it.attach(&job).await, job, reported: 0 }
    }

    /// Reports, and checks that every state so far has arrived in order over the subscription.
    async fn step(&mut self, it: &Harness) {
        let state = it.report(&self.job, "{}").await;
        self.reported += 1;
        self.listener.hears(&state).await;
        assert_eq!(numbers(&self.listener.updates()), (1..=self.reported).collect::<Vec<_>>());
    }
}

async fn lists(it: &Harness, job: &JobId) -> bool {
    let query = JobsQuery { limit: 1_000, ..JobsQuery::default() };
    let jobs = it.broker().jobs(&query).await.expect("a page, whatever is wrong with one job");
    jobs.states.iter().any(|state| state.job() == job)
}

#[derive(Clone, Debug)]
enum Attack {
    Write(&'static str, Value),
    Publish(Vec<u8>),
    ForgeState { other_job: bool, epoch: u64, ahead: u64 },
    Forgotten,
}

#[derive(Clone, Debug)]
enum Value {
    Text(Vec<u8>),
    Hash(Vec<u8>, Vec<u8>),
    List(Vec<u8>),
    Set(Vec<u8>),
    Sorted(Vec<u8>),
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let update = r#"{"status":"processing","message":"#;
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 0..9)
            .prop_map(move |tail| { [update.as_bytes(), b"\"", &tail, b"\"}"].concat() }),
        (1..3_000_usize).prop_map(|depth| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"metadata":{{"a":{open}{close}}}}}"#).into_bytes()
        }),
        Just(vec![b'x'; 200_000]),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let fields = ["meta", "0", "1", "timeline", "log", "l1", "totals", "cchild", "x"];
    prop_oneof![
        bytes().prop_map(Value::Text),
        (prop::sample::select(fields.to_vec()), bytes())
            .prop_map(|(field, value)| Value::Hash(field.as_bytes().to_vec(), value)),
        bytes().prop_map(Value::List),
        bytes().prop_map(Value::Set),
        bytes().prop_map(Value::Sorted),
    ]
}

fn attack() -> impl Strategy<Value = Attack> {
    let keys = vec!["job_status:", "job_meta:", "job_children:", "job_open_children:"];
    prop_oneof![
        4 => (prop::sample::select(keys), value()).prop_map(|(key, value)| Attack::Write(key, value)),
        2 => bytes().prop_map(Attack::Publish),
        2 => (any::<bool>(), 1..3_u64, 0..5_u64).prop_map(|(other_job, epoch, ahead)| {
            Attack::ForgeState { other_job, epoch, ahead }
        }),
        1 => Just(Attack::Forgotten),
    ]
}

fn run(server: &Server, job: &JobId, other: &JobId, attack: &Attack) {
    let channel = format!("job_progress:{job}");
    let publish = |message: &[u8]| {
        server.answer(&[&b"PUBLISH"[..], channel.as_bytes(), message]);
    };
    match attack {
        Attack::Write(prefix, value) => {
            let key = format!("{prefix}{job}");
            let key = key.as_bytes();
            server.answer(&[&b"DEL"[..], key]);
            match value {
                Value::Text(text) => server.answer(&[&b"SET"[..], key, text]),
                Value::Hash(field, value) => server.answer(&[&b"HSET"[..], key, field, value]),
                Value::List(text) => server.answer(&[&b"LPUSH"[..], key, text]),
                Value::Set(text) => server.answer(&[&b"SADD"[..], key, text]),
                Value::Sorted(text) => server.answer(&[&b"ZADD"[..], key, b"1", text]),
            };
        }
        Attack::Publish(message) => publish(message),
        Attack::ForgeState { other_job, epoch, ahead } => {
            let named = if *other_job { other } else { job };
            publish(forged(named, &format!("{epoch}-{ahead}"), "completed").as_bytes());
        }
        Attack::Forgotten => {
            publish(format!(r#"{{"type":"forgotten","job_id":"{job}"}}"#).as_bytes());
        }
    }
}

fn forged(job: &JobId, position: &str, status: &str) -> String {
    format!(
        r#"{{"job_id":"{job}","status":"{status}","stage":"s","message":"FORGED","timestamp":"2026-01-01T00:00:00Z","attempt":1,"position":"{position}"}}"#
    )
}

#[test]
fn one_jobs_bad_data_is_its_own_trouble() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = Server::start();
    runtime.block_on(async {
        let it = instance_of(&server).await;
        let mut healthy = Healthy::new(&it).await;
        let attacks = prop::collection::vec(attack(), 1..6);
        let mut runner = TestRunner::default();
        for case in 0..100 {
            let attacks = attacks.new_tree(&mut runner).expect("a case").current();
            let job = it.job(&format!("bad{case}"));
            if case % 2 == 0 {
                it.report(&job, "{}").await;
            }
            let recorder = Arc::new(Recorder::default());
            let _ = it.broker().attach(&job, recorder.clone()).await;
            for attack in &attacks {
                run(&server, &job, &healthy.job, attack);
                healthy.step(&it).await;
                let _ = it.broker().state(&job).await;
                let _ = it.broker().history(&job).await;
                let _ = it.logs().log(&job, LogPart { after: None, most: 10 }).await;
                let child = format!(r#"{{"parent_id":"{job}"}}"#);
                let _ = it.try_report(&it.job(&format!("child{case}")), &child).await;
            }
            let again = Arc::new(Recorder::default());
            let _ = it.broker().attach(&job, again.clone()).await;
            healthy.step(&it).await;
            it.detach(&job, &again).await;
            assert!(lists(&it, &healthy.job).await, "{attacks:?}");
            it.broker().probe().await.expect("the instance is ready");
        }
        it.close().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_an_unreadable_job_receives_the_reason() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let mut healthy = Healthy::new(&it).await;
    let job = it.job("bad");
    server.answer(&["HSET", &format!("job_status:{job}"), "a", "b"]);
    let attached = it.broker().attach(&job, Arc::new(Recorder::default())).await;
    let reason = attached.expect_err("it cannot be read");
    assert!(
        matches!(&reason, Unavailable::Unreadable(why) if why.contains("WRONGTYPE")),
        "{reason}"
    );
    let state = it.broker().state(&job).await;
    assert!(matches!(&state, Err(Unavailable::Unreadable(_))), "{state:?}");
    let history = it.broker().history(&job).await;
    assert!(matches!(&history, Err(Unavailable::Unreadable(_))), "{history:?}");
    assert!(it.broker().stats().unreadable > 0);
    healthy.step(&it).await;
    server.answer(&["DEL", &format!("job_status:{job}")]);
    assert!(it.attach(&job).await.attached().is_empty(), "and it is well again");
    it.close().await;
}

/// Makes a job's state and its meta unreadable.
type MakeUnreadable<'a> = &'a dyn Fn(&str, &str);

/// Makes the broker read the job.
fn have_read(server: &Server, job: &JobId) {
    publish(server, job, &format!(r#"{{"type":"forgotten","job_id":"{job}"}}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_learns_once_that_its_job_is_unreadable() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let mut healthy = Healthy::new(&it).await;
    let other = it.job("other");
    let of_another_type = |status: &str, _: &str| {
        server.answer(&["DEL", status]);
        server.answer(&["HSET", status, "a", "b"]);
    };
    let fails_the_script = |_: &str, meta: &str| {
        // MessagePack text that is cut off.
        server.answer(&[&b"HSET"[..], meta.as_bytes(), b"meta", b"\xda"]);
    };
    let of_another_job = |_: &str, meta: &str| {
        server.answer(&["COPY", &format!("job_meta:{other}"), meta]);
    };
    it.report(&other, "{}").await;
    let all: [MakeUnreadable<'_>; 3] = [&of_another_type, &fails_the_script, &of_another_job];
    for (number, make_unreadable) in all.into_iter().enumerate() {
        let job = it.job(&format!("bad{number}"));
        let (status, meta) = (format!("job_status:{job}"), format!("job_meta:{job}"));
        let listener = it.attach(&job).await;
        for times in 1..3 {
            make_unreadable(&status, &meta);
            let before = it.broker().stats().unreadable;
            for reads in 1..3 {
                have_read(&server, &job);
                eventually("the job is read", || async {
                    it.broker().stats().unreadable >= before + reads
                })
                .await;
                assert_eq!(listener.unreadable(), (times, times - 1), "case {number}");
            }
            healthy.step(&it).await;
            server.answer(&["DEL", &status, &meta]);
            have_read(&server, &job);
            let is_readable = || async { listener.unreadable() == (times, times) };
            eventually("the job can be read again", is_readable).await;
            let state = it.report(&job, "{}").await;
            listener.hears(&state).await;
            server.answer(&["DEL", &status, &meta]);
            have_read(&server, &job);
            listener.is_notified_of_forgetting().await;
        }
    }
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_message_is_refused_and_cuts_nothing() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let mut healthy = Healthy::new(&it).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    let mut publish_huge = async |megabytes: usize| {
        let text = "x".repeat(megabytes << 20);
        publish(&server, &job, &format!(r#"{{"status":"processing","message":"{text}"}}"#));
        healthy.step(&it).await;
    };
    for megabytes in [1, 12] {
        publish_huge(megabytes).await;
    }
    assert_eq!(it.broker().stats().refused, 2);
    assert!(!server.log().contains("output buffer limits"), "{}", server.log());
    // Redis itself closes the connection here (`client-output-buffer-limit pubsub 32mb`); Valkey 9 does not. Nothing is missed
    // in either case.
    publish_huge(30).await;
    let is_valkey = server
        .answer(&["INFO", "server"])
        .text()
        .is_some_and(|info| info.contains("valkey_version"));
    assert!(is_valkey || server.log().contains("output buffer limits"), "{}", server.log());
    publish(&server, &job, &update(&job, 1));
    eventually("the readable states arrive", || async { listener.latest().is_some() }).await;
    assert_eq!(
        listener.updates().iter().map(|state| message(state)).collect::<Vec<_>>(),
        ["frame 1"]
    );
    it.close().await;
}

/// Redis closes a subscribed connection with more than 32 MB to send, and that of an instance serves all of its jobs.
#[tokio::test(flavor = "multi_thread")]
async fn huge_values_under_a_jobs_keys_cut_nothing() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let mut healthy = Healthy::new(&it).await;
    let (unknown, known) = (it.job("unknown"), it.job("known"));
    it.report(&known, "{}").await;
    let listener = it.attach(&known).await;
    it.attach(&unknown).await;
    for job in [&unknown, &known] {
        let before = it.broker().stats().refused;
        let end = (40 << 20).to_string();
        server.answer(&["SETRANGE", &format!("job_status:{job}"), &end, "x"]);
        have_read(&server, job);
        eventually("the value is refused", || async { it.broker().stats().refused > before }).await;
        healthy.step(&it).await;
        server.answer(&["DEL", &format!("job_status:{job}")]);
    }
    // The newest state, which both a read and the answer to a legacy publish may have in them.
    let huge = vec![b'x'; 40 << 20];
    server.answer(&[&b"HSET"[..], format!("job_meta:{known}").as_bytes(), b"0", &huge]);
    it.detach(&known, &listener).await;
    let attached = it.broker().attach(&known, Arc::new(Recorder::default())).await;
    assert!(matches!(&attached, Err(Unavailable::Unreadable(_))), "{attached:?}");
    for frame in 0..3 {
        publish(&server, &known, &update(&known, frame));
        healthy.step(&it).await;
    }
    // A value and a state that would each be accepted, and a meta.
    let both = it.job("both");
    it.report(&both, "{}").await;
    let [half, key] = [vec![b'x'; 16 << 20], format!("job_meta:{both}").into_bytes()];
    server.answer(&[&b"SET"[..], format!("job_status:{both}").as_bytes(), &half]);
    server.answer(&[&b"HSET"[..], &key, b"0", &[&half[..], b"yyyy"].concat()]);
    let attached = it.broker().attach(&both, Arc::new(Recorder::default())).await;
    assert!(matches!(&attached, Err(Unavailable::Unreadable(_))), "{attached:?}");
    server.answer(&["DEL", &format!("job_status:{both}")]);
    server.answer(&[&b"HSET"[..], &key, b"meta", &huge]);
    it.attach(&both).await;
    publish(&server, &both, &update(&both, 1));
    healthy.step(&it).await;
    assert!(!server.log().contains("output buffer limits"), "{}", server.log());
    it.close().await;
}

/// What a read of a log sends is bounded, whatever another program wrote in place of its lines.
#[tokio::test(flavor = "multi_thread")]
async fn huge_lines_in_a_jobs_log_are_not_sent() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    it.report(&job, "{}").await;
    let lines = vec![LogLine::new("a line", None, Timestamp::from_micros(0)); 100];
    it.logs().append_log(&job, lines).await.expect("room");
    let read = || it.logs().log(&job, LogPart { after: None, most: 1_000 });
    assert_eq!(read().await.expect("an answer").expect("a known job").lines.len(), 100);
    let key = format!("job_meta:{job}").into_bytes();
    let sent = || -> usize {
        let stats = server.answer(&["INFO", "stats"]);
        let stats = stats.text().expect("a text");
        let bytes = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        bytes.expect("a line").parse().expect("a number")
    };
    let before = sent();
    let long = format!("{{{}}}", " ".repeat(60_000)).into_bytes();
    for line in 1..=100 {
        server.answer(&[&b"HSET"[..], &key, format!("l{line}").as_bytes(), &long]);
    }
    let lines = read().await.expect("an answer").expect("a known job").lines;
    assert_eq!(lines.len(), (1 << 20) / long.len());
    server.answer(&[&b"HSET"[..], &key, b"l2", &vec![b'x'; 40 << 20]]);
    let page = read().await;
    assert!(matches!(&page, Err(Unavailable::Unreadable(_))), "{page:?}");
    assert!(sent() - before < 4 << 20, "{} bytes", sent() - before);
    it.close().await;
}

/// Anybody who may publish can do no more than a legacy worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_state_is_not_believed() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    let unknown = it.attach(&job).await;
    publish(&server, &job, &forged(&job, "1-1", "completed"));
    let first = it.report(&job, "{}").await;
    unknown.hears(&first).await;
    let epoch = first.position().to_string();
    let epoch = epoch.split('-').next().expect("an epoch");
    // A position of another epoch, a future one, and exactly the next one.
    for position in ["1-1".to_owned(), format!("{epoch}-9"), format!("{epoch}-2")] {
        let state = forged(&job, &position, "completed");
        publish(&server, &job, &state);
        publish(&server, &job, &state.replace("\"}", r#"","proof":"0123456789abcdef"}"#));
        publish(&server, &job, &forged(&it.job("b"), &position, "processing"));
    }
    publish(&server, &job, &format!(r#"{{"type":"forgotten","job_id":"{job}"}}"#));
    let second = it.report(&job, "{}").await;
    unknown.hears(&second).await;
    let received = unknown.updates();
    assert_eq!(
        received,
        [first, second],
        "{:?}",
        received.iter().map(|state| state.json()).collect::<Vec<_>>()
    );
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_workers_refused_update_is_counted() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    let refused = [
        r#"{"status":"running"}"#,
        r#"{"progress":"50"}"#,
        r#"{"progress":NaN}"#,
        r#"{"timestamp":1700000000}"#,
    ];
    for json in refused {
        publish(&server, &job, json);
    }
    publish(&server, &job, &update(&job, 1));
    eventually("the readable states arrive", || async { listener.latest().is_some() }).await;
    assert_eq!(it.broker().stats().refused, refused.len() as u64);
    // Under the key, where a worker that cannot publish leaves them.
    for (number, json) in refused.into_iter().enumerate() {
        let (job, before) = (it.job(&format!("key{number}")), it.broker().stats().refused);
        setex(&server, &job, json);
        it.attach(&job).await;
        eventually("the value is refused", || async { it.broker().stats().refused > before }).await;
    }
    it.close().await;
}
