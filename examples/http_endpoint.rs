//! A web service that starts a job for each request, and says where to watch it.
//! `http_endpoint [ADDRESS]`, 127.0.0.1:3000 if none is given:
//!
//! ```sh
//! curl -X POST http://127.0.0.1:3000/videos
//! ```
//!
//! The answer comes at once; the work, a checksum over some frames, goes on in a thread of its own.

use std::io;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use milepost_reporter::{Job, Reporter};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const FRAMES: u64 = 500;

#[tokio::main]
async fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let reporter = Reporter::from_env();
    let router = Router::new().route("/videos", post(start)).with_state(reporter.clone());
    let listener = TcpListener::bind(address).await?;
    println!("http://{}/videos", listener.local_addr()?);
    let interrupted = async {
        // Without a handler for it, Ctrl-C ends the process anyway.
        let _ = tokio::signal::ctrl_c().await;
    };
    axum::serve(listener, router).with_graceful_shutdown(interrupted).await?;
    // Flushing waits for a server, 2 s at most: not in a task.
    tokio::task::spawn_blocking(|| reporter.close()).await.map_err(io::Error::other)
}

async fn start(State(reporter): State<Reporter>) -> Json<Value> {
    let id = format!("video-{:016x}", fastrand::u64(..));
    let job = reporter.job(&id);
    job.queued();
    tokio::task::spawn_blocking(move || process(job));
    Json(json!({
        "job_id": id,
        "status": "queued",
        "websocket_url": format!("/ws/jobs/{id}"),
        "message": "The video is being processed",
    }))
}

fn process(job: Job) {
    job.stage("processing");
    job.unit("frames");
    let mut checksum = 0_u64;
    for frame in job.track(0..FRAMES) {
        for pixel in 0..16_384 {
            checksum = checksum.rotate_left(5) ^ (frame * pixel);
        }
    }
    job.complete_with(json!({"checksum": format!("{checksum:016x}")}));
}
