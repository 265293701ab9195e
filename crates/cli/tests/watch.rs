//! `milepost watch` against a real server.

#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

mod support;

use std::io::{Read, Write};
use std::process::Child;

use milepost_redis_servers::free_port;
use milepost_server::Config;
use serde_json::Value;
use support::{
    Server, binary, eventually, finish, kill, milepost, on_terminal, run, screen_until, temporary,
    text,
};

/// A watcher that has subscribed to these jobs, so that what is reported from now on is seen as it comes.
fn watching(server: &Server, arguments: &[&str], jobs: &[&str]) -> Child {
    let before: Vec<_> = jobs.iter().map(|job| watchers(server, job)).collect();
    let child = server.milepost(&[&["watch"], arguments].concat()).spawn().unwrap();
    for (job, before) in jobs.iter().zip(before) {
        eventually("it watches", || (watchers(server, job) > before).then_some(()));
    }
    child
}

fn watchers(server: &Server, job: &str) -> u64 {
    let watchers = server.get(&format!("/watchers?job_id={job}")).unwrap();
    watchers["watchers"][job].as_u64().unwrap()
}

#[test]
fn in_a_pipe_changes_are_lines_and_the_exit_code_is_the_outcome() {
    let server = Server::start();
    for (status, code) in [("completed", 0), ("failed", 1), ("cancelled", 3)] {
        let id = format!("job-{status}");
        server.report(&id, r#"{"stage":"one","progress":0.1}"#);
        let child = watching(&server, &[&id], &[&id]);
        for thousandth in 100..=200 {
            server.report(&id, &format!(r#"{{"progress":{}}}"#, f64::from(thousandth) / 1000.0));
        }
        server.report(&id, r#"{"stage":"two"}"#);
        server.report(&id, &format!(r#"{{"status":"{status}","message":"over","error":"why"}}"#));
        let output = finish(child);
        assert_eq!(output.status.code(), Some(code));
        let lines = text(&output.stdout);
        assert!(lines.lines().count() <= 6, "{lines}");
        for step in ["10 % one", "20 % two"] {
            assert!(lines.contains(&format!("{id} {step} · 0:")), "{lines}");
        }
        let word = if status == "completed" { "done" } else { status };
        assert!(lines.lines().last().unwrap().starts_with(&format!("{id} {word}")), "{lines}");
    }
}

#[test]
fn json_is_each_state_as_the_server_has_it() {
    let server = Server::start();
    server.report("a", r#"{"progress":0.123456789012345678,"x":[1]}"#);
    let child = watching(&server, &["--json", "a"], &["a"]);
    server.report("a", r#"{"status":"completed","result":7}"#);
    let output = finish(child);
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines, server.history("a"));
    assert_eq!(lines.len(), 2);
}

#[test]
fn without_children_the_parent_decides() {
    let server = Server::start();
    for (status, code) in [("completed", 0), ("failed", 1), ("cancelled", 3)] {
        server.report(status, r#"{"stage":"s"}"#);
        server.report(status, &format!(r#"{{"status":"{status}"}}"#));
        let output = run(&mut server.milepost(&["watch", "--parent", status]));
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        let line = format!("milepost: {status} has ended: {status}. None of its children runs\n");
        assert_eq!(text(&output.stderr), line);
    }
    server.report("orphan", r#"{"status":"failed","parent_id":"never-reported"}"#);
    let orphaned = run(&mut server.milepost(&["watch", "--parent", "never-reported"]));
    assert_eq!(orphaned.status.code(), Some(0), "{}", text(&orphaned.stderr));
    let unknown = run(&mut server.milepost(&["watch", "--parent", "x", "--timeout", "1"]));
    assert_eq!(unknown.status.code(), Some(5), "{}", text(&unknown.stderr));
}

#[test]
fn children_of_a_parent_that_is_not_known_yet_are_awaited() {
    let server = Server::start();
    let mut child = server.milepost(&["watch", "--parent", "batch"]).spawn().unwrap();
    support::read_until(child.stderr.as_mut().unwrap(), "batch is not known yet: waiting");
    server.report("batch", r#"{"stage":"s"}"#);
    server.report("part", r#"{"stage":"s","parent_id":"batch"}"#);
    eventually("it is watched", || (watchers(&server, "part") > 0).then_some(()));
    server.report("part", r#"{"status":"failed"}"#);
    assert_eq!(finish(child).status.code(), Some(1));
}

#[test]
fn several_jobs_end_with_the_worst_outcome() {
    let server = Server::start();
    server.report("late", r#"{"status":"completed"}"#);
    let child = watching(&server, &["late", "a", "b"], &["a", "b"]);
    server.report("a", r#"{"status":"completed"}"#);
    server.report("b", r#"{"status":"failed","error":"broken"}"#);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "milepost: 3 jobs: 2 completed, 1 failed (failed: b)\n");
    let lines = text(&output.stdout);
    assert!(
        lines.contains("late done") && lines.contains("a done") && lines.contains("b failed"),
        "{lines}"
    );
    assert!(
        lines.contains("b failed error · broken") || lines.contains("b failed broken"),
        "{lines}"
    );
}

#[test]
fn a_server_that_restarts_is_found_again() {
    let (_folder, folder) = temporary();
    let config = || Config { data_dir: Some(folder.clone()), ..Config::default() };
    // While nobody listens there, no connection may get the port.
    let server = Server::on(([127, 0, 0, 1], free_port()).into(), config());
    server.report("a", r#"{"progress":0.5,"stage":"s"}"#);
    let child = watching(&server, &["a"], &["a"]);
    let address = server.stop();
    let server = Server::on(address, config());
    server.report("a", r#"{"status":"completed"}"#);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0));
    let lines = text(&output.stdout);
    assert!(
        lines.starts_with("a 50 % s · 0:")
            && lines.lines().last().is_some_and(|line| line.starts_with("a done ")),
        "{lines}"
    );
}

#[test]
fn without_a_server_it_gives_up_on_request() {
    let output = run(&mut milepost(&["watch", "a", "--timeout", "1"]));
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).lines().all(|line| line.starts_with("milepost: ")));
}

/// Sequences that write the clipboard, set the title and clear the screen, as JSON has them.
const STEERING: &str = r"a\u001b]52;c;aGk=\u0007b\u001b]0;title\u0007c\u001b[2Jd\u009b2Je\u000d";

/// A server that shows one job, reports an error of another one, and closes every WebSocket for good, all in such words.
fn steering() -> String {
    use tungstenite::protocol::CloseFrame;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let say = |message: String| message.replace("STEERING", STEERING).into();
        while let Ok((stream, _)) = listener.accept() {
            let Ok(mut socket) = tungstenite::accept(stream) else { continue };
            let _ = socket.send(say(
                r#"{"type":"connected","message":"STEERING","timestamp":"2026-01-01T00:00:00Z"}"#
                    .into(),
            ));
            let _ = socket.read();
            let _ = socket.send(say(concat!(
                r#"{"job_id":"j","status":"failed","stage":"STEERING","progress":0.5,"message":"STEERING","#,
                r#""error":"STEERING","name":"STEERING","tags":["STEERING"],"attempt":1,"position":"a-1"}"#
            )
            .into()));
            let _ = socket.send(say(
                r#"{"type":"error","problem":"forbidden","job_id":"k","message":"STEERING"}"#
                    .into(),
            ));
            let reason: String = serde_json::from_str(&format!("\"{STEERING}\"")).unwrap();
            let _ = socket.close(Some(CloseFrame { code: 4400.into(), reason: reason.into() }));
            while socket.read().is_ok() {}
        }
    });
    url
}

#[test]
fn words_from_a_socket_do_not_steer_the_terminal() {
    let url = steering();
    for jobs in [&["j"][..], &["j", "k"], &["x"]] {
        let mut command = milepost(&[&["watch", "--timeout", "20"], jobs].concat());
        let output = finish(command.env("MILEPOST_URL", &url).spawn().unwrap());
        let [out, err] = [text(&output.stdout), text(&output.stderr)];
        assert!(format!("{out}{err}").contains("abcde"), "{out:?} {err:?}");
        for line in out.lines().chain(err.lines()) {
            assert!(!line.chars().any(char::is_control), "{out:?} {err:?}");
        }
    }
}

#[test]
fn json_on_a_terminal_does_not_steer_it_and_has_the_same_value() {
    let server = Server::start();
    let message = "a\u{9b}2J\u{7f}\u{202e}b";
    server.report("a", &format!(r#"{{"status":"completed","message":"{message}"}}"#));
    for command in ["watch --json a", "status --json a", "jobs --json"] {
        let line = format!("stty -onlcr; exec {} {command} --server {}", binary(), server.url());
        let output = finish(on_terminal(&line).spawn().unwrap());
        let json = text(&output.stdout);
        assert!(!json.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'), "{json:?}");
        let state: Value = serde_json::from_str(json.trim_end()).unwrap();
        assert_eq!(state["message"], message);
        // A program receives it as it is.
        let piped =
            finish(server.milepost(&command.split(' ').collect::<Vec<_>>()).spawn().unwrap());
        assert!(text(&piped.stdout).contains(message), "{command}");
    }
}

#[test]
fn an_unknown_job_ends_with_the_timeout_and_is_no_failure() {
    let server = Server::start();
    server.report("a", r#"{"status":"completed"}"#);
    let output = run(&mut server.milepost(&["watch", "a", "nobody", "--timeout", "6"]));
    assert_eq!(output.status.code(), Some(5));
    let lines = text(&output.stdout);
    assert!(lines.contains("a done") && lines.contains("nobody is not known yet"), "{lines}");
}

#[test]
fn a_selected_job_that_the_server_forgets_is_given_up() {
    let server = Server::start();
    server.report("w-1", "{}");
    let child = watching(&server, &["--prefix", "w-", "--timeout", "5"], &["w-1"]);
    ureq::delete(format!("{}/jobs/w-1", server.url())).call().unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
}

#[test]
fn a_named_job_that_the_server_forgets_is_given_up() {
    let server = Server::start();
    server.report("a", r#"{"progress":0.2}"#);
    let child = watching(&server, &["a", "--timeout", "5"], &["a"]);
    ureq::delete(format!("{}/jobs/a", server.url())).call().unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(text(&output.stderr), "milepost: a: forgotten by the server, given up\n");
}

#[test]
fn a_prefix_or_a_tag_names_the_jobs_that_have_not_ended() {
    let server = Server::start();
    for (id, update) in [
        ("x-1", r#"{"progress":0.5,"tags":["t"]}"#),
        ("x-2", r#"{"status":"failed"}"#),
        ("y", "{}"),
    ] {
        server.report(id, update);
    }
    let filters = [&["--prefix", "x-"][..], &["--tag", "t"], &["--q", "X-"]];
    let children = filters.map(|filter| watching(&server, filter, &["x-1"]));
    server.report("x-1", r#"{"status":"completed"}"#);
    for child in children {
        let output = finish(child);
        let lines = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{lines}");
        assert!(lines.lines().all(|line| line.starts_with("x-1 ")), "{lines}");
        assert!(lines.lines().any(|line| line.starts_with("x-1 done ")), "{lines}");
    }
    server.report("y-1", r#"{"tags":["u"]}"#);
    let child = watching(&server, &["--tag", "u"], &["y-1"]);
    // It begins only as the last one ends.
    server.report("y-2", r#"{"tags":["u"]}"#);
    server.report("y-1", r#"{"status":"completed"}"#);
    eventually("it joins", || (watchers(&server, "y-2") == 1).then_some(()));
    server.report("y-2", r#"{"status":"cancelled"}"#);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("y-2 cancelled"));
    let none = run(&mut server.milepost(&["watch", "--prefix", "z"]));
    assert_eq!(none.status.code(), Some(0));
    assert_eq!(run(&mut server.milepost(&["watch"])).status.code(), Some(64));
}

#[test]
fn what_matters_is_shown_first_and_the_rest_is_counted() {
    let server = Server::start();
    let names: Vec<String> = (10..40).map(|n| format!("j{n}")).collect();
    for name in &names {
        let queued = name != "j17" && name != "j38";
        let update = if queued { r#"{"status":"queued"}"# } else { r#"{"progress":0.5}"# };
        server.report(name, update);
    }
    let line = format!(
        "stty rows 8 cols 80; exec {} watch {} --server {}",
        binary(),
        names.join(" "),
        server.url()
    );
    let mut child = on_terminal(&line).spawn().unwrap();
    let shown = support::read_until(child.stdout.as_mut().unwrap(), "and 24 more: 24 queued");
    assert!(shown.contains("j17\x1b") && shown.contains("j38\x1b"), "{shown:?}");
    let (stdin, stdout) = (child.stdin.as_mut().unwrap(), child.stdout.as_mut().unwrap());
    stdin.write_all(b"\x1b[B").unwrap();
    support::read_until(stdout, "and 24 more: 1 processing, 23 queued, 1 above");
    for name in &names {
        server.report(name, r#"{"status":"completed"}"#);
    }
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("30 jobs: 30 completed"));
}

#[test]
fn children_that_need_attention_are_below_their_parent() {
    let server = Server::start();
    server.report("batch", r#"{"children_expected":30}"#);
    server.report("good", r#"{"parent_id":"batch","status":"completed"}"#);
    let line =
        format!("stty rows 24 cols 80; exec {} watch batch --server {}", binary(), server.url());
    let mut child = on_terminal(&line).spawn().unwrap();
    let mut terminal = vt100::Parser::new(24, 80, 0);
    let stdout = child.stdout.as_mut().unwrap();
    screen_until(stdout, &mut terminal, "1 of 30 ended");
    server.report("bad", r#"{"parent_id":"batch","status":"failed","error":"no disk"}"#);
    server.report("runs", r#"{"parent_id":"batch","progress":0.5}"#);
    // For a moment, there may be one of the two.
    screen_until(stdout, &mut terminal, "  runs");
    screen_until(stdout, &mut terminal, "… and 1 more: 1 completed");
    let shown = terminal.screen().contents();
    let at = |words| shown.find(words).unwrap();
    assert!(at("  bad") < at("no disk") && at("no disk") < at("  runs"), "{shown}");
    assert!(at("  runs") < at("… and 1 more"), "{shown}");
    server.report("batch", r#"{"status":"failed","error":"1 of 30 children failed"}"#);
    assert_eq!(finish(child).status.code(), Some(1));
}

#[test]
fn a_table_of_jobs_follows_what_changes() {
    let server = Server::start();
    let line =
        format!("stty rows 5 cols 80; exec {} jobs --watch --server {}", binary(), server.url());
    let mut child = on_terminal(&line).spawn().unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    support::read_until(stdout, "the server knows no jobs");
    server.report("first", r#"{"progress":0.5,"message":"half"}"#);
    support::read_until(stdout, "half");
    for n in 0..5 {
        server.report(&format!("j{n}"), r#"{"progress":0.5}"#);
    }
    support::read_until(stdout, "… and 4 more");
    // Ctrl-C, typed.
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(finish(child).status.code(), Some(130));
}

#[test]
fn what_the_shell_prints_after_ctrl_z_is_below_the_rows() {
    let server = Server::start();
    for name in ["first", "second", "third"] {
        server.report(name, r#"{"progress":0.5}"#);
    }
    for (command, beside) in [("watch --all", "  ━"), ("jobs --watch", "   processing")] {
        let (binary, url) = (binary(), server.url());
        // Its modes are as before: `stty` finds that the terminal reads whole lines.
        let line = format!(
            "stty rows 24 cols 80; set -m; {binary} {command} --server {url}; stty -a | grep -ow -- -*icanon; fg"
        );
        let mut child = on_terminal(&line).spawn().unwrap();
        let mut terminal = vt100::Parser::new(24, 80, 0);
        let (stdin, stdout) = (child.stdin.as_mut().unwrap(), child.stdout.as_mut().unwrap());
        for name in ["first ", "second", "third "] {
            screen_until(stdout, &mut terminal, &format!("{name}{}", &beside[1..]));
        }
        stdin.write_all(b"\x1a").unwrap();
        screen_until(stdout, &mut terminal, "icanon");
        let screen = terminal.screen().contents();
        let below = screen.split("icanon").next().unwrap().lines();
        let rows: Vec<&str> =
            below.filter(|row| row.contains("first") || row.contains("third")).collect();
        assert!(rows.len() == 2 && rows.iter().all(|row| row.contains("50 %")), "{screen}");
        assert!(!screen.contains("-icanon"), "{screen}");
        server.report("second", r#"{"progress":0.75}"#);
        screen_until(stdout, &mut terminal, "75 %");
        server.report("second", r#"{"progress":0.5}"#);
        stdin.write_all(b"\x03").unwrap();
        finish(child);
    }
}

#[test]
fn ctrl_c_is_130() {
    let server = Server::start();
    let child = watching(&server, &["a"], &["a"]);
    kill("INT", child.id());
    assert_eq!(finish(child).status.code(), Some(130));
}

#[test]
fn on_a_terminal_there_is_a_bar_for_each_job() {
    let server = Server::start();
    server.report("a", r#"{"progress":0.5,"stage":"s","message":"half"}"#);
    server.report("b", r#"{"status":"failed","error":"first\nlast"}"#);
    let line = format!("{} watch a b --server {}", binary(), server.url());
    let mut child = on_terminal(&line).spawn().unwrap();
    let mut shown = support::read_until(child.stdout.as_mut().unwrap(), "s · half");
    server.report("a", r#"{"status":"completed"}"#);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(1));
    shown.push_str(&String::from_utf8_lossy(&output.stdout));
    assert!(shown.contains("━"), "{shown:?}");
    assert!(shown.contains("done") && shown.contains("b: first\r\n  last"), "{shown:?}");
}

#[test]
fn on_a_terminal_that_cannot_draw_there_are_lines_as_they_come() {
    let server = Server::start();
    server.report("a", r#"{"progress":0.1,"stage":"one"}"#);
    let line = format!("{} watch a --server {}", binary(), server.url());
    let mut child = on_terminal(&line).env("TERM", "dumb").spawn().unwrap();
    let mut shown = support::read_until(child.stdout.as_mut().unwrap(), "a 10 % one");
    server.report("a", r#"{"progress":0.5,"stage":"two"}"#);
    shown.push_str(&support::read_until(child.stdout.as_mut().unwrap(), "a 50 % two"));
    server.report("a", r#"{"status":"completed"}"#);
    let output = finish(child);
    assert_eq!(output.status.code(), Some(0));
    shown.push_str(&String::from_utf8_lossy(&output.stdout));
    assert!(shown.contains("a done"), "{shown:?}");
    assert!(!shown.contains('\x1b') && !shown.contains('━'), "{shown:?}");
}

/// A server whose first page of jobs is empty, though it has one job.
fn serving_an_empty_page_first() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut request = [0; 4096];
            let n = stream.read(&mut request).unwrap_or(0);
            let page = if String::from_utf8_lossy(&request[..n]).contains("after=x") {
                r#"{"jobs":[{"job_id":"old","status":"processing","stage":"s","attempt":1,"position":"1-1"}],"next":null}"#
            } else {
                r#"{"jobs":[],"next":"x"}"#
            };
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
            let _ = write!(stream, "{head} {}\r\n\r\n{page}", page.len());
        }
    });
    url
}

#[test]
fn jobs_are_found_beyond_a_page_that_is_empty() {
    let url = serving_an_empty_page_first();
    let line = format!("stty rows 20 cols 90; exec {} top --q OLD --server {url}", binary());
    let mut top = on_terminal(&line).spawn().unwrap();
    let mut terminal = vt100::Parser::new(20, 90, 0);
    screen_until(top.stdout.as_mut().unwrap(), &mut terminal, "1 job: 1 processing");
    top.stdin.as_mut().unwrap().write_all(b"q").unwrap();
    assert_eq!(finish(top).status.code(), Some(0));
    // That server has no sockets, but the job is asked for there.
    let line = ["watch", "--q", "OLD", "--timeout", "1", "--server", &url];
    let output = run(&mut milepost(&line));
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
}

/// `milepost top` on a terminal; its process id, once it shows the jobs.
fn top(server: &Server, terminal: &mut vt100::Parser) -> (Child, u32) {
    let (_folder, folder) = temporary();
    let pid = folder.join("pid");
    let line = format!(
        r#"stty rows 24 cols 80; sh -c 'echo $$ >{}; exec {} top --server {}'; echo "code $?"; stty -a | grep -o -- "-*icanon""#,
        pid.display(),
        binary(),
        server.url()
    );
    let mut child = on_terminal(&line).spawn().unwrap();
    screen_until(child.stdout.as_mut().unwrap(), terminal, "0 jobs");
    (child, std::fs::read_to_string(pid).unwrap().trim().parse().unwrap())
}

#[test]
fn top_restores_the_terminal_when_a_signal_stops_or_ends_it() {
    let server = Server::start();
    for signal in ["INT", "TERM", "HUP"] {
        let mut terminal = vt100::Parser::new(24, 80, 0);
        let (mut child, pid) = top(&server, &mut terminal);
        let stdout = child.stdout.as_mut().unwrap();
        kill("TSTP", pid);
        eventually("the terminal is restored", || {
            let mut buffer = [0; 4096];
            let n = stdout.read(&mut buffer).unwrap();
            terminal.process(&buffer[..n]);
            (!terminal.screen().alternate_screen()).then_some(())
        });
        eventually("it is stopped", || is_in_state(pid, 'T').then_some(()));
        kill("CONT", pid);
        screen_until(stdout, &mut terminal, "0 jobs");
        kill(signal, pid);
        screen_until(stdout, &mut terminal, "code 130\nicanon");
        assert!(!terminal.screen().alternate_screen());
        assert_eq!(finish(child).status.code(), Some(0));
    }
}

#[test]
fn top_ends_when_its_terminal_is_gone() {
    let server = Server::start();
    let mut terminal = vt100::Parser::new(24, 80, 0);
    let (mut child, pid) = top(&server, &mut terminal);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("it has ended", || {
        let is_there = std::path::Path::new(&format!("/proc/{pid}")).exists();
        (!is_there || is_in_state(pid, 'Z')).then_some(())
    });
}

/// As `ps` names it: `T` stopped, `Z` ended.
fn is_in_state(pid: u32, state: char) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(state))
}

#[test]
fn top_is_a_live_table_with_a_page_for_each_job() {
    let server = Server::start();
    run(&mut server.milepost(&["run", "--job", "logged", "--", "echo", "some words"]));
    server.report("first", r#"{"progress":0.5,"message":"half","cancellable":true}"#);
    let line =
        format!("stty rows 20 cols 90; exec {} top --sort job --server {}", binary(), server.url());
    let mut child = on_terminal(&line).spawn().unwrap();
    let (stdin, stdout) = (child.stdin.as_mut().unwrap(), child.stdout.as_mut().unwrap());
    let mut terminal = vt100::Parser::new(20, 90, 0);
    let mut until = |words: &str| screen_until(stdout, &mut terminal, words);
    let mut press = |keys: &[u8]| stdin.write_all(keys).unwrap();
    until("2 jobs: 1 processing, 1 completed · by job");
    server.report("new", r#"{"status":"queued"}"#);
    until("3 jobs: 1 queued, 1 processing, 1 completed");
    press(b"\r");
    until("   message  half");
    press(b"c");
    until("Cancel first? y/n");
    press(b"y");
    until("first: requested to cancel");
    assert_eq!(server.job("first")["requested"]["action"], "cancel");
    press(b"q/logged\r\r");
    until("Log\nsome words");
    press(b"qq");
    assert_eq!(finish(child).status.code(), Some(0));

    let (code, err) = {
        let output = run(&mut server.milepost(&["top"]));
        (output.status.code(), text(&output.stderr))
    };
    assert!(code == Some(64) && err.contains("top needs a terminal"), "{err}");
}
