//! Answers to requests that came together leave together.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::memory::{Held, Share};

/// A socket that collects what is written to it until the connection has nothing more to do for now.
///
/// hyper flushes after each answer; to requests that were sent one behind the other that is a system call for
/// each. Here a flush only promises: whoever polls the connection ends each poll with [`Corked::poll_drain`],
/// before it waits for anything.
#[derive(Clone)]
pub(crate) struct Corked(Arc<Mutex<Option<Socket>>>);

struct Socket {
    stream: TcpStream,
    /// At most [`MOST`] bytes and one write more.
    collected: Vec<u8>,
    /// For what is collected, if it is much.
    held: Held,
}

/// So much is collected for any connection, however little memory there is.
const LITTLE: usize = 8 << 10;

/// With so much collected, a write waits until the client has taken some.
const MOST: usize = 64 << 10;

impl Corked {
    /// What is collected takes from `responses`. A connection that does not fit is cut off.
    pub(crate) fn new(stream: TcpStream, responses: &Arc<Share>) -> Self {
        let held = responses.nothing();
        Self(Arc::new(Mutex::new(Some(Socket { stream, collected: Vec::new(), held }))))
    }

    /// Sends what was collected. Pending while the socket takes no more of it.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.lock() {
            Some(socket) => socket.poll_drain(cx),
            // Somebody else has it now, with what was collected.
            None => Poll::Ready(Ok(())),
        }
    }

    /// Takes the bare socket, after everything that was collected is sent.
    ///
    /// # Errors
    /// When the socket has failed, or was taken before.
    pub(crate) async fn uncork(self) -> io::Result<TcpStream> {
        let taken = self.lock().take();
        let mut socket = taken.ok_or(io::ErrorKind::NotConnected)?;
        socket.stream.write_all(&socket.collected).await?;
        Ok(socket.stream)
    }

    /// Takes the socket back, with its sending half closed; none if it has failed, or was taken before.
    pub(crate) fn shut_down_write(&self) -> Option<TcpStream> {
        let socket = self.lock().take()?;
        SockRef::from(&socket.stream).shutdown(Shutdown::Write).ok()?;
        Some(socket.stream)
    }

    /// No call that is made under the lock waits.
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
            self.collected.drain(..written);
        }
        // A connection that rests holds no buffer.
        self.collected = Vec::new();
        self.held.shrink_to(0);
        Poll::Ready(Ok(()))
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
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
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
