//! Everything that takes part: Redis, the network, instances, workers and watchers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Cluster, Options, Persistence, Proxy, Sentinels, Server};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::instance::Instance;
use crate::job::{Job, Kind, Order};
use crate::setup::{LogTo, Setup};
use crate::watcher::{Lie, Watcher};
use crate::workers;
use crate::world::World;

/// How much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) jobs: usize,
    pub(crate) watchers: usize,
    /// Updates a second of each job.
    pub(crate) rate: f64,
    /// The kinds of workers, as far as they can be there.
    pub(crate) kinds: Vec<Kind>,
    /// Shorter faults and waits: a test of the suite and a first look, not a proof.
    pub(crate) quick: bool,
    /// The program under test.
    pub(crate) binary: PathBuf,
    /// Where logs go.
    pub(crate) logs: PathBuf,
}

impl Load {
    /// A time, or less of it if all is to be quick.
    pub(crate) fn wait(&self, seconds: f64, quick: f64) -> Duration {
        Duration::from_secs_f64(if self.quick { quick } else { seconds })
    }
}

/// The setup of instances and Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// One instance, with a folder and without Redis.
    Alone,
    /// The same, with few open files: only some more than its watchers and workers need.
    FewFiles,
    /// The same, and its folder is a small file system of its own.
    SmallDisk,
    /// One instance without a folder, with a small budget of memory.
    SmallMemory,
    /// Two instances with the same budget, each with a breakable network to one Redis, which keeps its data.
    SmallMemoryRedis,
    /// As with one Redis, but nothing reads the instances' logs, which are large.
    UnreadLogs,
    /// Two instances, each with a breakable network to one Redis.
    Single(Persistence),
    /// Two instances; a primary, a replica and three Sentinels.
    Sentinel,
    /// Two instances; three primaries with a replica each.
    Cluster,
}

#[derive(Debug)]
pub(crate) enum Redis {
    None,
    Single(Box<Server>),
    Sentinel(Box<Sentinels>),
    Cluster(Box<Cluster>),
}

#[derive(Debug)]
pub(crate) struct Stage {
    // In this order it is torn down.
    tasks: JoinSet<()>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) redis: Redis,
    pub(crate) jobs: Vec<Arc<Job>>,
    pub(crate) watchers: Vec<Arc<Watcher>>,
    pub(crate) world: Arc<World>,
}

impl Stage {
    /// Starts Redis and the instances, and waits until those are ready; then workers and watchers. `lies` are given to
    /// the first watchers.
    pub(crate) fn set(
        name: &str,
        ground: Ground,
        load: &Load,
        lies: &[Lie],
        runtime: &Handle,
    ) -> Result<Self, Failure> {
        let logs = load.logs.join(name);
        let made = fs::remove_dir_all(&logs).or(Ok(())).and_then(|()| fs::create_dir_all(&logs));
        made.map_err(|error| Failure(format!("{}: {error}", logs.display())))?;

        let (redis, proxies, urls) = redis(ground);
        let mut instances = Vec::new();
        for (number, url) in urls.into_iter().enumerate() {
            let log = logs.join(format!("instance-{number}.log"));
            let setup = setup(ground, number, url, &logs, load);
            instances.push(Instance::start(&load.binary, setup, log, runtime)?);
        }
        for instance in &mut instances {
            instance.until_ready()?;
        }

        let addresses = instances.iter().map(Instance::address).collect();
        let world = Arc::new(World::new(addresses, redis.plain()));
        let jobs = jobs(ground, load)?;
        let tasks = JoinSet::new();
        let watchers = Vec::new();
        let mut stage = Self { tasks, instances, proxies, redis, jobs, watchers, world };
        let _entered = runtime.enter();
        // Each job's watchers are spread over the instances.
        let spread =
            (0..load.watchers).map(|number| (number % load.jobs, number / load.jobs + number));
        for (number, (job, instance)) in spread.enumerate() {
            stage.watch(job, instance, lies.get(number).copied());
        }
        stage.until("all watchers are connected", |stage| {
            stage.watchers.iter().all(|watcher| watcher.seen().connected)
        })?;
        workers::start(&mut stage.tasks, &stage.jobs, &stage.world, load.rate);
        stage.until("every watcher has seen its job", |stage| {
            stage.watchers.iter().all(|watcher| watcher.seen().sight.newest > 0)
        })?;
        Ok(stage)
    }

    fn watch(&mut self, job: usize, instance: usize, lie: Option<Lie>) {
        let watcher = Arc::new(Watcher::new(job));
        let (world, id) = (Arc::clone(&self.world), self.jobs[job].id.clone());
        self.tasks.spawn(Arc::clone(&watcher).watch(id, world, instance, lie));
        self.watchers.push(watcher);
    }

    /// Every tenth job gets another watcher, without a position. Jobs that have ended get one only if the server may
    /// not evict them.
    pub(crate) fn newcomers(&mut self, may_be_evicted: bool, runtime: &Handle) {
        let _entered = runtime.enter();
        let first = if may_be_evicted { 2 } else { 0 };
        for job in (first..self.jobs.len()).step_by(10) {
            self.watch(job, job / 10, None);
        }
    }

    /// Waits until it holds.
    pub(crate) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) -> Result<(), Failure> {
        let patience = Duration::from_secs(30);
        if self.within(Instant::now() + patience, holds) {
            return Ok(());
        }
        Err(Failure(format!("not within {patience:?}: {what}")))
    }

    /// Waits until it holds, at most until the deadline. Returns whether it does.
    pub(crate) fn within(&self, deadline: Instant, holds: impl Fn(&Self) -> bool) -> bool {
        while !holds(self) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// A tenth of the jobs end now. Legacy workers would lose their ends if they cannot reach Redis.
    pub(crate) fn some_end(&self, plain_too: bool) {
        for job in self.jobs.iter().step_by(10).chain(self.jobs.iter().skip(1).step_by(10)) {
            if job.kind != Kind::Plain || plain_too {
                job.give(Order::End);
            }
        }
    }

    /// The only Redis server.
    pub(crate) fn server(&mut self) -> Result<&mut Server, Failure> {
        match &mut self.redis {
            Redis::Single(server) => Ok(server),
            _ => Err(Failure("this fault is of a single Redis".into())),
        }
    }
}

impl Redis {
    /// Where legacy workers publish.
    pub(crate) fn plain(&self) -> Option<SocketAddr> {
        match self {
            Self::Single(server) => Some(server.address()),
            Self::Sentinel(all) => Some(all.servers[all.primary()].address()),
            Self::None | Self::Cluster(_) => None,
        }
    }
}

/// Redis, a proxy for each instance if there is one server only, and the URL that each instance gets.
fn redis(ground: Ground) -> (Redis, Vec<Proxy>, Vec<Option<String>>) {
    match ground {
        Ground::Alone | Ground::FewFiles | Ground::SmallDisk | Ground::SmallMemory => {
            (Redis::None, Vec::new(), vec![None])
        }
        Ground::Single(_) | Ground::UnreadLogs | Ground::SmallMemoryRedis => {
            let (persistence, max_memory) = match ground {
                Ground::Single(persistence) => (persistence, None),
                Ground::SmallMemoryRedis => (Persistence::Appended, Some(REDIS_MEMORY)),
                _ => (Persistence::None, None),
            };
            let options = Options { persistence, max_memory, ..Options::default() };
            let server = Server::with(options);
            let proxies: Vec<_> = (0..2).map(|_| Proxy::to(server.address())).collect();
            let urls = proxies.iter().map(|proxy| Some(server.url_through(proxy.address())));
            let urls = urls.collect();
            (Redis::Single(Box::new(server)), proxies, urls)
        }
        Ground::Sentinel => {
            let all = Sentinels::start(1);
            let url = format!("redis+sentinel://{}/{}", list(&all.addresses()), all.name());
            (Redis::Sentinel(Box::new(all)), Vec::new(), vec![Some(url.clone()), Some(url)])
        }
        Ground::Cluster => {
            let cluster = Cluster::start(1);
            let url = format!("redis+cluster://{}", list(&cluster.addresses()));
            (Redis::Cluster(Box::new(cluster)), Vec::new(), vec![Some(url.clone()), Some(url)])
        }
    }
}

/// How an instance on that ground is started.
fn setup(ground: Ground, number: usize, redis: Option<String>, logs: &Path, load: &Load) -> Setup {
    let mut setup = Setup { redis, ..Setup::default() };
    if matches!(ground, Ground::Alone | Ground::FewFiles | Ground::SmallDisk) {
        setup.data = Some(logs.join("data"));
    }
    match ground {
        Ground::FewFiles => {
            setup.open_files = Some(load.watchers + load.jobs + SPARE_FILES);
            setup.set("max_connections", "1000000");
        }
        Ground::SmallDisk => setup.disk = Some(DISK),
        Ground::SmallMemory | Ground::SmallMemoryRedis => {
            setup.set("memory_limit", &MEMORY.to_string());
            setup.set("max_subscriptions", "1000000");
            setup.set("linger", "1");
        }
        Ground::UnreadLogs => {
            setup.log = [LogTo::FullPipe, LogTo::BrokenPipe, LogTo::FullDevice][number % 3];
            setup.set("log", "debug");
        }
        Ground::Alone | Ground::Single(_) | Ground::Sentinel | Ground::Cluster => {}
    }
    setup
}

/// How many of an instance's open files are not for the suite's watchers and workers.
pub(crate) const SPARE_FILES: usize = 200;
/// Room for the states of 500 jobs several times.
const DISK: usize = 24 << 20;
/// What Redis may use where instances may use little: updates are rejected once it is full.
const REDIS_MEMORY: u64 = 512 << 20;
/// The budget of memory where it is small.
pub(crate) const MEMORY: u64 = 256 << 20;

fn list(addresses: &[SocketAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

/// The jobs, of each kind of worker that can be there as many.
fn jobs(ground: Ground, load: &Load) -> Result<Vec<Arc<Job>>, Failure> {
    // Legacy workers need a Redis, and do not support a Cluster.
    let reaches = match ground {
        Ground::Single(_) | Ground::UnreadLogs | Ground::SmallMemoryRedis | Ground::Sentinel => {
            &[Kind::Http, Kind::Plain, Kind::Batch][..]
        }
        _ => &[Kind::Http, Kind::Batch],
    };
    let kinds: Vec<_> = reaches.iter().filter(|kind| load.kinds.contains(kind)).collect();
    if kinds.is_empty() {
        return Err(Failure("no worker of these kinds can report there".into()));
    }
    // A name that no earlier run has used.
    let run = fastrand::u32(..);
    let job = |number: usize| {
        let kind = *kinds[number % kinds.len()];
        Arc::new(Job::new(format!("{kind:?}-{run:08x}-{number}").to_lowercase(), kind))
    };
    Ok((0..load.jobs).map(job).collect())
}

/// The folder for logs, below the build's.
pub(crate) fn logs() -> PathBuf {
    let built = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    built.unwrap_or(target).join("faults")
}
