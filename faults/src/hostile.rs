//! A job whose keys hold, and on whose channel comes, what no worker writes.

use std::net::SocketAddr;
use std::time::Duration;

use milepost_redis_servers::hostile_command;
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
                let command = hostile_command(JOB);
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
