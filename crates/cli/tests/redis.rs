//! The commands with a `redis://` URL, and the server on a Redis with TLS and no more rights than it needs.

#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Options, Proxy, Server, Way, free_port};
use milepost_server::Config;
use serde_json::Value;
use support::{eventually, finish, kill, milepost, on_terminal, run, text};

fn told_of(url: &str, arguments: &[&str]) -> Command {
    let mut command = milepost(arguments);
    command.env("MILEPOST_URL", url);
    command
}

fn code_and_streams(command: &mut Command) -> (i32, String, String) {
    let output = run(command);
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn stored(server: &Server, job: &str) -> Value {
    let state = server.answer(&["GET", &format!("job_status:{job}")]).text();
    serde_json::from_str(&state.expect("the job is known")).unwrap()
}

#[test]
fn run_reports_straight_to_redis_and_again_as_the_next_attempt() {
    let server = Server::with(Options { password: Some("secret".into()), ..Options::default() });
    for (attempt, script, code) in [(1, "echo 50%; exit 3", 3), (2, "echo 50%", 0)] {
        let line = ["run", "--job", "a", "--", "sh", "-c", script];
        let (got, out, err) = code_and_streams(&mut told_of(&server.url(), &line));
        assert_eq!((got, out.as_str(), err.as_str()), (code, "50%\n", ""));
        let state = stored(&server, "a");
        let status = if code == 0 { "completed" } else { "failed" };
        assert_eq!((&state["attempt"], &state["status"]), (&attempt.into(), &status.into()));
    }
    // To people it says where to, without the password.
    let line = format!("exec {} run --server {} -- true", support::binary(), server.url());
    let shown = text(&run(&mut on_terminal(&line)).stdout);
    assert!(shown.contains(&format!("reported to redis://{}", server.address())), "{shown}");
    let line = line.replace(&server.address().to_string(), "host/none");
    let shown = text(&run(&mut on_terminal(&line)).stdout);
    assert!(shown.contains("nothing is reported") && !shown.contains("secret"), "{shown}");
}

#[test]
fn run_waits_for_a_distant_redis_but_not_for_an_absent_one() {
    let server = Server::start();
    let proxy = Proxy::to(server.address());
    let delay = Duration::from_millis(100);
    proxy.delay(Way::ToServer, delay);
    proxy.delay(Way::ToClient, delay);
    let url = server.url_through(proxy.address());
    // Long enough to connect. The end has to arrive afterwards.
    let line = ["run", "--job", "far", "--", "sh", "-c", "sleep 2; exit 7"];
    assert_eq!(code_and_streams(&mut told_of(&url, &line)).0, 7);
    assert_eq!(stored(&server, "far")["status"], "failed");

    proxy.hold(Way::ToClient);
    let begun = Instant::now();
    let line = ["run", "--job", "away", "--", "sh", "-c", "echo out; exit 7"];
    let (code, out, _) = code_and_streams(&mut told_of(&url, &line));
    assert_eq!((code, out.as_str()), (7, "out\n"));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn report_and_status_ask_redis_itself() {
    let server = Server::start();
    let url = server.url();
    let line = ["report", "a", "--progress", "0.4", "--metadata", "k=v"];
    let (code, position, _) = code_and_streams(&mut told_of(&url, &line));
    let state = stored(&server, "a");
    assert_eq!((code, position.trim()), (0, state["position"].as_str().unwrap()));
    assert_eq!(state["metadata"]["k"], "v");
    let (code, json, _) = code_and_streams(&mut told_of(&url, &["status", "a", "--json"]));
    assert_eq!((code, serde_json::from_str::<Value>(&json).unwrap()), (0, state));
    assert_eq!(code_and_streams(&mut told_of(&url, &["status", "nobody"])).0, 5);
    let end = ["report", "a", "--status", "completed"];
    assert_eq!(code_and_streams(&mut told_of(&url, &end)).0, 0);
    let late = ["report", "a", "--progress", "0.5", "--strict"];
    let (code, _, err) = code_and_streams(&mut told_of(&url, &late));
    assert!(code == 1 && err.starts_with("milepost: attempt 1 is completed"), "{err}");
}

#[test]
fn what_goes_wrong_with_redis_has_its_exit_code_and_one_line() {
    let server = Server::with(Options { password: Some("secret".into()), ..Options::default() });
    let url = server.url();
    let wrong = url.replace("secret", "other");
    let nobody = format!("redis://:secret@127.0.0.1:{}", free_port());
    for (url, line, expected, words) in [
        (&url, &["watch", "a"][..], 64, "only a Milepost server"),
        (&url, &["jobs"], 64, "only a Milepost server"),
        (&"redis://:secret@h/x".to_owned(), &["status", "a"], 64, "database \"x\""),
        (&wrong, &["report", "a", "--strict"], 4, "authentication"),
        (&nobody, &["report", "a", "--strict"], 4, "refused"),
        (&nobody, &["status", "a"], 4, "refused"),
    ] {
        let (code, out, err) = code_and_streams(&mut told_of(url, line));
        assert_eq!((code, out.as_str(), err.lines().count()), (expected, "", 1), "{line:?}: {err}");
        assert!(err.starts_with("milepost: ") && err.contains(words), "{line:?}: {err}");
        assert!(!err.contains("secret"), "{err}");
    }
    server.answer(&["CONFIG", "SET", "maxmemory", "1"]);
    let (code, _, err) = code_and_streams(&mut told_of(&url, &["report", "a", "--strict"]));
    // As a server that is full: it may have room later.
    assert!(code == 4 && err.contains("maxmemory"), "{err}");
}

/// A server of which `/readyz` says so.
struct Serving {
    child: std::process::Child,
    url: String,
}

impl Serving {
    fn on(redis: &str, authority: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut serve = milepost(&[
            "serve",
            "--listen",
            &address,
            "--set",
            "drain_period=0",
            "--set",
            "log=error",
        ]);
        serve.env("REDIS_URL", redis).env("SSL_CERT_FILE", authority);
        Self { child: serve.spawn().unwrap(), url: format!("http://{address}") }
    }

    /// Status and body.
    fn readiness(&self) -> Option<(u16, String)> {
        let get = ureq::get(format!("{}/readyz", self.url)).config().http_status_as_error(false);
        let mut answer = get.build().call().ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_to_string().ok()?))
    }

    fn stop(self) {
        kill("TERM", self.child.id());
        let output = finish(self.child);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }
}

/// The rights that the contract lists. `client|setinfo` only came with Redis 7.2, and can be done without.
fn documented_rights() -> String {
    let spec = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/README.md");
    let spec = std::fs::read_to_string(spec).unwrap();
    let (_, rights) = spec.split_once("Commands used, for an ACL:").expect("section 14 lists them");
    let (rights, _) = rights.split_once("\n\n").unwrap_or((rights, ""));
    let quoted = rights.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let is_right = |word: &&str| word.starts_with(['+', '~', '&']) && *word != "+client|setinfo";
    quoted.filter(is_right).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_job_whose_worker_never_answers_is_abandoned() {
    let redis = Server::start();
    let config = Config { redis_url: Some(redis.url().try_into().unwrap()), ..Config::default() };
    let server = support::Server::on(support::any_port(), config);
    eventually("it is ready", || server.get("/readyz"));
    server.report("a", r#"{"cancellable":true,"progress":0.5}"#);
    let abandon = || code_and_streams(&mut server.milepost(&["cancel", "a", "--abandon"]));
    let (code, out, err) = abandon();
    let early = "milepost: a: request to cancel the job before you abandon it\n";
    assert_eq!((code, out.as_str(), err.as_str()), (1, "", early));
    let (code, out, _) = code_and_streams(&mut server.milepost(&["cancel", "a"]));
    assert_eq!((code, out.as_str()), (0, "a: requested to cancel\n"));
    let (code, out, err) = abandon();
    assert!(
        code == 1 && out.is_empty() && err.contains("may still answer the request"),
        "{code} {err}"
    );
    assert_eq!(server.job("a")["status"], "processing");
    let requested_at = server.job("a")["requested"]["at"].as_str().unwrap().to_owned();
    redis.backdate("a", &requested_at, "2024-01-01T00:00:00.000Z");
    let (code, out, err) = abandon();
    assert_eq!((code, out.as_str(), err.as_str()), (0, "a: abandoned\n", ""));
    assert_eq!(server.job("a")["status"], "cancelled");
    let end = server.job("a");
    assert_eq!(abandon().0, 0, "the same end again");
    assert_eq!(server.job("a"), end);
}

#[test]
fn the_server_uses_ssl_cert_file_and_the_listed_rights() {
    let rights = documented_rights();
    assert!(rights.contains("+evalsha") && rights.contains("~job_*"), "{rights}");
    let user = Some(("milepost".to_owned(), "secret".to_owned(), rights));
    let redis = Server::with(Options { tls: true, user, ..Options::default() });
    let authority = &redis.certificates().unwrap().authority;

    let other = Server::with(Options { tls: true, ..Options::default() });
    let serving = Serving::on(&redis.url(), &other.certificates().unwrap().authority);
    eventually("it says why it is not ready", || {
        serving.readiness().filter(|(code, why)| *code == 503 && why.contains("certificate"))
    });
    serving.stop();

    let serving = Serving::on(&redis.url(), authority);
    eventually("it is ready", || serving.readiness().filter(|(code, _)| *code == 200));
    // A report through the server, and one straight to Redis, which a watcher of the server sees.
    assert_eq!(code_and_streams(&mut told_of(&serving.url, &["report", "a"])).0, 0);
    let watching = told_of(&serving.url, &["watch", "a", "--json"]).spawn().unwrap();
    eventually("somebody watches", || {
        let heard = redis.answer(&["PUBSUB", "NUMSUB", "job_progress:a"]);
        heard.items().get(1).and_then(milepost_redis_servers::Reply::integer).filter(|n| *n > 0)
    });
    let end = ["report", "a", "--status", "completed", "--result", "42"];
    let (code, _, err) =
        code_and_streams(told_of(&redis.url(), &end).env("SSL_CERT_FILE", authority));
    assert_eq!((code, err.as_str()), (0, ""));
    let seen = finish(watching);
    let states = text(&seen.stdout);
    let last: Value = serde_json::from_str(states.lines().last().unwrap()).unwrap();
    assert_eq!((seen.status.code(), &last["result"]), (Some(0), &42.into()), "{states}");
    let (code, listed, _) = code_and_streams(&mut told_of(&serving.url, &["jobs", "--json"]));
    assert!(code == 0 && listed.contains("\"completed\""), "{listed}");
    let forgotten = ureq::delete(format!("{}/jobs/a", serving.url)).call();
    assert!(forgotten.is_ok(), "{forgotten:?}");
    serving.stop();
    let denied = redis.answer(&["ACL", "LOG"]);
    let denied: Vec<_> = denied.items().iter().map(|entry| format!("{entry:?}")).collect();
    assert!(denied.iter().all(|entry| entry.contains("setinfo")), "{denied:?}");
}
