//! The figures: what each measures, at which servers, with which load, and its goals.

use std::time::Duration;

use crate::arguments::Options;
use crate::figures::{self, Load, Measure};
use crate::result::Goal;
use crate::server::Kind;

/// A figure with its own load and its goals.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) measure: Measure,
    pub(crate) servers: &'static [Kind],
    pub(crate) load: Load,
    pub(crate) goals: &'static [Goal],
    pub(crate) pings: bool,
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

pub(crate) const FANOUT: Figure = Figure {
    name: "fanout",
    title: "Fan-out: one job, one update after the other",
    measure: figures::fanout::measure,
    servers: ALL,
    load: Load { watchers: 5_000, ..LOAD },
    goals: &[Goal::Ratio(Kind::Uws, 1.0), Goal::Ratio(Kind::Bound, 0.95)],
    pings: false,
};
pub(crate) const JOBS: Figure = Figure {
    name: "jobs",
    title: "Jobs: a watcher each, reports 16 deep",
    measure: figures::jobs::measure,
    servers: PEERS,
    load: Load { deliveries: 100_000, ..LOAD },
    goals: &[Goal::Ratio(Kind::Uws, 1.0), Goal::Ratio(Kind::Nchan, 2.5)],
    pings: false,
};
pub(crate) const HOT: Figure = Figure {
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
pub(crate) const OVERLOAD: Figure = Figure {
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
pub(crate) const MEMORY: Figure = Figure {
    name: "memory",
    title: "Memory in user space for an idle watcher",
    measure: figures::memory::measure,
    servers: PEERS,
    load: LOAD,
    goals: &[Goal::AtMost("KiB/watcher with its job", 1.0)],
    pings: false,
};
pub(crate) const CONNECTS: Figure = Figure {
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
pub(crate) const IDLE: Figure = Figure {
    name: "idle",
    title: "Idle: nothing but pings",
    measure: figures::idle::measure,
    servers: PEERS,
    load: Load { time: Duration::from_secs(20), ..LOAD },
    goals: &[Goal::AtMost("server cores", 0.05)],
    pings: true,
};
pub(crate) const REDIS: Figure = Figure {
    name: "redis",
    title: "Through Redis: two instances, a job for each watcher, 1,000 updates a second",
    measure: figures::redis::measure,
    servers: &[Kind::Shared, Kind::Milepost],
    load: Load { watchers: 1_000, ..LOAD },
    goals: &[Goal::AtMost("p99 ms", 5.0), Goal::AtMost("p99 ms at a tenth", 5.0)],
    pings: false,
};
pub(crate) const STALLED: Figure = Figure {
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

pub(crate) const LINES: Figure = Figure {
    name: "lines",
    title: "POST /updates: 1,000 lines of as many jobs, one request after the other",
    measure: figures::lines::measure,
    servers: &[Kind::Milepost, Kind::Shared],
    load: LOAD,
    goals: &[Goal::AtLeast("lines/s", 60_000.0)],
    pings: false,
};
pub(crate) const HERD: Figure = Figure {
    name: "herd",
    title: "Thundering herd: an instance is lost, its watchers come to the other",
    measure: figures::herd::measure,
    servers: &[Kind::Shared],
    load: Load { watchers: 15_000, rate: 100.0, time: Duration::from_secs(12), ..LOAD },
    goals: &[Goal::AtMost("scripts/watcher", 0.01)],
    pings: false,
};
pub(crate) const FLOOD: Figure = Figure {
    name: "flood",
    title: "Flood: one address does as much as it can, watchers of another address",
    measure: figures::flood::measure,
    servers: &[Kind::WithLimits],
    load: Load { watchers: 400, rate: 400.0, ..LOAD },
    goals: &[Goal::AtMost("p99 ms at worst", 20.0)],
    pings: false,
};
pub(crate) const HOSTILE: Figure = Figure {
    name: "hostile",
    title: "Hostile data under one job's names in Redis, watchers of other jobs",
    measure: figures::hostile::measure,
    servers: &[Kind::Shared],
    load: Load { watchers: 400, rate: 400.0, time: Duration::from_secs(10), ..LOAD },
    goals: &[Goal::AtMost("p99 with / without", 1.5)],
    pings: false,
};
pub(crate) const SCALE: Figure = Figure {
    name: "scale",
    title: "Scale: two and four instances on one Redis, two on a Cluster of three",
    measure: figures::redis::measure,
    servers: &[Kind::Shared, Kind::SharedByFour, Kind::Clustered],
    load: Load { watchers: 1_000, time: Duration::from_secs(4), ..LOAD },
    goals: &[],
    pings: false,
};

impl Figure {
    /// The figure's own load, overridden by what `options` has.
    pub(crate) fn load(&self, options: &Options) -> Load {
        Load {
            watchers: options.watchers.unwrap_or(self.load.watchers),
            deliveries: options.deliveries.unwrap_or(self.load.deliveries),
            time: options.seconds.map_or(self.load.time, Duration::from_secs),
            rate: options.rate.unwrap_or(self.load.rate),
            depth: options.depth.unwrap_or(self.load.depth),
            size: options.size.unwrap_or(self.load.size),
            stalled: options.watchers.map_or(self.load.stalled, |watchers| {
                if self.load.stalled == 0 { 0 } else { watchers / 10 }
            }),
        }
    }
}
