//! Abuse by HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::LARGE;
use crate::http::Connection;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// The largest batch.
const BATCH: usize = 8 << 20;

fn large(job: &str, status: &str, attempt: u32) -> String {
    let message = "x".repeat(LARGE);
    format!(r#"{{"job_id":"{job}","status":"{status}","attempt":{attempt},"message":"{message}"}}"#)
}

/// Reports `count` large jobs.
pub(super) async fn report_large_jobs(address: SocketAddr, jobs: usize) {
    let Ok(mut connection) = Connection::open(address).await else { return };
    for number in 0..jobs {
        let job = format!("listed-{number}");
        if connection.post(&format!("/jobs/{job}"), &large(&job, "processing", 1)).await.is_err() {
            return;
        }
    }
}

/// Asks for a list of jobs, and reads none of it. If the connection is lost, again.
pub(super) async fn read_nothing(address: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.write_all(b"GET /jobs?limit=1000 HTTP/1.1\r\nhost: x\r\n\r\n").await;
            wait_for_loss(&stream).await;
        }
        sleep(PAUSE).await;
    }
}

/// Sends a batch but for its last byte.
pub(super) async fn hold_a_body_back(address: SocketAddr) {
    let part = vec![b' '; 64 << 10];
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let head =
                format!("POST /updates HTTP/1.1\r\nhost: x\r\ncontent-length: {BATCH}\r\n\r\n");
            let mut sent = stream.write_all(head.as_bytes()).await;
            let mut left = BATCH - 1;
            while sent.is_ok() && left > 0 {
                let len = left.min(part.len());
                sent = stream.write_all(&part[..len]).await;
                left -= len;
            }
            if sent.is_ok() {
                // Rejected, or timed out.
                let _ = stream.read(&mut [0; 1024]).await;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Sends as much of a header as a server holds, and no end of it.
pub(super) async fn hold_a_header_back(address: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}", "x".repeat(60 << 10));
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
        sleep(PAUSE).await;
    }
}

/// Ever new jobs end with large results.
pub(super) async fn end_jobs(address: SocketAddr) {
    let mut number = 0;
    loop {
        if let Ok(mut connection) = Connection::open(address).await {
            loop {
                let lines =
                    (0..50).map(|n| large(&format!("ended-{}", number + n), "completed", 1));
                let batch: Vec<String> = lines.collect();
                number += 50;
                if connection.post("/updates", &batch.join("\n")).await.is_err() {
                    break;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Ends one new job after the other, until one end is refused.
pub(super) async fn end_until_refused(address: SocketAddr) -> io::Result<()> {
    let mut connection = Connection::open(address).await?;
    for number in 0.. {
        let job = format!("filling-{number}");
        let path = format!("/jobs/{job}");
        if connection.post(&path, &large(&job, "completed", 1)).await?.status >= 500 {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// The jobs that [`watch_ends`](super::sockets::watch_ends) watches end, and are tried again.
pub(super) async fn end_watched_jobs(address: SocketAddr, jobs: usize) {
    let mut attempt = 1;
    loop {
        if let Ok(mut connection) = Connection::open(address).await {
            'connected: loop {
                for number in 0..jobs {
                    let job = format!("watched-{number}");
                    let update = large(&job, "failed", attempt);
                    if connection.post(&format!("/jobs/{job}"), &update).await.is_err() {
                        break 'connected;
                    }
                }
                attempt += 1;
            }
        }
        sleep(PAUSE).await;
    }
}

/// Waits until the peer has closed the connection, without reading what it sent.
async fn wait_for_loss(stream: &TcpStream) {
    let mut byte = [0; 1];
    loop {
        // What has come stays where it is, so a connection is only known as lost once a write fails.
        match timeout(Duration::from_secs(1), stream.peek(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) | Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
}
