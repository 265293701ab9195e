//! Faults of Redis, and of the network to it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use milepost_redis_servers::{Cluster, Data, Proxy};

use crate::failure::Failure;
use crate::stage::{Load, Redis, Stage};

/// Publishes more bytes than Redis buffers by default for a subscriber that does not read.
const OVERRUN: &str =
    "for _ = 1, tonumber(ARGV[2]) do redis.call('PUBLISH', ARGV[1], string.rep('x', 60000)) end";
const OVERRUN_MESSAGES: &str = "700";
/// How many jobs' slots are moved.
const SLOTS: usize = 20;

pub(super) fn killed(stage: &mut Stage, data: Data) -> Result<Instant, Failure> {
    stage.server()?.kill();
    stage.some_end(false);
    sleep(Duration::from_secs(2));
    stage.server()?.restart(data);
    Ok(Instant::now())
}

pub(super) fn frozen(stage: &mut Stage, load: &Load) -> Result<Instant, Failure> {
    stage.server()?.freeze();
    // Longer than workers may be silent.
    sleep(load.wait(20.0, 1.0));
    stage.some_end(false);
    sleep(load.wait(20.0, 1.0));
    stage.server()?.thaw();
    Ok(Instant::now())
}

/// The first instance's network to Redis fails in the way that `how` sets.
pub(super) fn cut(
    stage: &mut Stage,
    load: &Load,
    how: impl Fn(&Proxy),
) -> Result<Instant, Failure> {
    let time = load.wait(15.0, 3.0);
    let proxy = stage.proxies.first().ok_or_else(|| Failure("there is no proxy".into()))?;
    how(proxy);
    sleep(time / 2);
    stage.some_end(true);
    sleep(time / 2);
    proxy.heal();
    Ok(Instant::now())
}

pub(super) fn subscribers_killed(stage: &mut Stage) -> Result<Instant, Failure> {
    let killed = stage.server()?.answer(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    stage.some_end(true);
    match killed.integer() {
        Some(1..) => Ok(Instant::now()),
        _ => Err(Failure("there was no subscriber".into())),
    }
}

pub(super) fn subscribers_overrun(stage: &mut Stage) -> Result<Instant, Failure> {
    let channel = format!("job_progress:{}", stage.jobs[0].id);
    let server = stage.server()?;
    server.answer(&["EVAL", OVERRUN, "0", &channel, OVERRUN_MESSAGES]);
    let end = Instant::now();
    let was_overrun = server.log().contains("output buffer limits");
    stage.some_end(true);
    if was_overrun { Ok(end) } else { Err(Failure("no output buffer was overrun".into())) }
}

pub(super) fn sentinel_failover(stage: &mut Stage) -> Result<Instant, Failure> {
    stage.some_end(false);
    let Redis::Sentinel(all) = &mut stage.redis else {
        return Err(Failure("there are no Sentinels".into()));
    };
    let (before, now) = all.fail_over();
    let end = Instant::now();
    stage.world.move_redis(all.servers[now].address());
    // The former primary comes back as an empty primary, until the Sentinels make it a replica.
    all.servers[before].restart(Data::Lost);
    Ok(end)
}

pub(super) fn cluster_failover(stage: &mut Stage) -> Result<Instant, Failure> {
    stage.some_end(false);
    let (cluster, keys) = cluster(stage)?;
    let slot = keys.first().map(|key| cluster.slot(key)).unwrap_or_default();
    cluster.fail_over(slot);
    Ok(Instant::now())
}

pub(super) fn cluster_migration(stage: &mut Stage) -> Result<Instant, Failure> {
    stage.some_end(false);
    let (cluster, keys) = cluster(stage)?;
    for key in keys.iter().take(SLOTS) {
        let slot = cluster.slot(key);
        cluster.migrate(slot, (cluster.owner(slot) + 1) % 3);
    }
    Ok(Instant::now())
}

/// The Cluster, and a key in the slot of each job.
fn cluster(stage: &mut Stage) -> Result<(&mut Cluster, Vec<String>), Failure> {
    let keys = stage.jobs.iter().map(|job| format!("{{{}}}", job.id)).collect();
    match &mut stage.redis {
        Redis::Cluster(cluster) => Ok((cluster, keys)),
        _ => Err(Failure("there is no Cluster".into())),
    }
}
