//! `milepost run` with real commands: it never hurts them, and says what became of them.

#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use milepost_reporter::Reporter;
use milepost_server::Config;
use support::{
    Gate, Server, binary, eventually, finish, kill, milepost, on_terminal, read_until, run,
    temporary, text, write_program,
};

#[test]
fn output_passes_through_byte_for_byte() {
    let (_folder, folder) = temporary();
    let bytes: Vec<u8> =
        (0..3_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect();
    let file = folder.join("bytes");
    std::fs::write(&file, &bytes).unwrap();
    let server = Server::start();
    let script =
        format!("cat {0}; printf 'a\\r\\n\\0\\377 42%%\\r' >&2; cat {0} >&2", file.display());
    let output = run(&mut server.milepost(&["run", "--", "sh", "-c", &script]));
    assert!(output.status.success());
    assert!(output.stdout == bytes, "stdout differs");
    assert!(output.stderr.strip_prefix(b"a\r\n\0\xff 42%\r") == Some(&bytes), "stderr differs");
}

#[test]
fn the_exit_code_is_the_commands() {
    let code = |arguments: &[&str]| {
        let output = run(&mut milepost(&[&["run", "--"], arguments].concat()));
        (output.status.code().unwrap(), text(&output.stderr))
    };
    assert_eq!(code(&["true"]).0, 0);
    assert_eq!(code(&["sh", "-c", "exit 3"]).0, 3);
    assert_eq!(code(&["sh", "-c", "kill -9 $$"]).0, 137);
    assert_eq!(
        code(&["no-such-command-42"]),
        (127, "milepost: no-such-command-42: command not found\n".to_owned())
    );
    assert_eq!(
        code(&["/etc/passwd"]),
        (126, "milepost: /etc/passwd: permission denied\n".to_owned())
    );
}

#[test]
fn an_unknown_option_before_the_command_is_refused() {
    let (_folder, folder) = temporary();
    let program = folder.join("--id");
    std::os::unix::fs::symlink("/bin/echo", &program).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let of = |arguments: &[&str]| {
        let output = run(milepost(&[&["run"], arguments].concat()).env("PATH", &path));
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    for (arguments, option) in [
        (&["--id", "x", "--", "echo"][..], "--id"),
        (&["--id=x", "echo"], "--id"),
        (&["--quiet", "-x", "echo"], "-x"),
        (&["--quiet", "--jbo", "x", "echo"], "--jbo"),
    ] {
        let line = format!("milepost: unexpected argument '{option}' found (see --help)\n");
        assert_eq!(of(arguments), (64, String::new(), line), "{arguments:?}");
    }
    for arguments in [&["echo", "--id", "-x"][..], &["--", "echo", "--id", "-x"]] {
        assert_eq!(of(arguments), (0, "--id -x\n".into(), String::new()), "{arguments:?}");
    }
    assert_eq!(of(&["--", "--id", "x"]), (0, "x\n".into(), String::new()));
}

#[test]
fn without_a_server_nothing_changes() {
    for url in ["http://127.0.0.1:1", "http://", "redis://127.0.0.1:1", "nonsense", ""] {
        let output =
            run(milepost(&["run", "--", "sh", "-c", "echo out; echo 42%; echo err >&2; exit 5"])
                .env("MILEPOST_URL", url));
        assert_eq!(output.status.code(), Some(5), "{url}");
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            ("out\n42%\n".into(), "err\n".into()),
            "{url}"
        );
    }
}

#[test]
fn runs_inside_a_run_are_its_children() {
    let server = Server::start();
    let nested = |outer: &str, variables: &str| {
        let script = format!("{variables} {} run --job {outer}-1 --weight 2 -- true", binary());
        run(&mut server.milepost(&["run", "--job", outer, "--", "sh", "-c", &script]))
    };
    assert_eq!(nested("a", "").status.code(), Some(0));
    let child = server.get("/jobs/a-1").unwrap();
    assert_eq!((&child["parent_id"], &child["weight"]), (&"a".into(), &2.0.into()), "{child}");
    assert_eq!(server.get("/jobs/a").unwrap()["children"]["completed"], 1);
    // A variable that is set to nothing is none.
    assert_eq!(nested("b", "MILEPOST_PARENT=").status.code(), Some(0));
    assert_eq!(server.get("/jobs/b-1").unwrap()["parent_id"], serde_json::Value::Null);
}

#[test]
fn the_data_that_pv_passes_on_is_no_progress() {
    let server = Server::start();
    let (_folder, folder) = temporary();
    // Stands in for pv, which need not be installed.
    let pv = folder.join("pv");
    write_program(&pv, b"#!/bin/sh\nseq 90 -1 80; echo 34 >&2; sleep 0.3; seq 20 25; exit 1\n");
    let program = pv.to_str().unwrap();
    let output = run(&mut server.milepost(&["run", "--job", "p", "--", program, "-n", "file"]));
    assert_eq!(text(&output.stdout).lines().count(), 17);
    let reported =
        server.history("p").iter().filter_map(|s| s["progress"].as_f64()).collect::<Vec<_>>();
    assert!(
        !reported.is_empty()
            && reported.iter().all(|progress| (progress - 0.34).abs() < f64::EPSILON),
        "{reported:?}"
    );
}

#[test]
fn stdin_is_the_commands() {
    let mut child = milepost(&["run", "--", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"typed").unwrap();
    assert_eq!(finish(child).stdout, b"typed");
}

#[test]
fn a_reader_that_leaves_ends_the_command_as_in_any_pipe() {
    let mut child = milepost(&["run", "--", "yes"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "y\n");
    assert_eq!(finish(child).status.code(), Some(128 + 13), "SIGPIPE");
}

#[test]
fn a_background_process_does_not_hold_run_up_and_still_writes() {
    let (_folder, folder) = temporary();
    let out = folder.join("out");
    let go = folder.join("go");
    let script = format!(
        "(while ! [ -e {} ]; do sleep 0.05; done; echo late; echo later) & echo early",
        go.display()
    );
    let mut child = milepost(&["run", "--", "sh", "-c", &script])
        .stdout(std::fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    let status = eventually("run returns", || child.try_wait().unwrap());
    assert!(status.success());
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "early\n");
    std::fs::write(&go, "").unwrap();
    eventually("the rest is written", || {
        (std::fs::read_to_string(&out).unwrap() == "early\nlate\nlater\n").then_some(())
    });
}

#[test]
fn percentages_are_reported_and_the_result_has_the_exit() {
    let server = Server::start();
    let gates = [Gate::closed(), Gate::closed(), Gate::closed()];
    let [begun, quarter, half] = gates.each_ref().map(Gate::wait);
    let script = format!(
        "{begun}; echo '[ 25%] Building a'; {quarter}; printf '\\r 50%%'; {half}; echo; echo 'nothing 12%'"
    );
    let line = ["run", "--job", "build", "--", "sh", "-c", &script];
    let child = server.milepost(&line).spawn().unwrap();
    for (gate, progress) in gates.iter().zip([None, Some(0.25), Some(0.5)]) {
        eventually("it is reported", || {
            server.get("/jobs/build").filter(|state| state["progress"].as_f64() == progress)
        });
        gate.open();
    }
    assert!(finish(child).status.success());
    let state = server.job("build");
    assert_eq!((&state["status"], &state["progress"]), (&"completed".into(), &1.0.into()));
    assert_eq!(state["result"]["exit_code"], 0);
    assert!(state["result"]["duration_seconds"].as_f64().unwrap() > 0.0);
    let seen: Vec<_> =
        server.history("build").iter().filter_map(|s| s["progress"].as_f64()).collect();
    assert!(seen.contains(&0.25) && seen.contains(&0.5), "{seen:?}");
    assert_eq!(
        server.history("build")[0]["progress"],
        serde_json::Value::Null,
        "not known at first"
    );
}

#[test]
fn a_failure_has_the_last_words_of_stderr() {
    let server = Server::start();
    let script = "echo one >&2; printf '\\033[31mno space\\033[0m\\n\\n' >&2; printf '\\r 41%%\\r 42%%\\n' >&2; exit 4";
    let output = run(&mut server.milepost(&["run", "--job", "f", "--", "sh", "-c", script]));
    assert_eq!(output.status.code(), Some(4));
    let state = server.job("f");
    assert_eq!((&state["status"], &state["error"]), (&"failed".into(), &"one\nno space".into()));
    assert_eq!((&state["metadata"]["exit_code"], &state["progress"]), (&4.into(), &0.42.into()));
}

#[test]
fn without_a_log_no_text_of_the_output_is_reported() {
    let server = Server::start();
    let json = r#"{"progress":0.25,"stage":"hunter2","message":"hunter2","result":"hunter2","error":"hunter2"}"#;
    let script = format!("echo '{json}'; echo DB_PASSWORD=hunter2 >&2; exit $0");
    for (code, status) in [("0", "completed"), ("3", "failed")] {
        let line = ["run", "--job", status, "--no-log", "--", "sh", "-c", &script, code];
        let output = run(&mut server.milepost(&line));
        assert!(text(&output.stderr).contains("hunter2"));
        let states = server.history(status);
        assert!(!format!("{states:?}").contains("hunter2"), "{states:?}");
        assert_eq!(states.last().unwrap()["status"], status);
    }
    let state = server.job("failed");
    assert_eq!((&state["error"], &state["progress"]), (&"exited with code 3".into(), &0.25.into()));
}

#[test]
fn an_end_that_does_not_arrive_is_said_also_in_a_pipe() {
    let server = Server::start();
    let line = ["run", "--job", "a", "--wait", "1", "--", "sh", "-c", "read line; exit 4"];
    let mut child = server.milepost(&line).stdin(Stdio::piped()).spawn().unwrap();
    eventually("it is reported", || server.get("/jobs/a"));
    server.stop();
    drop(child.stdin.take());
    let output = finish(child);
    assert_eq!(output.status.code(), Some(4));
    let said = text(&output.stderr);
    let words = "milepost: the end of a was not reported: not accepted within 1 s";
    assert!(said.starts_with(words) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_credential_that_is_refused_is_said_at_once() {
    let (_folder, folder) = temporary();
    let file = folder.join("keys.toml");
    let mut add = milepost(&["key", "add", "watcher", "--watch", "*"]);
    let key = text(&run(add.env("MILEPOST_KEYS_FILE", &file)).stdout);
    let config = Config { keys_file: Some(file), ..Config::default() };
    let server = Server::on(support::any_port(), config);
    for (credential, status) in [(key.trim_end(), 403), ("wrong", 401)] {
        for arguments in [&["run", "--job", "a", "--", "true"][..], &["run", "true"]] {
            let output = run(server.milepost(arguments).env("MILEPOST_TOKEN", credential));
            assert_eq!(output.status.code(), Some(0));
            let said = text(&output.stderr);
            let words = format!("was not reported: the server refuses the credential ({status}): ");
            assert!(said.contains(&words) && said.lines().count() == 1, "{said}");
        }
        let mut quiet = server.milepost(&["run", "--quiet", "true"]);
        assert_eq!(text(&run(quiet.env("MILEPOST_TOKEN", credential)).stderr), "");
    }
}

#[test]
fn a_signal_ends_the_wait_for_the_server() {
    let server = Server::start();
    let line = ["run", "--job", "a", "--wait", "3600", "--", "sh", "-c", "read line; exit 4"];
    let mut command = server.milepost(&line);
    let mut child = command.env("CI", "true").stdin(Stdio::piped()).spawn().unwrap();
    eventually("it is reported", || server.get("/jobs/a"));
    server.stop();
    drop(child.stdin.take());
    read_until(child.stderr.as_mut().unwrap(), "waiting 3600 s for the server");
    kill("TERM", child.id());
    assert_eq!(finish(child).status.code(), Some(4));
}

#[test]
fn a_failure_with_empty_stderr_has_the_last_lines_of_stdout() {
    let server = Server::start();
    let script = "for i in $(seq 30); do echo line $i; done; exit 4";
    run(&mut server.milepost(&["run", "--job", "f", "--", "sh", "-c", script]));
    let error = server.job("f")["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("line 11\n") && error.ends_with("\nline 30"), "{error}");
}

#[test]
fn in_ci_there_are_lines_on_stderr_and_stdout_is_the_commands() {
    let server = Server::start();
    let script =
        r#"for n in 0 5 20 40; do echo "{\"progress\":0.$n,\"stage\":\"s\"}"; sleep 0.3; done"#;
    let output =
        run(server.milepost(&["run", "--job", "c", "--", "sh", "-c", script]).env("CI", "true"));
    assert_eq!(text(&output.stdout).lines().count(), 4);
    let err = text(&output.stderr);
    assert!(err.contains(&format!("milepost: c: `milepost watch c` or {}", server.url())), "{err}");
    assert!(err.contains("milepost: c: 40 %  s\n"), "{err}");
    assert!(err.lines().last().unwrap().starts_with("milepost: c completed in "), "{err}");
    let quiet = run(server.milepost(&["run", "-q", "--", "true"]).env("CI", "true"));
    assert_eq!(text(&quiet.stderr), "");
}

#[test]
fn in_github_actions_stages_are_groups_and_failures_errors() {
    let server = Server::start();
    let (_folder, folder) = temporary();
    let summary = folder.join("summary");
    let script = r#"echo '{"stage":"fetch"}'; sleep 0.3; echo '{"stage":"cut"}'; sleep 0.3; echo 'no: 5%' >&2; exit 3"#;
    let mut command = server.milepost(&["run", "--job", "g", "--", "sh", "-c", script]);
    command.env("CI", "true").env("GITHUB_ACTIONS", "true").env("GITHUB_STEP_SUMMARY", &summary);
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(3));
    let err = text(&output.stderr);
    let commands: Vec<&str> = err.lines().filter(|line| line.starts_with("::")).collect();
    assert_eq!(
        commands[..4],
        ["::group::g: fetch", "::endgroup::", "::group::g: cut", "::endgroup::"],
        "{err}"
    );
    assert!(commands[4].starts_with("::error title=g failed after "), "{err}");
    assert!(commands[4].ends_with("::no: 5%25"), "{err}");
    let table = std::fs::read_to_string(summary).unwrap();
    let row = table.lines().nth(2).unwrap();
    assert!(
        row.starts_with(&format!("| [g]({}/?job=g) | failed: no: 5% | ", server.url())),
        "{row}"
    );
    assert!(row.contains("| fetch ") && row.contains(", cut "), "{row}");
}

#[test]
fn the_end_of_a_flood_of_output_is_read() {
    let server = Server::start();
    let script = "yes '42% of a line' | head -n 3000000; echo '[ 77%] x'; echo lost >&2; exit 4";
    let output = run(&mut server.milepost(&["run", "--job", "f", "--", "sh", "-c", script]));
    assert_eq!(output.stdout.len(), 3_000_000 * "42% of a line\n".len() + "[ 77%] x\n".len());
    let state = server.job("f");
    assert_eq!((&state["error"], &state["progress"]), (&"lost".into(), &0.77.into()));
}

#[test]
fn a_command_that_cannot_be_started_has_failed() {
    let server = Server::start();
    run(&mut server.milepost(&["run", "--job", "f", "--", "no-such-command-42"]));
    assert_eq!(server.job("f")["error"], "no-such-command-42: command not found");
}

#[test]
fn a_script_without_a_first_line_is_run_by_the_shell() {
    let server = Server::start();
    let (_folder, folder) = temporary();
    let executable = |name: &str, content: &[u8]| {
        let path = folder.join(name);
        write_program(&path, content);
        path
    };
    let script = executable("script", b"echo \"$MILEPOST_JOB $1\"; exit 3\n");
    for program in [script.as_path(), Path::new("script")] {
        let mut command = server.milepost(&["run", "--job", "plain", "--"]);
        let output = run(command.arg(program).arg("a b").env("PATH", &folder));
        assert_eq!(
            (text(&output.stdout), output.status.code()),
            ("plain a b\n".to_owned(), Some(3))
        );
    }
    let binary = executable("binary", b"MZ\0\x01");
    let output = run(server.milepost(&["run", "--job", "binary", "--"]).arg(binary));
    assert_eq!(output.status.code(), Some(126));
}

#[test]
fn json_lines_are_understood() {
    let server = Server::start();
    let encodes = r#"{"progress":0.3,"stage":"encode","message":"half","metadata":{"k":1}}"#;
    let gate = Gate::closed();
    let script = format!(r#"echo '{encodes}'; {}; echo '{{"result":{{"url":"x"}}}}'"#, gate.wait());
    let line = ["run", "--job", "j", "--", "sh", "-c", &script];
    let child = server.milepost(&line).spawn().unwrap();
    eventually("it encodes", || server.get("/jobs/j").filter(|state| state["stage"] == "encode"));
    gate.open();
    finish(child);
    let history = server.history("j");
    let encode = history.iter().find(|s| s["stage"] == "encode").unwrap();
    assert_eq!(
        (&encode["progress"], &encode["message"], &encode["metadata"]["k"]),
        (&0.3.into(), &"half".into(), &1.into())
    );
    assert_eq!(server.job("j")["result"]["output"]["url"], "x");
}

#[test]
fn a_job_that_is_run_again_is_a_new_attempt() {
    let server = Server::start();
    run(&mut server.milepost(&["run", "--job", "again", "--", "false"]));
    let script = "echo $MILEPOST_RUN $MILEPOST_JOB $MILEPOST_ATTEMPT";
    let output = run(&mut server.milepost(&["run", "--job", "again", "--", "sh", "-c", script]));
    assert_eq!(text(&output.stdout), "again again 2\n");
    let state = server.job("again");
    assert_eq!((&state["attempt"], &state["status"]), (&2.into(), &"completed".into()));
}

#[test]
fn a_signal_reaches_the_command_and_cancels_the_job() {
    let server = Server::start();
    let mut child = server
        .milepost(&[
            "run",
            "--job",
            "s",
            "--",
            "sh",
            "-c",
            "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done",
        ])
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    kill("TERM", child.id());
    assert_eq!(finish(child).status.code(), Some(7));
    let state = server.job("s");
    assert_eq!(
        (&state["status"], &state["metadata"]["exit_code"]),
        (&"cancelled".into(), &7.into())
    );
    assert_eq!(state["message"], "Stopped by SIGTERM");
}

#[test]
fn only_a_forwarded_signal_counts_as_cancelled() {
    let server = Server::start();
    for (job, to_us, signal, code, status) in [
        ("a", true, "INT", 130, "cancelled"),
        ("b", true, "USR1", 138, "cancelled"),
        ("c", false, "KILL", 137, "failed"),
        ("d", false, "TERM", 143, "failed"),
    ] {
        let child = server.milepost(&["run", "--job", job, "--", "sleep", "600"]).spawn().unwrap();
        let command = support::child_of(child.id(), "sleep");
        kill(signal, if to_us { child.id() } else { command });
        assert_eq!(finish(child).status.code(), Some(code), "{job}");
        assert_eq!(server.job(job)["status"], status, "{job}");
    }
    assert_eq!(server.job("c")["error"], "killed by SIGKILL");
}

/// Pauses the job, whose command is that process.
fn pause(server: &Server, job: &str, command: u32) {
    assert!(run(&mut server.milepost(&["pause", job])).status.success());
    eventually("it is paused", || {
        let stat = std::fs::read_to_string(format!("/proc/{command}/stat")).ok()?;
        stat.contains(") T ").then_some(())
    });
}

#[test]
fn a_paused_command_is_stopped_by_a_signal() {
    let server = Server::start();
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131)] {
        let line = ["run", "--job", signal, "--", "sleep", "600"];
        let child = server.milepost(&line).spawn().unwrap();
        let command = support::child_of(child.id(), "sleep");
        pause(&server, signal, command);
        kill(signal, child.id());
        assert_eq!(finish(child).status.code(), Some(code), "{signal}");
        assert_eq!(server.job(signal)["status"], "cancelled", "{signal}");
    }
}

#[test]
fn a_paused_command_is_stopped_by_ctrl_c_in_a_terminal() {
    let server = Server::start();
    for (job, pty) in [("piped", ""), ("pty", "--pty")] {
        let line = format!(
            "exec {} run {pty} --job {job} --server {} -- sleep 600",
            binary(),
            server.url()
        );
        let mut child = on_terminal(&line).spawn().unwrap();
        let mut typed = child.stdin.take().unwrap();
        let command = support::child_of(support::child_of(child.id(), "milepost"), "sleep");
        pause(&server, job, command);
        typed.write_all(b"\x03").unwrap();
        let output = finish(child);
        drop(typed);
        assert_eq!(output.status.code(), Some(130), "{job}");
        assert_eq!(server.job(job)["status"], "cancelled", "{job}");
    }
}

#[test]
fn what_a_paused_command_started_is_continued_as_well() {
    let server = Server::start();
    let line = ["run", "--job", "p", "--", "sh", "-c", "sleep 600 >/dev/null 2>&1; true"];
    let child = server.milepost(&line).spawn().unwrap();
    let sleep = support::child_of(support::child_of(child.id(), "sh"), "sleep");
    pause(&server, "p", sleep);
    kill("TERM", child.id());
    assert_eq!(finish(child).status.code(), Some(143));
    let stat = std::fs::read_to_string(format!("/proc/{sleep}/stat")).unwrap();
    kill("KILL", sleep);
    assert!(!stat.contains(") T "), "{stat}");
}

#[test]
fn a_ctrl_c_that_only_the_command_has_seen_cancels_the_job() {
    let server = Server::start();
    // As sudo, ssh and other programs that read the terminal themselves exit.
    let output = run(&mut server.milepost(&["run", "--job", "c", "--", "sh", "-c", "exit 130"]));
    assert_eq!(output.status.code(), Some(130));
    let state = server.job("c");
    assert_eq!(
        (&state["status"], &state["message"]),
        (&"cancelled".into(), &"Stopped by SIGINT".into())
    );
    run(&mut server.milepost(&["run", "--job", "d", "--", "sh", "-c", "exit 143"]));
    assert_eq!(server.job("d")["status"], "failed");
}

#[test]
fn ignored_signals_stay_ignored() {
    let script = format!(
        "trap '' INT HUP; exec {} run -- sh -c 'kill -INT $PPID; kill -HUP $$; echo alive'",
        binary()
    );
    let mut shell = std::process::Command::new("sh");
    let output = run(shell
        .args(["-c", &script])
        .env("MILEPOST_URL", "http://127.0.0.1:1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped()));
    assert_eq!(text(&output.stdout), "alive\n");
    assert!(output.status.success());
}

#[test]
fn ctrl_c_in_a_terminal_reaches_the_command_once() {
    let server = Server::start();
    let line = format!(
        // `exec`: or else a shell that does not replace itself stands between `script` and milepost.
        "exec {} run --job c --server {} -- sh -c 'trap \"echo caught\" INT; echo ready; sleep 600; sleep 1; exit 9'",
        binary(),
        server.url()
    );
    let mut child = on_terminal(&line).spawn().unwrap();
    let mut typed = child.stdin.take().unwrap();
    let sleeps = eventually("the command runs", || {
        let shell = support::child_of(support::child_of(child.id(), "milepost"), "sh");
        Some(support::child_of(shell, "sleep"))
    });
    assert!(sleeps > 0);
    typed.write_all(b"\x03").unwrap();
    let output = finish(child);
    drop(typed);
    let shown = text(&output.stdout);
    assert_eq!(shown.matches("caught").count(), 1, "{shown:?}");
    assert_eq!(output.status.code(), Some(9));
    assert_eq!(server.job("c")["status"], "cancelled");
}

#[test]
fn the_bar_is_below_the_output_and_removed_at_the_end() {
    let server = Server::start();
    let gate = Gate::closed();
    let line = format!(
        "{} run --job bar-1 --server {} -- sh -c 'echo first; echo 42%; {}; echo last'",
        binary(),
        server.url(),
        gate.wait()
    );
    let mut child = on_terminal(&line).spawn().unwrap();
    let mut shown = read_until(child.stdout.as_mut().unwrap(), "42 %");
    gate.open();
    shown.push_str(&text(&finish(child).stdout));
    assert!(
        shown.contains(&format!(
            "milepost: bar-1: `milepost watch bar-1` or {}/?job=bar-1",
            server.url()
        )),
        "{shown:?}"
    );
    assert!(shown.contains("━") && shown.contains("42 %"), "{shown:?}");
    let end = format!("milepost: bar-1 completed in 1.0 s · {}/?job=bar-1", server.url());
    let (before, after) = shown.rsplit_once("\r\x1b[J").expect("the bar is taken away");
    // The command may end before the bar is drawn once more below its last line.
    let after = after.trim_start_matches("last\r\n");
    assert!(before.contains('━') && shown.contains("last\r\n"), "{shown:?}");
    assert!(after.trim_end().starts_with(&end[..29]), "{shown:?}");
    assert!(after.trim_end().ends_with(&end[end.len() - 20..]), "{shown:?}");
    let quiet = run(&mut on_terminal(&line.replace("--job", "--quiet --job")));
    assert_eq!(text(&quiet.stdout), "first\r\n42%\r\nlast\r\n");
}

#[test]
fn a_command_that_ignores_the_request_is_killed_after_the_grace() {
    let server = Server::start();
    // What it started has to go as well.
    let script = "trap '' TERM; sleep 100 & echo $!; sleep 100; sleep 100";
    let line = ["run", "--job", "k", "--cancel-grace", "1", "--", "sh", "-c", script];
    let mut child = server.milepost(&line).spawn().unwrap();
    eventually("it is known", || server.get("/jobs/k"));
    // Once it says so, it ignores the request.
    let sleep = read_until(child.stdout.as_mut().unwrap(), "\n");
    // It receives neither request before both are there.
    kill("STOP", child.id());
    let requests = (0..2).map(|_| server.milepost(&["cancel", "k"]).spawn().unwrap());
    for request in requests.collect::<Vec<_>>() {
        assert!(finish(request).status.success(), "two watchers at once");
    }
    kill("CONT", child.id());
    let output = finish(child);
    assert_eq!(output.status.code(), Some(137));
    let state = server.job("k");
    assert_eq!(state["status"], "cancelled");
    assert!(state["message"].as_str().unwrap().starts_with("Cancelled"), "{state}");
    let requests: Vec<_> = server
        .history("k")
        .into_iter()
        .filter_map(|state| state["requested"]["at"].as_str().map(str::to_owned))
        .collect();
    assert!(!requests.is_empty() && requests.iter().all(|at| *at == requests[0]), "{requests:?}");
    let sleep = sleep.trim();
    eventually("what it started is gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{sleep}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    });
}

#[test]
fn a_worker_that_uses_the_reporter_is_cancelled() {
    let server = Server::start();
    let reporter = Reporter::builder().connect(&server.url()).unwrap();
    let (looks, waits) = (reporter.job("looks"), reporter.job("waits"));
    let waiting = waits.cancellation();
    assert!(!looks.cancel_requested());
    for job in ["looks", "waits"] {
        let state = || server.get(&format!("/jobs/{job}"));
        eventually("it is cancellable", || state()?["cancellable"].as_bool());
        let line = ["cancel", job, "--by", "alice", "--reason", "wrong input"];
        assert!(run(&mut server.milepost(&line)).status.success());
    }
    let requested = eventually("it is requested", || {
        looks.advance(1);
        waits.advance(1);
        looks.cancel_requested().then(|| looks.requested()).flatten()
    });
    assert_eq!(requested.reason.as_deref(), Some("wrong input"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(waiting).by.as_deref(), Some("alice"));
    looks.cancel("as requested");
    waits.complete();
    drop(reporter);
    for (job, status) in [("looks", "cancelled"), ("waits", "completed")] {
        assert_eq!(server.job(job)["status"], status);
        assert_eq!(server.job(job)["acknowledged"], "cancel");
    }
}

#[test]
fn a_job_whose_worker_answers_no_requests_is_not_cancelled() {
    let server = Server::start();
    server.report("plain", "{}");
    for (job, code, words) in [("plain", 1, "answers no requests"), ("nobody", 5, "not known")] {
        let output = run(&mut server.milepost(&["cancel", job]));
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(err.starts_with(&format!("milepost: {job}: ")), "{err}");
        assert!(err.contains(words) || code == 5, "{err}");
    }
}

#[test]
fn what_the_command_prints_is_the_jobs_log() {
    let server = Server::start();
    let milepost = |line: &[&str]| {
        let output = run(&mut server.milepost(line));
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let printed = "10%\r90%\rdone\n\u{1b}[31mred\u{1b}[0m\n";
    let script = r"printf '10%%\r90%%\rdone\n\033[31mred\033[0m\n'";
    let answer = milepost(&["run", "--job", "a", "--", "sh", "-c", script]);
    assert_eq!(answer, (Some(0), printed.to_owned()));
    for line in [&["log", "a"][..], &["log", "a", "--follow"]] {
        assert_eq!(milepost(line), (Some(0), "done\nred\n".to_owned()));
    }
    assert_eq!(milepost(&["log", "a", "--lines", "1"]).1, "red\n");

    let line = ["run", "--job", "b", "--no-log", "--", "echo", "secret"];
    assert_eq!(milepost(&line), (Some(0), "secret\n".to_owned()));
    assert_eq!(milepost(&["log", "b"]), (Some(0), String::new()));
    assert_eq!(milepost(&["log", "nobody"]), (Some(5), String::new()));
}

#[test]
fn the_last_lines_of_a_flood_are_in_the_log() {
    let server = Server::start();
    let script = "seq 200000; echo FATAL: disk full; exit 1";
    run(&mut server.milepost(&["run", "--job", "f", "--", "sh", "-c", script]));
    let log = text(&run(&mut server.milepost(&["log", "f", "--lines", "5000"])).stdout);
    let lines: Vec<&str> = log.lines().collect();
    assert!(log.contains("left out"), "{log}");
    assert_eq!(lines[lines.len() - 2..], ["200000", "FATAL: disk full"]);
    // Each line follows the one before, but for where the log says that some are left out.
    let numbers: Vec<Option<u32>> = lines.iter().map(|line| line.parse().ok()).collect();
    let gaps = numbers.windows(2).filter(|pair| match pair {
        [Some(one), Some(next)] => *next != one + 1,
        _ => false,
    });
    assert_eq!(gaps.count(), 0, "{log}");

    let script = "head -c 2000000 /dev/zero | tr '\\0' x; exit 1";
    run(&mut server.milepost(&["run", "--job", "long", "--", "sh", "-c", script]));
    let log = text(&run(&mut server.milepost(&["log", "long"])).stdout);
    assert_eq!(log, format!("{}…\n", "x".repeat(4096)));
}

/// Answers reports, and lines of logs with these responses, each after the next; then it accepts them. The lines that it has accepted.
fn server_that_refuses_lines(
    listener: &TcpListener,
    refusals: &[&str],
    is_over: impl Fn() -> bool,
    refused: impl Fn(),
) -> Vec<String> {
    let mut refusals = refusals.iter();
    let mut lines = Vec::new();
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + support::PATIENCE;
    while !is_over() {
        assert!(Instant::now() < deadline, "it hangs");
        let Ok((mut stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        stream.set_nonblocking(false).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
        for line in head.lines() {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let first = head.lines().next().unwrap_or_default();
        let (status, answer) = if !first.starts_with("POST ") {
            ("404 Not Found", "")
        } else if !first.contains("/log ") {
            ("200 OK", r#"{"job_id":"a","position":"1-1"}"#)
        } else if let Some(refusal) = refusals.next() {
            refused();
            (*refusal, "")
        } else {
            lines.extend(text(&body).lines().map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["text"].as_str().unwrap().to_owned()
            }));
            ("200 OK", "{}")
        };
        let head =
            format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json");
        // A client that has left needs no answer.
        let _ = write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
    }
    lines
}

#[test]
fn lines_that_are_refused_for_now_are_sent_later() {
    let refusals = ["502 Bad Gateway", "429 Too Many Requests"];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gate = Gate::closed();
    let script = format!("echo one; {}; echo two", gate.wait());
    let line = ["run", "--job", "a", "--", "sh", "-c", &script];
    let mut child = milepost(&line).env("MILEPOST_URL", url).spawn().unwrap();
    let left = std::cell::Cell::new(refusals.len());
    let lines = {
        let child = std::cell::RefCell::new(&mut child);
        server_that_refuses_lines(
            &listener,
            &refusals,
            || child.borrow_mut().try_wait().unwrap().is_some(),
            || {
                left.set(left.get() - 1);
                if left.get() == 0 {
                    gate.open();
                }
            },
        )
    };
    assert!(finish(child).status.success());
    assert_eq!(lines, ["one", "two"]);
}

#[test]
fn the_log_of_a_job_that_is_not_known_yet_is_awaited() {
    let server = Server::start();
    let mut child = server.milepost(&["log", "a", "--follow"]).spawn().unwrap();
    read_until(child.stderr.as_mut().unwrap(), "a is not known yet: waiting");
    run(&mut server.milepost(&["run", "--job", "a", "--", "echo", "hello"]));
    let output = finish(child);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "hello\n".to_owned()));
}

#[test]
fn an_empty_log_is_followed_through_an_outage() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let request = || {
        let (stream, _) = eventually("a request", || listener.accept().ok());
        stream.set_nonblocking(false).unwrap();
        stream
    };
    let answer = |body: &str| {
        let mut stream = request();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().is_empty()));
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    };
    let url = format!("http://{}", listener.local_addr().unwrap());
    let child = milepost(&["log", "a", "--follow"]).env("MILEPOST_URL", url).spawn().unwrap();
    let empty = r#"{"job_id":"a","lines":[],"log":{"lines":0,"dropped":0}}"#;
    let state = |status: &str| {
        let rest = r#""attempt":1,"position":"1-1","timestamp":"2024-01-01T00:00:00Z""#;
        format!(r#"{{"job_id":"a","status":"{status}","stage":"s",{rest}}}"#)
    };
    answer(empty);
    answer(&state("processing"));
    drop(request());
    answer(r#"{"lines":[{"n":1,"at":"","text":"late"}],"next":"1-1"}"#);
    answer(empty);
    answer(&state("completed"));
    answer(empty);
    let output = finish(child);
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"late\n"[..]));
}
