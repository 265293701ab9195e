//! Milepost's benchmarks: each figure of `docs/performance.md`, with its peers measured in the same run. How to
//! run and read them: `bench/README.md`.

mod arguments;
mod bound;
mod endpoint;
mod error;
mod eta;
mod figure;
mod figures;
mod flood;
mod frame;
mod plot;
mod process;
mod reporter;
mod result;
mod server;
mod stream;
mod update;
mod watchers;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Args, Command, Options};
use crate::error::Error;
use crate::figure::{
    CONNECTS, FANOUT, FLOOD, Figure, HERD, HOSTILE, HOT, IDLE, JOBS, LINES, MEMORY, OVERLOAD,
    REDIS, SCALE, STALLED,
};
use crate::figures::Load;
use crate::result::{Results, Row};
use crate::server::{Kind, Server};
use crate::update::Clock;

/// Sockets of a process, at most.
const MAX_SOCKETS: usize = 19_000;

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Fanout(options) => run(&FANOUT, &options, &[]),
        Command::Jobs(options) => run(&JOBS, &options, &[]),
        Command::Hot(options) => run(&HOT, &options, &[]),
        Command::Overload(options) => run(&OVERLOAD, &options, &[]),
        Command::Memory(options) => run(&MEMORY, &options, &[]),
        Command::Connects(options) => run(&CONNECTS, &options, &[]),
        Command::Idle(options) => run(&IDLE, &options, &[]),
        Command::Redis(options) => run(&REDIS, &options, &[]),
        Command::Stalled(options) => run(&STALLED, &options, &[]),
        Command::Growth(options) => run_each(
            [FANOUT, JOBS, MEMORY]
                .map(|figure| (figure, options.clone(), &[100, 1_000, 10_000, MAX_SOCKETS][..])),
        ),
        Command::Lines(options) => run(&LINES, &options, &[]),
        Command::Herd(options) => {
            figures::herd::check(&HERD.load(&options)).and_then(|()| run(&HERD, &options, &[]))
        }
        Command::Flood(options) => run(&FLOOD, &options, &[]),
        Command::Hostile(options) => run(&HOSTILE, &options, &[]),
        Command::Scale(options) => run(&SCALE, &options, &[]),
        Command::Eta { recordings } => eta::print(&server::root().join(recordings)),
        Command::Plot { results, out } => {
            let [results, out] = [results, out].map(|path| server::root().join(path));
            plot::draw(&results, &out).map(|files| {
                for file in files {
                    println!("{}", file.display());
                }
            })
        }
        Command::Quick(options) => run_each(quick(&options)),
        Command::Bound { port } => {
            bound::serve(port).map_err(error::doing(format!("serving on port {port}")))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("milepost-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A figure with its options, and the numbers of watchers to measure it at.
type Run = (Figure, Options, &'static [usize]);

/// What most changes touch, with less load. What `options` says overrides that.
fn quick(options: &Options) -> impl Iterator<Item = Run> {
    const QUICK: &[(&Figure, &[Kind], &[usize], usize)] = &[
        (&FANOUT, &[Kind::Milepost, Kind::Uws, Kind::Bound], &[2_000], 200_000),
        (&JOBS, &[Kind::Milepost, Kind::Uws], &[100, 1_000, 10_000], 60_000),
        (&MEMORY, &[Kind::Milepost, Kind::Uws], &[1_000, 10_000], 10_000),
        (&CONNECTS, &[Kind::Milepost, Kind::Uws], &[5_000], 5_000),
    ];
    QUICK.iter().map(|(figure, servers, sizes, deliveries)| {
        let figure = Figure { servers, ..**figure };
        let options = Options {
            rounds: options.rounds.or(Some(3)),
            deliveries: options.deliveries.or(Some(*deliveries)),
            ..options.clone()
        };
        let sizes = if options.watchers.is_some() { &[] } else { *sizes };
        (figure, options, sizes)
    })
}

/// Measures several figures, also those after one with failed measurements.
fn run_each(runs: impl IntoIterator<Item = Run>) -> Result<(), Error> {
    let mut failed = 0;
    for (figure, options, sizes) in runs {
        match run(&figure, &options, sizes) {
            Ok(()) => {}
            Err(Error::Failed(count)) => failed += count,
            Err(error) => return Err(error),
        }
    }
    if failed == 0 { Ok(()) } else { Err(Error::Failed(failed)) }
}

/// Measures a figure: in each round each server once, freshly started, at each size.
fn run(figure: &Figure, options: &Options, sizes: &[usize]) -> Result<(), Error> {
    let load = figure.load(options);
    check(&load, sizes)?;
    let kinds = options.kinds().unwrap_or_else(|| figure.servers.to_vec());
    let commands = options.commands();
    let own_size = [load.watchers];
    let sizes = if sizes.is_empty() { &own_size } else { sizes };
    let clock = Clock::start();
    let mut results = Results {
        figure: figure.name,
        title: figure.title,
        goals: figure.goals,
        // Each figure names its own first.
        own: figure.servers[0],
        rows: Vec::new(),
        failures: Vec::new(),
    };
    for round in 0..usize::from(options.rounds.unwrap_or(5)) {
        for &watchers in sizes {
            for &kind in &kinds {
                let load = Load { watchers, ..load };
                let who = format!("{} {round} {watchers} {}", figure.name, kind.name());
                let measures = Server::start(kind, &commands, figure.pings).and_then(|server| {
                    eprintln!("{who}: process {}", server.pid());
                    (figure.measure)(&server, &load, clock)
                });
                let measures = match measures {
                    Ok(measures) => measures,
                    // One that fails takes nothing from the others' results.
                    Err(error) => {
                        eprintln!("{who}: {error}");
                        results.failures.push(format!("{who}: {error}"));
                        continue;
                    }
                };
                let shown: Vec<_> =
                    measures.iter().map(|(name, value)| format!("{name} {value:.2}")).collect();
                eprintln!("{who}: {}", shown.join(", "));
                results.rows.push(Row { kind, round, load, measures });
            }
        }
    }
    let dir = options.results.clone().unwrap_or_else(|| server::root().join("bench/results"));
    let path = results.write(&dir)?;
    println!("{}", results.markdown());
    eprintln!("written to {}", path.display());
    match results.failures.len() {
        0 => Ok(()),
        count => Err(Error::Failed(count)),
    }
}

/// Refuses what would not end, or not fit.
fn check(load: &Load, sizes: &[usize]) -> Result<(), Error> {
    let most = sizes.iter().copied().max().unwrap_or(0).max(load.watchers);
    let limits = [
        ("--watchers", most, 1, MAX_SOCKETS),
        ("--deliveries", load.deliveries, 1, 10_000_000),
        ("--depth", load.depth, 1, 10_000),
        ("--size", load.size, 150, 60_000),
    ];
    for (name, value, least, greatest) in limits {
        if !(least..=greatest).contains(&value) {
            return Err(Error::Limit(format!(
                "{name} is {value}; {least} to {greatest} is possible"
            )));
        }
    }
    if !(0.1..=100_000.0).contains(&load.rate) || load.time.as_secs() > 600 || load.time.is_zero() {
        return Err(Error::Limit("--rate goes from 0.1 to 100000, --seconds from 1 to 600".into()));
    }
    // The servers inherit this.
    let files =
        rlimit::increase_nofile_limit(u64::MAX).map_err(error::doing("raising RLIMIT_NOFILE"))?;
    let wanted = most as u64 + 200;
    if files < wanted {
        return Err(Error::Limit(format!(
            "RLIMIT_NOFILE is {files}, {wanted} are needed: raise it (ulimit -Hn) or take fewer --watchers"
        )));
    }
    Ok(())
}
