//! One run: everything is drawn from its seed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use milepost_protocol::JobId;
use milepost_watcher::Mode;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use crate::check::{Sight, Truth};
use crate::instance::Instance;
use crate::network::{Network, Place};
use crate::planted::Planted;
use crate::redis::Redis;
use crate::watcher::Watcher;
use crate::worker::{Job, Worker};

/// Jobs. Each has a worker, and some have a second one that should be gone.
const JOBS: usize = 3;
/// Watchers, spread over the jobs.
const WATCHERS: usize = 8;
const INSTANCES: usize = 2;
/// The time until every client has come back: the longest backoff, and a poll of a job that is never reported.
const REST: Duration = Duration::from_secs(60);

/// The result of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What went wrong, for a person.
    pub(crate) wrongs: Vec<String>,
    /// What was broken and when, for a person.
    pub(crate) events: Vec<String>,
    /// States shown.
    pub(crate) states: usize,
    /// Changes with every state that was shown, and when: two runs of one seed have the same.
    pub(crate) digest: u64,
}

/// Runs one seed on simulated time.
pub(crate) fn run(seed: u64, planted: Option<Planted>) -> std::io::Result<Outcome> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(LocalSet::new().block_on(&runtime, simulate(seed, planted)))
}

async fn simulate(seed: u64, planted: Option<Planted>) -> Outcome {
    let begun = Instant::now();
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::new(&mut random, planted);
    let jobs = start_workers(&world, &mut random);
    let sights = start_watchers(&world, &jobs, begun, &mut random);

    let mut outcome = Outcome::default();
    for _ in 0..random.u32(..8) {
        sleep(Duration::from_millis(random.u64(..3_000))).await;
        let event = disturb(&mut random, &world);
        outcome.events.push(format!("{:?}: {event}", begun.elapsed()));
    }
    let ended = || jobs.iter().all(|job| job.borrow().end_acknowledged);
    let mut waited = 0;
    while !ended() && waited < 600 {
        sleep(Duration::from_secs(1)).await;
        waited += 1;
    }
    if !ended() {
        outcome.wrongs.push("a worker could not report its job's end".to_owned());
    }
    sleep(REST).await;
    outcome.judge(&world, &jobs, &sights);
    outcome
}

/// What workers and watchers of one run share.
struct World {
    network: Rc<Network>,
    redis: Rc<Redis>,
    instances: Vec<Rc<Instance>>,
    /// Whether Redis comes back empty after it is killed.
    loses_data: bool,
}

impl World {
    fn new(random: &mut fastrand::Rng, planted: Option<Planted>) -> Self {
        let network = Network::new(random.fork());
        let redis = Redis::new(planted);
        let start = |number| Instance::start(number, &network, &redis, planted);
        let instances = (0..INSTANCES).map(start).collect();
        Self { network, redis, instances, loses_data: random.u8(..5) == 0 }
    }
}

/// Starts each job's worker, and for some jobs a second one that should be gone.
fn start_workers(world: &World, random: &mut fastrand::Rng) -> Vec<Rc<RefCell<Job>>> {
    let job = |number| Rc::new(RefCell::new(Job::new(format!("job-{number}"))));
    let jobs: Vec<_> = (0..JOBS).map(job).collect();
    for job in &jobs {
        let worker = |seed| Worker {
            job: Rc::clone(job),
            network: Rc::clone(&world.network),
            redis: Rc::clone(&world.redis),
            instances: world.instances.clone(),
            attempts: 0,
            seed,
        };
        let attempts = random.u32(1..4);
        tokio::task::spawn_local(Worker { attempts, ..worker(random.u64(..)) }.run());
        if !world.loses_data && random.bool() {
            tokio::task::spawn_local(worker(random.u64(..)).haunt(random.u32(1..10)));
        }
    }
    jobs
}

/// Starts the watchers, of which some join later, and returns what each is shown.
fn start_watchers(
    world: &World,
    jobs: &[Rc<RefCell<Job>>],
    begun: Instant,
    random: &mut fastrand::Rng,
) -> Vec<Rc<RefCell<Sight>>> {
    let mut sights = Vec::new();
    for number in 0..WATCHERS {
        let id = jobs[number % JOBS].borrow().id.clone();
        let Ok(job) = JobId::parse(&id) else { continue };
        let sight = Rc::new(RefCell::new(Sight::new(number, id, begun)));
        sights.push(Rc::clone(&sight));
        let mode = if random.u8(..4) == 0 { Mode::Latest } else { Mode::All };
        let watcher = Watcher {
            job,
            mode,
            network: Rc::clone(&world.network),
            instances: world.instances.clone(),
            sight,
            only_ready: world.loses_data,
        };
        let joins = Duration::from_millis(if random.bool() { 0 } else { random.u64(..8_000) });
        tokio::task::spawn_local(async move {
            sleep(joins).await;
            watcher.run().await;
        });
    }
    sights
}

impl Outcome {
    /// Compares what each watcher was shown with what its job's workers reported.
    fn judge(&mut self, world: &World, jobs: &[Rc<RefCell<Job>>], sights: &[Rc<RefCell<Sight>>]) {
        for sight in sights {
            let sight = sight.borrow();
            let job = jobs.iter().find(|job| job.borrow().id == sight.job);
            let truth = Truth {
                folded: &world.redis.folded(&sight.job),
                acknowledged: job.map_or(0, |job| job.borrow().acknowledged),
                has_lost_data: world.loses_data,
                has_lost_end: world.redis.has_lost(&sight.job),
            };
            self.wrongs.extend(sight.wrongs(&truth));
            self.states += sight.states();
            self.digest = sight.digest(self.digest);
        }
    }
}

/// Breaks something. Returns what, for a person.
fn disturb(random: &mut fastrand::Rng, world: &World) -> String {
    let World { network, redis, instances, loses_data } = world;
    let time = Duration::from_millis(random.u64(1..5_000));
    let number = random.usize(..instances.len());
    let (instance, clients) = (Place::Instance(number), Place::Clients);
    match random.u8(..5) {
        0 => {
            network.cut(instance, Place::Redis, time);
            format!("instance {number} cannot reach Redis for {time:?}")
        }
        1 => {
            network.cut(clients, instance, time);
            format!("nobody can reach instance {number} for {time:?}")
        }
        2 => {
            network.cut(clients, instance, Duration::ZERO);
            format!("the connections to instance {number} are lost")
        }
        3 => {
            network.cut(clients, instance, time);
            network.cut(instance, Place::Redis, Duration::ZERO);
            instances[number].restart();
            format!("instance {number} is killed, and back after {time:?}")
        }
        _ => {
            for other in 0..instances.len() {
                network.cut(Place::Instance(other), Place::Redis, time);
            }
            redis.restart(!*loses_data);
            let data = if *loses_data { "empty" } else { "with its data" };
            format!("Redis is killed, and back {data} after {time:?}")
        }
    }
}
