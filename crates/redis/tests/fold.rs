//! The script that reports is the fold of `milepost-protocol`, at work in Redis: the two are run side by side, over the
//! fixtures and over whatever else comes to mind.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use milepost_protocol::{
    Action, ChildStatus, ChildSummary, ChildTotals, Epoch, Fold, Health, JobId, MAX_SAMPLES,
    MAX_STAGES, MAX_TIMELINE_BYTES, Origin, Request, Run, Runs, State, Timeline, Timestamp, Update,
    fold, fold_with_usual,
};
use milepost_redis::{Accepted, Address, Call, Client, Past, Reply, Report, Retention, Source};
use milepost_redis_servers::Server;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Runtime};

/// A job that is folded twice.
struct Twice<'a> {
    client: &'a Client,
    runtime: &'a Runtime,
    job: JobId,
    present: Option<State>,
    timeline: Option<Timeline>,
    /// Of the publish taken last.
    serial: u64,
}

impl<'a> Twice<'a> {
    fn new(client: &'a Client, runtime: &'a Runtime) -> Self {
        static JOBS: AtomicUsize = AtomicUsize::new(0);
        let job = format!("j{}", JOBS.fetch_add(1, Ordering::Relaxed));
        Self {
            client,
            runtime,
            job: JobId::parse(&job).expect("a job id"),
            present: None,
            timeline: None,
            serial: 0,
        }
    }

    /// Reports to Redis, and compares with what the fold makes of it.
    fn step(&mut self, json: &str, origin: Origin, now: Timestamp) {
        let json = json.replace(r#""j1""#, &format!("\"{}\"", self.job));
        let update = Update::parse(Some(&self.job), json.as_bytes()).expect("an update");
        let left = match origin {
            Origin::Report => None,
            Origin::Publish => Some(Source::Publish(self.serial)),
        };
        let names = self.client.names();
        let report = Report::new(&update, left, now);
        let call = Call::report(names, &report, self.client.retention());
        let answer = self.runtime.block_on(self.client.run(&call)).expect("an answer");
        let named = update.attempt().map(u32::from);
        let reply = Reply::parse(answer, named).expect("one of its answers");

        let previous = self.present.as_ref();
        let epoch = match (&reply, previous) {
            (Reply::Accepted(Accepted { state, .. }), _) => state.position().epoch,
            (_, Some(previous)) => previous.position().epoch,
            (_, None) => Epoch(1),
        };
        let now = match &reply {
            Reply::Accepted(Accepted { state, repeated: false, .. }) => clock_of(state, &update),
            _ => now,
        };
        match (fold(previous, &update, origin, epoch, now), reply) {
            (
                Ok(Fold::New(expected)),
                Reply::Accepted(Accepted { state, repeated: false, serial, .. }),
            ) => {
                self.serial = serial.unwrap_or(self.serial);
                assert_eq!(state, expected, "{json}");
                self.timeline = Some(next_timeline(self.timeline.take(), previous, &state, now));
                self.present = Some(expected);
            }
            (Ok(Fold::Repeated), Reply::Accepted(Accepted { state, repeated: true, .. })) => {
                assert_eq!(Some(&state), previous, "{json}");
            }
            (Err(expected), Reply::Refused(refusal)) => assert_eq!(refusal, expected, "{json}"),
            (expected, reply) => panic!("{json}: {reply:?}, and not {expected:?}"),
        }
        let history = self.client.history(&self.job, 100, now);
        let (states, timeline) = self.runtime.block_on(history).expect("an answer");
        assert_eq!(states.last(), self.present.as_ref(), "what is kept");
        assert_eq!(timeline, self.timeline.clone().unwrap_or_default(), "{json}");
    }
}

/// The timeline after a state, as the embedded broker keeps it.
fn next_timeline(
    timeline: Option<Timeline>,
    previous: Option<&State>,
    next: &State,
    now: Timestamp,
) -> Timeline {
    let (Some(mut timeline), Some(previous)) = (timeline, previous) else {
        return Timeline::begun_with(next);
    };
    if timeline.is_due(previous, next, now) {
        timeline.add(previous, next, now);
    }
    timeline
}

/// What Redis' clock said when it folded the update.
fn clock_of(state: &State, update: &Update) -> Timestamp {
    let view = state.view();
    let moment =
        if update.has_timestamp() { view.ended_at.or(view.last_seen_at) } else { view.timestamp };
    Timestamp::parse(&moment.expect("a moment")).expect("RFC 3339")
}

fn with_redis(test: impl FnOnce(&Client, &Runtime)) {
    let server = Server::start();
    let address = Address::parse(&server.url()).expect("an address");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    test(&Client::new(address, Retention::default()), &runtime);
}

#[derive(Deserialize)]
struct Fixture<'a> {
    #[serde(borrow)]
    cases: Vec<Case<'a>>,
}

#[derive(Deserialize)]
struct Case<'a> {
    #[serde(borrow)]
    steps: Vec<Step<'a>>,
}

#[derive(Deserialize)]
struct Step<'a> {
    #[serde(borrow)]
    update: Option<&'a RawValue>,
    update_text: Option<String>,
    origin: Option<String>,
    now: Option<String>,
}

#[test]
fn the_fixtures() {
    let text = include_str!("../../../spec/fixtures/fold.json");
    let fixture: Fixture<'_> = serde_json::from_str(text).expect("the fixtures");
    assert!(fixture.cases.len() > 20);
    with_redis(|client, runtime| {
        for case in fixture.cases {
            let mut twice = Twice::new(client, runtime);
            for step in case.steps {
                let text = step.update_text.as_deref().or(step.update.map(RawValue::get));
                let origin = match step.origin.as_deref() {
                    Some("publish") => Origin::Publish,
                    _ => Origin::Report,
                };
                let now = step.now.as_deref().unwrap_or("2024-05-06T07:08:09.123456Z");
                let now = Timestamp::parse(now).expect("a moment");
                twice.step(text.expect("an update"), origin, now);
            }
        }
    });
}

const STAGES: &[&str] = &[
    r#"["a","b \" \u00e9"]"#,
    r#"["x",{"id":"a","weight":2.5,"skipped":false},{"id":"b \" é","label":null,"weight":null}]"#,
    r#"[{"id":"a","weight":1e-3},{"id":"z","weight":7.1,"skipped":true},{"id":"b \" é"},"y"]"#,
    r#"[{"id":"a","weight":9e307},{"id":"","weight":1}]"#,
    r#"[{"id":"a","weight":9e307},{"id":"q","weight":9e307}]"#,
    "[]",
    "null",
];

/// Fields that matter to the fold, and some that do not.
fn any_update() -> impl Strategy<Value = String> {
    let field = |name: &'static str, values: &'static [&'static str]| {
        let value = prop::option::of(prop::sample::select(values));
        value.prop_map(move |value| value.map(|value| format!("\"{name}\":{value}")))
    };
    let status = field(
        "status",
        &[
            "\"queued\"",
            "\"processing\"",
            "\"processing\"",
            "\"completed\"",
            "\"failed\"",
            "\"cancelled\"",
            "null",
        ],
    );
    let of_the_attempt = (
        field("name", &["\"a\"", "\"\\u00e9\"", "\"\"", "null", "{\"x\":1}"]),
        field("tags", &["[]", "[ \"a\" , \"b,\\\"unit\\\":1\" ]", "null", "7"]),
        field("stages", STAGES),
        field("artifacts", &["[{\"name\":\"x\",\"url\":\"y\",\"stages\":[\"b\"]}]", "null"]),
        field("heartbeat", &["10", "1.50", "0", "null"]),
        field("stall_after", &["60", "1e-3", "null"]),
        field("current", &["1", "2.5", "-3", "1e400", "\"x\"", "null"]),
        field("total", &["3", "7e0", "0", "-1", "0.1", "null"]),
        field("stage_progress", &["0.5", "0.333", "-0.0", "9", "null", "true"]),
        field("started_at", &["\"2024-01-01T00:00:00Z\"", "null"]),
    );
    let of_the_attempt = of_the_attempt.prop_map(|(a, b, c, d, e, f, g, h, i, j)| {
        [a, b, c, d, e, f, g, h, i, j].into_iter().flatten().collect::<Vec<_>>()
    });
    let fields = (
        status,
        field("stage", &["\"a\"", "\"b \\\" \\u00e9\"", "\"\"", "null"]),
        field("progress", &["0", "0.5", "1e0", "7", "-1", "null", "0.1000"]),
        field("attempt", &["1", "2", "3", "4294967295", "null"]),
        field("ttl", &["60", "7200", "null"]),
        field("timestamp", &["\"2024-01-01T00:00:00\"", "null"]),
        field("message", &["\"m\"", "\"%d %s {} \\n\"", "null"]),
        field("x", &["{\"deep\":[1,{\"stage\":2}]}", "123456789012345678901234567890", "\"ü\""]),
    );
    let of_the_attempt = prop_oneof![Just(Vec::new()), of_the_attempt];
    (fields, of_the_attempt, any::<bool>()).prop_map(
        |((a, b, c, d, e, f, g, h), mut more, last)| {
            let mut given: Vec<_> = [h, g, a, b, c, d, e, f].into_iter().flatten().collect();
            let at = if last { given.len() } else { 0 };
            given.splice(at..at, more.drain(..));
            format!("{{{}}}", given.join(","))
        },
    )
}

#[test]
fn whatever_comes() {
    with_redis(|client, runtime| {
        let origin = prop_oneof![3 => Just(Origin::Report), 1 => Just(Origin::Publish)];
        let steps = prop::collection::vec((any_update(), origin), 1..12);
        let serial = AtomicUsize::new(0);
        TestRunner::default()
            .run(&steps, |steps| {
                let mut twice = Twice::new(client, runtime);
                for (json, origin) in steps {
                    // A publish that was heard before counts once: each of these is another one.
                    let serial = serial.fetch_add(1, Ordering::Relaxed);
                    let json = match origin {
                        Origin::Report => json,
                        Origin::Publish if json == "{}" => format!("{{\"n\":{serial}}}"),
                        Origin::Publish => json.replacen('{', &format!("{{\"n\":{serial},"), 1),
                    };
                    twice.step(&json, origin, Timestamp::from_micros(1_700_000_000_000_000));
                }
                Ok(())
            })
            .expect("both agree");
    });
}

#[test]
fn health_changes_once_when_its_time_has_come() {
    with_redis(|client, runtime| {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let job = JobId::parse("stalls").expect("a job id");
        let newest = || {
            let states = runtime.block_on(client.states(&job, 9, now)).expect("an answer");
            (states.len(), states.last().cloned().expect("a state"))
        };
        let report = |json: &str| {
            let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
            runtime.block_on(client.report(&update, now)).expect("an answer");
        };
        let look = |from: i64| {
            let (asked, due) = runtime.block_on(client.due(9)).expect("an answer");
            for job in &due {
                runtime.block_on(client.clock(job, (from, asked), false, now)).expect("an answer");
            }
            (asked, due.len())
        };
        report(r#"{"stall_after":0.05,"heartbeat":3600,"progress":0.5}"#);
        let (_, first) = newest();
        assert_eq!(first.health(), Some(Health::Ok));
        std::thread::sleep(Duration::from_millis(60));
        // No clock counts from before somebody looked.
        let (asked, due) = look(i64::MAX);
        assert_eq!((due, newest().1), (1, first.clone()));
        std::thread::sleep(Duration::from_millis(60));
        // A script that was held up does nothing.
        runtime.block_on(client.clock(&job, (0, asked - 10_000), false, now)).expect("an answer");
        assert_eq!(newest().1, first);
        for _ in 0..3 {
            runtime.block_on(client.clock(&job, (0, asked), false, now)).expect("an answer");
        }
        let (states, stalled) = newest();
        assert_eq!((states, stalled.health()), (2, Some(Health::Stalled)), "exactly once");
        assert_eq!(
            Some(&stalled),
            first.with_health(Health::Stalled, first.position().epoch).as_ref()
        );
        // A report without progress leaves it as it is; one with progress, and then an end, do not.
        report(r#"{"progress":0.5}"#);
        assert_eq!(newest().1.health(), Some(Health::Stalled));
        report(r#"{"progress":0.6}"#);
        assert_eq!(newest().1.health(), Some(Health::Ok));
        report(r#"{"status":"completed"}"#);
        std::thread::sleep(Duration::from_millis(60));
        look(0);
        assert_eq!((newest().1.health(), look(0).1), (None, 0));
    });
}

#[test]
fn an_end_is_folded_for_an_instance_that_skipped_publishes() {
    with_redis(|client, runtime| {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let job = JobId::parse("legacy").expect("a job id");
        let publish = |json: &str, after: u64| {
            let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
            let report = Report::new(&update, Some(Source::Publish(after)), now);
            let call = Call::report(client.names(), &report, client.retention());
            let answer = runtime.block_on(client.run(&call)).expect("an answer");
            Reply::parse(answer, None).expect("one of its answers")
        };
        let serial = |reply: Reply| match reply {
            Reply::Accepted(Accepted { serial: Some(serial), .. }) => serial,
            reply => panic!("{reply:?}"),
        };
        let first = serial(publish(r#"{"progress":0.1}"#, 0));
        // The other instance is at this publish, while this one has skipped it because it was behind.
        let second = serial(publish(r#"{"progress":0.2}"#, first));
        assert_eq!(publish(r#"{"progress":0.4}"#, first), Reply::Stale, "no end");
        let end = r#"{"status":"completed"}"#;
        let at_end = publish(end, first);
        assert!(matches!(&at_end, Reply::Accepted(Accepted { repeated: false, .. })), "{at_end:?}");
        // The other one follows.
        assert_eq!(publish(r#"{"progress":0.3}"#, second), Reply::Stale);
        let at_end = serial(at_end);
        let other = publish(end, second);
        assert!(
            matches!(&other, Reply::AlreadyFolded { serial, .. } if *serial == at_end),
            "{other:?}"
        );
        // Of an instance that is further behind than publishes are remembered, an end may be old.
        let mut last = at_end;
        for number in 0..60 {
            last = serial(publish(&format!(r#"{{"progress":0.{number:02}}}"#), last));
        }
        assert_eq!(publish(r#"{"status":"failed"}"#, first), Reply::Stale);
    });
}

#[test]
fn a_lost_job_is_ended_once_and_only_if_it_is_still_silent() {
    with_redis(|client, runtime| {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let job = JobId::parse("is-lost").expect("a job id");
        let states = || runtime.block_on(client.states(&job, 9, now)).expect("an answer");
        let newest = || states().last().cloned().expect("a state");
        let report = |json: &str| {
            let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
            runtime.block_on(client.report(&update, now)).expect("an answer")
        };
        let look = |from: i64| {
            let (asked, due) = runtime.block_on(client.due(9)).expect("an answer");
            // As many instances do at once.
            for _ in 0..3 {
                runtime.block_on(client.clock(&job, (from, asked), false, now)).expect("an answer");
            }
            due.len()
        };
        report(r#"{"lost_after":0.05,"progress":0.5}"#);
        let before = newest();
        assert_eq!(before.health(), Some(Health::Ok));
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!((look(i64::MAX), newest()), (1, before.clone()), "nobody could be heard");
        // The worker reports after it was found to be silent: the end is not accepted.
        let end = Update::end_of_lost(&job, 1, Duration::from_millis(50));
        report("{}");
        let late = Report::new(&end, Some(Source::Lost(before.position())), now);
        let call = Call::report(client.names(), &late, client.retention());
        let answer = runtime.block_on(client.run(&call)).expect("an answer");
        assert_eq!(Reply::parse(answer, Some(1)).expect("an answer of its"), Reply::Stale);

        let before = newest();
        std::thread::sleep(Duration::from_millis(60));
        look(0);
        let ended = newest();
        let moment = Timestamp::parse(&ended.view().ended_at.expect("an end")).expect("RFC 3339");
        let expected = fold(Some(&before), &end, Origin::Report, before.position().epoch, moment)
            .expect("an end");
        let Fold::New(expected) = expected else { panic!("repeated") };
        let without_fraction = |state: &State| {
            let json = state.json().to_owned();
            let at = json.find(r#""timestamp":"#).expect("a timestamp");
            [&json[..at], &json[at + 42..]].concat()
        };
        assert_eq!(without_fraction(&ended), without_fraction(&expected));
        assert_eq!((states().len(), look(0)), (3, 0), "exactly once");
        let refused = report(r#"{"progress":0.6}"#);
        assert!(matches!(refused, Reply::Refused(_)), "{refused:?}");
    });
}

/// Runs a report when the server's clock is at `now`, in milliseconds.
fn run_at(connection: &mut redis::Connection, call: &Call, now: i64) -> State {
    let code = [
        "local legacy\n",
        include_str!("../src/scripts/attempt.lua"),
        include_str!("../src/scripts/children.lua"),
        include_str!("../src/scripts/pace.lua"),
        include_str!("../src/scripts/timeline.lua"),
        include_str!("../src/scripts/report.lua"),
    ];
    let mut command = redis::cmd("EVAL");
    command.arg(at_the_time(&code));
    // After the name of the command and the script's hash.
    for argument in call.command().args_iter().skip(2) {
        match argument {
            redis::Arg::Simple(argument) => command.arg(argument),
            _ => panic!("a plain argument"),
        };
    }
    command.arg(now / 1_000).arg(now % 1_000 * 1_000);
    let answer: redis::Value = command.query(connection).expect("an answer");
    let state = match &answer {
        redis::Value::Array(parts) => &parts[1],
        state => state,
    };
    let redis::Value::BulkString(state) = state else { panic!("a state, not {answer:?}") };
    State::parse(std::str::from_utf8(state).expect("text")).expect("a state")
}

/// Looks at a job's health when the server's clock is at `now`, in milliseconds; whether it has changed.
fn look_at(connection: &mut redis::Connection, job: &JobId, now: i64) -> bool {
    let code =
        [include_str!("../src/scripts/attempt.lua"), include_str!("../src/scripts/clock.lua")];
    let mut command = redis::cmd("EVAL");
    command.arg(at_the_time(&code)).arg(3);
    command.arg(format!("job_status:{job}")).arg(format!("job_meta:{job}"));
    command.arg("{milepost}:clocks").arg(format!("job_progress:{job}"));
    command.arg("PUBLISH").arg(job.as_str()).arg(0).arg(now).arg("c0ffee").arg(0);
    command.arg(now / 1_000).arg(now % 1_000 * 1_000);
    command.query::<i64>(connection).expect("an answer") == 1
}

/// A script for which the time is what its last two arguments say.
fn at_the_time(code: &[&str]) -> String {
    let clock = "local real = redis\nlocal redis = setmetatable({call = function(name, ...)\n\
        if name == 'TIME' then return {ARGV[#ARGV - 1], ARGV[#ARGV]} end\n\
        return real.call(name, ...)\nend}, {__index = real})\n";
    [clock, &code.concat()].concat()
}

#[derive(Deserialize)]
struct Timelines<'a> {
    now: String,
    #[serde(borrow)]
    cases: Vec<TimelineCase<'a>>,
}

#[derive(Deserialize)]
struct TimelineCase<'a> {
    name: String,
    #[serde(borrow)]
    steps: Vec<TimedUpdate<'a>>,
    samples: Vec<(f64, f64)>,
    stages: Vec<Value>,
    attempts: Vec<Value>,
}

#[derive(Deserialize)]
struct TimedUpdate<'a> {
    at: f64,
    #[serde(borrow)]
    update: &'a RawValue,
}

#[test]
fn the_fixtures_of_timelines() {
    let file: Timelines<'_> =
        serde_json::from_str(include_str!("../../../spec/fixtures/timeline.json"))
            .expect("fixtures");
    let server = Server::start();
    let client = redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let client = Client::new(Address::parse(&server.url()).expect("one"), Retention::default());
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    // In the present: what is written expires by the server's own clock.
    let offset = Timestamp::now().since(Timestamp::parse(&file.now).expect("a moment"));
    let start = Timestamp::parse(&file.now).expect("a moment") + offset;
    for (number, case) in file.cases.iter().enumerate() {
        let job = JobId::parse(&format!("timeline-{number}")).expect("a job id");
        for TimedUpdate { at, update } in &case.steps {
            let update = Update::parse(Some(&job), update.get().as_bytes()).expect("an update");
            let now = start + Duration::from_secs_f64(*at);
            let report = Report::new(&update, None, now);
            let call = Call::report(client.names(), &report, client.retention());
            run_at(&mut connection, &call, now.as_millis());
        }
        let history = client.history(&job, 9, Timestamp::now());
        let (states, timeline) = runtime.block_on(history).expect("an answer");
        let present = states.last().expect("a state");
        assert_eq!(timeline.samples(), case.samples, "{}", case.name);
        let stages = timeline.stages(present);
        assert_eq!(stages.len(), case.stages.len(), "{}", case.name);
        for (stage, expected) in stages.iter().zip(&case.stages) {
            assert_eq!(stage.id, expected["id"].as_str().expect("an id"), "{}", case.name);
            let progress = |name: &str| expected[name].as_f64();
            assert_eq!(stage.progress_from, progress("progress_from"), "{}", case.name);
            assert_eq!(stage.progress_to, progress("progress_to"), "{}", case.name);
            assert_eq!(stage.ended_at.is_some(), expected["ended_at"].is_string(), "{}", case.name);
        }
        // The moments are others here.
        let attempts = |attempts: Value| {
            let attempts = attempts.as_array().expect("attempts").clone();
            attempts.into_iter().map(|attempt| {
                let (number, status, error) =
                    (&attempt["attempt"], &attempt["status"], &attempt["error"]);
                let moments = [&attempt["started_at"], &attempt["ended_at"]].map(Value::is_string);
                format!("{number} {status} {error} {moments:?}")
            })
        };
        let shown = serde_json::to_value(timeline.attempts(present)).expect("JSON");
        let expected = Value::from(case.attempts.clone());
        assert!(attempts(shown).eq(attempts(expected)), "{}", case.name);
    }
}

#[derive(Deserialize)]
struct Estimates<'a> {
    now: String,
    #[serde(borrow)]
    cases: Vec<EstimateCase<'a>>,
}

#[derive(Deserialize)]
struct EstimateCase<'a> {
    name: String,
    #[serde(default)]
    earlier: Vec<f64>,
    #[serde(borrow)]
    steps: Vec<EstimateStep<'a>>,
}

#[derive(Deserialize)]
struct EstimateStep<'a> {
    at: f64,
    #[serde(borrow)]
    update: Option<&'a RawValue>,
    health: Option<String>,
    #[serde(flatten)]
    estimate: BTreeMap<String, Value>,
}

#[test]
fn the_fixtures_of_estimates() {
    let file: Estimates<'_> =
        serde_json::from_str(include_str!("../../../spec/fixtures/eta.json")).expect("fixtures");
    let server = Server::start();
    let client = redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let names =
        Client::new(Address::parse(&server.url()).expect("one"), Retention::default()).names();
    // In the present, to the millisecond: what is written expires by the server's own clock.
    let begun = Timestamp::parse(&file.now).expect("a moment").as_millis();
    let offset = Timestamp::now().as_millis() - begun;
    let moved = |moment: &Value| {
        let moment = Timestamp::parse(moment.as_str().expect("a text")).expect("a moment");
        let moment = Timestamp::from_micros((moment.as_millis() + offset) * 1_000);
        Value::from(moment.with_millis().to_string())
    };
    for (number, case) in file.cases.iter().enumerate() {
        let job = JobId::parse(&format!("estimate-{number}")).expect("a job id");
        let runs = recorded(&case.earlier);
        for EstimateStep { at, update, health, estimate } in &case.steps {
            let elapsed = Duration::from_secs_f64(*at).as_millis();
            let now = begun + offset + i64::try_from(elapsed).expect("not that long");
            let Some(update) = update else {
                assert_eq!(health.as_deref(), Some("lost"));
                assert!(look_at(&mut connection, &job, now), "{}: {at}", case.name);
                continue;
            };
            let update = Update::parse(Some(&job), update.get().as_bytes()).expect("an update");
            let moment = Timestamp::from_micros(now * 1_000);
            let runs = runs.as_deref().filter(|_| update.name().as_deref() == Some("a"));
            let past = Past { runs, ..Past::default() };
            let report = Report { past, ..Report::new(&update, None, moment) };
            let call = Call::report(names, &report, &Retention::default());
            let state = run_at(&mut connection, &call, now);
            let mut fields: BTreeMap<String, Value> =
                serde_json::from_str(state.json()).expect("a state");
            fields.retain(|name, _| name.starts_with("eta"));
            let mut expected = estimate.clone();
            if estimate.get("eta_basis").is_some_and(|basis| basis != "worker") {
                for name in ["eta", "eta_high"] {
                    expected.insert(name.to_owned(), moved(&estimate[name]));
                }
            }
            assert_eq!(fields, expected, "{}: {at}", case.name);
        }
    }
}

#[derive(Deserialize)]
struct StageWeights {
    cases: Vec<StageWeightsCase>,
}

#[derive(Deserialize)]
struct StageWeightsCase {
    name: String,
    repeat: Option<usize>,
    attempts: Vec<Vec<(String, u32)>>,
    #[serde(default)]
    then: Vec<Vec<(String, u32)>>,
}

#[test]
fn what_is_recorded_of_stages_is_the_same() {
    let file: StageWeights =
        serde_json::from_str(include_str!("../../../spec/fixtures/stage-weights.json"))
            .expect("the fixtures");
    let more_than_fits: Vec<_> = (0_u32..64).map(|n| (format!("a long id {n:030}"), n)).collect();
    let others: Vec<_> = (0_u32..9).map(|n| (format!("b{n}"), u32::MAX - n)).collect();
    let cases = file.cases.into_iter().chain([StageWeightsCase {
        name: "bounded".to_owned(),
        repeat: None,
        attempts: vec![more_than_fits.clone(), others, more_than_fits],
        then: Vec::new(),
    }]);
    with_redis(|client, runtime| {
        for (number, case) in cases.enumerate() {
            let (name, mut runs) = (format!("stages-{number}"), Runs::default());
            let repeated = (0..case.repeat.unwrap_or(1)).flat_map(|_| &case.attempts);
            for stages in repeated.chain(&case.then) {
                let stages = stages.iter().map(|(id, millis)| (id.into(), *millis)).collect();
                let run = Run { name: name.as_str().into(), tenths: 10, stages };
                runs.add(&run, Timestamp::from_micros(0));
                runtime.block_on(client.run(&Call::run(&run))).expect("an answer");
                let recorded = runtime.block_on(client.runs(&name)).expect("an answer");
                // All but when it was.
                assert_eq!(recorded.expect("a record")[6..], runs.encode()[6..], "{}", case.name);
                assert!(Runs::decode(&runs.encode()).is_some(), "{}", case.name);
            }
        }
    });
}

/// The durations of a name, as `runs.lua` records them, after attempts that took so many seconds.
fn recorded(earlier: &[f64]) -> Option<Vec<u8>> {
    let mut runs = Runs::default();
    for seconds in earlier {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some minutes")]
        let tenths = (seconds * 10.0) as u32;
        let stages = vec![("a".into(), 1_500), ("b".into(), 4_001)];
        runs.add(&Run { name: "a".into(), tenths, stages }, Timestamp::from_micros(0));
    }
    (!earlier.is_empty()).then(|| runs.encode())
}

/// Reports the same to Redis and to the fold in Rust, each step some time after the one before.
fn compare_estimates(
    connection: &mut redis::Connection,
    names: milepost_redis::Names,
    earlier: &[f64],
    steps: &[(i64, String)],
) {
    static JOBS: AtomicUsize = AtomicUsize::new(0);

    let runs = recorded(earlier);
    let usual = runs.as_deref().and_then(Runs::decode).map(|runs| runs.usual());
    let job = format!("compared-{}", JOBS.fetch_add(1, Ordering::Relaxed));
    let job = JobId::parse(&job).expect("a job id");
    let mut present = None::<State>;
    let mut now = Timestamp::now().as_millis();
    for (after, json) in steps {
        now += after;
        let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
        let moment = Timestamp::from_micros(now * 1_000);
        let is_known = update.name().as_deref() == Some("a");
        let runs = runs.as_deref().filter(|_| is_known);
        let declared = update.unweighted_stages();
        let weights = runs.and_then(Runs::decode).zip(declared);
        let weights = weights.and_then(|(runs, declared)| runs.stage_weights(declared));
        let weights = weights.as_deref();
        let past = Past { runs, stage_weights: weights };
        let report = Report { past, ..Report::new(&update, None, moment) };
        let state = run_at(connection, &Call::report(names, &report, &Retention::default()), now);
        let epoch = state.position().epoch;
        let usual = usual.as_ref().filter(|_| is_known);
        let previous = present.as_ref();
        let origin = Origin::Report;
        let folded = fold_with_usual(previous, &update, origin, epoch, moment, usual, weights);
        let Ok(Fold::New(expected)) = folded else { panic!("{json}: {folded:?}") };
        assert_eq!(state, expected, "{json}");
        present = Some(expected);
    }
}

#[test]
fn estimates_are_the_same_to_the_last_digit() {
    let server = Server::start();
    let client = redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let names =
        Client::new(Address::parse(&server.url()).expect("one"), Retention::default()).names();
    let gap = prop_oneof![0..20_i64, 200..3_000_i64, 5_000..90_000_i64];
    let gain = prop_oneof![Just(0.0), 0.0..1e-6, 0.0..0.01, 0.0..0.1, Just(-0.3)];
    let more = prop::sample::select(vec![
        "",
        "",
        "",
        "",
        "",
        r#","paused":true"#,
        r#","eta":1"#,
        r#","name":"a""#,
        r#","name":"a""#,
        r#","name":"a","stages":["a",{"id":"b"}],"stage":"b""#,
        r#","name":"a","stages":["a","c",{"id":"b","skipped":true}],"stage":"c""#,
        r#","name":"a","stages":["a",{"id":"b","weight":7}],"stage":"b""#,
        r#","stages":["d"],"stage":"d""#,
        r#","stages":null"#,
        r#","attempt":2"#,
        r#","name":"b""#,
        r#","name":null"#,
    ]);
    let earlier = prop::collection::vec(0.0..600.0, 0..40);
    let step = (gap, gain, more);
    let steps = (earlier, prop::collection::vec(step, 5..40));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(40));
    let connection = std::cell::RefCell::new(&mut connection);
    runner
        .run(&steps, |(earlier, steps)| {
            let mut progress = 0.0_f64;
            let steps: Vec<_> = steps
                .into_iter()
                .map(|(gap, gain, more)| {
                    progress = (progress + gain).clamp(0.0, 1.0);
                    // With stages, the progress is theirs.
                    let own = if more.contains("stages") { "stage_progress" } else { "progress" };
                    (gap, format!(r#"{{"ttl":86400,"timestamp":"t","{own}":{progress}{more}}}"#))
                })
                .collect();
            compare_estimates(&mut connection.borrow_mut(), names, &earlier, &steps);
            Ok(())
        })
        .expect("the same");
}

/// What happens to a job with children.
#[derive(Clone, Debug)]
enum FamilyStep {
    /// Its worker reports.
    Report(&'static str),
    /// One of its children gains so much, in hundredths, and the job shows that.
    Child(usize, u32),
    /// A child gains so much, and its worker reports before that is shown.
    ChildAndReport(usize, u32, &'static str),
    /// Its clock is looked at.
    Look,
}

/// A job whose children are added up twice.
struct Parent<'a> {
    connection: &'a mut redis::Connection,
    names: milepost_redis::Names,
    job: JobId,
    children: [Option<ChildSummary>; 3],
    totals: ChildTotals,
    present: State,
    now: i64,
}

impl Parent<'_> {
    fn advance(&mut self, step: &FamilyStep) {
        match step {
            FamilyStep::Child(child, gain) => {
                if self.child(*child, *gain) {
                    let moment = Timestamp::from_micros(self.now * 1_000);
                    let call = Call::children(self.names, &self.job, moment, &Retention::default());
                    let state = run_at(self.connection, &call, self.now);
                    let position = self.present.position().next();
                    let present = Some(&self.present);
                    let expected =
                        self.present.with_children(present, &self.totals, position, moment);
                    self.enter(&state, expected.expect("it changes"));
                }
            }
            // In Redis, a report shows new children only of a job that has shown some.
            FamilyStep::ChildAndReport(child, gain, json) if self.present.children().is_some() => {
                self.child(*child, *gain);
                self.report(json);
            }
            FamilyStep::Report(json) | FamilyStep::ChildAndReport(_, _, json) => self.report(json),
            FamilyStep::Look => {
                if look_at(self.connection, &self.job, self.now) {
                    let epoch = self.present.position().epoch;
                    self.present =
                        self.present.with_health(Health::Lost, epoch).expect("it has a health");
                }
            }
        }
    }

    fn report(&mut self, json: &str) {
        let moment = Timestamp::from_micros(self.now * 1_000);
        let update = Update::parse(Some(&self.job), json.as_bytes()).expect("an update");
        let runs = recorded(&[60.0, 300.0, 900.0, 2_000.0]).filter(|_| update.name().is_some());
        let past = Past { runs: runs.as_deref(), ..Past::default() };
        let report = Report { past, ..Report::new(&update, None, moment) };
        let call = Call::report(self.names, &report, &Retention::default());
        let state = run_at(self.connection, &call, self.now);
        let epoch = self.present.position().epoch;
        let usual = runs.as_deref().and_then(Runs::decode).map(|runs| runs.usual());
        let (previous, usual) = (Some(&self.present), usual.as_ref());
        let folded = fold_with_usual(previous, &update, Origin::Report, epoch, moment, usual, None);
        let Ok(Fold::New(expected)) = folded else { panic!("{json}: {folded:?}") };
        let shown = (self.totals.known() > 0).then_some(()).and_then(|()| {
            let present = Some(&self.present);
            expected.with_children(present, &self.totals, expected.position(), moment)
        });
        self.enter(&state, shown.unwrap_or(expected));
    }

    /// Redis' state is the fold's.
    fn enter(&mut self, state: &State, expected: State) {
        assert_eq!(state.json(), expected.json());
        self.present = expected;
    }

    /// Whether the child has gained anything.
    fn child(&mut self, number: usize, gain: u32) -> bool {
        let before = self.children[number];
        // In whole hundredths: a gain that rounding hides in the sum of all children would change nothing.
        let hundredths = before.map_or(0.0, |child| (child.progress * 100.0).round());
        let progress = (hundredths + f64::from(gain)).min(100.0) / 100.0;
        if before.is_some_and(|before| before.progress >= progress) {
            return false;
        }
        let position = before.map_or(self.present.position(), |child| child.position.next());
        let status = ChildStatus::Processing;
        let child = ChildSummary { status, progress, weight: 1.0, attempt: 1, position };
        if let Some(before) = before {
            self.totals.remove(&before);
        }
        self.totals.add(&child);
        self.children[number] = Some(child);
        let code =
            [include_str!("../src/scripts/children.lua"), include_str!("../src/scripts/child.lua")];
        let mut command = redis::cmd("EVAL");
        command.arg(at_the_time(&code)).arg(1).arg(format!("job_meta:{}", self.job));
        command.arg(self.job.as_str()).arg(format!("child-{number}")).arg(status.as_str());
        command.arg(progress.to_string()).arg(1).arg(1);
        command.arg(format!("{:x}", position.epoch.0)).arg(position.number);
        command.arg(3_600_000).arg(100).arg(200);
        command.arg(self.now / 1_000).arg(self.now % 1_000 * 1_000);
        command.query::<i64>(self.connection).expect("an answer");
        true
    }
}

#[test]
fn estimates_of_parents_are_the_same_to_the_last_digit() {
    static JOBS: AtomicUsize = AtomicUsize::new(0);
    let server = Server::start();
    let client = redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let names =
        Client::new(Address::parse(&server.url()).expect("one"), Retention::default()).names();
    let report = prop::sample::select(vec![
        r#"{"timestamp":"t"}"#,
        r#"{"timestamp":"t","paused":true}"#,
        r#"{"timestamp":"t","metadata":{"paused":true,"eta":1}}"#,
        r#"{"timestamp":"t","eta":75}"#,
        r#"{"timestamp":"t","eta":null}"#,
        r#"{"timestamp":"t","eta":"2100-01-01T00:00:00Z"}"#,
        r#"{"timestamp":"t","status":"queued"}"#,
        r#"{"timestamp":"t","name":"a"}"#,
        r#"{"timestamp":"t","name":"a","progress":null}"#,
        r#"{"timestamp":"t","name":null}"#,
    ]);
    let child = (0..3_usize, 1..12_u32);
    let step = prop_oneof![
        1 => report.clone().prop_map(FamilyStep::Report),
        8 => child.clone().prop_map(|(child, gain)| FamilyStep::Child(child, gain)),
        2 => (child, report).prop_map(|((child, gain), json)| {
            FamilyStep::ChildAndReport(child, gain, json)
        }),
        1 => Just(FamilyStep::Look),
    ];
    let gap = prop_oneof![0..20_i64, 200..9_000_i64, 5_000..40_000_i64];
    let steps = prop::collection::vec((gap, step), 5..40);
    let estimated = ["rate", "history", "both"].map(|basis| (basis, std::cell::Cell::new(0)));
    let connection = std::cell::RefCell::new(&mut connection);
    TestRunner::new(ProptestConfig::with_cases(40))
        .run(&steps, |steps| {
            let job = format!("family-{}", JOBS.fetch_add(1, Ordering::Relaxed));
            let job = JobId::parse(&job).expect("a job id");
            let now = Timestamp::now().as_millis();
            let json = br#"{"timestamp":"t","children_expected":3,"heartbeat":10,"ttl":86400}"#;
            let update = Update::parse(Some(&job), json).expect("an update");
            let moment = Timestamp::from_micros(now * 1_000);
            let report = Report::new(&update, None, moment);
            let call = Call::report(names, &report, &Retention::default());
            let mut connection = connection.borrow_mut();
            let present = run_at(&mut connection, &call, now);
            let (children, totals) = Default::default();
            let connection = &mut **connection;
            let mut parent = Parent { connection, names, job, children, totals, present, now };
            for (gap, step) in &steps {
                parent.now += gap;
                parent.advance(step);
                for (basis, count) in &estimated {
                    let basis = format!("\"eta_basis\":\"{basis}\"");
                    count.set(count.get() + u32::from(parent.present.json().contains(&basis)));
                }
            }
            Ok(())
        })
        .expect("the same");
    for (basis, count) in estimated {
        assert!(count.get() > 5, "{} states have an estimate by {basis}", count.get());
    }
}

#[test]
fn timelines_of_long_attempts_are_the_same_and_bounded() {
    let server = Server::start();
    let client = redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let job = JobId::parse("long").expect("a job id");
    let names =
        Client::new(Address::parse(&server.url()).expect("one"), Retention::default()).names();
    let (mut timeline, mut present): (Option<Timeline>, Option<State>) = (None, None);
    let mut now = Timestamp::now().as_millis();
    let mut report = |json: &str, after: i64| {
        now += after;
        let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
        let moment = Timestamp::from_micros(now * 1_000);
        let call = Call::report(names, &Report::new(&update, None, moment), &Retention::default());
        let state = run_at(&mut connection, &call, now);
        let next = next_timeline(timeline.take(), present.as_ref(), &state, moment);
        let stored: Vec<u8> = redis::cmd("HGET")
            .arg("job_meta:long")
            .arg("timeline")
            .query(&mut connection)
            .expect("bytes");
        assert_eq!(stored, next.encode(), "{json}");
        assert!(stored.len() <= MAX_TIMELINE_BYTES && MAX_TIMELINE_BYTES <= 3 << 10);
        assert_eq!(Timeline::decode(&stored, &state), Some(next.clone()));
        present = Some(state.clone());
        timeline = Some(next.clone());
        (next, state)
    };
    for step in 0..900 {
        let stage = step / 9;
        let json =
            format!(r#"{{"ttl":86400,"stage":"s{stage}","progress":{}}}"#, f64::from(step) / 900.0);
        let (timeline, state) = report(&json, if step < 300 { 400 } else { 1_700 });
        assert!(timeline.samples().len() <= MAX_SAMPLES && !timeline.samples().is_empty());
        assert!(timeline.stages(&state).len() <= MAX_STAGES);
        assert_eq!(timeline.samples()[0], (0.0, 0.0));
    }
    let error =
        format!(r#"{{"status":"failed","progress":0,"error":"one\n two{}\n \n"}}"#, "é".repeat(99));
    let (ended, state) = report(&error, 50);
    assert_eq!(ended.samples().last().expect("samples").1.to_string(), "0.9989");
    let last = ended.stages(&state).pop().expect("stages");
    assert_eq!((&*last.id, last.progress_to), ("s99", Some(0.9989)));
    assert_eq!(last.ended_at.as_deref(), state.view().ended_at.as_deref());
    for attempt in 2..12 {
        report(&format!(r#"{{"attempt":{attempt},"progress":0.5}}"#), 1_000);
        report(r#"{"status":"completed"}"#, 0);
        // A clock may be set back.
        report(&format!(r#"{{"attempt":{},"status":"queued"}}"#, attempt + 1), -3_000);
    }
    let (timeline, state) = report(r#"{"progress":1}"#, 1_000);
    let attempts: Vec<_> = timeline.attempts(&state).iter().map(|of| of.attempt).collect();
    assert_eq!(attempts, [5, 6, 7, 8, 9, 10, 11, 12]);
}

/// Redis does nothing else while a script runs.
#[test]
fn a_pace_of_another_version_begins_anew() {
    /// As a pace was before it had one number more.
    const SHORTEN: &str = "local meta = redis.call('HGET', KEYS[1], 'meta')
        local count, fields, found = select('#', cmsgpack.unpack(meta)), {cmsgpack.unpack(meta)}, 0
        for i = 1, count do
          if type(fields[i]) == 'string' and #fields[i] == 88 then
            fields[i], found = string.sub(fields[i], 1, 80), found + 1
          end
        end
        redis.call('HSET', KEYS[1], 'meta', cmsgpack.pack(unpack(fields, 1, count)))
        return found";
    let server = Server::start();
    let client = redis::Client::open(server.url()).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    let names =
        Client::new(Address::parse(&server.url()).expect("one"), Retention::default()).names();
    let job = JobId::parse("paced").expect("a job id");
    let start = Timestamp::now().as_millis();
    let has_estimate = |connection: &mut redis::Connection, tenth: u32| {
        let json = format!(r#"{{"progress":{}}}"#, f64::from(tenth) / 10.0);
        let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
        let now = start + i64::from(tenth) * 5_000;
        let moment = Timestamp::from_micros(now * 1_000);
        let call = Call::report(names, &Report::new(&update, None, moment), &Retention::default());
        run_at(connection, &call, now).json().contains(r#""eta":"#)
    };
    assert_eq!([0, 1, 2, 3].map(|n| has_estimate(&mut connection, n)), [false, false, false, true]);
    let mut shorten = redis::cmd("EVAL");
    shorten.arg(SHORTEN).arg(1).arg("job_meta:paced");
    assert_eq!(shorten.query::<u32>(&mut connection).expect("a number"), 1);
    assert_eq!([4, 5, 6, 7].map(|n| has_estimate(&mut connection, n)), [false, false, true, true]);
}

#[test]
fn an_error_with_a_long_line_does_not_hold_redis_up() {
    with_redis(|client, runtime| {
        let mut twice = Twice::new(client, runtime);
        let error = format!("a{}b \\r\\n c \\n\\t", " ".repeat(60_000));
        for json in [
            format!(r#"{{"status":"failed","error":"{error}"}}"#),
            r#"{"attempt":2,"progress":0.5}"#.to_owned(),
        ] {
            twice.step(&json, Origin::Report, Timestamp::from_micros(0));
        }
    });
}

#[test]
fn an_older_server_takes_no_reports() {
    // Its `redis` has no such number. A value of false stands for that: what is missing would be looked up in the real table.
    let older = "local redis = setmetatable({REDIS_VERSION_NUM = false}, {__index = redis})\n";
    let report = include_str!("../src/scripts/report.lua");
    let server = Server::start();
    let answer = server.command(&["EVAL", &format!("{older}{report}"), "0", "\x01"]);
    let error = answer.expect_err("nothing is taken").to_string();
    assert!(error.contains("needs Redis 7.0 or later"), "{error}");
}

#[test]
fn a_request_has_the_moment_of_the_server() {
    with_redis(|client, runtime| {
        let job = JobId::parse("a").expect("a job id");
        let update = Update::parse(Some(&job), br#"{"cancellable":true}"#).expect("an update");
        let wrong = Timestamp::parse("2001-02-03T04:05:06Z").expect("a moment");
        let request = Request { action: Action::Cancel, by: None, reason: Some("why".to_owned()) };
        let reported = runtime.block_on(client.report(&update, wrong)).expect("an answer");
        let requested = runtime.block_on(client.request(&job, &request, wrong)).expect("an answer");
        let (Reply::Accepted(reported), Reply::Accepted(requested)) = (reported, requested) else {
            panic!("they are taken")
        };
        let moment = |state: &State, name| {
            let json: Value = serde_json::from_str(state.json()).expect("JSON");
            json.pointer(name).and_then(|at| at.as_str()).map(str::to_owned).expect("a moment")
        };
        let at = moment(&requested.state, "/requested/at");
        assert!(at >= moment(&reported.state, "/started_at"), "{}", requested.state.json());
    });
}
