//! A few hundred seeds, and faults that are planted to see that they are found.

use std::process::{Command, Output};

fn simulate(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_milepost-simulation"))
        .args(arguments)
        .output()
        .expect("the simulation starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, said)
}

#[test]
fn watchers_see_what_they_have_to() {
    let (output, said) = simulate(&["--seeds", "200"]);
    assert!(output.status.success(), "{said}");
}

#[test]
fn planted_faults_are_found() {
    for planted in ["no-resubscription", "no-resume", "no-latch", "lost-update"] {
        let (output, said) = simulate(&["--seeds", "100", "--planted", planted]);
        assert!(output.status.success(), "{planted}: {said}");
    }
}

#[test]
fn a_seed_replays() {
    let runs = [(); 2].map(|()| simulate(&["--seed", "7"]).1);
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], simulate(&["--seed", "8"]).1);
    let planted = ["--seed", "3", "--planted", "no-resume"];
    let (output, said) = simulate(&planted);
    assert!(!output.status.success() && said.contains("WRONG: "), "{said}");
    assert_eq!(said, simulate(&planted).1);
}
