//! What `milepost run` reads out of real tools' output, line by line: `tests/recordings`.
//!
//! `NAME.out` is what a tool printed, `NAME.expected` what is read from it: how far, the stage, the message, the rate and
//! the seconds left, a line for each change. `UPDATE_RECORDINGS=1 cargo test -p milepost --test recordings` writes the
//! expectations anew; compare each with the recording before it is committed.

#![allow(clippy::unwrap_used, reason = "test code, also outside of the test functions")]

use std::fs;
use std::path::{Path, PathBuf};

use milepost_cli::output::{Event, OutputParser, Progress, Reading};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| {
            Some(entry.unwrap().file_name().to_str()?.strip_suffix(".out")?.to_owned())
        })
        .collect();
    names.sort();
    names
}

/// The last known value of each part, as people would be shown it.
#[derive(Default)]
struct Shown {
    progress: Option<Progress>,
    stage: String,
    message: String,
    rate: String,
    left: String,
}

impl Shown {
    fn take(&mut self, reading: Reading) -> String {
        self.progress = reading.progress.or(self.progress);
        if let Some(stage) = reading.stage {
            self.stage = stage;
        }
        if let Some(message) = reading.message {
            self.message = message;
        }
        let text = |name: &str| {
            let value = reading.metadata.get(name)?;
            Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        if reading.resets || !reading.metadata.is_empty() {
            self.rate = text("rate").unwrap_or_default();
            self.left = text("time_left").unwrap_or_default();
        }
        let progress = match self.progress {
            Some(Progress::Fraction(fraction)) => format!("{:.1}%", fraction * 100.0),
            Some(Progress::Unknown) => "unknown".to_owned(),
            None => "-".to_owned(),
        };
        [&progress, &self.stage, &self.message, &self.rate, &self.left]
            .map(String::as_str)
            .join(" | ")
            .trim_end_matches([' ', '|'])
            .to_owned()
    }
}

fn read(name: &str) -> String {
    let bytes = fs::read(folder().join(format!("{name}.out"))).unwrap();
    let mut parser = OutputParser::new();
    if name == "pv-numeric" {
        parser = parser.with_bare_percentages();
    }
    let (mut shown, mut lines) = (Shown::default(), Vec::new());
    let mut take = |event: Event<'_>| {
        if let Event::Progress(reading) = event {
            lines.push(shown.take(reading));
        }
    };
    parser.push(&bytes, &mut take);
    parser.finish(&mut take);
    lines.dedup();
    lines.push(String::new());
    lines.join("\n")
}

#[test]
fn every_recording_is_read_as_expected() {
    let update = std::env::var_os("UPDATE_RECORDINGS").is_some();
    let names = names();
    assert!(names.len() >= 40, "{}", names.len());
    let mut wrong = Vec::new();
    for name in names {
        let path = folder().join(format!("{name}.expected"));
        let got = read(&name);
        if update {
            fs::write(&path, &got).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if got != expected {
            wrong.push(format!("--- {name}: expected\n{expected}+++ read\n{got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_recording_names_its_tools_version() {
    let versions = fs::read_to_string(folder().join("versions.txt")).unwrap();
    for name in names() {
        let version = versions.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        assert!(version.is_some_and(|v| v.contains(|c: char| c.is_ascii_digit())), "{name}");
    }
}
