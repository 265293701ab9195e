//! Redis killed, frozen, full, read-only or mute: the broker's answers meanwhile, and that it recovers.

use std::time::Duration;

use milepost_broker::{JobsQuery, ReportError, RequestError};
use milepost_protocol::{Action, JobId, Request, Timestamp, Update};
use milepost_redis::{Address, Client, Reply, Retention};
use milepost_redis_servers::{Cluster, Data, Options, Persistence, Server};

use crate::support;
use crate::{instance_of, message};
use milepost_broker_contract::{Harness, Settings, eventually};

/// Waits until the probe fails, and returns the error.
async fn not_ready(it: &Harness) -> String {
    eventually("it is not ready", || async { it.broker().probe().await.is_err() }).await;
    it.broker().probe().await.err().map(|why| why.to_string()).unwrap_or_default()
}

async fn ready(it: &Harness) {
    eventually("it is ready", || async { it.broker().probe().await.is_ok() }).await;
}

/// Reports again and again, until the update is accepted.
async fn report_at_last(it: &Harness, name: &str, json: &str) -> milepost_broker::Reported {
    let job = it.job(name);
    loop {
        match it.try_report(&job, json).await {
            Ok(reported) => return reported,
            Err(ReportError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_flushed_are_loaded_again() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    server.answer(&["SCRIPT", "FLUSH"]);
    it.report(&job, "{}").await;
    server.answer(&["SCRIPT", "FLUSH"]);
    let listener = it.attach(&job).await;
    server.answer(&["SCRIPT", "FLUSH"]);
    crate::publish(&server, &job, &crate::update(&job, 1));
    eventually("it arrives", || async { listener.updates().len() == 1 }).await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_known() {
    let server = Server::start();
    let it = instance_of(&server).await;
    server.answer(&["REPLICAOF", "127.0.0.1", "1"]);
    let why = not_ready(&it).await;
    assert!(why.contains(&server.address().to_string()), "{why}");
    eventually("it says what to do", || async {
        let why = it.broker().probe().await.err().map(|why| why.to_string());
        why.is_some_and(|why| why.contains("a replica of 127.0.0.1:1 "))
    })
    .await;
    it.try_report(&it.job("a"), "{}").await.expect_err("it takes no writes");
    server.answer(&["REPLICAOF", "NO", "ONE"]);
    ready(&it).await;
    it.report(&it.job("a"), "{}").await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_not_allowed_is_known() {
    let server = Server::start();
    let it = instance_of(&server).await;
    server.answer(&["ACL", "SETUSER", "default", "resetchannels"]);
    let why = not_ready(&it).await;
    assert!(why.contains("no subscription") || why.contains("NOPERM"), "{why}");
    server.answer(&["ACL", "SETUSER", "default", "allchannels"]);
    ready(&it).await;
    let listener = it.attach(&it.job("a")).await;
    let state = it.report(&it.job("a"), "{}").await;
    listener.hears(&state).await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_jobs_are_out_of_reach_is_known() {
    let server = Server::start();
    let it = instance_of(&server).await;
    for (what, less, more) in [
        ("key", ["resetkeys", "~milepost:*"], "allkeys"),
        ("channel", ["resetchannels", "&milepost:*"], "allchannels"),
    ] {
        server.answer(&[&["ACL", "SETUSER", "default"], &less[..]].concat());
        let why = not_ready(&it).await;
        assert!(why.contains(what), "{why}");
        server.answer(&["ACL", "SETUSER", "default", more]);
        ready(&it).await;
    }
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_taken_for_a_single_server_is_known() {
    let cluster = Cluster::start(0);
    let it = support::redis_unproven(&Settings::default(), &cluster.nodes[0].url(), ());
    eventually("it arrives", || async {
        it.broker().probe().await.is_err_and(|why| why.to_string().to_lowercase().contains("slot"))
    })
    .await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_shard_is_known() {
    let cluster = Cluster::start(0);
    let hosts: Vec<_> = cluster.addresses().iter().map(ToString::to_string).collect();
    let url = format!("redis+cluster://{}", hosts.join(","));
    let it = support::redis(&Settings::default(), &url, ()).await;
    cluster.nodes[1].freeze();
    not_ready(&it).await;
    cluster.nodes[1].thaw();
    ready(&it).await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_comes_to_too_late_is_not_taken() {
    let server = Server::start();
    let it = instance_of(&server).await;
    let job = it.job("a");
    it.report(&job, r#"{"message":"before"}"#).await;
    server.freeze();
    it.try_report(&job, r#"{"message":"too late"}"#).await.expect_err("nobody answers");
    server.thaw();
    let after = report_at_last(&it, "a", r#"{"message":"after"}"#).await;
    assert_eq!(it.state(&job).await, Some(after.state));
    ready(&it).await;
    let received: Vec<_> = it.history(&job).await.iter().map(|state| message(state)).collect();
    assert_eq!(received, ["before", "after"]);
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicting_policy_is_a_warning() {
    let server = Server::start();
    server.answer(&["CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"]);
    let it = instance_of(&server).await;
    eventually("it arrives", || async { it.broker().warnings().len() == 1 }).await;
    it.broker().probe().await.expect("it is ready all the same");
    server.answer(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    eventually("it is well", || async { it.broker().warnings().is_empty() }).await;
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_still_takes_ends() {
    let server = Server::with(Options { max_memory: Some(4 << 20), ..Options::default() });
    let it = instance_of(&server).await;
    it.report(&it.job("early"), "{}").await;
    let filler = format!(r#"{{"metadata":"{}"}}"#, "x".repeat(50_000));
    // There may be no room for a large update, but enough for a small one.
    for update in [filler.as_str(), "{}"] {
        let full = async {
            for n in 0.. {
                if let Err(error) = it.try_report(&it.job(&n.to_string()), update).await {
                    return error;
                }
            }
            unreachable!("there are that many numbers")
        };
        assert!(matches!(full.await, ReportError::Full(_)));
    }
    let end = it.report(&it.job("early"), r#"{"status":"completed"}"#).await;
    assert_eq!(it.state(&it.job("early")).await, Some(end));
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_what_follows_is_of_another_epoch() {
    let server = Server::with(Options::default().persistence(Persistence::Snapshot));
    let mut server = server;
    let it = instance_of(&server).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    it.report(&job, r#"{"message":"1"}"#).await;
    server.answer(&["SAVE"]);
    let lost = it.report(&job, r#"{"message":"2, lost"}"#).await;
    listener.hears(&lost).await;

    server.restart(Data::Kept);
    let third = report_at_last(&it, "a", r#"{"message":"3"}"#).await.state;
    assert_ne!(third.position().epoch, lost.position().epoch, "2 was shown, and is another state");
    listener.hears(&third).await;
    server.restart(Data::Lost);
    let fourth = report_at_last(&it, "a", r#"{"message":"4"}"#).await.state;
    listener.hears(&fourth).await;

    let heard: Vec<_> = listener.updates().iter().map(|state| message(state)).collect();
    assert_eq!(heard, ["1", "2, lost", "3", "4"]);
    ready(&it).await;
    it.close().await;
}

/// Redis may be back before a probe is missed, so that the instance was ready all the time.
#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_after_a_restart_while_ready() {
    let mut server = Server::with(Options::default().persistence(Persistence::Snapshot));
    let it = instance_of(&server).await;
    let job = it.job("a");
    it.report(&job, "{}").await;
    let all = JobsQuery { limit: 10, ..JobsQuery::default() };
    for _ in 0..5 {
        server.answer(&["SAVE"]);
        server.restart(Data::Kept);
        ready(&it).await;
        it.broker().state(&job).await.expect("a state");
        it.broker().history(&job).await.expect("a history");
        it.broker().jobs(&all).await.expect("a page");
        it.report(&job, "{}").await;
        server.answer(&["SAVE"]);
        server.restart(Data::Kept);
        ready(&it).await;
        it.report(&job, "{}").await;
    }
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_after_a_restart_begins_an_epoch_and_stands() {
    let mut server = Server::with(Options::default().persistence(Persistence::Snapshot));
    let it = instance_of(&server).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    let begun = it.report(&job, r#"{"cancellable":true,"progress":0.5,"message":"kept"}"#).await;
    server.answer(&["SAVE"]);
    server.restart(Data::Kept);
    let request = |action| Request { action, by: Some("me".to_owned()), reason: None };
    let paused = loop {
        match it.broker().request(&job, request(Action::Pause)).await {
            Ok(requested) => break requested.state,
            Err(RequestError::Unavailable(_)) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(other) => panic!("{other}"),
        }
    };
    assert_ne!(paused.position().epoch, begun.position().epoch);
    assert_eq!((message(&paused), paused.position().number), ("kept".to_owned(), 1));
    listener.hears(&paused).await;
    let next = it.report(&job, r#"{"progress":0.6}"#).await;
    assert_eq!(next.requested(), paused.requested());
    assert_eq!(next.position(), paused.position().next());
    let cancelling = it.broker().request(&job, request(Action::Cancel)).await;
    let cancelling = cancelling.expect("the request is accepted").state;
    listener.hears(&cancelling).await;
    assert_eq!(listener.updates()[1..], [paused, next, cancelling]);
    it.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_rights_of_the_contract_suffices() {
    let spec = include_str!("../../../../spec/README.md");
    let (_, rights) = spec.split_once("for an ACL: `").expect("the contract names the commands");
    let (commands, rights) = rights.split_once('`').expect("and then keys");
    let keys = rights.split('`').nth(1).expect("the keys");
    let channels = rights.split('`').nth(3).expect("the channels");
    let rules = format!("{commands} {keys} {channels}");
    // Redis 7.0 does not have this setting.
    let rules: Vec<_> =
        rules.split_whitespace().filter(|rule| *rule != "+client|setinfo").collect();
    let rules = rules.join(" ");
    suffices_for_an_instance(rules).await;
}

fn server_of(user: &str, rules: String) -> Server {
    let user = Some((user.to_owned(), "secret".to_owned(), rules));
    Server::with(Options { user, ..Options::default() })
}

async fn suffices_for_an_instance(rules: String) {
    let server = server_of("milepost", rules);
    let it = instance_of(&server).await;
    let job = it.job("a");
    let listener = it.attach(&job).await;
    let state = it.report(&job, "{}").await;
    listener.hears(&state).await;
    assert_eq!(it.broker().jobs(&jobs()).await.expect("an answer").states, [state]);
    assert!(it.broker().forget(&job).await.expect("an answer"));
    listener.is_notified_of_forgetting().await;
    it.detach(&job, &listener).await;
    it.close().await;
    let address = Address::parse(&server.url()).expect("a URL");
    let client = Client::new(address, Retention::default());
    assert_eq!(client.silent(0).await, Ok((0, 0)), "it may sample silent workers");
}

/// The rules of a user in the documentation's list.
fn documented(user: &str) -> String {
    let users = include_str!("../../../../docs/redis.md");
    let start = format!("user {user} on >SECRET ");
    let rules = users.lines().find_map(|line| line.strip_prefix(&start));
    rules.expect("the documentation lists the user").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_of_the_documentation_can_do_their_work_alone() {
    suffices_for_an_instance(documented("milepost")).await;

    let server = server_of("worker", documented("worker"));
    let client = Client::new(Address::parse(&server.url()).expect("a URL"), Retention::default());
    let job = JobId::parse("a").expect("an id");
    for json in ["{}", r#"{"name":"n","progress":0.5,"heartbeat":10}"#, r#"{"status":"completed"}"#]
    {
        let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
        let reply = client.report(&update, Timestamp::now()).await;
        assert!(matches!(reply, Ok(Reply::Accepted(_))), "{json}: {reply:?}");
    }

    let server = server_of("legacy-worker", documented("legacy-worker"));
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_connection().expect("it may connect");
    let mut may = |command: &[&str]| {
        let mut command_of = redis::cmd(command[0]);
        command_of.arg(&command[1..]).query::<redis::Value>(&mut connection).is_ok()
    };
    assert!(
        may(&["PUBLISH", "job_progress:a", "{}"]) && may(&["SETEX", "job_status:a", "60", "{}"])
    );
    assert!(may(&["GET", "job_status:a"]));
    // It cannot touch what a fold knows of a job.
    assert!(!may(&["DEL", "job_meta:a"]) && !may(&["SETEX", "job_meta:a", "60", "{}"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_prefix_reaches_no_other_job() {
    let server = server_of("render-worker", documented("render-worker"));
    let client = Client::new(Address::parse(&server.url()).expect("a URL"), Retention::default());
    let report = async |id: &str, json: &str| {
        let job = JobId::parse(id).expect("an id");
        let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
        client.report(&update, Timestamp::now()).await
    };
    for (id, json) in [
        ("render:all", r#"{"children_expected":1}"#),
        ("render:7", r#"{"name":"n","progress":0.5,"heartbeat":10,"parent_id":"render:all"}"#),
        ("render:7", r#"{"status":"completed","parent_id":"render:all"}"#),
    ] {
        let reply = report(id, json).await;
        assert!(matches!(reply, Ok(Reply::Accepted(_))), "{id} {json}: {reply:?}");
    }
    server.answer(&["SET", "job_status:other", "{}"]);
    server.answer(&["HSET", "job_meta:other", "0", "{}"]);
    for id in ["other", "render", "renders:7"] {
        assert!(report(id, "{}").await.is_err(), "{id}");
    }
    let redis = redis::Client::open(server.url()).expect("a URL");
    let mut connection = redis.get_connection().expect("it may connect");
    for command in [
        "GET job_status:other",
        "SET job_status:other {}",
        "DEL job_status:other",
        "HGET job_meta:other 0",
        "DEL job_meta:other",
        "PUBLISH job_progress:other {}",
        "SUBSCRIBE job_progress:other",
        "KEYS *",
        "FLUSHALL",
    ] {
        let mut words = command.split(' ');
        let mut sent = redis::cmd(words.next().expect("a command"));
        let outcome = sent.arg(words.collect::<Vec<_>>()).query::<redis::Value>(&mut connection);
        let denied = outcome.expect_err(command);
        assert_eq!(denied.code(), Some("NOPERM"), "{command}: {denied}");
    }
}

fn jobs() -> JobsQuery {
    let (statuses, prefix) = (Vec::new(), String::new());
    JobsQuery { statuses, prefix, limit: 10, ..Default::default() }
}
