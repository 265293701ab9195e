//! `milepost serve` as its supervisor sees it: signals, a log that nobody reads, no open files left.

#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use milepost_redis_servers::{Certificates, free_port};
use rustix::fs::OFlags;
use support::{binary, eventually, finish, kill, milepost, read_until, temporary};

/// The real binary, serving.
struct Serve {
    child: Child,
    address: SocketAddr,
}

impl Serve {
    fn start(arguments: &[&str], stderr: Stdio) -> Self {
        Self::of(milepost(&[]), arguments, stderr)
    }

    /// `command` ends in the binary; its arguments follow.
    fn of(mut command: Command, arguments: &[&str], stderr: Stdio) -> Self {
        // The log may be of no use to learn the port from.
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        command.args(["serve", "--listen", &address.to_string()]).args(arguments);
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        let serve = Self { child, address };
        eventually("it serves", || {
            serve.get("/livez").filter(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        serve
    }

    fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    fn connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        Some(stream)
    }

    /// The whole answer; none if there is none.
    fn get(&self, path: &str) -> Option<String> {
        let mut stream = self.connect()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    }

    /// A connection that has been answered, and stays open.
    fn hold(&self) -> Option<TcpStream> {
        let mut stream = self.connect()?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n").ok()?;
        let mut status = [0; 12];
        stream.read_exact(&mut status).ok()?;
        (&status == b"HTTP/1.1 200").then_some(stream)
    }

    fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
    }

    /// It stops on request, with success.
    fn stop(self) {
        self.signal("TERM");
        self.stopped();
    }

    fn stopped(self) {
        assert_eq!(finish(self.child).status.code(), Some(0));
    }
}

#[test]
fn a_log_whose_reader_is_gone_ends_nothing() {
    let mut serve = Serve::start(&["--set", "drain_period=0"], Stdio::piped());
    let mut log = BufReader::new(serve.child.stderr.take().unwrap());
    log.read_line(&mut String::new()).unwrap();
    drop(log);
    eventually("lines are dropped", || {
        serve.signal("USR1");
        (serve.metric("milepost_dropped_log_lines_total") > 1).then_some(())
    });
    assert!(serve.get("/readyz").unwrap().starts_with("HTTP/1.1 200"));
    serve.stop();
}

/// How many lines the log has of this level and target.
fn warnings(log: &std::path::Path, target: &str) -> usize {
    let log = fs::read_to_string(log).unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter(|line| line["level"] == "WARN" && line["target"] == target).count()
}

#[test]
fn what_every_request_meets_is_logged_once_a_minute() {
    let (_folder, folder) = temporary();
    let log = folder.join("log");
    let serve = |command: Command, settings: &[&str]| {
        let arguments = [&["--log-format", "json", "--set", "drain_period=0"], settings].concat();
        Serve::of(command, &arguments, File::create(&log).unwrap().into())
    };
    // Nobody listens there.
    let mut command = milepost(&[]);
    command.env("REDIS_URL", format!("redis://127.0.0.1:{}", free_port()));
    let without_broker = serve(command, &[]);
    for _ in 0..20 {
        let answer = without_broker.get("/jobs/a").unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    without_broker.stop();
    assert_eq!(warnings(&log, "milepost_server::response::problem"), 1);

    let full = serve(milepost(&[]), &["--set", "max_connections=2"]);
    // Connections that came before may keep their places for a moment.
    let held = [(), ()].map(|()| eventually("there is a place", || full.hold()));
    for _ in 0..20 {
        let answer = full.get("/jobs/a").unwrap();
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    drop(held);
    full.stop();
    assert_eq!(warnings(&log, "milepost_server::connection::accept"), 1);
}

#[test]
fn a_log_on_a_full_disk_ends_nothing() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let serve = Serve::start(&["--set", "drain_period=0"], full.into());
    eventually("lines are dropped", || {
        (serve.metric("milepost_dropped_log_lines_total") > 0).then_some(())
    });
    serve.stop();
}

#[test]
fn a_log_pipe_that_nobody_reads_blocks_nothing() {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    // Full from the start, so that the first line blocks.
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let mut filler = File::from(writer.try_clone().unwrap());
    while filler.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();

    let serve = Serve::start(&["--set", "drain_period=0"], Stdio::from(writer));
    drop(filler);
    serve.signal("USR1");
    assert!(serve.get("/readyz").unwrap().starts_with("HTTP/1.1 200"));
    serve.stop();
    drop(reader);
}

#[test]
fn no_open_files_left_is_survived_without_a_log() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 48; exec \"$0\" \"$@\"", binary()]).stdin(Stdio::null());
    for variable in ["REDIS_URL", "HOST", "PORT"] {
        shell.env_remove(variable);
    }
    let arguments = ["--set", "max_connections=1000", "--set", "drain_period=0"];
    let mut serve = Serve::of(shell, &arguments, Stdio::piped());
    drop(serve.child.stderr.take());
    let held: Vec<_> = (0..80).map(|_| serve.connect().unwrap()).collect();
    eventually("no files are left", || {
        let open = fs::read_dir(format!("/proc/{}/fd", serve.child.id())).unwrap().count();
        (open >= 47).then_some(())
    });
    drop(held);
    let alive = eventually("it accepts again", || serve.get("/livez"));
    assert!(alive.starts_with("HTTP/1.1 200"), "{alive}");
    serve.stop();
}

#[test]
fn a_second_sigterm_hurries() {
    let arguments = ["--set", "grace_period=3600", "--set", "body_timeout=3600"];
    let serve = Serve::start(&arguments, Stdio::null());
    let mut slow = serve.connect().unwrap();
    slow.write_all(
        b"POST /jobs/a HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
    )
    .unwrap();
    // The server waits for the body now.
    slow.read_exact(&mut [0; 25]).unwrap();
    serve.signal("TERM");
    eventually("it goes down", || serve.connect().is_none().then_some(()));
    serve.signal("TERM");
    serve.stopped();
}

#[test]
fn sighup_reloads_and_user_signals_are_ignored() {
    let (_folder, path) = temporary();
    let file = path.join("milepost.toml");
    fs::write(&file, "log = \"off\"\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--set", "drain_period=0"];
    let mut serve = Serve::start(&arguments, Stdio::piped());
    let log = serve.child.stderr.take().unwrap();
    for signal in ["USR1", "USR2", "HUP"] {
        serve.signal(signal);
    }
    assert!(serve.get("/livez").is_some());
    // Nothing was logged so far: the first line comes after the filter was changed.
    rustix::io::ioctl_fionbio(&log, true).unwrap();
    let mut log = log;
    let nothing = log.read(&mut [0; 64]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    fs::write(&file, "log = \"info\"\n").unwrap();
    serve.signal("HUP");
    let said = read_until(&mut log, "\n");
    assert!(said.contains("filter has changed") && said.contains("log=\"info\""), "{said}");
    // Every other setting that has changed is named, and keeps its value until a restart.
    fs::write(&file, "log = \"info\"\nmax_subscriptions = 7\nlinger = 3\n").unwrap();
    serve.signal("HUP");
    let said = read_until(&mut log, "setting=\"max_subscriptions\"");
    assert!(said.contains("setting=\"linger\"") && said.contains("needs a restart"), "{said}");
    // What cannot be read leaves the settings as they are.
    fs::write(&file, "log = [").unwrap();
    serve.signal("HUP");
    let said = read_until(&mut log, "the settings are wrong");
    assert!(said.contains("milepost.toml"), "{said}");
    assert!(serve.get("/livez").is_some());
    drop(log);
    serve.stop();
}

#[test]
fn others_reach_it_only_if_that_is_accepted() {
    for arguments in [
        &["serve", "--listen", "0.0.0.0:0"][..],
        &["serve", "--listen", "[::]:0", "--check"],
        &["serve", "--set", "host=192.0.2.1"],
    ] {
        let refused = support::run(&mut milepost(arguments));
        let line = support::text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(64), "{line}");
        assert!(line.contains("--insecure") && line.lines().count() == 1, "{line}");
    }
    let mut accepted = milepost(&["serve", "--listen", "0.0.0.0:0", "--insecure", "--check"]);
    assert_eq!(support::run(&mut accepted).status.code(), Some(0));
}

#[test]
fn keys_and_tokens_let_their_holders_in() {
    let (_folder, path) = temporary();
    let file = path.join("keys.toml");
    let keys = |arguments: &[&str]| {
        let mut command = milepost(&[&["key"], arguments].concat());
        command.env("MILEPOST_KEYS_FILE", &file);
        let done = support::run(&mut command);
        assert_eq!(done.status.code(), Some(0), "{}", support::text(&done.stderr));
        support::text(&done.stdout).trim_end().to_owned()
    };
    let key = keys(&["add", "worker", "--report", "user:*", "--watch", "*"]);
    assert!(!fs::read_to_string(&file).unwrap().contains(&key));
    assert!(keys(&["list"]).starts_with("worker\t"));
    for arguments in [&["key", "add", "x"][..], &["key", "add", "x", "--report", "*", "--public"]] {
        let nothing = support::run(milepost(arguments).env("MILEPOST_KEYS_FILE", &file));
        assert_eq!(nothing.status.code(), Some(64), "{arguments:?}");
    }

    let secret = "a secret of thirty-two bytes, and more";
    let mut token = milepost(&["token", "--watch", "user:42:*", "--for", "15m"]);
    let token = support::run(token.env("MILEPOST_TOKEN_SECRET", secret));
    let token = support::text(&token.stdout).trim_end().to_owned();

    let mut command = milepost(&[]);
    command.env("MILEPOST_KEYS_FILE", &file).env("MILEPOST_TOKEN_SECRET", secret);
    let serve = Serve::of(command, &["--set", "drain_period=0"], Stdio::null());
    let with = |credential: &str, arguments: &[&str]| {
        let mut command = milepost(arguments);
        command.env("MILEPOST_URL", format!("http://{}", serve.address));
        command.env("MILEPOST_TOKEN", credential);
        support::run(&mut command).status.code()
    };
    let report = ["report", "user:42:a", "--status", "completed", "--strict"];
    assert_eq!(with("", &report), Some(77));
    assert_eq!(with(&key, &report), Some(0));
    assert_eq!(with(&key, &["run", "--job", "user:42:b", "--", "true"]), Some(0));
    for (job, code) in [("user:42:a", 0), ("user:42:b", 0), ("user:1:a", 5)] {
        assert_eq!(with(&token, &["status", job]), Some(code), "{job}");
    }
    assert_eq!(with(&token, &["watch", "user:42:a"]), Some(0));
    let share = |arguments: &[&str], secret: &str| {
        let mut command = milepost(&[&["share"], arguments].concat());
        command.env("MILEPOST_URL", format!("http://{}", serve.address));
        support::run(command.env("MILEPOST_TOKEN_SECRET", secret))
    };
    let shared = support::text(&share(&["user:42:a"], secret).stdout);
    let (page, shared) = shared.trim_end().split_once("#token=").unwrap();
    assert_eq!(page, format!("http://{}/?job=user:42:a", serve.address));
    assert_eq!(with(shared, &["status", "user:42:a"]), Some(0));
    assert_eq!(with(shared, &["status", "user:42:b"]), Some(5));
    assert_eq!(with(shared, &["log", "user:42:a"]), Some(77), "how far it is, no more");
    for refused in
        [&["watch", "user:42:a"][..], &["log", "user:42:a"], &["jobs"], &["status", "user:42:a"]]
    {
        assert_eq!(with("wrong", refused), Some(77), "{refused:?}");
    }
    assert_eq!(with(&token, &["watch", "user:1:a"]), Some(77));
    let other = share(&["user:42:a"], "another secret of thirty-two bytes or more");
    assert_eq!((other.status.code(), other.stdout.len()), (Some(77), 0));
    let like_a_tag = share(&["tag:user"], secret);
    assert_eq!((like_a_tag.status.code(), like_a_tag.stdout.len()), (Some(64), 0));
    let unsigned = share(&["user:42:a"], "");
    let problem = support::text(&unsigned.stderr);
    assert_eq!(unsigned.status.code(), Some(64), "{problem}");
    assert!(problem.contains("set MILEPOST_TOKEN_SECRET"), "{problem}");
    let unknown = share(&["user:42:none", "--full", "--for", "1h"], secret);
    assert!(unknown.status.success() && support::text(&unknown.stderr).contains("not known yet"));
    assert_eq!(with(&token, &report), Some(77));
    keys(&["revoke", "worker"]);
    eventually("it is let in no more", || (with(&key, &["jobs"]) == Some(77)).then_some(()));
    serve.stop();
}

#[test]
fn keys_that_are_added_at_the_same_moment_are_all_kept() {
    let (_folder, path) = temporary();
    let file = path.join("keys.toml");
    let adding: Vec<_> = (0..8)
        .map(|n| {
            let mut command = milepost(&["key", "add", &format!("worker{n}"), "--all"]);
            command.env("MILEPOST_KEYS_FILE", &file).stdout(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    for mut adding in adding {
        assert!(adding.wait().unwrap().success());
    }
    let listed = support::run(milepost(&["key", "list"]).env("MILEPOST_KEYS_FILE", &file));
    assert_eq!(support::text(&listed.stdout).lines().count(), 8);
}

#[test]
fn commands_trust_the_authority_that_ssl_cert_file_names() {
    let (_folder, path) = temporary();
    let files = Certificates::in_folder(&path);
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut serve = milepost(&["serve", "--listen", &address.to_string()]);
    serve.env("MILEPOST_TLS_CERT", &files.certificate).env("MILEPOST_TLS_KEY", &files.key);
    let mut serve = serve.stderr(Stdio::null()).spawn().unwrap();
    let with = |authority: &std::path::Path, arguments: &[&str]| {
        let mut command = milepost(arguments);
        command.env("MILEPOST_URL", format!("https://{address}")).env("SSL_CERT_FILE", authority);
        support::run(&mut command)
    };
    let report = ["report", "a", "--progress", "0.5", "--strict"];
    eventually("it serves", || with(&files.authority, &report).status.success().then_some(()));
    let run = with(&files.authority, &["run", "--job", "b", "--", "true"]);
    assert_eq!(run.status.code(), Some(0), "{}", support::text(&run.stderr));
    let watched = with(&files.authority, &["watch", "b"]);
    assert_eq!(watched.status.code(), Some(0), "{}", support::text(&watched.stderr));
    let tls = format!("https://{address}");
    let plain = tls.replace("https:", "http:");
    let words = |output: std::process::Output| {
        (output.status.code(), support::text(&output.stderr).trim_end().to_owned())
    };
    let at = |url: &str, arguments: &[&str]| {
        words(support::run(milepost(arguments).env("MILEPOST_URL", url)))
    };
    for line in [&["jobs"][..], &["report", "a", "--strict"]] {
        let said = format!("milepost: the server at {plain} speaks HTTPS: use an https URL");
        assert_eq!(at(&plain, line), (Some(1), said));
    }
    let (code, said) = at(&plain, &["watch", "b", "--timeout", "1"]);
    assert!(code == Some(4) && said.contains("speaks HTTPS: use an https URL"), "{said}");
    let none = path.join("none");
    for line in [&["jobs"][..], &["report", "a", "--strict"], &["watch", "b"]] {
        let (code, said) = words(with(&none, line));
        let words =
            format!("no certificate can be read from {}, which SSL_CERT_FILE", none.display());
        assert!(code == Some(64) && said.contains(&words), "{said}");
    }
    // Another authority's word is not taken.
    let other = path.join("other");
    fs::create_dir(&other).unwrap();
    let other = Certificates::in_folder(&other).authority;
    let refused = with(&other, &report);
    assert_eq!(refused.status.code(), Some(4), "{}", support::text(&refused.stderr));
    kill("TERM", serve.id());
    assert!(serve.wait().unwrap().success());
}

#[test]
fn a_certificate_that_is_wrong_refuses_the_start() {
    let (_folder, path) = temporary();
    let files = Certificates::in_folder(&path);
    for (name, value) in
        [("tls_key", "missing.pem"), ("tls_key", files.certificate.to_str().unwrap())]
    {
        let mut serve = milepost(&["serve", "--check", "--set", &format!("{name}={value}")]);
        let refused = support::run(serve.env("MILEPOST_TLS_CERT", &files.certificate));
        let line = support::text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(64), "{line}");
        assert!(line.contains("tls_key: ") && line.lines().count() == 1, "{line}");
    }
}

#[test]
fn a_check_refuses_what_the_start_would_refuse() {
    for (name, value) in [
        ("keys_file", "/missing/keys.toml"),
        ("token_jwks_url", "ftp://example.com/keys"),
        ("data_dir", ""),
        ("keys_file", ""),
        ("log", ""),
    ] {
        for check in [&["serve", "--check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let mut serve = milepost(check);
            let refused =
                support::run(serve.env(format!("MILEPOST_{}", name.to_uppercase()), value));
            let line = support::text(&refused.stderr);
            assert_eq!(refused.status.code(), Some(64), "{name}={value}: {line}");
            let names_it = line.to_lowercase().contains(name);
            assert!(names_it && line.lines().count() == 1, "{name}={value}: {line}");
        }
    }
}

#[test]
fn a_socket_that_systemd_passes_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // As systemd does it: the socket is file 3, and the variables are for this process alone.
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve";
    let mut child = Command::new("sh")
        .args(["-c", script, binary()])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let serve = |path: &str| {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    };
    eventually("it serves", || serve("/livez"));
    kill("TERM", child.id());
    assert!(child.wait().unwrap().success());
}
