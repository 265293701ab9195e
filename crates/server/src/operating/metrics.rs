//! `GET /metrics`: what the server counts, for Prometheus. Read on request, so deliveries do not pay for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use milepost_broker::{LogStats, Stats};
use milepost_hub::Hub;
use milepost_protocol::{ProblemType, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tokio::runtime::Handle;

use crate::accuracy::Accuracy;
use crate::instance::Instance;
use crate::memory::{Budget, Share, TOPIC_BYTES};
use crate::response::problem::{Outcome, Refused};
use crate::supervisor::Supervisor;

/// The server's metrics, for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "Operating",
    responses((
        status = 200, body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8",
        description = "OpenMetrics text. The names are in docs/operating.md.",
    )),
)]
pub(crate) async fn text(State(instance): State<Arc<Instance>>) -> Outcome<Response> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(instance)));
    let mut body = String::new();
    text::encode(&mut body, &registry)
        .map_err(|error| Refused::new(ProblemType::Internal, error.to_string()))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(content_type))], body).into_response())
}

/// One reading of all counts.
struct Scrape(Arc<Instance>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let instance = &*self.0;
        let (held, job_logs) = (instance.broker.stats(), instance.logs.log_stats());
        encode_process(&mut encoder, instance.started)?;
        encode_present(&mut encoder, instance, &held)?;
        encode_broker(&mut encoder, instance, &held)?;
        encode_resident(&mut encoder, instance)?;
        encode_memory(&mut encoder, &instance.memory, &instance.hub, job_logs)?;
        encode_updates(&mut encoder, instance, &held)?;
        encode_estimates(&mut encoder, &instance.counters.accuracy)?;
        encode_access(&mut encoder, instance)?;
        encode_failures(&mut encoder, &instance.supervisor)?;
        encode_counts(&mut encoder, instance, &held, job_logs)
    }
}

/// The use of a share of the memory.
struct ShareUse {
    name: &'static str,
    used: usize,
    limit: usize,
    refused: u64,
}

impl From<&Share> for ShareUse {
    fn from(share: &Share) -> Self {
        let (name, limit) = (share.name(), share.limit());
        Self { name, used: share.used(), limit, refused: share.refused() }
    }
}

fn encode_process(encoder: &mut DescriptorEncoder<'_>, started: Timestamp) -> fmt::Result {
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    let info = MetricType::Info;
    build.encode(encoder.encode_descriptor("milepost_build", "This server", None, info)?)?;

    #[expect(clippy::cast_precision_loss, reason = "exact for two centuries from 1970")]
    let started = started.as_micros() as f64 / 1e6;
    let help = "When the server started, since 1970";
    let unit = Some(&Unit::Seconds);
    let metric = encoder.encode_descriptor("process_start_time", help, unit, MetricType::Gauge)?;
    ConstGauge::new(started).encode(metric)
}

/// Gauges.
fn encode_present(
    encoder: &mut DescriptorEncoder<'_>,
    instance: &Instance,
    held: &Stats,
) -> fmt::Result {
    let Instance { hub, counters, .. } = instance;
    let sockets = counters.sockets.load(Relaxed);
    let watchers = counters.active_connections.load(Relaxed);
    let tasks = Handle::current().metrics().num_alive_tasks();
    let gauges = [
        ("milepost_open_sockets", "Open sockets of all kinds", sockets),
        ("milepost_active_connections", "Watchers now", watchers),
        ("milepost_watched_jobs", "Jobs watched now", hub.watched()),
        ("milepost_topics", "Jobs watched now or until a moment ago", hub.topics()),
        ("milepost_tasks", "Tasks of the runtime: each connection is one", tasks),
        ("milepost_known_jobs", "Jobs that the broker keeps", held.jobs),
    ];
    for (name, help, value) in gauges {
        gauge(encoder, name, help, None, value)?;
    }
    Ok(())
}

/// Counters since the start.
fn encode_counts(
    encoder: &mut DescriptorEncoder<'_>,
    instance: &Instance,
    held: &Stats,
    job_logs: LogStats,
) -> fmt::Result {
    let Instance { counters, limits, dropped_log_lines, .. } = instance;
    let connections = counters.total_connections.load(Relaxed);
    let sent = counters.messages_sent.load(Relaxed);
    let errors = counters.errors.load(Relaxed);
    let dropped = dropped_log_lines();
    let addresses = limits.addresses.refused();
    let counts = [
        ("milepost_dropped_log_lines", "Log lines dropped because nobody read the log", dropped),
        (
            "milepost_address_refusals",
            "Connections rejected by the limit for each address",
            addresses,
        ),
        ("milepost_connections", "Watchers since start", connections),
        ("milepost_messages_sent", "Messages sent to watchers", sent),
        ("milepost_errors", "Faults on the server's side", errors),
        ("milepost_evicted_jobs", "Ended jobs evicted", held.evicted),
        ("milepost_evicted_logs", "Logs of jobs evicted", job_logs.evicted),
        ("milepost_mass_losses", "Times that most workers were silent at once", held.mass_losses),
        ("milepost_unreadable_jobs", "Times that a job could not be read", held.unreadable),
    ];
    for (name, help, count) in counts {
        let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(metric)?;
    }
    Ok(())
}

fn encode_updates(
    encoder: &mut DescriptorEncoder<'_>,
    instance: &Instance,
    held: &Stats,
) -> fmt::Result {
    let counters = &instance.counters;
    let help = "Updates by outcome";
    let mut updates =
        encoder.encode_descriptor("milepost_updates", help, None, MetricType::Counter)?;
    // A legacy worker's update has no response, so the broker counts it.
    let refused = counters.refusals.load(Relaxed) + held.refused;
    for (outcome, count) in [("accepted", counters.updates.load(Relaxed)), ("refused", refused)] {
        let labels = [("outcome", outcome)];
        ConstCounter::new(count).encode(updates.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_broker(
    encoder: &mut DescriptorEncoder<'_>,
    instance: &Instance,
    held: &Stats,
) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    let help = "Bytes of states in the broker";
    gauge(encoder, "milepost_broker", help, bytes, held.bytes)?;
    // Redis has limits of its own.
    if instance.config.redis_url.is_none() {
        let help = "The limit of known jobs";
        gauge(encoder, "milepost_known_jobs_limit", help, None, instance.config.max_jobs)?;
        let help = "The limit of bytes of states";
        gauge(
            encoder,
            "milepost_broker_limit",
            help,
            bytes,
            instance.config.states_limit(&instance.memory),
        )?;
    }
    Ok(())
}

fn encode_estimates(encoder: &mut DescriptorEncoder<'_>, accuracy: &Accuracy) -> fmt::Result {
    let help = "By how much estimates missed the remaining time, as a share of it, by the progress in percent";
    let name = "milepost_eta_error_ratio";
    let mut errors = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (at, histogram) in accuracy.errors() {
        histogram.encode(errors.encode_family(&[("at", at)])?)?;
    }
    Ok(())
}

fn encode_failures(encoder: &mut DescriptorEncoder<'_>, supervisor: &Supervisor) -> fmt::Result {
    let help = "Times that a long-lived task panicked or ended early";
    let name = "milepost_task_failures";
    let mut failures = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (task, status) in supervisor.tasks() {
        let labels = [("task", task)];
        ConstCounter::new(status.failures).encode(failures.encode_family(&labels)?)?;
    }
    Ok(())
}

fn encode_access(encoder: &mut DescriptorEncoder<'_>, instance: &Instance) -> fmt::Result {
    let counters = &instance.counters;
    let help = "Requests rejected for their credential, by reason";
    let name = "milepost_access_refusals";
    let mut refusals = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    let reasons =
        [("unauthenticated", &counters.unauthenticated), ("forbidden", &counters.forbidden)];
    for (reason, count) in reasons {
        let labels = [("reason", reason)];
        ConstCounter::new(count.load(Relaxed)).encode(refusals.encode_family(&labels)?)?;
    }
    let help = "What was refused because a client did too much, by limit and by whose it is";
    let name = "milepost_limit_refusals";
    let mut refusals = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    let of_all = [
        ("connections", "server", &counters.full),
        ("subscriptions", "socket", &counters.subscriptions_refused),
        ("tokens", "socket", &counters.tokens_refused),
        ("size", "request", &counters.too_large),
    ];
    let of_all = of_all.map(|(limit, of, count)| (limit, of, count.load(Relaxed)));
    for (limit, of, count) in instance.limits.refused().into_iter().chain(of_all) {
        let labels = [("limit", limit), ("of", of)];
        ConstCounter::new(count).encode(refusals.encode_family(&labels)?)?;
    }
    let help = "Clients that were too slow, by what they were slow with";
    let name = "milepost_timeouts";
    let mut timeouts = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (of, count) in counters.timeouts.counts() {
        ConstCounter::new(count).encode(timeouts.encode_family(&[("of", of)])?)?;
    }
    let help = "Lines omitted from the audit log, which has a limit per second";
    let name = "milepost_audit_omissions";
    let omissions = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(instance.audit.omitted()).encode(omissions)
}

fn encode_resident(encoder: &mut DescriptorEncoder<'_>, instance: &Instance) -> fmt::Result {
    let resident = instance.process_memory.as_ref().and_then(|memory| memory.resident());
    let Some(resident) = resident else { return Ok(()) };
    let help = "Resident memory of the process";
    gauge(encoder, "process_resident_memory", help, Some(&Unit::Bytes), resident)
}

fn encode_memory(
    encoder: &mut DescriptorEncoder<'_>,
    memory: &Budget,
    hub: &Hub,
    job_logs: LogStats,
) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    let help = "Resident memory that the process should stay under";
    gauge(encoder, "milepost_memory_limit", help, bytes, memory.limit)?;
    let [bodies, responses] = memory.shares().map(ShareUse::from);
    let subscriptions = ShareUse {
        name: "subscriptions",
        used: hub.topics() * TOPIC_BYTES,
        limit: memory.subscriptions,
        refused: hub.refused_topics(),
    };
    let (used, limit) = (hub.log_bytes(), memory.logs);
    let logs = ShareUse { name: "logs", used, limit, refused: hub.refused_logs() };
    let job_logs =
        ShareUse { name: "job_logs", used: job_logs.bytes, limit: memory.job_logs, refused: 0 };
    let shares = [bodies, responses, subscriptions, logs, job_logs];
    let of_shares = [
        (
            "milepost_memory_share",
            "Memory used, by share",
            shares.each_ref().map(|share| share.used),
        ),
        (
            "milepost_memory_share_limit",
            "Memory that the share may use",
            shares.each_ref().map(|share| share.limit),
        ),
    ];
    for (name, help, values) in of_shares {
        let mut family = encoder.encode_descriptor(name, help, bytes, MetricType::Gauge)?;
        for (share, value) in shares.iter().zip(values) {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&[("share", share.name)])?)?;
        }
    }
    let help = "What was refused because its share of the memory was in use";
    let name = "milepost_memory_refusals";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for share in &shares {
        ConstCounter::new(share.refused).encode(family.encode_family(&[("share", share.name)])?)?;
    }
    let help = "Watched jobs whose watchers had to leave because logs held too much memory";
    let name = "milepost_topics_shed";
    let shed = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    ConstCounter::new(hub.shed_topics()).encode(shed)
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: usize,
) -> fmt::Result {
    let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    value.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}
