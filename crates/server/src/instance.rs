use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderValue, Version};
use milepost_broker::{Broker, Clock, JobLogs};
use milepost_hub::Hub;
use milepost_protocol::{ProblemType, Timestamp};
use tokio_util::task::TaskTracker;

use crate::access::{Audit, Gate, Grant, Granted, Hosts, Origins};
use crate::config::Config;
use crate::connection::tls::Tls;
use crate::counters::{Counters, DroppedLogLines, OpenSocket, count};
use crate::drain::Drain;
use crate::limits::Limits;
use crate::limits::connections::{Counted, TooMany};
use crate::memory::{Budget, ProcessMemory};
use crate::response::problem::{Outcome, Refused};
use crate::supervisor::Supervisor;
use crate::websocket::ShardHandle;

/// What the requests of one running server share.
pub(crate) struct Instance {
    pub(crate) config: Config,
    pub(crate) hosts: Hosts,
    pub(crate) origins: Origins,
    /// Checks credentials; none if the server has no credentials.
    pub(crate) gate: Option<Arc<Gate>>,
    /// None if clients are served without TLS.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The header `Strict-Transport-Security` of responses over TLS.
    pub(crate) hsts: Option<HeaderValue>,
    pub(crate) audit: Audit,
    pub(crate) broker: Arc<dyn Broker>,
    /// The broker again, as the keeper of job logs.
    pub(crate) logs: Arc<dyn JobLogs>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shards: Box<[ShardHandle]>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) memory: Budget,
    /// What the process uses of the budget. None if the program around the server does not say.
    pub(crate) process_memory: Option<Arc<dyn ProcessMemory>>,
    /// The most connections. Each HTTP/2 stream that watches counts as one.
    pub(crate) max_connections: usize,
    pub(crate) limits: Limits,
    pub(crate) drain: Drain,
    pub(crate) supervisor: Supervisor,
    pub(crate) dropped_log_lines: DroppedLogLines,
    pub(crate) started: Timestamp,
    /// Owns the tasks that requests begin: connections, upgrades.
    pub(crate) tasks: TaskTracker,
    /// How many watchers were given a shard.
    pub(crate) next_shard: AtomicUsize,
}

impl Instance {
    /// Does `work`, which does not wait, and then serves the watchers of the jobs that it reported, on this thread if
    /// that is little.
    pub(crate) fn batch<R>(&self, work: impl FnOnce() -> R) -> R {
        self.hub.batch(work, |shard| self.shards[shard].serve_in_place())
    }

    /// Counts a watcher's stream as a connection, because an HTTP/2 connection has many streams.
    ///
    /// # Errors
    /// `too-many-connections` if there are as many as allowed.
    pub(crate) fn count_stream(&self, version: Version) -> Outcome<Option<OpenSocket>> {
        if version != Version::HTTP_2 {
            return Ok(None);
        }
        let open = OpenSocket::new(&self.counters, self.max_connections);
        open.map(Some).ok_or_else(|| {
            count(&self.counters.full);
            let detail = format!("the server holds {} connections", self.max_connections);
            Refused::new(ProblemType::TooManyConnections, detail)
        })
    }

    /// Counts a WebSocket or an event stream that a credential begins.
    ///
    /// # Errors
    /// `too-many-requests` if its subject does so too often, or has as many as it may.
    pub(crate) fn count_subject(
        &self,
        granted: Option<&Arc<Granted>>,
    ) -> Outcome<Option<Arc<Counted<Arc<str>>>>> {
        let Some(subject) = granted.and_then(|granted| granted.subject()) else { return Ok(None) };
        self.limits.handshake_by(subject, self.clock.elapsed())?;
        self.limits.subjects.count(subject.into()).map_err(|TooMany(max)| {
            let detail = format!("a credential may have {max} connections at a time");
            Refused::new(ProblemType::TooManyRequests, detail)
        })
    }

    /// Whether responses may name other hosts and their errors; not if other machines reach the server without
    /// credentials, or operators have a port of their own.
    pub(crate) fn shows_details(&self, grant: &Grant) -> bool {
        !self.config.insecure && self.config.metrics_address.is_none() && grant.may_operate()
    }

    /// The shard that the next watcher goes to: each in turn.
    pub(crate) fn next_shard(&self) -> &ShardHandle {
        let next = self.next_shard.fetch_add(1, Ordering::Relaxed);
        &self.shards[next % self.shards.len()]
    }
}
