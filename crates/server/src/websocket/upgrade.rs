//! How an HTTP connection becomes a WebSocket: between its handshake and its shard.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use milepost_hub::Subscribe;
use milepost_protocol::{CloseCode, JobId};

use crate::access::Granted;
use crate::limits::connections::Counted;
use crate::request::id::RequestId;
use crate::response::problem::Refused;

/// What a socket watches.
pub(crate) enum Target {
    /// One job; with the parameters that are ignored.
    One(JobId, Subscribe, Vec<String>),
    /// What it will subscribe to.
    Many,
    /// Nothing: the request was invalid. A browser hides the HTTP status from its page, so the reason is sent on the
    /// socket.
    Refused(CloseCode, Refused),
}

impl Target {
    pub(super) fn bad_request(refused: Refused) -> Self {
        Self::Refused(CloseCode::BadRequest, refused)
    }
}

/// Where a handler leaves the protocol that a connection has after its response; none if it stays HTTP.
#[derive(Clone, Default)]
pub(crate) struct Upgrade(Arc<Mutex<Option<Upgraded>>>);

/// A socket that a handshake has led to.
pub(crate) struct Upgraded {
    /// The handshake's.
    pub(crate) id: RequestId,
    pub(crate) target: Target,
    /// What its credential allows; none on a server without credentials.
    pub(crate) granted: Option<Arc<Granted>>,
    /// Counts it for its address, if that is behind a trusted proxy, …
    pub(crate) address: Option<Arc<Counted<IpAddr>>>,
    /// … and for its subject.
    pub(crate) subject: Option<Arc<Counted<Arc<str>>>>,
}

/// Counts the WebSocket that a client behind a trusted proxy is about to open.
#[derive(Clone)]
pub(crate) struct Proxied(pub(crate) Option<Arc<Counted<IpAddr>>>);

impl Upgrade {
    pub(crate) fn set(&self, upgraded: Upgraded) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgraded);
    }

    pub(crate) fn take(&self) -> Option<Upgraded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
