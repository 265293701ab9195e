//! `milepost demo`, as somebody runs it who has only just got the binary.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use support::{
    binary, eventually, finish, kill, milepost, on_terminal, require, run, screen_until, temporary,
    text,
};

#[test]
fn the_whole_of_it() {
    require("ffmpeg");
    let (_folder, folder) = temporary();
    fs::write(folder.join("file"), vec![7; 1_000_000]).unwrap();
    let temp = folder.join("temp");
    fs::create_dir(&temp).unwrap();
    let output = run(milepost(&["demo", "--port", "0", "--folder", folder.to_str().unwrap()])
        .env("TMPDIR", &temp));
    let lines = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{lines}{}", text(&output.stderr));
    assert!(lines.starts_with("Watch it at http://127.0.0.1:"), "{lines}");
    assert!(lines.contains("demo-files done") && lines.contains("demo-clip done"), "{lines}");
    assert_eq!(fs::read_dir(temp).unwrap().count(), 0, "it tidies up");
}

#[test]
fn without_ffmpeg_and_with_its_port_taken_it_does_the_rest() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (_folder, folder) = temporary();
    let output =
        run(milepost(&["demo", "--once", "--port", &port, "--folder", folder.to_str().unwrap()])
            .env("PATH", "/nonexistent"));
    let lines = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{lines}{}", text(&output.stderr));
    assert!(
        lines.contains(&format!("Port {port} is taken"))
            && lines.contains("ffmpeg is not installed"),
        "{lines}"
    );
    assert!(lines.contains("demo-files done"), "{lines}");
}

#[test]
fn it_tidies_up_when_it_is_interrupted() {
    require("ffmpeg");
    let (_folder, folder) = temporary();
    let mut child = milepost(&["demo", "--port", "0", "--folder", "/nonexistent"]).spawn().unwrap();
    assert!(!child.wait().unwrap().success(), "a folder that is not there");
    let mut child = milepost(&["demo", "--port", "0", "--folder", folder.to_str().unwrap()])
        .env("TMPDIR", &folder)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    eventually("it renders", || {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0);
        line.starts_with("demo-clip").then_some(())
    });
    let ffmpeg = support::child_of(child.id(), "ffmpeg");
    kill("TERM", child.id());
    assert_eq!(finish(child).status.code(), Some(130));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert!(!fs::exists(format!("/proc/{ffmpeg}")).unwrap(), "ffmpeg has ended");
}

#[test]
fn while_its_page_stays_ctrl_z_stops_it() {
    let (_folder, folder) = temporary();
    let (binary, folder) = (binary(), folder.to_str().unwrap());
    let demo = format!("PATH=/nonexistent {binary} demo --port 0 --folder {folder}");
    let line = format!("stty rows 24 cols 100; set -m; {demo}; echo stopped; fg");
    let mut child = on_terminal(&line).spawn().unwrap();
    let mut terminal = vt100::Parser::new(24, 100, 0);
    let (stdin, stdout) = (child.stdin.as_mut().unwrap(), child.stdout.as_mut().unwrap());
    screen_until(stdout, &mut terminal, "until Ctrl-C");
    stdin.write_all(b"\x1a").unwrap();
    screen_until(stdout, &mut terminal, "stopped");
    stdin.write_all(b"\x03").unwrap();
    finish(child);
}
