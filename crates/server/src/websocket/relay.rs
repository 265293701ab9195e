//! A WebSocket over TLS. A shard writes to a socket of the kernel, and does not know about TLS. So it has one end of a
//! pair of sockets, and the connection's task encrypts what it reads from the other end.

use std::io;
use std::pin::pin;

use socket2::Socket;
use tokio::io::{AsyncWriteExt, copy, split};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::reactor::CLOSING;

/// Copies between a client and its shard.
pub(super) struct Relay {
    client: Box<TlsStream<TcpStream>>,
    shard: UnixStream,
}

/// About how many bytes the kernel queues in each direction.
pub(super) const QUEUED: u32 = 16 << 10;

impl Relay {
    /// With the socket for the shard.
    pub(super) fn new(client: Box<TlsStream<TcpStream>>) -> io::Result<(Socket, Self)> {
        let (shards, ours) = std::os::unix::net::UnixStream::pair()?;
        let (shards, ours) = (Socket::from(shards), Socket::from(ours));
        for socket in [&shards, &ours] {
            socket.set_nonblocking(true)?;
            socket.set_send_buffer_size(QUEUED as usize)?;
        }
        let shard = UnixStream::from_std(std::os::fd::OwnedFd::from(ours).into())?;
        Ok((shards, Self { client, shard }))
    }

    /// Runs until both sides have closed, or one of them fails. After the shard's last byte, the client has as long to close as the
    /// shard gives it.
    pub(super) async fn run(self) {
        let Self { client, shard } = self;
        let (mut from_client, mut to_client) = split(client);
        let (mut from_shard, mut to_shard) = shard.into_split();
        let mut inward = pin!(async {
            copy(&mut from_client, &mut to_shard).await?;
            to_shard.shutdown().await
        });
        let mut outward = pin!(async {
            copy(&mut from_shard, &mut to_client).await?;
            to_client.shutdown().await
        });
        tokio::select! {
            ended = &mut inward => if ended.is_ok() {
                // The shard closes its side in turn.
                let _ = outward.await;
            },
            ended = &mut outward => if ended.is_ok() {
                let _ = tokio::time::timeout(CLOSING, inward).await;
            },
        }
    }
}
