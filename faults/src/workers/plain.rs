//! A legacy worker: `PUBLISH`, then `SETEX`, over a plain connection to Redis. What fails is lost; at the next update
//! it connects anew.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::job::{Job, Order};
use crate::world::World;

use super::ticks;

/// Such workers wait as long as TCP does; nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn work(job: Arc<Job>, world: Arc<World>, rate: f64) {
    let mut ticks = ticks(rate);
    let mut connection: Option<(SocketAddr, Connection)> = None;
    while !job.has_ended() {
        ticks.tick().await;
        let order = job.order();
        let Some(address) = world.redis().filter(|_| order != Order::Stop) else { return };
        connection = connection.take().filter(|(to, _)| *to == address);
        if connection.is_none() {
            connection = Connection::open(address).await.ok().map(|open| (address, open));
        }
        let number = job.next();
        let is_end = order == Order::End;
        let json = job.update(number, is_end);
        let Some((_, open)) = &mut connection else {
            job.lose();
            continue;
        };
        let channel = format!("job_progress:{}", job.id);
        if open.command(&["PUBLISH", &channel, &json]).await.is_err() {
            connection = None;
            job.lose();
            continue;
        }
        if order == Order::Die {
            // Killed between its two commands, after watchers were sent the message.
            job.confirm(number, false);
            connection = None;
            while job.order() == Order::Die {
                ticks.tick().await;
            }
            continue;
        }
        let key = format!("job_status:{}", job.id);
        if open.command(&["SETEX", &key, "3600", &json]).await.is_ok() {
            job.confirm(number, is_end);
        } else {
            connection = None;
            job.lose();
        }
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// A command whose answer is one line, and no error.
    async fn command(&mut self, words: &[&str]) -> io::Result<()> {
        let mut request = vec![format!("*{}\r\n", words.len())];
        request.extend(words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())));
        let exchange = async {
            self.stream.get_mut().write_all(request.concat().as_bytes()).await?;
            let mut line = String::new();
            self.stream.read_line(&mut line).await?;
            match line.as_bytes().first() {
                Some(b'+' | b':') => Ok(()),
                Some(_) => Err(io::Error::other(line)),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        timeout(PATIENCE, exchange).await?
    }
}
