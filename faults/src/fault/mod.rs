//! What is broken, and how.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Data, Persistence, Proxy, Way};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::abuse::Extent;
use crate::delays::Phase;
use crate::failure::Failure;
use crate::http::Connection;
use crate::job::{Kind, Order};
use crate::stage::{Ground, Load, Redis, SPARE_FILES, Stage};
use crate::trial::BOUND;
use crate::watcher::LONGEST_BACKOFF;
use crate::{abuse, hostile};

/// So many bytes does Redis keep for a subscriber that does not read (its default), and some more.
const OVERRUN: &str =
    "for _ = 1, tonumber(ARGV[2]) do redis.call('PUBLISH', ARGV[1], string.rep('x', 60000)) end";
const OVERRUN_MESSAGES: &str = "700";
/// So many jobs' slots are moved.
const SLOTS: usize = 20;

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
    Nothing "nothing" "no fault at all" Ground::Single(Persistence::None);
    RedisEmpty "redis-empty" "Redis killed, back empty after 2 s" Ground::Single(Persistence::None);
    RedisKept "redis-kept" "Redis killed, back with its data after 2 s" Ground::Single(Persistence::Appended);
    RedisFrozen "redis-frozen" "Redis frozen for 20 s" Ground::Single(Persistence::None);
    CutBoth "cut-both" "one instance's network to Redis silent for 15 s, both ways" Ground::Single(Persistence::None);
    CutFromRedis "cut-from-redis" "the same, but only from Redis to the instance" Ground::Single(Persistence::None);
    CutToRedis "cut-to-redis" "the same, but only from the instance to Redis" Ground::Single(Persistence::None);
    CutHard "cut-hard" "one instance's connections to Redis reset, and refused for 15 s" Ground::Single(Persistence::None);
    SubscriberKilled "subscriber-killed" "CLIENT KILL of every subscriber" Ground::Single(Persistence::None);
    SubscriberOverrun "subscriber-overrun" "every subscriber's output buffer overrun" Ground::Single(Persistence::None);
    InstanceKilled "instance-killed" "an instance killed with -9, back after 3 s" Ground::Single(Persistence::None);
    RollingRestart "rolling-restart" "each instance restarted, one after the other" Ground::Single(Persistence::None);
    WorkerKilled "worker-killed" "a tenth of the workers killed within a report" Ground::Single(Persistence::None);
    SentinelFailover "sentinel-failover" "the primary killed under Sentinel" Ground::Sentinel;
    ClusterFailover "cluster-failover" "a Cluster's primary killed" Ground::Cluster;
    ClusterMigration "cluster-migration" "20 slots moved to another node of a Cluster" Ground::Cluster;
    AloneKilled "alone-killed" "without Redis: the instance killed with -9, back with its folder" Ground::Alone;
    AloneWorkerKilled "alone-worker-killed" "without Redis: a tenth of the workers killed within a report" Ground::Alone;
    HostileJob "hostile-job" "anything at all under one job's key and on its channel" Ground::Single(Persistence::None);
    UnreadLogs "unread-logs" "Redis killed and back, while one log's reader has gone and nobody reads the other" Ground::UnreadLogs;
    NoDescriptors "no-descriptors" "no open files left for 10 s" Ground::FewFiles;
    FullDisk "full-disk" "the disk full for 10 s" Ground::SmallDisk;
    DamagedStore "damaged-store" "a page of the store overwritten; it is moved away" Ground::Alone;
    UnreadAnswers "unread-answers" "clients that ask for much and read nothing, by HTTP/1.1 and HTTP/2" Ground::SmallMemory;
    Abuse "abuse" "clients that make the server hold memory, in every way at once" Ground::SmallMemory;
}

impl Fault {
    /// Those that every test runs.
    pub(crate) const QUICK: [Self; 4] =
        [Self::RedisEmpty, Self::SubscriberKilled, Self::InstanceKilled, Self::Abuse];

    /// By then, after its end, every watcher has to show something newer.
    pub(crate) fn bound(self) -> Duration {
        match self {
            // There is no other instance: watchers come back by their own backoff, which grew while nobody was there
            // (`spec/README.md`, section 7).
            Self::AloneKilled | Self::DamagedStore => LONGEST_BACKOFF,
            _ => BOUND,
        }
    }

    /// Whether `/readyz` has to tell: on the first instance, or on all.
    pub(crate) fn is_to_be_told(self, instance: usize) -> bool {
        match self {
            Self::RedisFrozen | Self::FullDisk => true,
            Self::CutBoth | Self::CutFromRedis | Self::CutToRedis | Self::CutHard => instance == 0,
            _ => false,
        }
    }

    /// Whether it is somebody else's trouble: jobs that are well must not feel it.
    pub(crate) fn is_of_others(self) -> bool {
        matches!(
            self,
            Self::HostileJob | Self::NoDescriptors | Self::FullDisk | Self::UnreadAnswers
        )
    }

    /// Whether there is so much to keep that jobs which have ended are given up early.
    pub(crate) fn evicts(self) -> bool {
        self == Self::Abuse
    }

    /// How many updates a second each job has: so many that the machine is not overloaded, where delays are compared.
    pub(crate) fn rate(self, rate: f64) -> f64 {
        if self.is_of_others() || self == Self::Abuse { rate.min(2.0) } else { rate }
    }

    /// Breaks it and mends it. Some jobs end meanwhile. Gives when all was there again that is needed.
    pub(crate) fn happen(
        self,
        stage: &mut Stage,
        load: &Load,
        runtime: &Handle,
    ) -> Result<Instant, Failure> {
        let _entered = runtime.enter();
        let silence = load.wait(15.0, 3.0);
        match self {
            Self::Nothing => {
                stage.some_end(true);
                sleep(Duration::from_secs(1));
                Ok(Instant::now())
            }
            Self::RedisEmpty | Self::UnreadLogs => redis_killed(stage, Data::Lost),
            Self::HostileJob => hostile_job(stage, load),
            Self::NoDescriptors => no_descriptors(stage, load, runtime),
            Self::FullDisk => full_disk(stage, load, runtime),
            Self::DamagedStore => damaged_store(stage),
            Self::UnreadAnswers => {
                let extent = if load.quick { Extent::QUICK } else { Extent::FULL };
                Ok(abuse(stage, load, runtime, extent.of_unread_answers()))
            }
            Self::Abuse => {
                let extent = if load.quick { Extent::QUICK } else { Extent::FULL };
                if !load.quick {
                    runtime.block_on(abuse::fill_states(stage.world.instance(0)))?;
                }
                Ok(abuse(stage, load, runtime, extent))
            }
            Self::RedisKept => redis_killed(stage, Data::Kept),
            Self::RedisFrozen => {
                stage.server()?.freeze();
                sleep(load.wait(10.0, 1.0));
                stage.some_end(false);
                sleep(load.wait(10.0, 1.0));
                stage.server()?.thaw();
                Ok(Instant::now())
            }
            Self::CutBoth => cut(stage, silence, |proxy| {
                proxy.hold(Way::ToServer);
                proxy.hold(Way::ToClient);
            }),
            Self::CutFromRedis => cut(stage, silence, |proxy| proxy.hold(Way::ToClient)),
            Self::CutToRedis => cut(stage, silence, |proxy| proxy.hold(Way::ToServer)),
            Self::CutHard => cut(stage, silence, |proxy| {
                proxy.refuse();
                proxy.cut();
            }),
            Self::SubscriberKilled => {
                let killed = stage.server()?.answer(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                stage.some_end(true);
                match killed.integer() {
                    Some(1..) => Ok(Instant::now()),
                    _ => Err(Failure("there was no subscriber".into())),
                }
            }
            Self::SubscriberOverrun => overrun(stage),
            Self::InstanceKilled => {
                stage.world.let_leave(0, true);
                stage.instances[0].kill();
                let end = Instant::now();
                stage.some_end(true);
                sleep(load.wait(3.0, 0.5));
                stage.instances[0].run()?;
                stage.instances[0].until_ready()?;
                stage.world.let_leave(0, false);
                Ok(end)
            }
            Self::RollingRestart => {
                for number in 0..stage.instances.len() {
                    stage.world.let_leave(number, true);
                    stage.instances[number].shut_down()?;
                    stage.some_end(true);
                    stage.instances[number].run()?;
                    stage.instances[number].until_ready()?;
                    stage.world.let_leave(number, false);
                }
                Ok(Instant::now())
            }
            Self::WorkerKilled | Self::AloneWorkerKilled => Ok(workers_killed(stage)),
            Self::SentinelFailover => sentinel_failover(stage),
            Self::ClusterFailover | Self::ClusterMigration => in_cluster(stage, self),
            Self::AloneKilled => {
                stage.world.let_leave(0, true);
                stage.instances[0].kill();
                stage.some_end(true);
                sleep(load.wait(2.0, 0.2));
                stage.instances[0].run()?;
                stage.instances[0].until_ready()?;
                stage.world.let_leave(0, false);
                Ok(Instant::now())
            }
        }
    }
}

/// Runs `task` for a while beside everything else.
fn beside(time: Duration, tasks: JoinSet<()>) {
    sleep(time);
    drop(tasks);
}

fn hostile_job(stage: &mut Stage, load: &Load) -> Result<Instant, Failure> {
    let redis = stage.world.redis().ok_or_else(|| Failure("there is no Redis".into()))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(hostile::haunt(redis));
    for number in 0..stage.instances.len() {
        tasks.spawn(watch_whatever_comes(stage.world.instance(number)));
    }
    stage.some_end(true);
    beside(load.wait(15.0, 2.0), tasks);
    Ok(Instant::now())
}

/// Watches the hostile job, and judges nothing.
async fn watch_whatever_comes(instance: SocketAddr) {
    loop {
        if let Ok(mut connection) = Connection::open(instance).await {
            let path = format!("/jobs/{}", hostile::JOB);
            while connection.get(&path).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn no_descriptors(stage: &mut Stage, load: &Load, runtime: &Handle) -> Result<Instant, Failure> {
    let address = stage.world.instance(0);
    let connections = runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..load.watchers + load.jobs + SPARE_FILES {
            let connect = TcpStream::connect(address);
            // What the instance does not accept waits in the backlog, which is full at last.
            match tokio::time::timeout(Duration::from_millis(200), connect).await {
                Ok(Ok(stream)) => open.push(stream),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        open
    });
    let files = stage.instances[0].held().map_or(0, |held| held.files);
    if files + 2 < load.watchers + load.jobs + SPARE_FILES {
        return Err(Failure(format!("the instance has {files} open files, and may have more")));
    }
    stage.some_end(true);
    sleep(load.wait(10.0, 1.0));
    drop(connections);
    Ok(Instant::now())
}

fn full_disk(stage: &mut Stage, load: &Load, runtime: &Handle) -> Result<Instant, Failure> {
    let data = stage.instances[0].data();
    let filler = data.ok_or_else(|| Failure("the instance has no folder".into()))?.join("filler");
    let fill = || {
        let mut file = File::create(&filler)?;
        loop {
            match file.write_all(&[0; 4096]) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                result => result?,
            }
        }
    };
    let filled: io::Result<()> = fill();
    filled.map_err(|error| Failure(format!("{}: {error}", filler.display())))?;
    // The store's file has room in it for a while. What fills it is load, and not the fault.
    stage.world.delays.enter(Phase::Unmeasured);
    if !runtime.block_on(abuse::end_until_refused(stage.world.instance(0))) {
        return Err(Failure("the instance takes ends as if there was room".into()));
    }
    stage.world.delays.enter(Phase::During);
    stage.some_end(true);
    sleep(load.wait(10.0, 3.0));
    fs::remove_file(&filler).map_err(|error| Failure(format!("{}: {error}", filler.display())))?;
    Ok(Instant::now())
}

/// The instance is killed, does not start with what is damaged, says so, and starts without it.
fn damaged_store(stage: &mut Stage) -> Result<Instant, Failure> {
    let failed = |error: io::Error| Failure(format!("the store: {error}"));
    stage.world.let_leave(0, true);
    let instance = &mut stage.instances[0];
    // States are written within half a second.
    sleep(Duration::from_secs(1));
    let store = instance.store().ok_or_else(|| Failure("the instance has no folder".into()))?;
    instance.kill();
    let mut bytes = fs::read(&store).map_err(failed)?;
    // Past the header: some page of every kind.
    for page in bytes.chunks_mut(4096).skip(1).step_by(2) {
        page.fill(0xa5);
    }
    fs::write(&store, bytes).map_err(failed)?;
    instance.run()?;
    let log = instance.until_ended()?;
    if !log.contains("jobs.redb") {
        return Err(Failure(format!("the instance does not name what is damaged:\n{log}")));
    }
    fs::rename(&store, store.with_extension("damaged")).map_err(failed)?;
    instance.run()?;
    instance.until_ready()?;
    let end = Instant::now();
    stage.world.let_leave(0, false);
    Ok(end)
}

fn abuse(stage: &mut Stage, load: &Load, runtime: &Handle, extent: Extent) -> Instant {
    let address = stage.world.instance(0);
    runtime.block_on(abuse::prepare(address));
    let mut tasks = JoinSet::new();
    abuse::start(&mut tasks, address, extent);
    stage.some_end(true);
    beside(load.wait(60.0, 5.0), tasks);
    Instant::now()
}

fn redis_killed(stage: &mut Stage, data: Data) -> Result<Instant, Failure> {
    stage.server()?.kill();
    stage.some_end(false);
    sleep(Duration::from_secs(2));
    stage.server()?.restart(data);
    Ok(Instant::now())
}

/// The first instance's network.
fn cut(stage: &mut Stage, time: Duration, how: impl Fn(&Proxy)) -> Result<Instant, Failure> {
    let proxy = stage.proxies.first().ok_or_else(|| Failure("there is no proxy".into()))?;
    how(proxy);
    sleep(time / 2);
    stage.some_end(true);
    sleep(time / 2);
    proxy.heal();
    Ok(Instant::now())
}

fn overrun(stage: &mut Stage) -> Result<Instant, Failure> {
    let channel = format!("job_progress:{}", stage.jobs[0].id);
    let server = stage.server()?;
    server.answer(&["EVAL", OVERRUN, "0", &channel, OVERRUN_MESSAGES]);
    let end = Instant::now();
    let was_overrun = server.log().contains("output buffer limits");
    stage.some_end(true);
    if was_overrun { Ok(end) } else { Err(Failure("no output buffer was overrun".into())) }
}

/// Workers are killed and stay so until all has been looked at.
fn workers_killed(stage: &mut Stage) -> Instant {
    for job in stage.jobs.iter().filter(|job| job.kind != Kind::Batch).step_by(10) {
        job.give(Order::Die);
    }
    // One process, all of its jobs.
    for job in stage.jobs.iter().filter(|job| job.kind == Kind::Batch).take(25) {
        job.give(Order::Die);
    }
    // Each dies at its next report.
    sleep(Duration::from_secs(1));
    Instant::now()
}

fn sentinel_failover(stage: &mut Stage) -> Result<Instant, Failure> {
    stage.some_end(false);
    let Redis::Sentinel(all) = &mut stage.redis else {
        return Err(Failure("there are no Sentinels".into()));
    };
    let (before, now) = all.fail_over();
    let end = Instant::now();
    stage.world.move_redis(all.servers[now].address());
    // The old one comes back as a primary, empty, until the Sentinels tell it.
    all.servers[before].restart(Data::Lost);
    Ok(end)
}

fn in_cluster(stage: &mut Stage, fault: Fault) -> Result<Instant, Failure> {
    stage.some_end(false);
    let Redis::Cluster(cluster) = &mut stage.redis else {
        return Err(Failure("there is no Cluster".into()));
    };
    let slots = stage.jobs.iter().map(|job| format!("{{{}}}", job.id));
    if fault == Fault::ClusterMigration {
        for key in slots.take(SLOTS) {
            let slot = cluster.slot(&key);
            cluster.migrate(slot, (cluster.owner(slot) + 1) % 3);
        }
    } else {
        let slot = slots.take(1).map(|key| cluster.slot(&key)).next().unwrap_or_default();
        cluster.fail_over(slot);
    }
    Ok(Instant::now())
}
