//! Faults of instances.

use std::fs::{self, File};
use std::io::{self, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::abuse;
use crate::delays::Phase;
use crate::failure::Failure;
use crate::stage::{Load, SPARE_FILES, Stage};

/// The first instance is killed, and started again after `time`. Returns when it was killed: others serve its watchers.
pub(super) fn killed(stage: &mut Stage, time: Duration) -> Result<Instant, Failure> {
    stage.world.let_leave(0, true);
    stage.instances[0].kill();
    let end = Instant::now();
    stage.some_end(true);
    sleep(time);
    stage.instances[0].run()?;
    stage.instances[0].until_ready()?;
    stage.world.let_leave(0, false);
    Ok(end)
}

/// Each instance is restarted, one after the other.
pub(super) fn rolling_restart(stage: &mut Stage) -> Result<Instant, Failure> {
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

pub(super) fn no_descriptors(
    stage: &mut Stage,
    load: &Load,
    runtime: &Handle,
) -> Result<Instant, Failure> {
    let address = stage.world.instance(0);
    let connections = runtime.block_on(async {
        let mut open = Vec::new();
        for _ in 0..load.watchers + load.jobs + SPARE_FILES {
            let connect = TcpStream::connect(address);
            // What the instance does not accept waits in the backlog, until that is full.
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

pub(super) fn full_disk(
    stage: &mut Stage,
    load: &Load,
    runtime: &Handle,
) -> Result<Instant, Failure> {
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

/// The instance is killed. It refuses to start with the damaged store, names it, and starts without it.
pub(super) fn damaged_store(stage: &mut Stage) -> Result<Instant, Failure> {
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
