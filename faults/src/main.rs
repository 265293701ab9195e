//! Breaks Milepost, and the Redis below it, on purpose, and counts what watchers see: `docs/reliability.md`.

mod abuse;
mod delays;
mod failure;
mod fault;
mod health;
mod hostile;
mod http;
mod instance;
mod job;
mod lies;
mod process;
mod result;
mod setup;
mod sight;
mod silent;
mod soak;
mod stage;
mod trial;
mod watcher;
mod workers;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::builder::ArgPredicate;

use crate::failure::Failure;
use crate::fault::Fault;
use crate::job::Kind;
use crate::result::{Readied, Row, table};
use crate::stage::Load;

/// Breaks Milepost, and the Redis below it, on purpose, and counts what watchers see.
#[derive(Debug, Parser)]
#[command(name = "milepost-faults")]
struct Arguments {
    /// The faults to try; none: all. `--list` names them
    #[arg(value_name = "NAME")]
    faults: Vec<String>,
    /// How many jobs are reported
    #[arg(long, default_value_t = 500)]
    jobs: usize,
    /// How many watchers there are, spread over jobs and instances
    #[arg(
        long,
        default_value_t = 1000,
        default_value_if("soak_tokens", ArgPredicate::IsPresent, "5000")
    )]
    watchers: usize,
    /// How many updates a second each job has
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// How workers report
    #[arg(long, value_delimiter = ',', default_value = "http,plain,batch")]
    workers: Vec<Kind>,
    /// The milepost to be tested
    #[arg(long, env = "MILEPOST", default_value = "target/release/milepost")]
    milepost: PathBuf,
    /// A few jobs, four faults, short ones: what `cargo xtask test` runs
    #[arg(long)]
    quick: bool,
    /// Lie to some watchers, and see whether the suite finds out
    #[arg(long, conflicts_with_all = ["quick", "faults"])]
    self_test: bool,
    /// Abuse one instance for so many minutes, and see whether what it holds returns to where it began
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["self_test", "faults"])]
    soak: Option<u64>,
    /// The same with two instances and a Redis that is killed in each round
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["self_test", "faults", "soak"])]
    soak_redis: Option<u64>,
    /// Let watchers with tokens that expire come and go for so many minutes: 5,000 of them, unless `--watchers` says otherwise
    #[arg(long, value_name = "MINUTES", conflicts_with_all = ["self_test", "faults", "soak", "soak_redis"])]
    soak_tokens: Option<u64>,
    /// Say which faults there are
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        for fault in Fault::ALL {
            println!("{:<20} {}", fault.name(), fault.about());
        }
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure(why)) => {
            eprintln!("milepost-faults: {why}");
            ExitCode::from(64)
        }
    }
}

/// Whether all was as it has to be.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let quick = arguments.quick || arguments.self_test;
    let faults = chosen(arguments)?;
    let load = Load {
        jobs: if quick { arguments.jobs.min(40) } else { arguments.jobs },
        watchers: if quick { arguments.watchers.min(80) } else { arguments.watchers },
        rate: arguments.rate,
        kinds: arguments.workers.clone(),
        quick,
        binary: arguments.milepost.clone(),
        logs: stage::logs(),
    };
    if load.jobs == 0 || load.watchers == 0 || !(0.1..=1000.0).contains(&load.rate) {
        return Err(Failure(
            "there must be jobs, watchers, and 0.1 to 1000 updates a second".into(),
        ));
    }
    // Watchers, workers, and the servers' side of the proxies; instances inherit it.
    let files = 3 * (load.jobs + load.watchers) as u64 + 512;
    rlimit::increase_nofile_limit(files)
        .map_err(|error| Failure(format!("{files} open files are needed: {error}")))?;
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| Failure(format!("no runtime: {error}")))?;
    if arguments.self_test {
        return lies::are_found_out(&load, runtime.handle());
    }

    if let Some(minutes) = arguments.soak_tokens {
        return soak::tokens::run(&load, Duration::from_secs(60 * minutes), runtime.handle());
    }
    if let Some(minutes) = arguments.soak.or(arguments.soak_redis) {
        let time = Duration::from_secs(60 * minutes);
        return soak::run(&load, time, arguments.soak_redis.is_some(), runtime.handle());
    }

    let mut rows: Vec<Row> = Vec::new();
    let mut failed = Vec::new();
    for fault in faults {
        eprintln!("{}: {} …", fault.name(), fault.about());
        match trial::run(fault, &load, &[], runtime.handle()) {
            Ok(row) => {
                print_row(&row, quick);
                if !row.wrong(quick).is_empty() {
                    failed.push(fault.name());
                }
                rows.push(row);
            }
            Err(failure) => {
                eprintln!("  FAILED: {failure}");
                failed.push(fault.name());
            }
        }
    }
    let Load { jobs, watchers, rate, .. } = load;
    println!("{jobs} jobs, {rate} updates/s each, {watchers} watchers\n\n{}", table(&rows, quick));
    if !failed.is_empty() {
        println!("failed: {}; logs: {}", failed.join(" "), load.logs.display());
    }
    Ok(failed.is_empty())
}

fn print_row(row: &Row, quick: bool) {
    let late = row.back.iter().flatten().max();
    eprintln!(
        "  {} updates confirmed ({:.0} of each 100 due), {} states shown; newest again after at most {late:?}",
        row.confirmed,
        100.0 * row.share,
        row.shown.states
    );
    for readied in &row.readied {
        let Readied { instance, unready, reason, ready } = readied;
        eprintln!(
            "  instance {instance}: not ready after {unready:?}: {reason}; again {ready:?} after the end"
        );
    }
    if let Some(health) = &row.health {
        eprintln!(
            "  health: {} times lost, at most {:?} after the last report or the fault, {} times stalled; {} wrong",
            health.lost,
            health.latest,
            health.stalled,
            health.wrongs.len()
        );
        for wrong in health.wrongs.iter().take(10) {
            eprintln!("    {wrong}");
        }
    }
    for wrong in row.wrong(quick) {
        eprintln!("  WRONG: {wrong}");
    }
    if let Some(peak) = row.peak {
        eprintln!("  at most {} MB of resident memory", peak >> 20);
    }
    for note in row.shown.thrown_out.iter().take(3).chain(row.shown.notes.iter().take(10)) {
        eprintln!("    {note}");
    }
}

fn chosen(arguments: &Arguments) -> Result<Vec<Fault>, Failure> {
    let find = |name: &String| {
        let found = Fault::ALL.iter().copied().find(|fault| fault.name() == name);
        found.ok_or_else(|| Failure(format!("there is no fault {name}; --list names them")))
    };
    match &arguments.faults[..] {
        [] if arguments.quick => Ok(Fault::QUICK.to_vec()),
        [] => Ok(Fault::ALL.to_vec()),
        named => named.iter().map(find).collect(),
    }
}
