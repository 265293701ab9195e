//! Runs hubs, reporters and watchers on simulated time and network, and checks what watchers see:
//! `docs/decisions/0014-simulation.md`.

mod check;
mod instance;
mod network;
mod planted;
mod redis;
mod scenario;
mod subscriber;
#[expect(
    dead_code,
    reason = "the source of the broker itself; the simulation has no legacy workers"
)]
#[path = "../../crates/broker-redis/src/watched/mod.rs"]
mod watched;
mod watcher;
mod worker;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::planted::Planted;

/// Runs hubs, reporters and watchers on simulated time and network, and checks what watchers see.
#[derive(Debug, Parser)]
#[command(name = "milepost-simulation")]
struct Arguments {
    /// How many seeds are run
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this one alone, and say what happened
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Plant a fault; the run fails unless it is found
    #[arg(long, value_name = "FAULT")]
    planted: Option<Planted>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("milepost-simulation: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was as it has to be.
fn run(arguments: &Arguments) -> std::io::Result<bool> {
    if let Some(seed) = arguments.seed {
        let outcome = scenario::run(seed, arguments.planted)?;
        for event in &outcome.events {
            println!("{event}");
        }
        for wrong in &outcome.wrongs {
            println!("WRONG: {wrong}");
        }
        println!("{} states shown; digest {:016x}", outcome.states, outcome.digest);
        return Ok(outcome.wrongs.is_empty());
    }
    let begun = Instant::now();
    let (mut states, mut failed) = (0, 0);
    for seed in arguments.first..arguments.first + arguments.seeds {
        let outcome = scenario::run(seed, arguments.planted)?;
        states += outcome.states;
        let Some(wrong) = outcome.wrongs.first() else { continue };
        failed += 1;
        let again =
            arguments.planted.map_or(String::new(), |planted| format!(" --planted {planted:?}"));
        println!("seed {seed}: {wrong}\n  again: cargo xtask simulate --seed {seed}{again}");
        if arguments.planted.is_some() {
            println!("found after {} of {} seeds", seed - arguments.first + 1, arguments.seeds);
            return Ok(true);
        }
        if failed == 5 {
            break;
        }
    }
    let seeds = arguments.seeds;
    println!("{seeds} seeds, {states} states shown, {failed} failed, in {:.1?}", begun.elapsed());
    Ok(failed == 0 && arguments.planted.is_none())
}
