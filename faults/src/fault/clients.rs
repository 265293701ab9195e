//! Faults of workers, and clients that misbehave.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::abuse::{self, Extent};
use crate::failure::Failure;
use crate::hostile;
use crate::http::Connection;
use crate::job::{Kind, Order};
use crate::silent;
use crate::stage::{Load, Stage};

/// Workers are killed. Others take over once all watchers were checked.
pub(super) fn workers_killed(stage: &mut Stage) -> Instant {
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

pub(super) fn hostile_job(stage: &mut Stage, load: &Load) -> Result<Instant, Failure> {
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

/// Watches the hostile job, whatever comes.
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

/// Workers are cut off for longer than their jobs may be silent. No job may be lost or end, and an operator has to know.
pub(super) fn silent_workers(
    stage: &mut Stage,
    load: &Load,
    runtime: &Handle,
) -> Result<Instant, Failure> {
    let network = silent::Network::to(stage.world.instance(0));
    let mut tasks = JoinSet::new();
    tasks.spawn(silent::report(network.address()));
    let instances: Vec<_> =
        (0..stage.instances.len()).map(|number| stage.world.instance(number)).collect();
    runtime.block_on(silent::until_known(instances[0]))?;
    network.part();
    stage.some_end(true);
    // In a short run, only those that end by `lost_after` are due.
    sleep(load.wait(40.0, 10.0));
    // An instance warns if it would have ended a job: it may be that another one always looks first.
    let warned = stage.instances.iter().map(|instance| silent::check_log(&instance.log()));
    let warned: Vec<bool> = warned.collect::<Result<_, _>>()?;
    if !warned.contains(&true) {
        return Err(Failure("no instance warns of silent workers".into()));
    }
    runtime.block_on(async {
        for (instance, warned) in instances.iter().zip(&warned) {
            silent::until_warned(*instance, *warned).await?;
            let metrics = abuse::metrics(*instance).await.unwrap_or_default();
            if abuse::metric(&metrics, "milepost_mass_losses_total") != Some(u64::from(*warned)) {
                return Err(Failure("the metric does not count what the log warns of".into()));
            }
        }
        silent::check_none_lost(instances[0]).await
    })?;
    network.heal();
    runtime.block_on(async {
        for instance in instances {
            silent::until_warned(instance, false).await?;
            silent::check_none_lost(instance).await?;
        }
        Ok::<_, Failure>(())
    })?;
    Ok(Instant::now())
}

pub(super) fn abuse(stage: &mut Stage, load: &Load, runtime: &Handle, extent: Extent) -> Instant {
    let address = stage.world.instance(0);
    runtime.block_on(abuse::prepare(address));
    let mut tasks = JoinSet::new();
    abuse::start(&mut tasks, address, extent);
    stage.some_end(true);
    beside(load.wait(60.0, 5.0), tasks);
    Instant::now()
}

/// Lets `tasks` run for a time.
fn beside(time: Duration, tasks: JoinSet<()>) {
    sleep(time);
    drop(tasks);
}
