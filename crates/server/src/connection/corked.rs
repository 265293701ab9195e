//! Responses to requests that came together leave together.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::stream::Stream;
use crate::memory::{Held, Share};

/// A socket that collects what is written to it until the connection has nothing more to do for now.
///
/// hyper flushes after each response, which takes a system call for each of several pipelined requests. Here a flush
/// does nothing: the owner of the connection ends each poll with [`Corked::poll_drain`], before it waits for anything.
#[derive(Clone)]
pub(crate) struct Corked(Arc<Mutex<Option<Socket>>>);

struct Socket {
    stream: Stream,
    /// At most [`MOST`] bytes and one more write.
    collected: Vec<u8>,
    /// The share of the memory that large buffers take.
    held: Held,
}

/// How many bytes are collected for any connection, even if no memory is left in the share.
const LITTLE: usize = 8 << 10;

/// The most bytes to collect before a write waits for the client.
const MOST: usize = 64 << 10;

thread_local! {
    /// The buffer of a connection that has sent everything, for the next one that this thread polls. An idle connection
    /// holds no buffer, and one that responds in each poll does not allocate one each time.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A larger buffer is freed instead of kept for the next connection.
const LARGEST_SPARE: usize = 16 << 10;

impl Corked {
    /// The buffer takes its memory from `responses`. If nothing is left there, only a client that reads at once is served: others
    /// are cut off.
    pub(crate) fn new(stream: Stream, responses: &Arc<Share>) -> Self {
        let held = responses.nothing();
        Self(Arc::new(Mutex::new(Some(Socket { stream, collected: Vec::new(), held }))))
    }

    /// Sends what was collected. Pending while the socket accepts no more.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.lock() {
            Some(socket) => socket.poll_drain(cx),
            // The socket was taken, with what was collected.
            None => Poll::Ready(Ok(())),
        }
    }

    /// Takes the bare socket, with collected bytes that are not sent yet: at most [`LITTLE`].
    ///
    /// # Errors
    /// If the socket has failed, or was taken before.
    pub(crate) async fn uncork(&self) -> io::Result<(Stream, Vec<u8>)> {
        let taken = self.lock().take();
        let Socket { mut stream, mut collected, .. } = taken.ok_or(io::ErrorKind::NotConnected)?;
        if collected.len() > LITTLE {
            // Responses before it that its client has not read.
            stream.write_all(&collected).await?;
            collected = Vec::new();
        }
        Ok((stream, collected))
    }

    /// Takes the socket back, with its sending half closed; `None` if it has failed or was taken before.
    pub(crate) async fn shut_down_write(&self) -> Option<Stream> {
        let socket = self.lock().take();
        let mut stream = socket?.stream;
        stream.shutdown().await.ok()?;
        Some(stream)
    }

    /// No call under the lock waits.
    fn lock(&self) -> MutexGuard<'_, Option<Socket>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Socket {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.collected.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.collected))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if written == self.collected.len() {
                self.collected.clear();
            } else {
                self.collected.drain(..written);
            }
        }
        // TLS holds bytes back until it is flushed; a socket does not.
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        let buffer = std::mem::take(&mut self.collected);
        if (1..=LARGEST_SPARE).contains(&buffer.capacity()) {
            SPARE.set(buffer);
        }
        self.held.shrink_to(0);
        Poll::Ready(Ok(()))
    }

    /// Sends everything that is collected, and what it can of `bytes`, without a buffer.
    ///
    /// # Errors
    /// If the socket does not accept it at once: its client does not read, or not as fast as it asks.
    fn write_through(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<usize> {
        let poll = match self.poll_drain(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => Poll::Pending,
        };
        match poll {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }
}

impl AsyncRead for Corked {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self.lock() {
            Some(socket) => Pin::new(&mut socket.stream).poll_read(cx, buffer),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Corked {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.lock();
        let Some(socket) = &mut *socket else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if socket.collected.len() >= MOST {
            ready!(socket.poll_drain(cx))?;
        }
        let len = socket.collected.len() + bytes.len();
        // hyper holds about as much again.
        if len > LITTLE && socket.held.grow_to(2 * len).is_err() {
            return Poll::Ready(socket.write_through(cx, bytes));
        }
        if socket.collected.capacity() == 0 {
            socket.collected = SPARE.take();
        }
        socket.collected.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.lock();
        let Some(socket) = &mut *socket else { return Poll::Ready(Ok(())) };
        ready!(socket.poll_drain(cx))?;
        Pin::new(&mut socket.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection whose share of the memory is used up, and its client.
    async fn without_memory() -> (Corked, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = TcpStream::connect(address).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("a client");
        (Corked::new(Stream::Tcp(stream), &Share::new("responses", 0)), client)
    }

    #[tokio::test]
    async fn without_memory_a_client_that_reads_is_served() {
        let (mut corked, mut client) = without_memory().await;
        // A page of metrics, and another one.
        let response = vec![b'x'; 3 * LITTLE];
        for _ in 0..2 {
            corked.write_all(&response).await.expect("the client reads");
            poll_fn(|cx| corked.poll_drain(cx)).await.expect("the client reads");
            let mut read = vec![0; response.len()];
            client.read_exact(&mut read).await.expect("all of it");
            assert_eq!(read, response);
        }
    }

    #[tokio::test]
    async fn without_memory_a_client_that_does_not_read_is_cut_off() {
        let (mut corked, client) = without_memory().await;
        let response = vec![b'x'; 3 * LITTLE];
        let mut written = Ok(());
        // The kernel buffers some megabytes.
        for _ in 0..4_000 {
            written = corked.write_all(&response).await;
            if written.is_err() {
                break;
            }
        }
        let error = written.expect_err("it does not wait");
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        drop(client);
    }
}
