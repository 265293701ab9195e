use std::sync::{Arc, Mutex, PoisonError};

use event_listener::{Event, EventListener};
use milepost_protocol::Action;
use serde_json::Value;

/// A watcher's request to a job's worker: `spec/README.md`, section 16. The worker decides how to respond.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requested {
    /// The requested action.
    pub action: Action,
    /// When it was requested, by the server's clock: RFC 3339 in UTC with milliseconds.
    pub at: String,
    /// Who requested it, for people.
    pub by: Option<String>,
    /// Why, for people.
    pub reason: Option<String>,
}

impl Requested {
    /// The `requested` of a response or a state; `None` if it is not understood.
    pub(crate) fn read(found: &Value) -> Option<Arc<Self>> {
        let text = |name: &str| found.get(name)?.as_str().map(str::to_owned);
        let action = Action::from_name(found.get("action")?.as_str()?)?;
        Some(Arc::new(Self { action, at: text("at")?, by: text("by"), reason: text("reason") }))
    }
}

/// The latest request to one job's worker, and those who wait for one.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    latest: Mutex<Option<Arc<Requested>>>,
    changed: Event,
}

impl Requests {
    pub(crate) fn latest(&self) -> Option<Arc<Requested>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The server's response names this request, or the attempt has changed.
    pub(crate) fn set(&self, requested: Option<Arc<Requested>>) {
        let is_new = {
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = requested.is_some() && *latest != requested;
            *latest = requested;
            is_new
        };
        if is_new {
            self.changed.notify(usize::MAX);
        }
    }

    /// Completes at the next request. Check for an earlier one after calling this.
    pub(crate) fn listen(&self) -> EventListener {
        self.changed.listen()
    }
}
