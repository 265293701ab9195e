//! Arbitrary data under one job's keys and on its channel in Redis, while both instances watch the job. Watchers of other jobs
//! must not notice.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use milepost_redis_servers::hostile_command;

use super::{Load, Measures, beside, ms, number};
use crate::error::Error;
use crate::server::Server;
use crate::stream::Address;
use crate::update::Clock;
use crate::watchers::request;

const JOB: &str = "hostile";
/// Between two things that are written or published: many have 200 KB.
const PAUSE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) fn measure(server: &Server, load: &Load, clock: Clock) -> Result<Measures, Error> {
    let Some(redis) = server.redis_address() else {
        return Err(Error::Limit("hostile data needs Redis: --servers shared".into()));
    };
    let mut others = beside::Others::start(server, load, clock)?;
    let alone = others.watch()?;
    let (is_over, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for address in server.addresses() {
        let (is_over, endpoint) = (Arc::clone(&is_over), server.watched(JOB));
        threads.push(std::thread::spawn(move || {
            let handshake = request(&address, &endpoint);
            while !is_over.load(Ordering::Relaxed) {
                // The server may close the connection because of what comes.
                let _ = watch(&address, &handshake, &is_over);
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
    }
    let (over, count) = (Arc::clone(&is_over), Arc::clone(&written));
    threads.push(std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            // Redis may close the connection because of what comes.
            let _ = write(redis, &over, &count);
        }
    }));
    let beside = others.watch();
    is_over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| Error::Server("a hostile thread panicked".into()))?;
    }
    let (without, with) = (ms(&alone, 0.99), ms(&beside?, 0.99));
    let written = number(written.load(Ordering::Relaxed));
    Ok(vec![
        ("p99 with / without", with / without),
        ("p99 ms without", without),
        ("p99 ms with", with),
        ("delivered at least", others.least_delivered),
        ("written or published/s", written / load.time.as_secs_f64()),
    ])
}

/// Watches the hostile job until the connection ends.
fn watch(address: &Address, handshake: &str, is_over: &AtomicBool) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address.socket, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(handshake.as_bytes())?;
    let mut buffer = vec![0; 64 * 1024];
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes and publishes until the connection ends.
fn write(redis: SocketAddr, is_over: &AtomicBool, written: &AtomicU64) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&redis, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answer = vec![0; 16 * 1024];
    while !is_over.load(Ordering::Relaxed) {
        stream.write_all(&hostile_command(JOB))?;
        if stream.read(&mut answer)? == 0 {
            return Ok(());
        }
        written.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
