use std::pin::Pin;
use std::time::Duration;

use tokio::time;

use crate::socket::{ConnectError, Incoming, Socket};

/// How long the server has to agree when the connection is closed from here.
const GOODBYE: Duration = Duration::from_secs(1);

/// A watcher's connection, in whatever condition.
pub(crate) enum Link {
    Down,
    Connecting(Pin<Box<dyn Future<Output = Result<Socket, ConnectError>> + Send>>),
    Up(Box<Socket>),
}

/// What happens on a [`Link`].
pub(crate) enum Heard {
    Opened(Box<Socket>),
    NotOpened(ConnectError),
    Incoming(Incoming),
}

impl Link {
    /// What happens next on it: for ever nothing, if it is down. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Heard {
        match self {
            Self::Down => std::future::pending().await,
            Self::Connecting(attempt) => match attempt.await {
                Ok(socket) => Heard::Opened(Box::new(socket)),
                Err(error) => Heard::NotOpened(error),
            },
            Self::Up(socket) => Heard::Incoming(socket.next().await),
        }
    }

    pub(crate) fn send(&mut self, text: String) {
        if let Self::Up(socket) = self {
            socket.send(text);
        }
    }

    /// Says goodbye, if it is up, and waits until it is closed.
    pub(crate) async fn close(self) {
        if let Self::Up(socket) = self {
            // A server that does not answer is left without a goodbye.
            let _ = time::timeout(GOODBYE, socket.close()).await;
        }
    }
}
