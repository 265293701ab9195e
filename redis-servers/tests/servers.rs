//! One server: its options, and that it can be killed, frozen and restarted.

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use milepost_redis_servers::{Data, Error, Options, Persistence, Reply, Server};

fn text(text: &str) -> Reply {
    Reply::Text(text.to_owned())
}

fn refusal(reply: Result<Reply, Error>) -> String {
    match reply {
        Err(Error::Refused(words)) => words,
        other => panic!("not refused: {other:?}"),
    }
}

/// The output of `redis-cli` at the server's URL: the view of another client.
fn cli(server: &Server, arguments: &[&str]) -> String {
    let mut cli = Command::new("redis-cli");
    cli.args(["--no-auth-warning", "-u", &server.url()]).args(arguments);
    let output = cli.stdin(Stdio::null()).output().expect("redis-cli is installed");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn what_a_restart_finds_again() {
    for (persistence, survives_kill, survives_end) in [
        (Persistence::None, false, false),
        (Persistence::Appended, true, true),
        (Persistence::Snapshot, false, true),
    ] {
        let mut server = Server::with(Options::default().persistence(persistence));
        let (port, process) = (server.port(), server.id());
        let found = |server: &Server| server.answer(&["GET", "a"]) != Reply::Nil;

        server.answer(&["SET", "a", "1"]);
        server.kill();
        assert!(!server.is_running());
        assert!(TcpStream::connect(server.address()).is_err(), "a dead server takes connections");
        assert!(matches!(server.command(&["PING"]), Err(Error::Silent(_))));
        server.restart(Data::Kept);
        assert_eq!((server.port(), server.is_running()), (port, true));
        assert_ne!(server.id(), process);
        assert_eq!(found(&server), survives_kill, "{persistence:?}, killed");

        server.answer(&["SET", "a", "1"]);
        server.shut_down();
        server.restart(Data::Kept);
        assert_eq!(found(&server), survives_end, "{persistence:?}, ended");

        server.answer(&["SET", "a", "1"]);
        server.restart(Data::Lost);
        assert!(!found(&server), "{persistence:?}, restarted empty");
    }
}

#[test]
fn a_frozen_server_answers_when_it_is_thawed() {
    let server = Server::start();
    server.freeze();
    // The kernel still accepts connections for it, but nothing answers.
    let status = format!("/proc/{}/stat", server.id());
    let stopped = || std::fs::read_to_string(&status).unwrap().contains(") T ");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !stopped() {
        assert!(Instant::now() < deadline, "it is not stopped");
    }
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| server.command(&["PING"]));
        assert!(TcpStream::connect(server.address()).is_ok());
        assert!(!waiting.is_finished());
        server.thaw();
        waiting.join().unwrap()
    });
    assert_eq!(waiting.unwrap(), text("PONG"));
}

#[test]
fn a_password_keeps_others_out() {
    let server = Server::with(Options { password: Some("secret".into()), ..Options::default() });
    assert_eq!(cli(&server, &["PING"]), "PONG");
    let url = server.url().replace("secret", "wrong");
    let output = Command::new("redis-cli").args(["-u", &url, "PING"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("PONG"));
    // A test may change this setting.
    server.answer(&["CONFIG", "SET", "requirepass", "another"]);
    assert_ne!(cli(&server, &["PING"]), "PONG");
}

#[test]
fn a_user_may_do_what_its_rules_say() {
    let user = ("job".to_owned(), "secret".to_owned(), "~job_* &job_* +@all -keys".to_owned());
    let server = Server::with(Options { user: Some(user), ..Options::default() });
    assert_eq!(cli(&server, &["SET", "job_a", "1"]), "OK");
    assert!(cli(&server, &["SET", "other", "1"]).contains("NOPERM"));
    assert!(cli(&server, &["KEYS", "*"]).contains("NOPERM"));
    assert_eq!(server.answer(&["KEYS", "*"]).items(), [text("job_a")]);
}

#[test]
fn a_full_server_refuses_writes() {
    let server = Server::with(Options { max_memory: Some(4 << 20), ..Options::default() });
    let value = "x".repeat(1 << 20);
    let full = (0..16).map(|key| server.command(&["SET", &key.to_string(), &value]));
    let refused = full.into_iter().find(Result::is_err).expect("16 MiB do not fit into 4");
    assert!(refusal(refused).starts_with("OOM"));
    // A key is still there: nothing was evicted.
    assert_ne!(server.answer(&["GET", "0"]), Reply::Nil);
}

#[test]
fn tls_with_a_certificate_by_its_own_authority() {
    let server = Server::with(Options { tls: true, ..Options::default() });
    assert!(server.url().starts_with("rediss://127.0.0.1:"));
    let authority = server.certificates().unwrap().authority.to_str().unwrap().to_owned();
    assert_eq!(cli(&server, &["--cacert", &authority, "PING"]), "PONG");
    assert_ne!(cli(&server, &["PING"]), "PONG", "trusted by nobody else");
    let plain = server.url().replace("rediss", "redis");
    let output = Command::new("redis-cli").args(["-u", &plain, "PING"]).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("PONG"));
    assert_eq!(server.answer(&["PING"]), text("PONG"));
}

#[test]
fn a_server_and_its_folder_are_gone_with_the_value() {
    let server = Server::start();
    let folder = server.answer(&["CONFIG", "GET", "dir"]).items()[1].text().unwrap();
    let process = format!("/proc/{}", server.id());
    drop(server);
    assert!(!std::path::Path::new(&process).exists());
    assert!(!std::path::Path::new(&folder).exists());
}

/// The test below runs this in a process of its own.
#[test]
#[ignore = "it waits to be killed"]
fn waits_to_be_killed() {
    let server = Server::start();
    println!("server {}", server.id());
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn a_server_dies_with_the_tests_process_however_that_goes() {
    use std::io::{BufRead, BufReader};

    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "waits_to_be_killed", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let mut numbers = lines.map_while(Result::ok).filter_map(|line| {
        let (_, number) = line.rsplit_once("server ")?;
        number.trim().parse::<u32>().ok()
    });
    let process = format!("/proc/{}", numbers.next().expect("it says its server's number"));
    assert!(std::path::Path::new(&process).exists());
    test.kill().unwrap();
    test.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::path::Path::new(&process).exists() {
        assert!(Instant::now() < deadline, "it still runs");
        std::thread::sleep(Duration::from_millis(10));
    }
}
