//! Several videos at once, each a job of its own, and one job for the whole batch. `batch [JOB_ID [VIDEOS]]`
//!
//! What is done to each video is a checksum over its bytes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use milepost_reporter::{Job, Reporter};
use serde_json::json;

const WORKERS: usize = 3;
const FRAMES: u32 = 200;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let id = arguments.next().unwrap_or_else(|| "batch".to_owned());
    let videos: u32 = arguments.next().and_then(|videos| videos.parse().ok()).unwrap_or(6);

    let reporter = Reporter::from_env();
    let batch = reporter.job(&id);
    batch.stage("processing");
    batch.unit("videos");
    batch.set_total(u64::from(videos));

    // Each video is shown as queued until a worker takes it.
    let jobs: Vec<Job> = (1..=videos).map(|n| reporter.job(&format!("{id}-{n}"))).collect();
    for job in &jobs {
        job.queued();
    }

    // Handles may be cloned into any thread; reporting never makes one wait for another.
    let next = AtomicU32::new(1);
    let queue = Mutex::new(jobs.into_iter());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(job) = queue.lock().ok().and_then(|mut queue| queue.next()) else {
                        break;
                    };
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let checksum = process(&job, number);
                    job.complete_with(json!({"checksum": format!("{checksum:016x}")}));
                    batch.inc(1);
                }
            });
        }
    });
    println!("{videos} videos processed");
    batch.complete_with(json!({"videos": videos}));
}

fn process(job: &Job, seed: u32) -> u64 {
    job.stage("analyzing");
    job.unit("frames");
    let mut checksum = 0xcbf2_9ce4_8422_2325;
    for frame in job.track(0..FRAMES) {
        // FNV-1a over a frame of 16 KiB.
        for byte in 0..16_384_u32 {
            let [pixel, ..] = (byte ^ frame.wrapping_mul(seed)).to_le_bytes();
            checksum = (checksum ^ u64::from(pixel)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    checksum
}
