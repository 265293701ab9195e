//! What the suite does not try.

use std::process::Command;

fn refusal(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_milepost-faults"))
        .args(arguments)
        .output()
        .expect("the suite starts");
    assert_eq!(output.status.code(), Some(64), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_asked_for_has_to_make_sense() {
    assert!(refusal(&["no-such-fault"]).contains("there is no fault no-such-fault"));
    assert!(refusal(&["nothing", "--jobs", "0"]).contains("there must be jobs"));
    assert!(refusal(&["nothing", "--rate", "0"]).contains("updates a second"));
}

#[test]
fn every_fault_has_a_name() {
    let output = Command::new(env!("CARGO_BIN_EXE_milepost-faults"))
        .arg("--list")
        .output()
        .expect("the suite starts");
    let list = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in ["redis-empty", "sentinel-failover", "cluster-failover", "rolling-restart"] {
        assert!(list.contains(name), "{list}");
    }
}
