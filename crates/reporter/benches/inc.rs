//! What an `inc` costs the worker, with the server up, down, never answering and refusing
//! (`cargo bench -p milepost-reporter`). To reach: 10 ns, and the same with each server. The peer, in turn in
//! the same run, is a bare relaxed addition.

#[path = "../tests/fake_server/mod.rs"]
mod fake_server;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use fake_server::{FakeServer, Mode};
use milepost_reporter::{Job, Reporter};

const INCS: u32 = 20_000_000;
const ROUNDS: usize = 5;

fn main() {
    println!("ns per call, best and worst of {ROUNDS} rounds of {INCS} calls");
    let up = FakeServer::start();
    let hanging = FakeServer::with_mode(Mode::Hang);
    let refusing = FakeServer::with_mode(Mode::Problem {
        name: "invalid-update",
        status: 422,
        retry_after: None,
    });
    let down = FakeServer::start().stop();

    let bare = AtomicU64::new(0);
    report("a bare fetch_add", || {
        black_box(&bare).fetch_add(1, Relaxed);
    });
    let silent = Reporter::silent();
    inc("no server named", &silent);
    inc("server up", &reporter(&up.url()));
    inc("server down", &reporter(&format!("http://{down}")));
    inc("server never answers", &reporter(&hanging.url()));
    inc("server refuses", &reporter(&refusing.url()));

    let reporter = reporter(&up.url());
    let job = reporter.job("track");
    report("track, an item", {
        let mut items = job.track(std::iter::repeat(()));
        move || {
            black_box(items.next());
        }
    });
    job.complete();
}

fn reporter(url: &str) -> Reporter {
    Reporter::builder()
        .flush_timeout(Duration::from_millis(100))
        .on_notice(|_| {})
        .connect(url)
        .expect("the URL is one")
}

fn inc(name: &str, reporter: &Reporter) {
    let job: Job = reporter.job("bench");
    job.set_total(u64::from(INCS));
    report(name, || black_box(&job).inc(1));
}

fn report(name: &str, mut call: impl FnMut()) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..INCS {
                call();
            }
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(INCS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:22} {:5.2} … {:5.2}", rounds[0], rounds[ROUNDS - 1]);
}
