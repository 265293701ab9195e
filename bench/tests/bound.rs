//! Runs the program on its own peer `bound`: real processes, real sockets.

use std::path::Path;
use std::process::{Command, Output};

fn bench(args: &[&str], results: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_milepost-bench"))
        .args(args)
        .arg("--results")
        .arg(results)
        .output()
        .expect("the program runs")
}

fn rows(results: &Path) -> Vec<serde_json::Value> {
    let files = std::fs::read_dir(results).expect("results are written");
    let mut paths = files.map(|file| file.expect("readable").path());
    let path = paths.find(|path| path.extension().is_some_and(|found| found == "json"));
    let text = std::fs::read_to_string(path.expect("a JSON file")).expect("readable");
    let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    results["rows"].as_array().expect("rows").clone()
}

#[test]
fn every_update_reaches_every_watcher_at_the_size_asked_for() {
    let results = tempfile::tempdir().unwrap();
    let args =
        ["jobs", "--servers", "bound", "--rounds", "2", "--watchers", "50", "--deliveries", "500"];
    let output = bench(&[&args[..], &["--size", "300"]].concat(), results.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = rows(results.path());
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(row["measures"]["delivered"], 1.0);
        assert_eq!(row["measures"]["bytes"], 300.0);
    }
    assert!(String::from_utf8_lossy(&output.stdout).contains("| 50 | bound |"));
}

#[test]
fn fan_out_ends_when_all_have_the_last_update() {
    let results = tempfile::tempdir().unwrap();
    let args = [
        "fanout",
        "--servers",
        "bound",
        "--rounds",
        "1",
        "--watchers",
        "20",
        "--deliveries",
        "400",
    ];
    let output = bench(&args, results.path());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(rows(results.path()).len(), 1);
}

#[test]
fn what_cannot_be_measured_is_refused_by_name() {
    let results = tempfile::tempdir().unwrap();
    let refused = |args: &[&str]| {
        let output = bench(args, results.path());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = refused(&["fanout", "--watchers", "19001"]);
    assert!(text.contains("--watchers is 19001; 1 to 19000 is possible"), "{text}");
    let text =
        refused(&["fanout", "--servers", "milepost", "--milepost-command", "/nowhere/milepost"]);
    assert!(text.contains("milepost does not start: /nowhere/milepost"), "{text}");
    let text = refused(&["fanout", "--servers", "milepost", "--milepost-command", "/bin/false"]);
    assert!(text.contains("milepost does not listen"), "{text}");
}
