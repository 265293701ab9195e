//! Abuse by WebSockets.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);
/// So many commands are sent before their answers are read.
const TOGETHER: usize = 100;

type Socket = WebSocketStream<TcpStream>;

async fn open(address: SocketAddr) -> Option<Socket> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (socket, _) = client_async(format!("ws://{address}/ws"), stream).await.ok()?;
    Some(socket)
}

fn command(kind: &str, job: &str) -> Message {
    Message::text(format!(r#"{{"type":"{kind}","job_id":"{job}"}}"#))
}

/// Sends commands, and reads as many answers.
async fn say(socket: &mut Socket, commands: impl Iterator<Item = Message>) -> Option<()> {
    let mut sent = 0;
    for command in commands {
        socket.feed(command).await.ok()?;
        sent += 1;
    }
    socket.flush().await.ok()?;
    for _ in 0..sent {
        socket.next().await?.ok()?;
    }
    Some(())
}

/// Subscribes to ever new jobs, and unsubscribes.
pub(super) async fn churn(address: SocketAddr) {
    let mut number: u64 = 0;
    loop {
        if let Some(mut socket) = open(address).await {
            loop {
                let jobs = number..number + TOGETHER as u64;
                number = jobs.end;
                let commands = jobs.flat_map(|number| {
                    let job = format!("churned-{number}");
                    [command("subscribe", &job), command("unsubscribe", &job)]
                });
                if say(&mut socket, commands).await.is_none() {
                    break;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Watches many jobs that are not reported, and stays.
pub(super) async fn watch_unknown_jobs(address: SocketAddr, number: usize, jobs: usize) {
    loop {
        if let Some(mut socket) = open(address).await {
            let mut watched = 0;
            while watched < jobs {
                let together = TOGETHER.min(jobs - watched);
                let names =
                    (watched..watched + together).map(|job| format!("unknown-{number}-{job}"));
                if say(&mut socket, names.map(|job| command("subscribe", &job))).await.is_none() {
                    break;
                }
                watched += together;
            }
            while let Some(Ok(_)) = socket.next().await {}
        }
        sleep(PAUSE).await;
    }
}

/// Watches many jobs that end again and again, and reads nothing after the subscription.
pub(super) async fn watch_ends(address: SocketAddr, jobs: usize) {
    loop {
        if let Some(mut socket) = open(address).await {
            for number in 0..jobs {
                let command = command("subscribe", &format!("watched-{number}"));
                if socket.feed(command).await.is_err() {
                    break;
                }
            }
            let _ = socket.flush().await;
            // Its answers are unread for longer than any trial.
            sleep(Duration::from_secs(3600)).await;
        }
        sleep(PAUSE).await;
    }
}

/// Sends a message of 64 KiB but for its last byte.
pub(super) async fn hold_a_message_back(address: SocketAddr) {
    loop {
        if let Some(socket) = open(address).await {
            let mut stream = socket.into_inner();
            let mut frame = vec![0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            frame.resize(frame.len() + (64 << 10) - 1, b' ');
            if stream.write_all(&frame).await.is_ok() {
                let mut byte = [0; 1];
                while matches!(stream.peek(&mut byte).await, Ok(1..)) {
                    // Pings, which are not answered.
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
        sleep(PAUSE).await;
    }
}
