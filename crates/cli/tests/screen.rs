//! What a terminal shows while `milepost run` shares it with a command.

#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

mod support;

use std::io::Write;
use std::process::{Command, Output};

use support::{Gate, binary, finish, milepost, on_terminal, read_until, run};

/// A line for a shell on a terminal of 24 rows, with nothing to report to.
fn line(columns: usize, before: &str, script: &str) -> String {
    format!(
        "stty cols {columns} rows 24; {before}; MILEPOST_URL=http://127.0.0.1:1 exec {} run --job r1 -- sh -c '{script}'",
        binary()
    )
}

/// What it shows from its start to its end. The gate is opened once those words are there.
fn run_past(gate: &Gate, words: &str, command: &mut Command) -> Output {
    let mut child = command.spawn().unwrap();
    let mut shown = read_until(child.stdout.as_mut().unwrap(), words).into_bytes();
    gate.open();
    let output = finish(child);
    shown.extend(output.stdout);
    Output { stdout: shown, ..output }
}

/// The output's pieces, cut where something was drawn anew, and the screen after each. Without the notice that there is no
/// server, which may come between any two lines.
fn screens(output: &[u8], columns: u16) -> Vec<String> {
    let mut terminal = vt100::Parser::new(24, columns, 0);
    let mut screens = Vec::new();
    let mut start = 0;
    for at in 0..=output.len() {
        if at == output.len() || output[at..].starts_with(b"\r\x1b[J") {
            terminal.process(&output[start..at]);
            let contents = terminal.screen().contents();
            let rows = contents.split_inclusive('\n');
            screens.push(rows.filter(|row| !row.starts_with("milepost: cannot report")).collect());
            start = at;
        }
    }
    screens
}

#[test]
fn a_command_that_moves_the_cursor_loses_no_line_above() {
    let script = r#"for i in 1 2 3 4 5; do printf "\router $i\n\rinner $i\033[A"; sleep 0.3; done; echo; echo"#;
    let output = run(&mut on_terminal(&line(80, "seq 8", script)));
    assert!(output.status.success());
    let screens = screens(&output.stdout, 80);
    for screen in screens.iter().filter(|screen| screen.contains("outer")) {
        assert!(screen.starts_with("1\n2\n3\n4\n5\n6\n7\n8\n"), "{screen}");
        let inner = screen.lines().position(|row| row.starts_with("inner")).unwrap();
        let bar = screen.lines().position(|row| row.contains('━'));
        assert!(bar.is_none_or(|bar| bar > inner), "{screen}");
    }
    let last = screens.last().unwrap();
    assert!(last.contains("outer 5\ninner 5"), "{last}");
}

#[test]
fn a_prompt_for_a_password_is_legible() {
    let gate = Gate::closed();
    let script = format!(
        r#"echo start; {}; stty -echo; printf "Secret: " >/dev/tty; read x; stty echo; echo >/dev/tty; sleep 0.5; echo "got $x""#,
        gate.wait()
    );
    let mut child = on_terminal(&line(80, "true", &script)).spawn().unwrap();
    let mut shown = read_until(child.stdout.as_mut().unwrap(), "━");
    gate.open();
    shown.push_str(&read_until(child.stdout.as_mut().unwrap(), "Secret: "));
    // The rest of the bar is erased behind the prompt.
    if !shown.ends_with("\x1b[K") {
        shown.push_str(&read_until(child.stdout.as_mut().unwrap(), "\x1b[K"));
    }
    let prompt = screens(shown.as_bytes(), 80).pop().unwrap();
    assert!(prompt.lines().any(|line| line == "Secret: "), "{prompt}");
    child.stdin.as_mut().unwrap().write_all(b"word\n").unwrap();
    let output = finish(child);
    let rest = String::from_utf8_lossy(&output.stdout);
    assert!(rest.contains("got word"), "{rest}");
    let last = screens(&[shown.as_bytes(), &output.stdout].concat(), 80).pop().unwrap();
    assert!(last.contains("start\n") && last.contains("\nSecret: \n"), "{last}");
}

#[test]
fn a_command_that_reads_single_keys_has_its_bar() {
    // What ffmpeg does to the terminal for as long as it runs.
    let script = "stty -echo -icanon; echo 42%; read key; stty sane";
    let mut child = on_terminal(&line(80, "true", script)).spawn().unwrap();
    let shown = read_until(child.stdout.as_mut().unwrap(), "42 %");
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let output = finish(child);
    let screens = screens(&[shown.as_bytes(), &output.stdout].concat(), 80);
    let bars = screens.iter().filter(|screen| screen.contains("━") && screen.contains("42 %"));
    assert!(bars.count() > 0, "{screens:?}");
}

#[test]
fn the_bar_is_there_after_every_line() {
    let gate = Gate::closed();
    let script = format!(
        r#"{}; i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo "line $i 42"; sleep 0.02; done"#,
        gate.wait()
    );
    let output = run_past(&gate, "━", &mut on_terminal(&line(80, "true", &script)));
    let screens = screens(&output.stdout, 80);
    let (mut lines, mut bars) = (0, 0);
    for screen in &screens[..screens.len() - 1] {
        let mut rows = screen.lines().rev();
        let (last, before) = (rows.next().unwrap_or(""), rows.next().unwrap_or(""));
        if before.starts_with("line ") || last.starts_with("line ") {
            lines += 1;
            bars += usize::from(last.starts_with("r1 "));
        }
    }
    assert!(lines >= 30, "{lines}");
    assert_eq!(bars, lines);
    let last = screens.last().unwrap();
    assert!(last.contains("\nline 60 42\nmilepost: r1 completed in "), "{last}");
}

#[test]
fn a_growing_row_of_dots_gets_a_bar_and_a_question_none() {
    let gate = Gate::closed();
    let grows = gate.wait().replace("sleep", "printf .; sleep");
    let script =
        format!(r#"printf copying.....; {grows}; echo; printf "Sure? "; sleep 3; echo yes"#);
    let output = run_past(&gate, "━", &mut on_terminal(&line(80, "true", &script)));
    let screens = screens(&output.stdout, 80);
    let below = |is_row: fn(&str) -> bool| {
        screens.iter().any(|screen| {
            let rows: Vec<&str> = screen.lines().collect();
            rows.windows(2).any(|two| is_row(two[0]) && two[1].starts_with("r1 "))
        })
    };
    assert!(below(|row| row.starts_with("copying.....")), "{screens:?}");
    // Once it is answered, a bar may follow.
    assert!(!below(|row| row.trim_end() == "Sure?"), "{screens:?}");
    let last = screens.last().unwrap();
    let mut rows = last.lines().skip_while(|row| !row.starts_with("copying....."));
    assert!(rows.next().is_some_and(|row| row.trim_end_matches('.') == "copying"), "{last}");
    assert_eq!(rows.next(), Some("Sure? yes"), "{last}");
}

#[test]
fn a_progress_bar_of_the_commands_own_gets_no_second_one() {
    let script = r#"sleep 0.5; for i in 1 2 3 4 5; do printf "\r %d0%%|##   | $i/10 [00:01<00:05, 1.0it/s]" $i; sleep 0.3; done; echo"#;
    let output = run(&mut on_terminal(&line(80, "true", script)));
    for screen in screens(&output.stdout, 80) {
        // Once it is over, 50 % is below it.
        let own = (1..5).any(|n| screen.contains(&format!(" {n}0%|##")));
        assert!(!(own && screen.contains("\nr1 ")), "{screen}");
    }
}

#[test]
fn without_a_terminal_that_can_draw_nothing_is_drawn() {
    for term in ["dumb", ""] {
        let gate = Gate::closed();
        let line = line(80, "true", &format!("echo 42%; {}; echo done", gate.wait()));
        let output = run_past(&gate, "r1: 42 %", on_terminal(&line).env("TERM", term));
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(!shown.contains('\x1b') && !shown.contains('━'), "{shown:?}");
        assert!(shown.contains("42%\r\n") && shown.contains("\ndone\r\n"), "{shown:?}");
        // How far it is and how it ended are lines.
        assert!(shown.contains("milepost: r1: 42 %\r\n"), "{shown:?}");
        let last = shown.lines().last().unwrap();
        assert!(last.starts_with("milepost: r1 completed in "), "{shown:?}");
    }
    let quiet = line(80, "true", "echo 42%; echo done").replace("run --job", "run -q --job");
    let output = run(on_terminal(&quiet).env("TERM", "dumb"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "42%\r\ndone\r\n");
}

#[test]
fn the_bar_has_colours_unless_nobody_wants_them() {
    let colours = ["\x1b[1m", "\x1b[2m", "\x1b[36m"];
    for wanted in [true, false] {
        let gate = Gate::closed();
        let mut terminal = on_terminal(&line(80, "true", &format!("echo 42%; {}", gate.wait())));
        terminal.env_remove("NO_COLOR");
        if !wanted {
            terminal.env("NO_COLOR", "1");
        }
        let output = run_past(&gate, "42 %", &mut terminal);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(colours.iter().all(|colour| shown.contains(colour) == wanted), "{shown:?}");
    }
}

#[test]
fn at_forty_columns_the_percentage_is_there_and_nothing_wraps() {
    for job in ["sixteen-letters-", &"x".repeat(49)] {
        let gate = Gate::closed();
        let shell = line(40, "true", &format!("echo 42%; {}", gate.wait()));
        let shell = shell.replace("--job r1", &format!("--job {job}"));
        let output = run_past(&gate, "42 %", &mut on_terminal(&shell));
        let screens = screens(&output.stdout, 40);
        let bars: Vec<&str> =
            screens.iter().filter_map(|s| s.lines().find(|row| row.contains('━'))).collect();
        // The first bar may be older than the command's first words.
        let known = bars.iter().position(|row| row.contains("42 %")).unwrap();
        assert!(bars[known..].iter().all(|row| row.contains("42 %")), "{screens:?}");
    }
}

#[test]
fn the_taskbar_shows_progress_and_is_cleared() {
    for has_taskbar in [true, false] {
        let gate = Gate::closed();
        let script = format!("echo 42%; {}; exit 3", gate.wait());
        let mut terminal = on_terminal(&line(80, "true", &script));
        if has_taskbar {
            terminal.env("WT_SESSION", "1");
        }
        let output = run_past(&gate, "42 %", &mut terminal);
        let shown = String::from_utf8_lossy(&output.stdout);
        assert_eq!(shown.contains("\x1b]9;4;1;42\x1b\\"), has_taskbar, "{shown:?}");
        let cleared = shown.matches("\x1b]9;4;0;0\x1b\\").count();
        assert_eq!(cleared, usize::from(has_taskbar), "{shown:?}");
        assert!(has_taskbar || !shown.contains("\x1b]9;4"), "{shown:?}");
    }
}

/// Like [`line`], with `--pty`.
fn pty_line(columns: usize, script: &str) -> String {
    line(columns, "true", script).replace("run --job r1", "run --pty --job r1")
}

#[test]
fn a_command_with_a_pty_has_a_terminal_of_its_size() {
    let gate = Gate::closed();
    let script = format!(
        r#"test -t 0 && test -t 1 && test -t 2 && stty size; echo 42%; {}; ps -o tpgid= -p $$ | tr -d " " | grep -qx $$ && echo leads"#,
        gate.wait()
    );
    let output = run_past(&gate, "42 %", &mut on_terminal(&pty_line(100, &script)));
    assert!(output.status.success());
    let screens = screens(&output.stdout, 100);
    let last = screens.last().unwrap();
    // A notice that there is no server may come in between.
    assert!(last.contains("24 100\n42%\n"), "{last}");
    assert!(last.contains("\nleads\nmilepost: r1 completed in "), "{last}");
    assert!(screens.iter().any(|s| s.contains("━") && s.contains("42 %")), "{screens:?}");
}

#[test]
fn what_is_typed_reaches_a_command_with_a_pty() {
    let script = r#"printf "Name: "; read name; stty -echo; printf "Secret: "; read secret; stty echo; echo; echo "$name $secret"; exit 7"#;
    let mut child = on_terminal(&pty_line(80, script)).spawn().unwrap();
    let mut shown = read_until(child.stdout.as_mut().unwrap(), "Name: ");
    child.stdin.as_mut().unwrap().write_all(b"ann\r").unwrap();
    shown.push_str(&read_until(child.stdout.as_mut().unwrap(), "Secret: "));
    child.stdin.as_mut().unwrap().write_all(b"word\r").unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(7));
    shown.push_str(&String::from_utf8_lossy(&output.stdout));
    let last = screens(shown.as_bytes(), 80).pop().unwrap();
    assert!(last.contains("Name: ann\nSecret: \nann word\n"), "{last}");
}

#[test]
fn ctrl_c_on_a_pty_cancels_and_the_terminal_is_as_before() {
    let script = "echo ready; sleep 20";
    let line = pty_line(80, script).replace("exec ", "")
        + "; echo code $?; stty | grep -c -- -echo; stty -a | grep -o -- -*icanon";
    let mut child = on_terminal(&line).spawn().unwrap();
    let mut shown = read_until(child.stdout.as_mut().unwrap(), "ready");
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let output = finish(child);
    shown.push_str(&String::from_utf8_lossy(&output.stdout));
    assert!(shown.contains("r1 cancelled"), "{shown}");
    assert!(shown.contains("code 130\r\n0\r\nicanon"), "{shown}");
}

#[test]
fn a_command_that_does_not_read_is_typed_at_and_ends() {
    let script = "stty raw; echo ready; sleep 1; exit 3";
    let mut child = on_terminal(&pty_line(80, script)).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "ready");
    let mut stdin = child.stdin.take().unwrap();
    // More than a terminal keeps. It may be gone before it has taken all.
    let typist = std::thread::spawn(move || drop(stdin.write_all(&vec![b'x'; 100_000])));
    let output = finish(child);
    typist.join().unwrap();
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_command_with_a_pty_ends_when_nobody_takes_its_output() {
    let mut child = milepost(&["run", "--pty", "--", "yes"]).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "y\r\n");
    drop(child.stdout.take());
    assert_eq!(finish(child).status.code(), Some(128 + 1), "SIGHUP");
}

#[test]
fn a_terminal_that_was_closed_can_be_opened_again() {
    let script = "exec </dev/null >/dev/null 2>&1; sleep 0.3; seq 20000 >/dev/tty";
    let output = run(&mut milepost(&["run", "--pty", "--", "sh", "-c", script]));
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.ends_with(b"\r\n19999\r\n20000\r\n"));
}

#[test]
fn ctrl_c_reaches_all_of_a_pty_though_stdin_is_a_pipe() {
    let line = pty_line(80, "echo ready; sleep 100; echo over").replace("exec ", "");
    let line = line.replace("MILEPOST_URL", "sleep 100 | MILEPOST_URL");
    let mut child = on_terminal(&line).spawn().unwrap();
    let mut shown = read_until(child.stdout.as_mut().unwrap(), "ready");
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    shown.push_str(&String::from_utf8_lossy(&finish(child).stdout));
    assert!(shown.contains("r1 cancelled"), "{shown}");
}
