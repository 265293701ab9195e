//! Milepost's benchmarks: each figure of `docs/performance.md`, with its peers measured in the same run. How to
//! run and read them: `bench/README.md`.

mod bound;
mod endpoint;
mod error;
mod eta;
mod figures;
mod frame;
mod plot;
mod process;
mod reporter;
mod result;
mod server;
mod stream;
mod update;
mod watchers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::error::Error;
use crate::figures::{Load, Measure};
use crate::result::{Goal, Results, Row};
use crate::server::{Commands, Kind, Server};
use crate::update::Clock;

/// Sockets of a process, at most.
const MAX_SOCKETS: usize = 19_000;

#[derive(Debug, Parser)]
#[command(about = "Milepost's benchmarks, with their peers measured in the same run")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Figure 1: one job, 5,000 watchers, one update after the other
    Fanout(Options),
    /// Figure 2: 10,000 jobs, a watcher each, reports 16 deep
    Jobs(Options),
    /// Figure 3: one job, 2,000 watchers, 1,000 updates a second
    Hot(Options),
    /// Figure 4: one job, 10,000 watchers, 1,000 updates a second, and a quiet job beside it
    Overload(Options),
    /// Figure 5: memory for an idle watcher, its job included
    Memory(Options),
    /// Figure 6: connects, and connects to known jobs
    Connects(Options),
    /// Figure 7: 10,000 watchers with nothing but pings
    Idle(Options),
    /// Figure 8: two instances on one Redis, 1,000 jobs with a watcher each, 100 and 1,000 updates a second
    Redis(Options),
    /// Figure 9: a tenth of the watchers never read
    Stalled(Options),
    /// Figure 11: figures 1, 2 and 5 at 100, 1,000, 10,000 and 19,000 watchers
    Growth(Options),
    /// One connection that reports by `POST /updates`, 1,000 lines each: alone and through Redis
    Lines(Options),
    /// Two instances, one of which is lost: its 15,000 watchers come to the other, which is at work
    Herd(Options),
    /// Two and four instances on one Redis, and two on a Cluster of three: what a report costs
    Scale(Options),
    /// Estimates of the remaining time, beside those of tqdm, indicatif and rich, on recorded runs
    Eta {
        /// Where the recordings are
        #[arg(long, default_value = "bench/recordings")]
        recordings: PathBuf,
    },
    /// Draws what a delivery costs and an idle watcher's memory, from the latest results of `growth`
    Plot {
        /// Where results are
        #[arg(long, default_value = "bench/results")]
        results: PathBuf,
        /// Where the plots go
        #[arg(long, default_value = "docs/images")]
        out: PathBuf,
    },
    /// The ratios to uWebSockets and the bound in under five minutes: fan-out, jobs, memory and connects, with less load
    #[command(long_flag = "quick")]
    Quick(Options),
    /// The peer `bound` itself, which the benchmarks start
    #[command(hide = true)]
    Bound { port: u16 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    Milepost,
    WithTokens,
    WithTls,
    Shared,
    SharedByFour,
    Clustered,
    Uws,
    Nchan,
    Centrifugo,
    CentrifugoShared,
    Bound,
}

impl From<Name> for Kind {
    fn from(name: Name) -> Self {
        match name {
            Name::Milepost => Self::Milepost,
            Name::WithTokens => Self::WithTokens,
            Name::WithTls => Self::WithTls,
            Name::Shared => Self::Shared,
            Name::SharedByFour => Self::SharedByFour,
            Name::Clustered => Self::Clustered,
            Name::Uws => Self::Uws,
            Name::Nchan => Self::Nchan,
            Name::Centrifugo => Self::Centrifugo,
            Name::CentrifugoShared => Self::CentrifugoShared,
            Name::Bound => Self::Bound,
        }
    }
}

/// What is not given has the figure's own value.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// Servers, measured in turn in each round [default: those that the figure is about]
    #[arg(long, value_delimiter = ',')]
    servers: Vec<Name>,
    /// Rounds [default: 5; with --quick: 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: Option<u16>,
    /// Watchers (with a job each, where the figure has many jobs)
    #[arg(long)]
    watchers: Option<usize>,
    /// Deliveries in a round
    #[arg(long)]
    deliveries: Option<usize>,
    /// Seconds that a round lasts
    #[arg(long)]
    seconds: Option<u64>,
    /// Updates a second
    #[arg(long)]
    rate: Option<f64>,
    /// Reports in flight
    #[arg(long)]
    depth: Option<usize>,
    /// Bytes of an update as delivered
    #[arg(long)]
    size: Option<usize>,
    /// Starts Milepost; `{port}` and `{dir}`, an empty folder, are filled in
    #[arg(long, default_value = "target/release/milepost serve --listen 127.0.0.1:{port}")]
    milepost_command: String,
    /// Starts the uWebSockets peer; `{idle}` is after how many idle seconds to ping
    #[arg(long, default_value = "bench/peers/uws/target/release/milepost-bench-uws {port} {idle}")]
    uws_command: String,
    /// Starts nginx with the configuration in `{dir}`
    #[arg(long, default_value = "nginx -e {dir}/error.log -c {dir}/nginx.conf")]
    nchan_command: String,
    /// Starts Centrifugo with the configuration in `{dir}`
    #[arg(long, default_value = "centrifugo --config {dir}/config.json")]
    centrifugo_command: String,
    /// Where results go [default: bench/results]
    #[arg(long)]
    results: Option<PathBuf>,
}

/// A figure with its own load and its goals.
#[derive(Clone, Copy)]
struct Figure {
    name: &'static str,
    title: &'static str,
    measure: Measure,
    servers: &'static [Kind],
    load: Load,
    goals: &'static [Goal],
    pings: bool,
}

const PEERS: &[Kind] = &[Kind::Milepost, Kind::Uws, Kind::Nchan];
const ALL: &[Kind] = &[Kind::Milepost, Kind::Uws, Kind::Nchan, Kind::Bound];

const LOAD: Load = Load {
    watchers: 10_000,
    deliveries: 200_000,
    time: Duration::from_secs(5),
    rate: 1000.0,
    depth: 16,
    // The fields that Milepost adds to an update take up to 340 bytes.
    size: 400,
    stalled: 0,
};

const FANOUT: Figure = Figure {
    name: "fanout",
    title: "Fan-out: one job, one update after the other",
    measure: figures::fanout::measure,
    servers: ALL,
    load: Load { watchers: 5_000, ..LOAD },
    goals: &[Goal::Ratio(Kind::Uws, 1.0), Goal::Ratio(Kind::Bound, 0.95)],
    pings: false,
};
const JOBS: Figure = Figure {
    name: "jobs",
    title: "Jobs: a watcher each, reports 16 deep",
    measure: figures::jobs::measure,
    servers: PEERS,
    load: Load { deliveries: 100_000, ..LOAD },
    goals: &[Goal::Ratio(Kind::Uws, 1.0), Goal::Ratio(Kind::Nchan, 2.5)],
    pings: false,
};
const HOT: Figure = Figure {
    name: "hot",
    title: "Hot job: 1,000 updates a second, at most 8 reports unanswered",
    measure: figures::hot::measure,
    servers: PEERS,
    load: Load { watchers: 2_000, depth: 8, ..LOAD },
    goals: &[
        Goal::AtLeast("deliveries/CPU-s", 1_000_000.0),
        Goal::AtMost("age p99 ms", 50.0),
        Goal::AtMost("server cores", 1.0),
    ],
    pings: false,
};
const OVERLOAD: Figure = Figure {
    name: "overload",
    title: "Overload: 1,000 updates a second to 10,000 watchers, and a quiet job beside them",
    measure: figures::overload::measure,
    servers: &[Kind::Milepost],
    load: Load { time: Duration::from_secs(10), depth: 64, ..LOAD },
    goals: &[
        Goal::AtMost("age p99 ms", 300.0),
        Goal::AtMost("end with all: ms", 1000.0),
        Goal::AtMost("quiet p99 ms", 20.0),
    ],
    pings: false,
};
const MEMORY: Figure = Figure {
    name: "memory",
    title: "Memory in user space for an idle watcher",
    measure: figures::memory::measure,
    servers: PEERS,
    load: LOAD,
    goals: &[Goal::AtMost("KiB/watcher with its job", 1.0)],
    pings: false,
};
const CONNECTS: Figure = Figure {
    name: "connects",
    title: "Connects",
    measure: figures::connects::measure,
    servers: PEERS,
    load: LOAD,
    goals: &[
        Goal::AtLeast("connects/CPU-s", 20_000.0),
        Goal::AtLeast("to a known job: connects/CPU-s", 20_000.0),
    ],
    pings: false,
};
const IDLE: Figure = Figure {
    name: "idle",
    title: "Idle: nothing but pings",
    measure: figures::idle::measure,
    servers: PEERS,
    load: Load { time: Duration::from_secs(20), ..LOAD },
    goals: &[Goal::AtMost("server cores", 0.05)],
    pings: true,
};
const REDIS: Figure = Figure {
    name: "redis",
    title: "Through Redis: two instances, a job for each watcher, 1,000 updates a second",
    measure: figures::redis::measure,
    servers: &[Kind::Shared, Kind::Milepost],
    load: Load { watchers: 1_000, ..LOAD },
    goals: &[Goal::AtMost("p99 ms", 5.0), Goal::AtMost("p99 ms at a tenth", 5.0)],
    pings: false,
};
const STALLED: Figure = Figure {
    name: "stalled",
    title: "Stalled watchers: a tenth never reads",
    measure: figures::stalled::measure,
    servers: PEERS,
    load: Load {
        watchers: 400,
        stalled: 40,
        rate: 100.0,
        depth: 8,
        // 4 MB in the first half: more than the kernel buffers for a socket, so that the stalled ones do stall.
        size: 4_000,
        time: Duration::from_secs(20),
        ..LOAD
    },
    goals: &[Goal::AtMost("p99 with / without", 1.2), Goal::AtMost("MiB, end / middle", 1.02)],
    pings: false,
};

const LINES: Figure = Figure {
    name: "lines",
    title: "POST /updates: 1,000 lines of as many jobs, one request after the other",
    measure: figures::lines::measure,
    servers: &[Kind::Milepost, Kind::Shared],
    load: LOAD,
    goals: &[Goal::AtLeast("lines/s", 60_000.0)],
    pings: false,
};
const HERD: Figure = Figure {
    name: "herd",
    title: "Thundering herd: an instance is lost, its watchers come to the other",
    measure: figures::herd::measure,
    servers: &[Kind::Shared],
    load: Load { watchers: 15_000, rate: 100.0, time: Duration::from_secs(12), ..LOAD },
    goals: &[Goal::AtMost("scripts/watcher", 0.01)],
    pings: false,
};
const SCALE: Figure = Figure {
    name: "scale",
    title: "Scale: two and four instances on one Redis, two on a Cluster of three",
    measure: figures::redis::measure,
    servers: &[Kind::Shared, Kind::SharedByFour, Kind::Clustered],
    load: Load { watchers: 1_000, time: Duration::from_secs(4), ..LOAD },
    goals: &[],
    pings: false,
};

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
            figures::herd::check(&load(&HERD, &options)).and_then(|()| run(&HERD, &options, &[]))
        }
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

/// A figure's own load, with what `options` says in its place.
fn load(figure: &Figure, options: &Options) -> Load {
    Load {
        watchers: options.watchers.unwrap_or(figure.load.watchers),
        deliveries: options.deliveries.unwrap_or(figure.load.deliveries),
        time: options.seconds.map_or(figure.load.time, Duration::from_secs),
        rate: options.rate.unwrap_or(figure.load.rate),
        depth: options.depth.unwrap_or(figure.load.depth),
        size: options.size.unwrap_or(figure.load.size),
        stalled: options.watchers.map_or(figure.load.stalled, |watchers| {
            if figure.load.stalled == 0 { 0 } else { watchers / 10 }
        }),
    }
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
    let load = load(figure, options);
    check(&load, sizes)?;
    let kinds = if options.servers.is_empty() {
        figure.servers.to_vec()
    } else {
        options.servers.iter().copied().map(Kind::from).collect()
    };
    let commands = Commands {
        milepost: options.milepost_command.clone(),
        uws: options.uws_command.clone(),
        nchan: options.nchan_command.clone(),
        centrifugo: options.centrifugo_command.clone(),
    };
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
