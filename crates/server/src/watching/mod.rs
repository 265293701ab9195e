//! Watching: polling, lists, server-sent events. WebSockets are in [`crate::websocket`].

pub(crate) mod badge;
mod event_stream;
pub(crate) mod events;
pub(crate) mod job_log;
pub(crate) mod jobs;
pub(crate) mod log_page;
pub(crate) mod state;
mod survey;
pub(crate) mod watchers;
