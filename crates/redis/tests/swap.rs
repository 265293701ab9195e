//! A report that the client folds itself leaves in Redis what the script would have left: the two are run side by side.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use milepost_protocol::{Action, JobId, Request, Timestamp, Update};
use milepost_redis::{Accepted, Address, Call, Client, Reply, Report, Retention};
use milepost_redis_servers::Server;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use redis::Value;
use tokio::runtime::{Builder, Runtime};

struct Pair {
    runtime: Runtime,
    /// Remembers its jobs.
    client: Client,
    retention: Retention,
    connection: redis::aio::MultiplexedConnection,
    _server: Server,
}

/// The moment that stands for all others in what is compared.
const MASK: &str = "\"…\"";

impl Pair {
    fn new(retention: Retention) -> Self {
        let server = Server::start();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = Client::new(Address::parse(&server.url()).expect("an address"), retention);
        let connection = runtime.block_on(async {
            let client = redis::Client::open(server.url()).expect("an address");
            client.get_multiplexed_async_connection().await.expect("a connection")
        });
        Self { runtime, client, retention, connection, _server: server }
    }

    fn job() -> JobId {
        static JOBS: AtomicUsize = AtomicUsize::new(0);
        JobId::parse(&format!("job-{:06}", JOBS.fetch_add(1, Ordering::Relaxed))).expect("an id")
    }

    /// Two jobs, one of which the client folds. The bytes of their states do not differ by the digits of their epochs.
    fn two_jobs(&self) -> [JobId; 2] {
        loop {
            let jobs = [Self::job(), Self::job()];
            let states = [self.report(&jobs[0], "{}"), self.report_by_script(&jobs[1], "{}")];
            let [one, other] = states.map(|reply| state_of(&reply).json().len());
            if one == other {
                return jobs;
            }
        }
    }

    /// Reports through the client, which may fold it itself.
    fn report(&self, job: &JobId, json: &str) -> Reply {
        let update = Update::parse(Some(job), json.as_bytes()).expect("an update");
        self.runtime.block_on(self.client.report(&update, Timestamp::now())).expect("an answer")
    }

    /// Has the script fold it.
    fn report_by_script(&self, job: &JobId, json: &str) -> Reply {
        let update = Update::parse(Some(job), json.as_bytes()).expect("an update");
        let report = Report::new(&update, None, Timestamp::now());
        let call = Call::report(self.client.names(), &report, &self.retention);
        let answer = self.runtime.block_on(self.client.run(&call)).expect("an answer");
        Reply::parse(answer, update.attempt().map(u32::from)).expect("one of its answers")
    }

    fn query<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut query = redis::cmd(command[0]);
        query.arg(&command[1..]);
        let mut connection = self.connection.clone();
        self.runtime.block_on(query.query_async(&mut connection)).expect("an answer")
    }

    /// All that Redis keeps of a job, with a mask for what depends on the moment, the id and chance.
    fn kept(&self, job: &JobId) -> BTreeMap<String, String> {
        let (status_key, job_key) = (format!("job_status:{job}"), format!("job_meta:{job}"));
        let unpack = "local values = {cmsgpack.unpack(redis.call('HGET', KEYS[1], 'meta'))} \
                      local pace = values[33] and {struct.unpack('>dddddddddd', values[33])} \
                      values[33] = pace and pace[2] .. ' ' .. pace[3] .. ' ' .. pace[5] \
                      for at = 1, 40 do values[at] = type(values[at]) .. ' ' .. tostring(values[at]) end \
                      return values";
        let values: Vec<Vec<u8>> = self.query(&["EVAL", unpack, "1", &job_key]);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut kept: BTreeMap<_, _> = values
            .iter()
            .enumerate()
            // When it expires, the server, the secret, the epoch, and moments.
            .filter(|(index, _)| {
                ![1, 2, 3, 4, 15, 16, 18, 19, 24, 25, 27, 29, 34, 35].contains(index)
            })
            .map(|(index, value)| (format!("meta {index}"), text(value)))
            .collect();
        let fields: BTreeMap<String, Vec<u8>> = self.query(&["HGETALL", &job_key]);
        for (field, value) in
            fields.iter().filter(|(field, _)| !["meta", "timeline"].contains(&&***field))
        {
            kept.insert(format!("state {field}"), masked(&text(value), job));
        }
        let state: String = self.query(&["GET", &status_key]);
        kept.insert("status".to_owned(), masked(&state, job));
        for (name, key) in [("status", &status_key), ("job", &job_key)] {
            let left: i64 = self.query(&["PTTL", key]);
            kept.insert(format!("{name} expires"), format!("{}", (left + 5_000) / 10_000));
        }
        kept
    }
}

/// A state with a mask for its moments, its epoch and its id.
fn masked(state: &str, job: &JobId) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in state.replace(job.as_str(), "job").split('"') {
        let is_moment = part.len() > 19 && part.as_bytes()[10] == b'T' && part.ends_with('Z');
        let number =
            part.rsplit_once('-').filter(|(epoch, _)| epoch.len() > 10).map(|(_, number)| number);
        if parts.last().is_some_and(|name| name == "paused_seconds") {
            parts.push(":…,".to_owned());
            continue;
        }
        parts.push(if is_moment { MASK } else { number.unwrap_or(part) }.to_owned());
    }
    parts.join("\"")
}

fn retention() -> Retention {
    Retention { history_bytes: 3_000, ..Retention::default() }
}

fn state_of(reply: &Reply) -> &milepost_protocol::State {
    match reply {
        Reply::Accepted(Accepted { state, .. }) => state,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_folded_report_leaves_what_the_script_leaves() {
    let pair = Pair::new(retention());
    let update = prop_oneof![
        8 => (0_u32..=100, 0_u32..3).prop_map(|(progress, stage)| format!(
            r#"{{"status":"processing","progress":{},"stage":"stage {stage}"}}"#, f64::from(progress) / 100.0)),
        8 => (0_u32..=100).prop_map(|progress| format!(r#"{{"progress":{},"message":"ä {progress}"}}"#, f64::from(progress) / 100.0)),
        4 => (0_u32..50).prop_map(|current| format!(r#"{{"current":{current},"total":40}}"#)),
        2 => "x{0,400}".prop_map(|text| format!(r#"{{"metadata":"{text}"}}"#)),
        1 => Just(r#"{"progress":null}"#.to_owned()),
        1 => Just(r#"{"paused":true}"#.to_owned()),
        1 => Just(r#"{"eta":"2030-01-01T00:00:00Z"}"#.to_owned()),
        1 => Just(r#"{"ttl":100,"timestamp":"2024-01-01T00:00:00Z"}"#.to_owned()),
        1 => Just(r#"{"name":"n","tags":["a"],"stall_after":600}"#.to_owned()),
        1 => Just(r#"{"tags":null,"stages":[{"id":"stage 1","weight":3},"stage 2"]}"#.to_owned()),
        1 => Just(r#"{"stage":"stage 1","stage_progress":0.5}"#.to_owned()),
        1 => Just(r#"{"status":"queued"}"#.to_owned()),
        1 => Just(r#"{"status":"failed","error":"e"}"#.to_owned()),
        1 => Just(r#"{"attempt":2}"#.to_owned()),
    ];
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(150)
    });
    let updates = proptest::collection::vec(update, 1..60);
    runner
        .run(&updates, |updates| {
            let [folded, by_script] = pair.two_jobs();
            for json in &updates {
                let (one, other) =
                    (pair.report(&folded, json), pair.report_by_script(&by_script, json));
                match (&one, &other) {
                    (Reply::Accepted(one), Reply::Accepted(other)) => {
                        let masks = [(one, &folded), (other, &by_script)];
                        let [one, other] = masks.map(|(of, job)| masked(of.state.json(), job));
                        prop_assert_eq!(one, other);
                    }
                    (Reply::Refused(_), Reply::Refused(_)) => {}
                    (one, other) => prop_assert!(false, "{one:?}, and not {other:?}"),
                }
            }
            prop_assert_eq!(pair.kept(&folded), pair.kept(&by_script));
            Ok(())
        })
        .expect("the same");
    assert!(pair.client.swaps() > 300, "{} were folded by the client", pair.client.swaps());
}

#[test]
fn reports_of_one_job_are_folded_by_the_client() {
    let pair = Pair::new(Retention::default());
    let job = Pair::job();
    pair.report(&job, "{}");
    let reports = (1..=20).map(|number| pair.report(&job, &format!(r#"{{"message":"{number}"}}"#)));
    let numbers: Vec<_> = reports.map(|reply| state_of(&reply).position().number).collect();
    assert_eq!(numbers, (2..=21).collect::<Vec<_>>());
    assert!(pair.client.swaps() > 10, "{}", pair.client.swaps());
}

#[test]
fn a_job_that_somebody_else_has_changed_is_folded_by_the_script() {
    let pair = Pair::new(Retention::default());
    let job = Pair::job();
    let request = Request { action: Action::Cancel, by: None, reason: None };
    pair.report(&job, r#"{"progress":0.1,"cancellable":true}"#);
    pair.report(&job, r#"{"progress":0.2}"#);
    let swaps = pair.client.swaps();
    // Another worker, a request, and a change of attempt.
    pair.report_by_script(&job, r#"{"progress":0.3,"message":"theirs"}"#);
    let state = pair.report(&job, r#"{"progress":0.4}"#);
    assert_eq!(state_of(&state).position().number, 4);
    let requested = pair.client.request(&job, &request, Timestamp::now());
    pair.runtime.block_on(requested).expect("an answer");
    let reply = pair.report(&job, r#"{"progress":0.5}"#);
    assert!(state_of(&reply).requested().is_some());
    pair.report_by_script(&job, r#"{"attempt":2}"#);
    let reply = pair.report(&job, r#"{"progress":0.6,"attempt":1}"#);
    assert!(matches!(reply, Reply::Refused(_)), "{reply:?}");
    assert_eq!(pair.client.swaps(), swaps, "none of them was the client's");
}

#[test]
fn a_server_that_lost_states_begins_a_new_epoch() {
    let pair = Pair::new(Retention::default());
    let job = Pair::job();
    let first = pair.report(&job, "{}");
    pair.report(&job, "{}");
    // The job as an older copy has it, on what seems to be the same server, is not swapped: the meta differs.
    let older: Vec<u8> = pair.query(&["HGET", &format!("job_meta:{job}"), "meta"]);
    pair.report(&job, "{}");
    let mut restore = redis::cmd("HSET");
    restore.arg(format!("job_meta:{job}")).arg("meta").arg(older);
    let mut connection = pair.connection.clone();
    let _: Value = pair.runtime.block_on(restore.query_async(&mut connection)).expect("an answer");
    let swaps = pair.client.swaps();
    let reply = pair.report(&job, "{}");
    assert_eq!(state_of(&reply).position().number, 3);
    assert_eq!(pair.client.swaps(), swaps);
    // A promoted server has another identity, which is asked for after 100 ms.
    let _: Value = pair.query(&["REPLICAOF", "127.0.0.1", "1"]);
    let _: Value = pair.query(&["REPLICAOF", "NO", "ONE"]);
    std::thread::sleep(Duration::from_millis(110));
    let reply = pair.report(&job, "{}");
    assert_ne!(state_of(&reply).position().epoch, state_of(&first).position().epoch);
    assert_eq!(pair.client.swaps(), swaps);
}

#[test]
fn what_a_client_remembers_is_bounded() {
    let pair = Pair::new(Retention::default());
    let client =
        Client::new(pair.client.address().clone(), Retention::default()).remembering(8_000);
    let jobs: Vec<_> = (0..50).map(|_| Pair::job()).collect();
    let report = |job: &JobId| {
        let update = Update::parse(Some(job), br#"{"progress":0.5}"#).expect("an update");
        pair.runtime.block_on(client.report(&update, Timestamp::now())).expect("an answer");
    };
    for _ in 0..2 {
        jobs.iter().for_each(report);
    }
    assert_eq!(client.swaps(), 0, "each was dropped before its turn came");
    report(&jobs[49]);
    assert_eq!(client.swaps(), 1);
}
