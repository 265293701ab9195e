//! A job whose key holds, and on whose channel comes, what no worker writes.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// The hostile job.
pub(crate) const JOB: &str = "hostile";
/// Between two things that are written or published.
const PAUSE: Duration = Duration::from_millis(5);

/// Writes and publishes until it is dropped.
pub(crate) async fn haunt(redis: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(redis).await {
            let mut answers = vec![0; 16 << 10];
            loop {
                let command = command();
                if stream.write_all(&command).await.is_err() {
                    break;
                }
                if !matches!(stream.read(&mut answers).await, Ok(1..)) {
                    break;
                }
                sleep(PAUSE).await;
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// One command, at random.
fn command() -> Vec<u8> {
    let key = format!("job_status:{JOB}").into_bytes();
    let channel = format!("job_progress:{JOB}").into_bytes();
    let value = value();
    let del = [b"DEL".to_vec(), key.clone()];
    match fastrand::u8(..8) {
        0 => encode(&del),
        1 => encode(&[b"SETEX".to_vec(), key, b"3600".to_vec(), value]),
        2 => encode(&[b"HSET".to_vec(), key, b"state".to_vec(), value]),
        3 => encode(&[b"RPUSH".to_vec(), key, value]),
        4 => encode(&[b"ZADD".to_vec(), key, b"1".to_vec(), value]),
        _ => encode(&[b"PUBLISH".to_vec(), channel, value]),
    }
}

/// What a state or an update might be taken for, or not at all.
fn value() -> Vec<u8> {
    let forged = |job: &str, position: &str| {
        format!(r#"{{"job_id":"{job}","status":"completed","attempt":1,"position":"{position}"}}"#)
    };
    match fastrand::u8(..9) {
        0 => (0..fastrand::usize(..200)).map(|_| fastrand::u8(..)).collect(),
        1 => b"\x80\x04\x95\x10\x00\x00\x00".to_vec(),
        2 => [b"[".repeat(100_000), b"]".repeat(100_000)].concat(),
        3 => vec![b'x'; 300_000],
        4 => forged(JOB, "1-1").into_bytes(),
        5 => forged("another", "ffffffffffffffff-18446744073709551615").into_bytes(),
        6 => br#"{"status":"running","progress":"50","timestamp":1}"#.to_vec(),
        7 => br#"{"job_id":"hostile","status":"processing","progress":NaN}"#.to_vec(),
        _ => br#"{"message":"\ud800","status":"processing"}"#.to_vec(),
    }
}

fn encode(words: &[Vec<u8>]) -> Vec<u8> {
    let mut command = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        command.extend(format!("${}\r\n", word.len()).into_bytes());
        command.extend(word);
        command.extend(b"\r\n");
    }
    command
}
