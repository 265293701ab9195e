//! The commands that ask once, and those around the server.

#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use milepost_redis_servers::free_port;
use serde_json::{Value, json};
use support::{Server, eventually, finish, kill, milepost, run, temporary, text, write_program};

fn code_and_streams(command: &mut Command) -> (i32, String, String) {
    let output = run(command);
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn report_prints_the_position_and_status_the_state() {
    let server = Server::start();
    let line =
        ["report", "a", "--progress", "0.4", "--stage", "s", "--message", "m", "--metadata", "k=v"];
    let (code, position, _) = code_and_streams(&mut server.milepost(&line));
    let state = server.job("a");
    assert_eq!((code, position.trim()), (0, state["position"].as_str().unwrap()));
    assert_eq!((&state["progress"], &state["metadata"]), (&0.4.into(), &json!({"k": "v"})));
    let (code, json, _) = code_and_streams(&mut server.milepost(&["status", "a", "--json"]));
    assert_eq!((code, serde_json::from_str::<Value>(&json).unwrap()), (0, state));
    let (_, words, _) = code_and_streams(&mut server.milepost(&["status", "a"]));
    assert!(words.starts_with("a: processing, 40 %\n"), "{words}");
    assert!(words.ends_with(&format!("      page  {}/?job=a\n", server.url())), "{words}");
    assert!(!words.contains("       log  "), "{words}");
    let (code, link, _) = code_and_streams(&mut server.milepost(&["share", "a", "--full"]));
    assert_eq!((code, link), (0, format!("{}/?job=a\n", server.url())));
    let (code, link, problem) =
        code_and_streams(&mut server.milepost(&["share", "a", "--for", "1h"]));
    assert_eq!((code, link.as_str()), (64, ""));
    assert!(problem.contains("would not expire"), "{problem}");
}

#[test]
fn status_has_the_stages_and_why_earlier_attempts_ended() {
    let server = Server::start();
    server.report("a", r#"{"stage":"cut"}"#);
    server.report("a", r#"{"status":"failed","error":"a trace\nno disk"}"#);
    let stages = r#"[{"id":"load","label":"Load"},"cut"]"#;
    server.report("a", &format!(r#"{{"attempt":2,"stages":{stages},"stage":"cut"}}"#));
    let (_, words, _) = code_and_streams(&mut server.milepost(&["status", "a"]));
    let row = |name: &str| {
        let begins = format!("{name:>10}  ");
        let found = words.lines().find_map(|line| line.strip_prefix(&begins));
        found.unwrap_or_else(|| panic!("no {name} in {words}")).to_owned()
    };
    assert!(row("stages").starts_with("✓ Load → ● cut 0:0"), "{words}");
    assert_eq!(row("attempt"), "2");
    let earlier = row("earlier");
    assert!(earlier.starts_with("1: failed") && earlier.ends_with(": no disk"), "{words}");
    // For programs, it is the state and nothing else.
    let (_, json, _) = code_and_streams(&mut server.milepost(&["status", "a", "--json"]));
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), server.job("a"));
}

#[test]
fn a_misspelt_variable_is_named() {
    let mut misspelt = milepost(&["token", "--watch", "a", "--for", "1m"]);
    misspelt.env("MILEPOST_TOKEN_SECRET", "a secret of thirty-two bytes, and more");
    misspelt.env("MILEPOST_ULR", "http://127.0.0.1:1").env("MILEPOST_TTL", "60");
    let (code, out, err) = code_and_streams(&mut misspelt);
    let line = "the environment variable MILEPOST_ULR has no effect: did you mean MILEPOST_URL?";
    assert_eq!((code, out.lines().count(), err), (0, 1, format!("milepost: {line}\n")));
}

#[test]
fn a_refusal_is_one_line() {
    let server = Server::start();
    server.report("a", r#"{"status":"completed"}"#);
    let (code, out, err) =
        code_and_streams(&mut server.milepost(&["report", "a", "--progress", "0.5", "--strict"]));
    assert_eq!((code, out.as_str(), err.lines().count()), (1, "", 1), "{err}");
    assert!(err.starts_with("milepost: ") && err.contains("attempt 1"), "{err}");
}

#[test]
fn a_script_goes_on_though_its_reports_do_not_arrive() {
    let script = format!("set -e; {} report x --progress 0.1; echo next", support::binary());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    for url in ["http://127.0.0.1:1", &silent_url] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).env("MILEPOST_URL", url);
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (code, out, err) = code_and_streams(&mut shell);
        assert_eq!((code, out.as_str(), err.lines().count()), (0, "next\n", 1), "{err}");
        assert!(err.starts_with("milepost: x was not reported: "), "{err}");
    }
    // Wrong usage is the script's fault.
    let mut wrong = milepost(&["report", "x", "--progress", "-0.1"]);
    let (code, _, err) = code_and_streams(&mut wrong);
    assert_eq!(code, 64);
    assert!(err.contains("'-0.1'") && err.contains("from 0 to 1"), "{err}");
}

#[test]
fn the_redis_of_an_application_is_not_written_to() {
    let server = Server::start();
    let applications = TcpListener::bind("127.0.0.1:0").unwrap();
    applications.set_nonblocking(true).unwrap();
    let redis = format!("redis://{}", applications.local_addr().unwrap());
    for line in [&["report", "x", "--progress", "0.5"][..], &["status", "x"], &["jobs"]] {
        let (code, _, err) = code_and_streams(server.milepost(line).env("REDIS_URL", &redis));
        assert_eq!((code, err.as_str()), (0, ""), "{line:?}");
    }
    let line = ["run", "--job", "y", "--", "true"];
    assert_eq!(code_and_streams(server.milepost(&line).env("REDIS_URL", &redis)).0, 0);
    assert_eq!(server.job("y")["status"], "completed");
    assert_eq!(applications.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn open_hands_the_jobs_page_to_the_browser() {
    let (_folder, folder) = temporary();
    let (browser, seen) = (folder.join("browser"), folder.join("seen"));
    let script = format!("#!/bin/sh\necho \"$1\" >{}\n", seen.display());
    write_program(&browser, script.as_bytes());
    let line = ["open", "a", "--server", "http://host:1/"];
    let (code, _, err) = code_and_streams(milepost(&line).env("BROWSER", &browser));
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(std::fs::read_to_string(seen).unwrap(), "http://host:1/?job=a\n");
    let (code, _, err) = code_and_streams(milepost(&line).env("BROWSER", "/nonexistent"));
    assert!(code == 1 && err.contains("the page is http://host:1/?job=a"), "{err}");
}

/// Answers a request, whatever it is. It takes all that comes: who closes a connection with something unread in it resets it, and
/// then the answer may not be read either.
fn answer_with(mut stream: TcpStream, answer: &str) {
    stream.write_all(answer.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// A server that answers each request with this.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || answer_with(stream, answer));
        }
    });
    url
}

#[test]
fn a_redirect_is_an_error_that_names_the_address() {
    let url = answering(
        "HTTP/1.1 301 Moved\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
    );
    let line = ["report", "a", "--status", "completed", "--strict", "--server", &url];
    let (code, out, err) = code_and_streams(&mut milepost(&line));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("redirects to https://elsewhere.example/"), "{err}");
}

#[test]
fn an_https_url_of_a_server_without_tls_is_said_in_words() {
    let server = Server::start();
    let url = format!("https://{}", server.address);
    for line in [&["jobs"][..], &["watch", "a", "--timeout", "1"]] {
        let output = run(milepost(line).env("MILEPOST_URL", &url));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("it does not speak HTTPS: use an http URL"), "{said}");
    }
}

#[test]
fn words_of_the_server_do_not_steer_the_terminal() {
    let url = answering(concat!(
        "HTTP/1.1 409 No\r\nContent-Length: 154\r\n\r\n",
        r#"{"type":"urn:milepost:problem:attempt-ended","title":"t","status":409,"#,
        r#""detail":"a\u001b]52;c;aGk=\u0007b\u001b]0;title\u0007c\u001b[2Jd\u009b2Je\n"}      "#
    ));
    for line in [&["report", "a", "--strict"][..], &["status", "a"], &["jobs"], &["report", "a"]] {
        let (_, _, err) = code_and_streams(milepost(line).env("MILEPOST_URL", &url));
        assert_eq!(err.lines().count(), 1, "{err:?}");
        assert!(!err.trim_end_matches('\n').chars().any(char::is_control), "{err:?}");
    }
}

#[test]
fn an_end_that_is_too_large_is_sent_without_that_part() {
    let server = Server::start();
    let large = serde_json::to_string(&"x".repeat(90_000)).unwrap();
    let line = ["report", "a", "--status", "completed", "--result", &large, "--message", "done"];
    let (code, _, err) = code_and_streams(&mut server.milepost(&line));
    assert_eq!(code, 0, "{err}");
    let state = server.job("a");
    assert_eq!((&state["status"], &state["message"]), (&"completed".into(), &"done".into()));
    assert_eq!((&state["result"], &state["truncated"]), (&Value::Null, &json!(["result"])));
    assert!(err.contains("without all of its result"), "{err}");
}

#[test]
fn what_goes_wrong_has_its_exit_code_and_one_line() {
    let server = Server::start();
    let other_url = answering("HTTP/1.1 418 No\r\nContent-Length: 2\r\n\r\nhi");
    for (mut command, expected) in [
        (server.milepost(&["status", "nobody"]), 5),
        (server.milepost(&["status", "a/b"]), 64),
        (server.milepost(&["status"]), 64),
        (server.milepost(&["nonsense"]), 64),
        (server.milepost(&["report", "a", "--progress", "40%"]), 64),
        (server.milepost(&["report", "a", "--stage", &"x".repeat(300)]), 64),
        (server.milepost(&["watch", "a", "--server", "nonsense"]), 64),
        (milepost(&["status", "a"]), 4),
        (milepost(&["report", "a", "--strict"]), 4),
        (milepost(&["jobs"]), 4),
        (milepost(&["status", "a", "--server", "ftp://x"]), 64),
        (milepost(&["status", "a", "--server", &other_url]), 1),
    ] {
        let (code, out, err) = code_and_streams(&mut command);
        assert_eq!(
            (code, out.as_str(), err.lines().count()),
            (expected, "", 1),
            "{command:?}: {err}"
        );
        assert!(err.starts_with("milepost: "), "{err}");
    }
}

#[test]
fn a_token_that_no_header_can_have_is_refused_by_name() {
    let secret = "abcdefghij";
    let said =
        "MILEPOST_TOKEN has a character that no key or token has: only printable ASCII can be sent";
    for arguments in
        [&["report", "a", "--strict"][..], &["status", "a"], &["jobs"], &["watch", "a"]]
    {
        let mut command = milepost(arguments);
        let (code, out, err) =
            code_and_streams(command.env("MILEPOST_TOKEN", format!("{secret}\nx")));
        assert_eq!((code, out, err), (64, String::new(), format!("milepost: {said}\n")));
    }
    let mut command = milepost(&["run", "--job", "a", "--", "true"]);
    let (code, _, err) = code_and_streams(command.env("MILEPOST_TOKEN", format!("{secret}-ключ")));
    assert_eq!((code, err), (0, format!("milepost: nothing is reported: {said}\n")));
}

#[test]
fn a_token_is_sent_without_the_space_around_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut command = milepost(&["status", "a", "--server", &url]);
    let child = command.env("MILEPOST_TOKEN", " abc\n").spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    let lines: Vec<String> = BufReader::new(&stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    drop(stream);
    finish(child);
    assert!(
        lines.iter().any(|line| line.eq_ignore_ascii_case("authorization: Bearer abc")),
        "{lines:?}"
    );
}

#[test]
fn the_password_of_a_url_is_not_printed() {
    for url in [
        "http://me:pass@127.0.0.1:1",
        "http://me:pa%ss@127.0.0.1:1",
        "http://me:pass?x@127.0.0.1:1",
        "redis://me:pass@127.0.0.1:1",
        "redis://me:pass/x@127.0.0.1:1",
    ] {
        for arguments in [
            &["report", "a", "--strict"][..],
            &["status", "a"],
            &["jobs"],
            &["watch", "a"],
            &["open", "a"],
        ] {
            let mut command = milepost(arguments);
            command.args(["--server", url]).env("BROWSER", "false");
            let (_, out, err) = code_and_streams(&mut command);
            let shown = format!("{out}{err}").replace("a password in which", "");
            assert!(!shown.contains("pass") && !shown.contains("pa%"), "{arguments:?}: {shown}");
        }
    }
}

#[test]
fn jobs_is_a_table_that_can_be_filtered() {
    let server = Server::start();
    let (code, out, err) = code_and_streams(&mut server.milepost(&["jobs"]));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "milepost: the server knows no jobs\n"));
    for n in 0..5 {
        server.report(&format!("a-{n}"), r#"{"progress":0.5,"stage":"s"}"#);
    }
    server.report("b", r#"{"status":"failed","error":"why"}"#);
    let lines = |arguments: &[&str]| -> Vec<String> {
        let (code, out, err) =
            code_and_streams(&mut server.milepost(&[&["jobs"], arguments].concat()));
        assert_eq!(code, 0, "{err}");
        out.lines().map(str::to_owned).collect()
    };
    let table = lines(&[]);
    assert_eq!(table.len(), 7);
    let titles: Vec<&str> = table[0].split_whitespace().collect();
    assert!(titles.starts_with(&["JOB", "STATUS", "DONE"]), "{titles:?}");
    assert!(titles.ends_with(&["UPDATED", "DETAILS"]), "{titles:?}");
    let row = table.iter().find(|line| line.starts_with("a-3  processing  50 %  ")).unwrap();
    assert!(row.ends_with(" just now  s") || row.ends_with(" ago  s"), "{table:?}");
    let ids = |arguments: &[&str]| -> String {
        lines(arguments)[1..].iter().map(|line| line.split(' ').next().unwrap()).collect()
    };
    assert_eq!(ids(&["--sort", "job"]), "a-0a-1a-2a-3a-4b");
    assert_eq!(ids(&["--sort", "status", "--limit", "2"]), "a-4b");
    let (code, out, err) = code_and_streams(&mut server.milepost(&["jobs", "--prefix", "z"]));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "milepost: no such jobs are known\n"));
    let (code, _, err) = code_and_streams(&mut server.milepost(&["jobs", "--watch"]));
    assert!(code == 64 && err.contains("needs a terminal"), "{err}");
    assert_eq!(lines(&["--status", "failed,cancelled"]).len(), 2);
    assert_eq!(lines(&["--prefix", "a-"]).len(), 6);
    server.report("c", r#"{"name":"export","tags":["eu","nightly"],"heartbeat":10}"#);
    for filter in [
        &["--name", "export"][..],
        &["--tag", "eu", "--tag", "nightly"],
        &["--q", "NIGHT"],
        &["--health", "ok", "--tag", "eu"],
    ] {
        assert_eq!(ids(filter), "c", "{filter:?}");
    }
    let (code, _, err) = code_and_streams(&mut server.milepost(&["jobs", "--health", "well"]));
    assert!(code == 64 && err.contains("it must be ok, stalled or lost"), "{err}");
    let (_, out, err) = code_and_streams(&mut server.milepost(&["jobs", "--tag", "none"]));
    assert_eq!((out.as_str(), err.as_str()), ("", "milepost: no such jobs are known\n"));
    let limited = lines(&["--limit", "2", "--json"]);
    assert_eq!(limited.len(), 2);
    assert!(
        limited
            .iter()
            .all(|line| serde_json::from_str::<Value>(line).unwrap()["job_id"].is_string())
    );
}

#[test]
fn a_shell_is_offered_the_ids_of_known_jobs() {
    let server = Server::start();
    for id in ["export-1", "export-2", "import"] {
        server.report(id, r#"{"progress":0.5}"#);
    }
    let script = format!(
        r#"source <({milepost} completions bash | sed 's|milepost"|{milepost}"|')
        COMP_WORDS=(milepost watch exp); COMP_CWORD=2; COMP_TYPE=9
        _clap_complete_milepost {milepost} exp watch; printf '%s\n' "${{COMPREPLY[@]}}""#,
        milepost = support::binary()
    );
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).env("MILEPOST_URL", server.url());
    shell.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (_, out, err) = code_and_streams(&mut shell);
    let mut ids: Vec<&str> = out.lines().collect();
    ids.sort_unstable();
    assert_eq!(ids, ["export-1", "export-2"], "{err}");
}

#[test]
fn completions_and_manual() {
    let (code, out, _) = code_and_streams(&mut milepost(&["completions", "bash"]));
    assert!(code == 0 && out.contains("_milepost"));
    let (code, out, _) = code_and_streams(&mut milepost(&["man"]));
    assert!(code == 0 && out.contains(".TH") && out.contains("run"));
    let (code, out, _) = code_and_streams(&mut milepost(&["man", "run"]));
    assert!(
        code == 0 && out.contains(".TH milepost-run") && out.contains("attempt"),
        "{}",
        &out[..200]
    );
    let (code, out, _) = code_and_streams(&mut milepost(&["--help"]));
    assert!(code == 0 && out.contains("Exit codes:"));
}

#[test]
fn serve_refuses_what_it_does_not_know() {
    let (_folder, folder) = temporary();
    let file = folder.join("milepost.toml");
    std::fs::write(&file, "port = 0\ncolour = 1\n").unwrap();
    let path = file.to_str().unwrap();
    let (code, _, err) = code_and_streams(&mut milepost(&["serve", "--config", path]));
    assert_eq!((code, err), (64, format!("milepost: {path}: colour: there is no such setting\n")));
    let (code, _, err) = code_and_streams(milepost(&["serve"]).env("MILEPOST_COLOUR", "1"));
    assert_eq!((code, err.as_str()), (64, "milepost: MILEPOST_COLOUR: there is no such setting\n"));
    let (code, _, err) = code_and_streams(milepost(&["serve"]).env("PORT", "x"));
    assert!(code == 64 && err.starts_with("milepost: PORT is \"x\"; it must be "), "{err}");
    let (code, _, err) =
        code_and_streams(&mut milepost(&["serve", "--config", "/nonexistent.toml"]));
    assert!(code == 64 && err.starts_with("milepost: /nonexistent.toml: "), "{err}");
    let with_redis = |arguments: &[&str], url: &str| {
        let mut serve = milepost(&["serve", "--check"]);
        code_and_streams(serve.args(arguments).env("REDIS_URL", url))
    };
    let (code, _, err) = with_redis(&[], "redis://:secret@localhost/none");
    let why = "the Redis URL names the database \"none\", which is no number";
    assert_eq!((code, err), (64, format!("milepost: REDIS_URL: {why}\n")));
    let (code, _, err) = with_redis(&["--data-dir", "/tmp"], "redis://localhost");
    assert!(code == 64 && err.contains("data_dir is for the embedded broker"), "{err}");
    let (code, _, err) = with_redis(&["--set", "max_jobs=5"], "redis://localhost");
    assert!(code == 64 && err.contains("max_jobs has no effect with redis_url"), "{err}");
    let (code, _, err) = with_redis(&["--set", "ttl=60", "--set", "ttl=70"], "");
    assert_eq!(
        (code, err.as_str()),
        (64, "milepost: --set ttl: this setting is given more than once\n")
    );
    assert_eq!(with_redis(&[], "redis://localhost:6379").0, 0);
    assert_eq!(with_redis(&[], "").0, 0, "empty is as good as not set");
    let (code, out, err) =
        code_and_streams(milepost(&["serve", "--check", "--set", "ttl=60"]).env("PORT", "0"));
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
}

#[test]
fn serve_says_that_its_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) =
        code_and_streams(&mut milepost(&["serve", "--listen", &address, "--set", "log=error"]));
    assert_eq!((code, err.lines().count()), (1, 1), "{err}");
    assert!(err.contains(&address), "{err}");
}

#[test]
fn serve_goes_down_in_order_when_it_is_asked_to() {
    for signal in ["TERM", "INT"] {
        let address = format!("127.0.0.1:{}", free_port());
        let child = milepost(&[
            "serve",
            "--listen",
            &address,
            "--set",
            "drain_period=0",
            "--log-format",
            "json",
        ])
        .spawn()
        .unwrap();
        eventually("it answers", || ureq::get(format!("http://{address}/readyz")).call().ok());
        kill(signal, child.id());
        let output = finish(child);
        assert_eq!(output.status.code(), Some(0));
        assert!(
            text(&output.stderr).lines().all(|line| serde_json::from_str::<Value>(line).is_ok())
        );
    }
}

#[test]
fn nobody_reads_the_output() {
    let mut child = milepost(&["completions", "zsh"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = finish(child);
    assert!(matches!(output.status.code(), Some(0 | 141)), "{output:?}");
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn status_shows_children_as_a_tree_and_counts_the_rest() {
    let server = Server::start();
    server.report("batch", r#"{"children_expected":30}"#);
    server.report("done", r#"{"parent_id":"batch","status":"completed"}"#);
    server.report("bad", r#"{"parent_id":"batch","status":"failed","error":"no disk"}"#);
    server.report("inner", r#"{"parent_id":"batch","stage":"cut","progress":0.5}"#);
    server.report("leaf", r#"{"parent_id":"inner","progress":0.5}"#);
    let words = || code_and_streams(&mut server.milepost(&["status", "batch"])).1;
    let tree = "\
  children  2 of 30 ended, 1 failed, 1 processing
            ├─ bad       failed  no disk
            ├─ inner       50 %  cut · 0 of 1 ended, 1 processing
            │  └─ leaf       50 %
            └─ done        done
";
    eventually("the tree", || words().contains(tree).then_some(()));
    for number in 0..20 {
        server.report(&format!("more-{number}"), r#"{"parent_id":"batch","status":"queued"}"#);
    }
    let all = "2 of 30 ended, 1 failed, 1 processing, 20 queued";
    let shown = eventually("all children", || Some(words()).filter(|words| words.contains(all)));
    let lines: Vec<&str> = shown.lines().skip_while(|line| !line.contains("children")).collect();
    assert!(lines[1].contains("├─ bad") && lines[2].contains("├─ inner"), "{shown}");
    assert_eq!(lines[22].trim(), "└─ and 3 more: milepost jobs --parent batch", "{shown}");
    let (_, listed, _) = code_and_streams(&mut server.milepost(&["jobs", "--parent", "inner"]));
    assert!(listed.contains("leaf") && !listed.contains("bad"), "{listed}");
}
