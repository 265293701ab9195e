use std::fs;

use crate::root;
use crate::step::{Failure, Outcome, Shell, Step};

/// What libFuzzer needs of the compiler: counters at every edge, and the operands of comparisons. There is no
/// address sanitizer: the workspace has no unsafe code that it could watch.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks";

/// A step for each target, or for the one that is named.
pub(crate) fn steps(arguments: &[String]) -> Result<Vec<Step>, String> {
    let (mut named, mut seconds, mut keeps) = (None, 60, false);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let value = arguments.next().and_then(|value| value.parse().ok());
            seconds = value.filter(|&s| s > 0_u32).ok_or("--seconds takes a number from 1")?;
        } else if argument == "--keep" {
            keeps = true;
        } else if argument.starts_with('-') || named.is_some() {
            return Err(format!("fuzz [TARGET] [--seconds N] [--keep], and not {argument}"));
        } else {
            named = Some(argument.clone());
        }
    }
    let all = targets();
    let chosen = match named {
        Some(named) if all.contains(&named) => vec![named],
        Some(named) => {
            return Err(format!("there is no target {named}; there are {}", all.join(", ")));
        }
        None => all,
    };

    let mut steps = vec![Step::new("build", "the fuzz targets, instrumented", || {
        let host = host().ok_or_else(|| Failure::Found("rustc -vV names no host".into()))?;
        // With a --target, the flags are not for build scripts and macros.
        let cargo = Shell::cargo().args("build --release --manifest-path fuzz/Cargo.toml --bins");
        let cargo = cargo.args("--target-dir target/fuzz --target").arg(host);
        cargo.env("RUSTFLAGS", FLAGS).run()?;
        Ok(Outcome::Passed)
    })];
    for target in chosen {
        steps.push(Step::new("fuzz", "one target", move || fuzz(&target, seconds, keeps)));
    }
    Ok(steps)
}

fn fuzz(target: &str, seconds: u32, keeps: bool) -> Result<Outcome, Failure> {
    let (corpus, kept) =
        (format!("target/fuzz/corpus/{target}"), format!("fuzz/corpus/{target}.tar.gz"));
    if !root().join(&corpus).exists() {
        make(&corpus)?;
        if root().join(&kept).exists() {
            Shell::new("tar").args("-xzf").arg(&kept).arg("-C").arg(&corpus).run()?;
        }
    }
    // What it finds goes to the first folder; the second one is only read.
    run(target, &[&corpus, &format!("fuzz/seeds/{target}")])?
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix=target/fuzz/{target}-"))
        .args("-rss_limit_mb=1024 -print_final_stats=1")
        .run()?;
    if keeps {
        keep(target, &corpus, &kept)?;
    }
    Ok(Outcome::Passed)
}

/// Packs the inputs that cover the most, so that a later run begins with them.
fn keep(target: &str, corpus: &str, kept: &str) -> Result<(), Failure> {
    let smallest = format!("target/fuzz/smallest/{target}");
    let _ = fs::remove_dir_all(root().join(&smallest));
    make(&smallest)?;
    make("fuzz/corpus")?;
    let folders = [&*smallest, &format!("fuzz/seeds/{target}"), corpus];
    run(target, &folders)?.arg("-set_cover_merge=1").run()?;
    // The same inputs give the same file.
    let tar = Shell::new("tar").args("--sort=name --mtime=@0 --mode=0644");
    tar.args("--owner=0 --group=0 --numeric-owner -czf")
        .arg(kept)
        .arg("-C")
        .arg(&smallest)
        .arg(".")
        .run()
}

/// A run of a target, without its arguments.
fn run(target: &str, folders: &[&str]) -> Result<Shell, Failure> {
    let host = host().ok_or_else(|| Failure::Found("rustc -vV names no host".into()))?;
    let shell = Shell::new(root().join(format!("target/fuzz/{host}/release/{target}")));
    Ok(folders.iter().fold(shell, Shell::arg).args("-max_len=4096 -timeout=5"))
}

fn make(folder: &str) -> Result<(), Failure> {
    fs::create_dir_all(root().join(folder))
        .map_err(|error| Failure::Found(format!("{folder}: {error}")))
}

/// Each file in `fuzz/targets` is one.
fn targets() -> Vec<String> {
    let files = fs::read_dir(root().join("fuzz/targets")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        files.filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}

/// The triple of this machine.
fn host() -> Option<String> {
    let output = Shell::new("rustc").arg("-vV").output()?;
    let text = String::from_utf8(output).ok()?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}
