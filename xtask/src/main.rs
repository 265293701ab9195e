//! Set-up, tests, lints, fuzzing and benchmarks of the Milepost workspace: `cargo xtask help`.

mod bench;
mod cycles;
mod faults;
mod fuzz;
mod lint;
mod metadata;
mod msrv;
mod release;
mod setup;
mod step;
mod test;
mod tracked;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use step::Step;

const HELP: &str = "\
Usage: cargo xtask COMMAND

  test [STEP…]                   everything that has to pass: setup, lint, the tests; or only the named steps
  lint [STEP…]                   formatting, lints, types and documentation; or only the named steps
  setup                          install what the tests need, beyond Rust, Python 3.9 and Node 20
  fuzz [TARGET] [--seconds N] [--keep]
                                 fuzz all targets, or one, each so long (60); --keep packs what was found into fuzz/corpus
  bench [ARGUMENT…]              the benchmarks, release build; `cargo xtask bench --help`
  faults [NAME…] [ARGUMENT…]     every fault, or one, release build; `cargo xtask faults --help`
  soak [--minutes N] [--redis | --tokens]
                                 an instance, abused for so long (20), release build; --redis: two, with a Redis that restarts;
                                 --tokens: watchers whose tokens expire
  simulate [--seeds N]           hubs, reporters and watchers on simulated time and network; --seed N: one run again
  release --dry-run              pack crates, wheel and npm package; install each in an empty place and run it
  steps                          the names of all steps
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    match command {
        "test" => run(command, rest, test::steps()),
        "lint" => run(command, rest, lint::steps()),
        "setup" => run(command, rest, setup::steps()),
        "fuzz" => match fuzz::steps(rest) {
            Ok(steps) => step::run(steps, None),
            Err(why) => refuse(&why),
        },
        "release" => match release::steps(rest) {
            Ok(steps) => step::run(steps, None),
            Err(why) => refuse(&why),
        },
        "bench" => step::run(bench::steps(rest), None),
        "faults" => step::run(faults::steps(rest), None),
        "simulate" => step::run(faults::simulate(rest), None),
        "soak" => match faults::soak(rest) {
            Ok(steps) => step::run(steps, None),
            Err(why) => refuse(&why),
        },
        "steps" => {
            for step in test::steps() {
                println!("{:<10} {}", step.name, step.about);
            }
            ExitCode::SUCCESS
        }
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        unknown => refuse(&format!("there is no command {unknown}; cargo xtask help")),
    }
}

/// Runs all `steps`, or those that are named.
fn run(command: &str, named: &[String], steps: Vec<Step>) -> ExitCode {
    if let Some(unknown) = named.iter().find(|name| steps.iter().all(|step| step.name != **name)) {
        let known: Vec<_> = steps.iter().map(|step| step.name).collect();
        return refuse(&format!("there is no step {unknown}; there are {}", known.join(", ")));
    }
    let chosen = |step: &Step| named.is_empty() || named.iter().any(|name| *name == step.name);
    step::run(steps.into_iter().filter(chosen).collect(), Some(command))
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("xtask: {why}");
    ExitCode::from(64)
}

/// The checkout.
fn root() -> PathBuf {
    // This crate lies directly below it.
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// Where cargo builds.
fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}
