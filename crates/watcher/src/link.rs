use std::pin::Pin;
use std::time::Duration;

use tokio::time;

use crate::socket::{ConnectError, Incoming, Socket};

/// How long the server has to answer a close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A watcher's connection: down, being made, or up.
pub(crate) enum Link {
    Down,
    Connecting(Pin<Box<dyn Future<Output = Result<Socket, ConnectError>> + Send>>),
    Up(Box<Socket>),
}

/// What happens on a [`Link`].
pub(crate) enum LinkEvent {
    Opened(Box<Socket>),
    ConnectFailed(ConnectError),
    Incoming(Incoming),
}

impl Link {
    /// Waits for the next event; forever if the link is down. Cancel-safe.
    pub(crate) async fn next(&mut self) -> LinkEvent {
        match self {
            Self::Down => std::future::pending().await,
            Self::Connecting(attempt) => match attempt.await {
                Ok(socket) => LinkEvent::Opened(Box::new(socket)),
                Err(error) => LinkEvent::ConnectFailed(error),
            },
            Self::Up(socket) => LinkEvent::Incoming(socket.next().await),
        }
    }

    pub(crate) fn send(&mut self, text: String) {
        if let Self::Up(socket) = self {
            socket.send(text);
        }
    }

    /// Takes note of the token that is about to be sent. False if there is nothing to send: the same one again would expire as soon.
    pub(crate) fn renews(&mut self, token: &str) -> bool {
        match self {
            Self::Up(socket) if socket.token.as_deref() != Some(token) => {
                socket.token = Some(token.to_owned());
                true
            }
            _ => false,
        }
    }

    /// Sends a close frame, if the link is up, and waits until the connection is closed.
    pub(crate) async fn close(self) {
        if let Self::Up(socket) = self {
            // If the server does not answer in time, the connection is dropped.
            let _ = time::timeout(CLOSE_TIMEOUT, socket.close()).await;
        }
    }
}
