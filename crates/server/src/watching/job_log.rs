//! Reading a job's log: `spec/README.md`, section 17.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::{HeaderMap, Version};
use milepost_broker::{LogPage, LogPart};
use milepost_hub::{Mode, Notice, Watch, WatchError};
use milepost_protocol::{JobId, ProblemType};
use tokio::time::Instant;

use super::event_stream::{self, Admission, EventSource};
use super::log_page::{JobLog, encode, next, size_hint};
use crate::access::Grant;
use crate::config::seconds;
use crate::instance::Instance;
use crate::limits::Meter;
use crate::openapi;
use crate::request::parameter::{self, NamedJob};
use crate::response::body::{in_pieces, text_bytes};
use crate::response::json_text;
use crate::response::problem::{Outcome, Refused};

struct LogQuery {
    part: LogPart,
    follow: bool,
}

fn parse(query: Option<&str>, headers: &HeaderMap) -> Outcome<LogQuery> {
    const MOST: usize = 5_000;
    let mut parsed = LogQuery { part: LogPart { after: None, most: 1_000 }, follow: false };
    for (name, value) in parameter::pairs(query, &["since", "limit", "follow"])? {
        match name.as_str() {
            "since" => parsed.part.after = Some(parameter::log_position(&name, &value)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                parsed.part.most = limit.ok_or_else(|| {
                    Refused::parameter(&name, format!("is {value:?}; it must be 1 to {MOST}"))
                })?;
            }
            "follow" => {
                parsed.follow = match value.as_str() {
                    "1" | "true" => true,
                    "0" | "false" => false,
                    _ => {
                        let detail = format!("is {value:?}; it must be 1 or 0");
                        return Err(Refused::parameter(&name, detail));
                    }
                };
            }
            _ => {}
        }
    }
    if parsed.follow
        && let Some(id) = parameter::last_event_id(headers)?
    {
        parsed.part.after = Some(parameter::log_position("Last-Event-ID", id)?);
    }
    Ok(parsed)
}

/// A job's log
///
/// The latest lines that its worker wrote: without `since` the newest, with `since` those after it. With `follow`, they are
/// server-sent events: each event has the same JSON, with its `next` as `id`, and `event: end` comes after the job's end.
#[utoipa::path(
    get, path = "/jobs/{job_id}/log", operation_id = "log", tag = "Watching",
    params(openapi::JobPath, openapi::LogParams, openapi::LastEventId),
    responses(
        (status = 200, description = "Lines of the log.",
            content((JobLog<'static> = "application/json"), (String = "text/event-stream"))),
        openapi::ReadLogRefused,
    ),
)]
pub(crate) async fn read(
    State(instance): State<Arc<Instance>>,
    NamedJob(job): NamedJob,
    RawQuery(query): RawQuery,
    version: Version,
    grant: Grant,
    meter: Meter,
    headers: HeaderMap,
) -> Outcome<Response> {
    let job = JobId::parse(&job)?;
    grant.check_full_view("it has no job logs")?;
    let LogQuery { part, follow } = parse(query.as_deref(), &headers)?;
    if follow {
        return self::follow(instance, job, part, version, &grant, &meter).await;
    }
    let page = instance.logs.log(&job, part).await?;
    let page = page.ok_or_else(|| Refused::unknown_job(&job))?;
    let mut held = instance.memory.responses.take(2 * size_hint(&page))?;
    let text = encode(&job, &page, part.after);
    held.shrink_to(text.capacity());
    Ok(json_text(in_pieces(text_bytes(text, held))))
}

async fn follow(
    instance: Arc<Instance>,
    job: JobId,
    part: LogPart,
    version: Version,
    grant: &Grant,
    meter: &Meter,
) -> Outcome<Response> {
    let admission = event_stream::admit(&instance, version, grant, meter)?;
    let page = instance.logs.log(&job, part).await?;
    let page = page.ok_or_else(|| Refused::unknown_job(&job))?;
    let watch = instance.hub.watch(&job, None, Mode::Latest).await?;
    let lines = Lines {
        admission,
        opening: Some(page),
        ended_at: None,
        over: false,
        watch,
        part,
        job,
        instance,
    };
    Ok(event_stream::respond(lines))
}

/// One client's stream of lines. Nothing is queued for it: it reads on from its position, and lines that are no longer
/// kept are a gap.
struct Lines {
    admission: Admission,
    instance: Arc<Instance>,
    job: JobId,
    part: LogPart,
    /// Notifies of the job's end.
    watch: Watch,
    opening: Option<LogPage>,
    ended_at: Option<Instant>,
    over: bool,
}

/// What happened to a job's log.
enum LogEvent {
    Grown,
    Ended,
    Over,
    Quiet,
    Unauthenticated(&'static str),
    Shed,
    Drain,
}

impl EventSource for Lines {
    async fn next(&mut self) -> Option<String> {
        if let Some(page) = self.opening.take() {
            return Some(event_stream::retry() + &self.encode(&page));
        }
        let mut looks = false;
        loop {
            if self.over {
                return None;
            }
            if looks {
                // If the broker does not answer, the client asks again after it reconnects.
                let Some(page) = self.instance.logs.log(&self.job, self.part).await.ok()? else {
                    return Some(self.end());
                };
                if page.gap || !page.lines.is_empty() {
                    return Some(self.encode(&page));
                }
            }
            looks = true;
            match self.next_event().await {
                LogEvent::Grown => {}
                LogEvent::Ended => {
                    self.ended_at.get_or_insert_with(Instant::now);
                    looks = false;
                }
                LogEvent::Over => {
                    let page = self.instance.logs.log(&self.job, self.part).await.ok()??;
                    if page.lines.is_empty() {
                        return Some(self.end());
                    }
                    return Some(self.encode(&page));
                }
                LogEvent::Quiet => {
                    let page = self.instance.logs.log(&self.job, self.part).await.ok()?;
                    return Some(match page {
                        Some(page) if page.gap || !page.lines.is_empty() => self.encode(&page),
                        Some(_) => event_stream::KEEPALIVE.to_owned(),
                        None => self.end(),
                    });
                }
                LogEvent::Unauthenticated(why) => {
                    self.over = true;
                    return Some(event_stream::problem(&Refused::new(
                        ProblemType::Unauthenticated,
                        why,
                    )));
                }
                LogEvent::Shed | LogEvent::Drain => return None,
            }
        }
    }

    fn instance(&self) -> &Instance {
        &self.instance
    }
}

impl Lines {
    async fn next_event(&mut self) -> LogEvent {
        /// A worker's last lines may arrive a moment after its end.
        const LAST_LINES: Duration = Duration::from_secs(1);
        let keepalive = seconds(self.instance.config.ping_interval);
        let over = async {
            match self.ended_at {
                Some(at) => tokio::time::sleep_until(at + LAST_LINES).await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            if self.ended_at.is_some() {
                return std::future::pending().await;
            }
            loop {
                match self.watch.next().await {
                    Ok(states) if states.iter().any(|state| state.status().is_end()) => {
                        return LogEvent::Ended;
                    }
                    // A job that cannot be read now may still have a log.
                    Ok(_) | Err(WatchError::Notice(Notice::Unreadable)) => {}
                    // The log is forgotten with its job.
                    Err(WatchError::Notice(Notice::Forgotten)) => return LogEvent::Quiet,
                    // The stream ends. The client reconnects after its `retry`.
                    Err(_) => return LogEvent::Shed,
                }
            }
        };
        tokio::select! {
            () = self.instance.logs.log_grown(&self.job, self.part.after) => LogEvent::Grown,
            event = ended => event,
            () = over => LogEvent::Over,
            () = tokio::time::sleep(keepalive) => LogEvent::Quiet,
            why = self.admission.ending.wait() => LogEvent::Unauthenticated(why),
            () = self.instance.drain.begun() => LogEvent::Drain,
        }
    }

    fn encode(&mut self, page: &LogPage) -> String {
        let json = encode(&self.job, page, self.part.after);
        self.part.after = next(page, self.part.after);
        let id = self.part.after.map(|after| format!("id: {after}\n")).unwrap_or_default();
        format!("{id}data: {json}\n\n")
    }

    fn end(&mut self) -> String {
        self.over = true;
        format!("event: end\ndata: {{\"job_id\":\"{}\"}}\n\n", self.job)
    }
}
