//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::server::{Commands, Kind};

#[derive(Debug, Parser)]
#[command(about = "Milepost's benchmarks, with their peers measured in the same run")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
    /// One address floods the server in turns of connects, handshakes, reports and unknown jobs; watchers of another address
    Flood(Options),
    /// Arbitrary data under one job's keys and on its channel in Redis; watchers of other jobs
    Hostile(Options),
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

/// What is not given has the figure's own value.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Servers, measured in turn in each round [default: those that the figure is about]
    #[arg(long, value_delimiter = ',')]
    pub(crate) servers: Vec<Kind>,
    /// Rounds [default: 5; with --quick: 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: Option<u16>,
    /// Watchers (with a job each, where the figure has many jobs)
    #[arg(long)]
    pub(crate) watchers: Option<usize>,
    /// Deliveries in a round
    #[arg(long)]
    pub(crate) deliveries: Option<usize>,
    /// Seconds that a round lasts
    #[arg(long)]
    pub(crate) seconds: Option<u64>,
    /// Updates a second
    #[arg(long)]
    pub(crate) rate: Option<f64>,
    /// Reports in flight
    #[arg(long)]
    pub(crate) depth: Option<usize>,
    /// Bytes of an update as delivered
    #[arg(long)]
    pub(crate) size: Option<usize>,
    /// Starts Milepost; `{port}` and `{dir}`, an empty folder, are filled in
    #[arg(long, default_value = "target/release/milepost serve --listen 127.0.0.1:{port}")]
    pub(crate) milepost_command: String,
    /// Starts the uWebSockets peer; `{idle}` is after how many idle seconds to ping
    #[arg(long, default_value = "bench/peers/uws/target/release/milepost-bench-uws {port} {idle}")]
    pub(crate) uws_command: String,
    /// Starts nginx with the configuration in `{dir}`
    #[arg(long, default_value = "nginx -e {dir}/error.log -c {dir}/nginx.conf")]
    pub(crate) nchan_command: String,
    /// Starts Centrifugo with the configuration in `{dir}`
    #[arg(long, default_value = "centrifugo --config {dir}/config.json")]
    pub(crate) centrifugo_command: String,
    /// Where results go [default: bench/results]
    #[arg(long)]
    pub(crate) results: Option<PathBuf>,
}

impl Options {
    /// The servers to measure; none: those that the figure is about.
    pub(crate) fn kinds(&self) -> Option<Vec<Kind>> {
        (!self.servers.is_empty()).then(|| self.servers.clone())
    }

    pub(crate) fn commands(&self) -> Commands {
        Commands {
            milepost: self.milepost_command.clone(),
            uws: self.uws_command.clone(),
            nchan: self.nchan_command.clone(),
            centrifugo: self.centrifugo_command.clone(),
        }
    }
}
