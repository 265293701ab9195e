//! What is broken, and how.

mod clients;
mod instance;
mod redis;

use std::thread::sleep;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Data, Persistence, Way};
use tokio::runtime::Handle;

use crate::abuse::{self, Extent};
use crate::failure::Failure;
use crate::stage::{Ground, Load, Stage};
use crate::watcher::LONGEST_BACKOFF;

/// How soon after a fault every watcher has to show the newest state.
pub(crate) const BOUND: Duration = Duration::from_secs(5);

/// Where most faults happen.
const REDIS: Ground = Ground::Single(Persistence::None);

macro_rules! faults {
    ($($variant:ident $name:literal $about:literal $ground:expr;)*) => {
        /// One fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault { $(#[doc = $about] $variant,)* }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub(crate) fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)* }
            }

            pub(crate) fn ground(self) -> Ground {
                match self { $(Self::$variant => $ground,)* }
            }
        }
    };
}

faults! {
    Nothing "nothing" "no fault at all" REDIS;
    RedisEmpty "redis-empty" "Redis killed, back empty after 2 s" REDIS;
    RedisKept "redis-kept" "Redis killed, back with its data after 2 s" Ground::Single(Persistence::Appended);
    RedisFrozen "redis-frozen" "Redis frozen for 40 s" REDIS;
    CutBoth "cut-both" "one instance's network to Redis silent for 15 s, both ways" REDIS;
    CutFromRedis "cut-from-redis" "the same, but only from Redis to the instance" REDIS;
    CutToRedis "cut-to-redis" "the same, but only from the instance to Redis" REDIS;
    CutHard "cut-hard" "one instance's connections to Redis reset, and refused for 15 s" REDIS;
    SubscriberKilled "subscriber-killed" "CLIENT KILL of every subscriber" REDIS;
    SubscriberOverrun "subscriber-overrun" "every subscriber's output buffer overrun" REDIS;
    InstanceKilled "instance-killed" "an instance killed with -9, back after 3 s" REDIS;
    RollingRestart "rolling-restart" "each instance restarted, one after the other" REDIS;
    WorkerKilled "worker-killed" "a tenth of the workers killed within a report" REDIS;
    WorkerHung "worker-hung" "workers hang; heartbeats of some go on" REDIS;
    SentinelFailover "sentinel-failover" "the primary killed under Sentinel" Ground::Sentinel;
    ClusterFailover "cluster-failover" "a Cluster's primary killed" Ground::Cluster;
    ClusterMigration "cluster-migration" "20 slots moved to another node of a Cluster" Ground::Cluster;
    AloneKilled "alone-killed" "without Redis: the instance killed with -9, back with its folder" Ground::Alone;
    AloneWorkerKilled "alone-worker-killed" "without Redis: a tenth of the workers killed within a report" Ground::Alone;
    AloneWorkerHung "alone-worker-hung" "without Redis: workers hang; heartbeats of some go on" Ground::Alone;
    HostileJob "hostile-job" "anything at all under one job's key and on its channel" REDIS;
    SilentWorkers "silent-workers" "all workers whose jobs may be lost cut off, for longer than these may be silent" REDIS;
    UnreadLogs "unread-logs" "Redis killed and back, while one log's reader has gone and nobody reads the other" Ground::UnreadLogs;
    NoDescriptors "no-descriptors" "no open files left for 10 s" Ground::FewFiles;
    FullDisk "full-disk" "the disk full for 10 s" Ground::SmallDisk;
    DamagedStore "damaged-store" "a page of the store overwritten; it is moved away" Ground::Alone;
    UnreadAnswers "unread-answers" "clients that ask for much and read nothing, by HTTP/1.1 and HTTP/2" Ground::SmallMemory;
    Abuse "abuse" "clients that make the server hold memory, in every way at once" Ground::SmallMemory;
}

impl Fault {
    /// The faults that every run of the tests tries.
    pub(crate) const QUICK: [Self; 4] =
        [Self::RedisEmpty, Self::SubscriberKilled, Self::InstanceKilled, Self::Abuse];

    /// How soon after its end every watcher has to show something newer.
    pub(crate) fn bound(self) -> Duration {
        match self {
            // There is no other instance: watchers reconnect after their own backoff, which grew in the meantime
            // (`spec/README.md`, section 7).
            Self::AloneKilled | Self::DamagedStore => LONGEST_BACKOFF,
            _ => BOUND,
        }
    }

    /// Whether the broker comes back without its jobs, so that their watchers may be notified of that.
    pub(crate) fn loses_jobs(self) -> bool {
        matches!(self, Self::RedisEmpty | Self::UnreadLogs)
    }

    /// Whether the instance has to become not ready.
    pub(crate) fn affects_readiness(self, instance: usize) -> bool {
        match self {
            Self::RedisFrozen | Self::FullDisk => true,
            Self::CutBoth | Self::CutFromRedis | Self::CutToRedis | Self::CutHard => instance == 0,
            _ => false,
        }
    }

    /// Whether the health of more jobs is judged, whose workers die and hang meanwhile. Not in a short run: no job is lost sooner
    /// than after 30 s.
    pub(crate) fn judges_health(self, load: &Load) -> bool {
        let judges = matches!(
            self,
            Self::RedisFrozen
                | Self::InstanceKilled
                | Self::RollingRestart
                | Self::SentinelFailover
                | Self::ClusterFailover
                | Self::AloneKilled
                | Self::WorkerKilled
                | Self::AloneWorkerKilled
                | Self::WorkerHung
                | Self::AloneWorkerHung
        );
        judges && !load.quick
    }

    /// Whether it affects other jobs only, so that the delays of healthy jobs must not grow.
    pub(crate) fn is_of_others(self) -> bool {
        matches!(
            self,
            Self::HostileJob
                | Self::SilentWorkers
                | Self::NoDescriptors
                | Self::FullDisk
                | Self::UnreadAnswers
        )
    }

    /// Whether the server may evict ended jobs.
    pub(crate) fn evicts(self) -> bool {
        self == Self::Abuse
    }

    /// How many updates a second each job has. Fewer where delays are compared, so that the machine is not overloaded.
    pub(crate) fn rate(self, rate: f64) -> f64 {
        if self.is_of_others() || self == Self::Abuse { rate.min(2.0) } else { rate }
    }

    /// Breaks something and repairs it, while some jobs end. Returns when it was repaired.
    pub(crate) fn happen(
        self,
        stage: &mut Stage,
        load: &Load,
        runtime: &Handle,
    ) -> Result<Instant, Failure> {
        let _entered = runtime.enter();
        match self {
            // Of the latter two, the workers are those whose health is judged.
            Self::Nothing | Self::WorkerHung | Self::AloneWorkerHung => {
                stage.some_end(true);
                sleep(Duration::from_secs(1));
                Ok(Instant::now())
            }
            Self::RedisEmpty | Self::UnreadLogs => redis::killed(stage, Data::Lost),
            Self::RedisKept => redis::killed(stage, Data::Kept),
            Self::RedisFrozen => redis::frozen(stage, load),
            Self::CutBoth => redis::cut(stage, load, |proxy| {
                proxy.hold(Way::ToServer);
                proxy.hold(Way::ToClient);
            }),
            Self::CutFromRedis => redis::cut(stage, load, |proxy| proxy.hold(Way::ToClient)),
            Self::CutToRedis => redis::cut(stage, load, |proxy| proxy.hold(Way::ToServer)),
            Self::CutHard => redis::cut(stage, load, |proxy| {
                proxy.refuse();
                proxy.cut();
            }),
            Self::SubscriberKilled => redis::subscribers_killed(stage),
            Self::SubscriberOverrun => redis::subscribers_overrun(stage),
            Self::SentinelFailover => redis::sentinel_failover(stage),
            Self::ClusterFailover => redis::cluster_failover(stage),
            Self::ClusterMigration => redis::cluster_migration(stage),
            Self::InstanceKilled => instance::killed(stage, load.wait(3.0, 0.5)),
            Self::AloneKilled => {
                instance::killed(stage, load.wait(2.0, 0.2))?;
                Ok(Instant::now())
            }
            Self::RollingRestart => instance::rolling_restart(stage),
            Self::NoDescriptors => instance::no_descriptors(stage, load, runtime),
            Self::FullDisk => instance::full_disk(stage, load, runtime),
            Self::DamagedStore => instance::damaged_store(stage),
            Self::WorkerKilled | Self::AloneWorkerKilled => Ok(clients::workers_killed(stage)),
            Self::HostileJob => clients::hostile_job(stage, load),
            Self::SilentWorkers => clients::silent_workers(stage, load, runtime),
            Self::UnreadAnswers => {
                let extent = Extent::of(load).of_unread_answers();
                Ok(clients::abuse(stage, load, runtime, extent))
            }
            Self::Abuse => {
                if !load.quick {
                    runtime.block_on(abuse::fill_states(stage.world.instance(0)))?;
                }
                Ok(clients::abuse(stage, load, runtime, Extent::of(load)))
            }
        }
    }
}
