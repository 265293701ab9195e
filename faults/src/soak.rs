//! All of it for a long time: what an instance holds has to return to where it began.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::abuse::{self, Extent};
use crate::failure::Failure;
use crate::http::Connection;
use crate::job::Order;
use crate::process::Held;
use crate::stage::{Ground, Load, Stage};

/// How long a round of abuse takes.
const ROUND: Duration = Duration::from_secs(20);
/// Everything that lingers or waits is over by then, though a request may take 30 s.
const REST: Duration = Duration::from_secs(45);
/// Resident memory may have grown by this after the first round: the allocator keeps some.
const GROWTH: u64 = 32 << 20;

/// What an instance holds, as the system and its own metrics see it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    held: Held,
    tasks: u64,
    sockets: u64,
    topics: u64,
    watched: u64,
}

/// Whether an instance that was abused for so long holds no more afterwards than before.
pub(crate) fn run(load: &Load, time: Duration, runtime: &Handle) -> Result<bool, Failure> {
    let load = &Load { rate: load.rate.min(2.0), ..load.clone() };
    let stage = Stage::set("soak", Ground::SmallMemory, load, &[], runtime)?;
    let address = stage.world.instance(0);
    runtime.block_on(abuse::prepare(address));
    // The first round fills caches, and the states' share, which stays full.
    round(&stage, runtime, load);
    let before = sample(&stage, runtime)?;
    println!("at rest before: {before:?}");
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < time {
        round(&stage, runtime, load);
        rounds += 1;
        let held = stage.instances[0].held().unwrap_or_default();
        println!("round {rounds}, {:.0?}: {} MB", begun.elapsed(), held.resident >> 20);
    }
    let after = sample(&stage, runtime)?;
    println!("at rest after:  {after:?}");
    let disconnected = stage.watchers.iter().filter(|watcher| !watcher.seen().connected).count();
    for job in &stage.jobs {
        job.give(Order::End);
    }
    let ended =
        stage.within(Instant::now() + REST, |stage| stage.jobs.iter().all(|job| job.has_ended()));
    let mut wrong = Vec::new();
    let mut check = |fine: bool, what: &str| {
        if !fine {
            wrong.push(what.to_owned());
        }
    };
    check(after.held.resident <= before.held.resident + GROWTH, "resident memory grew");
    check(after.held.peak <= crate::stage::MEMORY, "resident memory was over the limit");
    check(after.held.files <= before.held.files, "there are more open files");
    check(after.held.threads <= before.held.threads, "there are more threads");
    check(after.tasks <= before.tasks, "there are more tasks");
    check(after.sockets <= before.sockets, "there are more sockets");
    check(after.topics <= before.topics, "there are more topics");
    check(after.watched <= before.watched, "there are more watched jobs");
    check(disconnected == 0, "watchers are not connected");
    check(ended, "jobs could not end");
    for what in &wrong {
        println!("WRONG: {what}");
    }
    println!("{rounds} rounds in {:.0?}", begun.elapsed());
    Ok(wrong.is_empty())
}

fn round(stage: &Stage, runtime: &Handle, load: &Load) {
    let _entered = runtime.enter();
    let mut tasks = JoinSet::new();
    let extent = if load.quick { Extent::QUICK } else { Extent::FULL };
    abuse::start(&mut tasks, stage.world.instance(0), extent);
    std::thread::sleep(load.wait(ROUND.as_secs_f64(), 5.0));
}

/// What the instance holds once nothing has lingered on.
fn sample(stage: &Stage, runtime: &Handle) -> Result<Sample, Failure> {
    std::thread::sleep(REST);
    let failed = |why: &str| Failure(format!("the instance cannot be looked at: {why}"));
    let metrics = runtime.block_on(async {
        let mut connection = Connection::open(stage.world.instance(0)).await?;
        connection.get("/metrics").await
    });
    let metrics = metrics.map_err(|error| failed(&error.to_string()))?.body;
    let number = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).ok_or_else(|| failed(name))
    };
    Ok(Sample {
        held: stage.instances[0].held().ok_or_else(|| failed("it has ended"))?,
        tasks: number("milepost_tasks")?,
        sockets: number("milepost_open_sockets")?,
        topics: number("milepost_topics")?,
        watched: number("milepost_watched_jobs")?,
    })
}
