//! Clients that do not read: bodies of responses that wait for their connection for too long.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The bodies that wait for their connection to accept more, and since when.
///
/// A connection polls a body when its client has room for more: for HTTP/1 in the socket, for HTTP/2 in the stream's
/// window. A body that itself has nothing to send, such as an idle event stream, is not among them.
#[derive(Clone, Default)]
pub(crate) struct Stalls(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    begun: Notify,
}

#[derive(Default)]
struct Waiting {
    since: HashMap<u64, Instant>,
    next: u64,
}

impl Stalls {
    /// The same body, watched.
    pub(crate) fn watch(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let key = {
            let mut waiting = self.lock();
            waiting.next += 1;
            waiting.next
        };
        let watched = Watched { body, key, stalls: self.clone() };
        watched.stalls.wait(key);
        Body::new(watched)
    }

    /// Waits until a body has waited for `stall`.
    pub(crate) async fn stalled(&self, timeout: Duration) {
        loop {
            let begun = self.0.begun.notified();
            let oldest = self.lock().since.values().min().copied();
            match oldest {
                None => begun.await,
                Some(oldest) if oldest.elapsed() >= timeout => return,
                Some(oldest) => tokio::time::sleep_until(oldest + timeout).await,
            }
        }
    }

    fn wait(&self, key: u64) {
        self.lock().since.insert(key, Instant::now());
        self.0.begun.notify_one();
    }

    fn go_on(&self, key: u64) {
        self.lock().since.remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    body: Body,
    key: u64,
    stalls: Stalls,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.stalls.go_on(self.key);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_some() {
            self.stalls.wait(self.key);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stalls.go_on(self.key);
    }
}
