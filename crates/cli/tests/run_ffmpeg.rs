//! `milepost run` with the real ffmpeg.

mod support;

use std::io::Write;
use std::process::{Child, Command, Stdio};

use milepost_server::Config;
use serde_json::Value;
use support::{
    Server, binary, child_of, eventually, finish, kill, on_terminal, require, run, temporary, text,
};

const SOURCE: &str = "testsrc2=duration=4:size=640x360:rate=30";

/// Longer than it takes to find out how long it is, however busy the machine is.
const LONG_SOURCE: &str = "testsrc2=duration=60:size=64x64:rate=30";

/// Waits until so many seconds are known as the total of a render on its way, and breaks it off.
fn until_it_lasts(server: &Server, job: &str, seconds: f64, run: Child) {
    eventually("the total", || {
        on_the_way(&server.get(&format!("/jobs/{job}")).into_iter().collect::<Vec<_>>())
            .iter()
            .any(|state| state["metadata"]["duration"] == seconds)
            .then_some(())
    });
    kill("TERM", run.id());
    finish(run);
}

/// Reports of a run that takes a moment: its states before the end.
fn on_the_way(history: &[Value]) -> Vec<&Value> {
    history
        .iter()
        .filter(|s| {
            s["metadata"]["frame"].as_u64().is_some_and(|f| f > 0) && s["status"] == "processing"
        })
        .collect()
}

#[test]
fn a_render_reports_frames_speed_and_time_left() {
    require("ffmpeg");
    let server = Server::start();
    let (_folder, folder) = temporary();
    let out = folder.join("out.mp4");
    let arguments = [
        "run",
        "--job",
        "r1",
        "--",
        "ffmpeg",
        "-y",
        "-re",
        "-f",
        "lavfi",
        "-i",
        SOURCE,
        out.to_str().unwrap(),
    ];
    let output = run(&mut server.milepost(&arguments));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("frame="), "its own status line is left to it");
    let history = server.history("r1");
    let moving = on_the_way(&history);
    let progress: Vec<f64> = moving.iter().filter_map(|s| s["progress"].as_f64()).collect();
    assert!(progress.len() >= 3 && progress.is_sorted(), "{progress:?}");
    assert!(moving.iter().all(|s| s["stage"] == "rendering" && s["metadata"]["duration"] == 4.0));
    let last = moving.last().unwrap();
    for name in ["fps", "speed", "out_time", "time_left", "size_bytes", "bitrate_kbit_s"] {
        assert!(last["metadata"][name].is_number(), "{name}: {last}");
    }
    let end = server.job("r1");
    assert_eq!((&end["status"], &end["result"]["exit_code"]), (&"completed".into(), &0.into()));
}

#[test]
fn a_render_on_a_terminal_that_cannot_draw_is_shown_by_lines() {
    require("ffmpeg");
    let server = Server::start();
    let (_folder, folder) = temporary();
    let line = format!(
        "{} run --job r1 --server {} -- ffmpeg -y -re -f lavfi -i {SOURCE} {}",
        binary(),
        server.url(),
        folder.join("out.mp4").display()
    );
    let output = run(on_terminal(&line).env("TERM", "dumb"));
    assert!(output.status.success());
    let shown = text(&output.stdout);
    // Its last status line stays: ffmpeg prints that one in any case.
    assert!(shown.matches("frame=").count() <= 1 && !shown.contains('\x1b'), "{shown}");
    assert!(shown.contains("milepost: r1: ") && shown.contains(" %  rendering"), "{shown}");
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with("milepost: r1 completed in "), "{shown}");
}

#[test]
fn ffprobe_gives_the_total_when_ffmpeg_prints_none() {
    require("ffmpeg");
    require("ffprobe");
    let server = Server::start();
    let (_folder, folder) = temporary();
    let clip = folder.join("clip.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", LONG_SOURCE, clip.to_str().unwrap()])
        .status();
    assert!(made.unwrap().success());
    let arguments = [
        "run",
        "--job",
        "p",
        "--",
        "ffmpeg",
        "-v",
        "quiet",
        "-re",
        "-ss",
        "1",
        "-i",
        clip.to_str().unwrap(),
        "-f",
        "null",
        "-",
    ];
    until_it_lasts(&server, "p", 59.0, server.milepost(&arguments).spawn().unwrap());
}

#[test]
fn an_input_without_an_end_has_no_percentage() {
    require("ffmpeg");
    let server = Server::start();
    let arguments = [
        "run", "--job", "u", "--", "ffmpeg", "-re", "-f", "rawvideo", "-s", "64x64", "-r", "30",
        "-i", "pipe:0", "-f", "null", "-",
    ];
    let mut child = server.milepost(&arguments).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Sixty frames of 64×64 in yuv420p.
    stdin.write_all(&vec![128; 64 * 64 * 3 / 2 * 60]).unwrap();
    drop(stdin);
    assert!(finish(child).status.success());
    let history = server.history("u");
    let moving = on_the_way(&history);
    assert!(
        !moving.is_empty() && moving.iter().all(|s| s["progress"] == Value::Null),
        "{moving:?}"
    );
    assert_eq!(moving.last().unwrap()["metadata"]["duration"], Value::Null);
}

#[test]
fn the_total_of_a_list_is_the_sum_of_its_files() {
    require("ffmpeg");
    require("ffprobe");
    let server = Server::start();
    let (_folder, folder) = temporary();
    let clip = folder.join("a clip.mp4");
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", LONG_SOURCE])
        .arg(&clip)
        .status();
    assert!(made.unwrap().success());
    let list = folder.join("list");
    std::fs::write(
        &list,
        "file 'a clip.mp4'\nfile a\\ clip.mp4\nfile 'a clip.mp4'\noutpoint 0.5\n",
    )
    .unwrap();
    let list = list.to_str().unwrap();
    let ffmpeg = ["ffmpeg", "-re", "-safe", "0", "-f", "concat", "-i", list, "-f", "null", "-"];
    let line = [&["run", "--job", "list", "--"], &ffmpeg[..]].concat();
    until_it_lasts(&server, "list", 120.5, server.milepost(&line).spawn().unwrap());
}

#[test]
fn a_film_on_stdout_is_untouched() {
    require("ffmpeg");
    let server = Server::start();
    let ffmpeg = [
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=duration=1:size=320x180",
        "-f",
        "rawvideo",
        "pipe:1",
    ];
    let ours = run(&mut server.milepost(&[&["run", "--", "ffmpeg"], &ffmpeg[..]].concat()));
    let bare = Command::new("ffmpeg").args(ffmpeg).output().unwrap();
    assert!(!bare.stdout.is_empty() && ours.stdout == bare.stdout);
    assert_eq!(text(&ours.stderr), text(&bare.stderr));
}

#[test]
fn a_failure_shows_ffmpegs_last_words() {
    require("ffmpeg");
    let server = Server::start();
    let output = run(&mut server.milepost(&[
        "run",
        "--job",
        "f",
        "--",
        "ffmpeg",
        "-i",
        "/nonexistent.mp4",
        "out.mp4",
    ]));
    assert_ne!(output.status.code(), Some(0));
    let state = server.job("f");
    assert_eq!(state["status"], "failed");
    assert!(
        state["error"].as_str().unwrap().contains("/nonexistent.mp4: No such file or directory"),
        "{state}"
    );
}

#[test]
fn killed_is_failed_and_asked_to_stop_is_cancelled() {
    require("ffmpeg");
    let server = Server::start();
    let endless = ["--", "ffmpeg", "-re", "-f", "lavfi", "-i", "testsrc2", "-f", "null", "-"];
    for (job, signal, status) in [("k", "KILL", "failed"), ("t", "TERM", "cancelled")] {
        let child =
            server.milepost(&[&["run", "--job", job], &endless[..]].concat()).spawn().unwrap();
        eventually("it renders", || {
            server
                .get(&format!("/jobs/{job}"))
                .filter(|s| s["metadata"]["frame"].as_u64() > Some(0))
        });
        let ffmpeg = child_of(child.id(), "ffmpeg");
        kill(signal, if signal == "KILL" { ffmpeg } else { child.id() });
        let output = finish(child);
        assert_ne!(output.status.code(), Some(0));
        assert_eq!(server.job(job)["status"], status);
    }
    assert_eq!(server.job("k")["error"], "killed by SIGKILL");
}

#[test]
fn the_users_own_progress_option_is_respected() {
    require("ffmpeg");
    let server = Server::start();
    let (_folder, folder) = temporary();
    let progress = folder.join("progress");
    let arguments = [
        "run",
        "--job",
        "o",
        "--",
        "ffmpeg",
        "-progress",
        progress.to_str().unwrap(),
        "-re",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=duration=2:size=64x64",
        "-f",
        "null",
        "-",
    ];
    assert!(run(&mut server.milepost(&arguments)).status.success());
    assert!(std::fs::read_to_string(progress).unwrap().contains("progress=end"));
    assert!(!on_the_way(&server.history("o")).is_empty(), "the status line has progress");
}

#[test]
fn a_watcher_of_another_instance_cancels_a_render() {
    require("ffmpeg");
    let redis = milepost_redis_servers::Server::start();
    let config =
        || Config { redis_url: Some(redis.url().try_into().unwrap()), ..Config::default() };
    let [one, other] = [config(), config()].map(|it| Server::on(support::any_port(), it));
    let source = "testsrc2=duration=60:size=320x180:rate=30";
    let line = [
        "run", "--job", "c1", "--", "ffmpeg", "-re", "-f", "lavfi", "-i", source, "-f", "null", "-",
    ];
    let child = one.milepost(&line).spawn().unwrap();
    eventually("it renders", || {
        other.get("/jobs/c1").filter(|state| state["metadata"]["frame"].as_u64() > Some(0))
    });
    let ffmpeg = child_of(child.id(), "ffmpeg");
    let request = |name: &str| {
        let output = run(other.milepost(&[name, "c1", "--reason", "why"]).env("USER", "me"));
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    request("pause");
    eventually("it is stopped", || is_stopped(ffmpeg).then_some(()));
    eventually("watchers see it", || other.get("/jobs/c1").filter(|it| it["paused"] == true));
    request("resume");
    eventually("it goes on", || (!is_stopped(ffmpeg)).then_some(()));
    request("cancel");
    let output = finish(child);
    assert_ne!(output.status.code(), Some(0));
    let history = other.history("c1");
    let end = history.last().unwrap();
    assert_eq!(
        (&end["status"], &end["message"]),
        (&"cancelled".into(), &"Cancelled by me: why".into())
    );
    assert_eq!((&end["acknowledged"], &end["requested"]["by"]), (&"cancel".into(), &"me".into()));
    let is_requested =
        |state: &Value| state["status"] == "processing" && state["requested"]["action"] == "cancel";
    assert!(history.iter().any(is_requested), "watchers saw the request before the end");
    let again = run(&mut other.milepost(&["cancel", "c1"]));
    assert_eq!(again.status.code(), Some(1), "{}", text(&again.stderr));
}

fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}
