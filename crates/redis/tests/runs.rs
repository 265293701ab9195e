//! The durations of names in Redis: what `runs.lua` records is what `milepost-protocol` records.
#![recursion_limit = "256"]

use milepost_protocol::{JobId, MAX_RUNS, NAME_TTL, Runs, Timestamp, Update};
use milepost_redis::{Accepted, Address, Client, Reply, Retention, slot_of};
use milepost_redis_servers::Server;

fn now() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

async fn report(client: &Client, job: &str, json: &str) -> String {
    let job = JobId::parse(job).expect("a job id");
    let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
    match client.report(&update, now()).await {
        Ok(Reply::Accepted(Accepted { state, .. })) => state.json().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A job of that name that completes at once.
async fn complete(client: &Client, name: &str) {
    report(client, name, &format!(r#"{{"name":"{name}"}}"#)).await;
    report(client, name, r#"{"status":"completed"}"#).await;
    client.forget(&JobId::parse(name).expect("a job id")).await.expect("an answer");
}

async fn known(client: &Client, name: &str) -> Option<Runs> {
    let bytes = client.runs(name).await.expect("an answer");
    bytes.map(|bytes| Runs::decode(&bytes).expect("as the fold encodes them"))
}

#[tokio::test]
async fn the_latest_runs_of_a_name_are_recorded() {
    let server = Server::start();
    let client = Client::new(Address::parse(&server.url()).expect("one"), Retention::default());
    for count in 1..=MAX_RUNS + 2 {
        complete(&client, "export").await;
        let runs = known(&client, "export").await.expect("it is recorded");
        assert_eq!(runs.encode().len(), 7 + 4 * count.min(MAX_RUNS));
    }
    // What did not complete, has no name, or is reported again is not recorded.
    report(&client, "a", r#"{"name":"render"}"#).await;
    report(&client, "a", r#"{"status":"failed"}"#).await;
    report(&client, "b", r#"{"status":"completed"}"#).await;
    assert_eq!(known(&client, "render").await, None);
    for _ in 0..3 {
        report(&client, "c", r#"{"name":"once","status":"completed"}"#).await;
    }
    assert_eq!(known(&client, "once").await.expect("it is recorded").encode().len(), 7 + 4);

    let connection = redis::Client::open(server.url()).expect("an address");
    let mut connection = connection.get_connection().expect("a connection");
    let key = format!("job_runs:{{{}}}", slot_of("export") % 256);
    let left: u128 = redis::cmd("PTTL").arg(&key).query(&mut connection).expect("an answer");
    assert!((1..=NAME_TTL.as_millis()).contains(&left), "{left}");
    // Bytes that are something else are as good as none.
    for bytes in ["", "x", "1234567", "\0\0\0\0\0\0\u{1}12345"] {
        let mut command = redis::cmd("HSET");
        command.arg(&key).arg("=export").arg(bytes).exec(&mut connection).expect("an answer");
        let other = Client::new(Address::parse(&server.url()).expect("one"), Retention::default());
        assert!(!report(&other, "d", r#"{"name":"export"}"#).await.contains("eta"), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_name_that_was_not_used_for_long_begins_anew() {
    let server = Server::start();
    let client = Client::new(Address::parse(&server.url()).expect("one"), Retention::default());
    for _ in 0..3 {
        complete(&client, "export").await;
    }
    // Another name keeps the bucket, so the key does not expire with this one.
    let age = "local names = cmsgpack.unpack(redis.call('HGET', KEYS[1], 'names')) \
               names[1][2] = names[1][2] - ARGV[1] - 1 \
               redis.call('HSET', KEYS[1], 'names', cmsgpack.pack(names))";
    let key = format!("job_runs:{{{}}}", slot_of("export") % 256);
    server.answer(&["EVAL", age, "1", &key, &NAME_TTL.as_millis().to_string()]);
    complete(&client, "export").await;
    let runs = known(&client, "export").await.expect("it is recorded");
    assert_eq!(runs.encode().len(), 7 + 4, "what it took then does not count any more");
}

#[tokio::test]
async fn a_bucket_has_a_bounded_number_of_names() {
    let server = Server::start();
    let client = Client::new(Address::parse(&server.url()).expect("one"), Retention::default());
    let bucket = slot_of("n0") % 256;
    let names = (0..).map(|number| format!("n{number}"));
    let names: Vec<_> = names.filter(|name| slot_of(name) % 256 == bucket).take(9).collect();
    for name in &names[..8] {
        complete(&client, name).await;
    }
    complete(&client, &names[0]).await;
    complete(&client, &names[8]).await;
    for (number, name) in names.iter().enumerate() {
        assert_eq!(known(&client, name).await.is_some(), number != 1, "{number}");
    }
}
