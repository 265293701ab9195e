//! All of it for a long time: what an instance uses has to return to where it began.

mod sample;
pub(crate) mod tokens;

use std::time::{Duration, Instant};

use milepost_redis_servers::Data;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::abuse::{self, Extent};
use crate::failure::Failure;
use crate::job::Order;
use crate::stage::{Ground, Load, Redis, Stage};

use sample::Sample;

/// How long a round of abuse takes.
const ROUND: Duration = Duration::from_secs(20);
/// How long Redis is down in each round.
const DOWN: Duration = Duration::from_secs(1);
/// After this, nothing lingers or waits any more; a request may take 30 s.
const REST: Duration = Duration::from_secs(45);
/// Whether the instances use no more after one of them was abused for this time than before. `with_redis` adds a Redis,
/// which is killed in each round and returns, in turns with its data and empty.
pub(crate) fn run(
    load: &Load,
    time: Duration,
    with_redis: bool,
    runtime: &Handle,
) -> Result<bool, Failure> {
    let load = &Load { rate: load.rate.min(2.0), ..load.clone() };
    let ground = if with_redis { Ground::SmallMemoryRedis } else { Ground::SmallMemory };
    let mut stage = Stage::set("soak", ground, load, &[], runtime)?;
    let address = stage.world.instance(0);
    runtime.block_on(abuse::prepare(address));
    if !with_redis {
        // Whatever comes later takes the place of something else.
        runtime.block_on(abuse::fill_states(address))?;
    }
    // The first rounds fill caches, and the buffers of the runtime.
    round(&mut stage, 0, runtime, load);
    round(&mut stage, 1, runtime, load);
    let before = samples(&stage, runtime)?;
    println!("at rest before: {before:#?}");
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < time {
        round(&mut stage, rounds, runtime, load);
        rounds += 1;
        let held = stage.instances.iter().map(|instance| instance.held().unwrap_or_default());
        let resident: Vec<String> =
            held.map(|held| format!("{} MiB", held.resident >> 20)).collect();
        println!("round {rounds}, {:.0?}: {}", begun.elapsed(), resident.join(", "));
    }
    let after = samples(&stage, runtime)?;
    println!("at rest after: {after:#?}");
    let disconnected = stage.watchers.iter().filter(|watcher| !watcher.seen().connected).count();
    for job in &stage.jobs {
        job.give(Order::End);
    }
    let ended =
        stage.within(Instant::now() + REST, |stage| stage.jobs.iter().all(|job| job.has_ended()));
    let together = |samples: Vec<Sample>| samples.into_iter().reduce(Sample::plus);
    let mut wrongs = match (together(before), together(after)) {
        (Some(before), Some(after)) => {
            after.wrongs(&before, stage.instances.len() * stage.jobs.len())
        }
        _ => vec!["there is no instance".to_owned()],
    };
    if disconnected > 0 {
        wrongs.push(format!("{disconnected} watchers are not connected"));
    }
    if !ended {
        wrongs.push("jobs could not end".to_owned());
    }
    for wrong in &wrongs {
        println!("WRONG: {wrong}");
    }
    println!("{rounds} rounds in {:.0?}", begun.elapsed());
    Ok(wrongs.is_empty())
}

fn round(stage: &mut Stage, number: usize, runtime: &Handle, load: &Load) {
    let _entered = runtime.enter();
    let mut tasks = JoinSet::new();
    abuse::start(&mut tasks, stage.world.instance(0), Extent::of(load));
    let half = load.wait(ROUND.as_secs_f64(), 5.0) / 2;
    std::thread::sleep(half);
    if let Redis::Single(server) = &mut stage.redis {
        server.kill();
        std::thread::sleep(DOWN);
        server.restart(if number.is_multiple_of(2) { Data::Kept } else { Data::Lost });
    }
    std::thread::sleep(half);
}

/// What each instance uses once nothing lingers.
fn samples(stage: &Stage, runtime: &Handle) -> Result<Vec<Sample>, Failure> {
    std::thread::sleep(REST);
    stage.instances.iter().map(|instance| Sample::of(instance, runtime)).collect()
}
