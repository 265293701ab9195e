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

/// Jobs; each has a worker, and now and then a second one that should be gone.
const JOBS: usize = 3;
/// Watchers, spread over the jobs.
const WATCHERS: usize = 8;
const INSTANCES: usize = 2;
/// Until everybody has come back: the longest backoff, and a poll of a job that is never heard of.
const REST: Duration = Duration::from_secs(60);

/// What came of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What went wrong, for a person.
    pub(crate) wrongs: Vec<String>,
    /// What happened, for a person, if it was asked for.
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
    let network = Network::new(random.fork());
    let redis = Redis::new(planted);
    let instances: Vec<Rc<Instance>> =
        (0..INSTANCES).map(|number| Instance::start(number, &network, &redis, planted)).collect();
    let mut outcome = Outcome::default();
    let loses_data = random.u8(..5) == 0;

    let jobs: Vec<Rc<RefCell<Job>>> =
        (0..JOBS).map(|number| Rc::new(RefCell::new(Job::new(format!("job-{number}"))))).collect();
    for job in &jobs {
        let worker = |seed| Worker {
            job: Rc::clone(job),
            network: Rc::clone(&network),
            redis: Rc::clone(&redis),
            instances: instances.clone(),
            attempts: 0,
            seed,
        };
        let attempts = random.u32(1..4);
        tokio::task::spawn_local(Worker { attempts, ..worker(random.u64(..)) }.run());
        if !loses_data && random.bool() {
            tokio::task::spawn_local(worker(random.u64(..)).haunt(random.u32(1..10)));
        }
    }
    let mut sights = Vec::new();
    for number in 0..WATCHERS {
        let id = jobs[number % JOBS].borrow().id.clone();
        let Ok(job) = JobId::parse(&id) else { continue };
        let sight = Sight::new(number, id, begun);
        let sight = Rc::new(RefCell::new(sight));
        sights.push(Rc::clone(&sight));
        let mode = if random.u8(..4) == 0 { Mode::Latest } else { Mode::All };
        let watcher = Watcher {
            job,
            mode,
            network: Rc::clone(&network),
            instances: instances.clone(),
            sight,
            only_ready: loses_data,
        };
        let joins = Duration::from_millis(if random.bool() { 0 } else { random.u64(..8_000) });
        tokio::task::spawn_local(async move {
            sleep(joins).await;
            watcher.run().await;
        });
    }

    for _ in 0..random.u32(..8) {
        sleep(Duration::from_millis(random.u64(..3_000))).await;
        let event = disturb(&mut random, &network, &redis, &instances, loses_data);
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

    for sight in &sights {
        let sight = sight.borrow();
        let job = jobs.iter().find(|job| job.borrow().id == sight.job);
        let truth = Truth {
            folded: &redis.folded(&sight.job),
            acknowledged: job.map_or(0, |job| job.borrow().acknowledged),
            has_lost_data: loses_data,
            has_lost_end: redis.has_lost(&sight.job),
        };
        outcome.wrongs.extend(sight.wrongs(&truth));
        outcome.states += sight.states();
        outcome.digest = sight.digest(outcome.digest);
    }
    outcome
}

/// Something goes wrong.
fn disturb(
    random: &mut fastrand::Rng,
    network: &Network,
    redis: &Redis,
    instances: &[Rc<Instance>],
    loses_data: bool,
) -> String {
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
            redis.restart(!loses_data);
            let data = if loses_data { "empty" } else { "with its data" };
            format!("Redis is killed, and back {data} after {time:?}")
        }
    }
}
