use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::Weak;

use milepost_protocol::{JobId, Timestamp};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::job_log::JobLogs;

/// The target of a job's span.
const TARGET: &str = "milepost_reporter::job";
/// Events of the reporter itself are not written: it would report its own trouble.
const OWN: [&str; 2] = ["milepost", "milepost_reporter"];
/// A longer event is cut.
const MAX_BYTES: usize = 16 << 10;

/// Writes what a program logs inside a job's [span](crate::Job::span) to the log of that job. Only with the feature `tracing-layer`.
///
/// ```
/// use tracing_subscriber::prelude::*;
///
/// tracing_subscriber::registry().with(milepost_reporter::LogLayer::new()).init();
///
/// let reporter = milepost_reporter::Reporter::from_env();
/// let job = reporter.job("video-42");
/// job.span().in_scope(|| tracing::info!(frames = 2_000, "opened the film"));
/// ```
///
/// The log's line is `INFO opened the film frames=2000`. Events outside of a job's span are ignored, and so are those of the reporter
/// itself. Of nested spans of jobs, the innermost counts. No event waits for a server, and memory is bounded: see
/// [`Job::log`](crate::Job::log). To write only some events, add a filter:
/// `LogLayer::new().with_filter(LevelFilter::INFO)`. Everybody who may watch the job can read its log.
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "a layer does nothing until it is added to a subscriber"]
pub struct LogLayer(());

impl LogLayer {
    /// A layer for all jobs of all reporters.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The log of a job, in the field `job` of its span. As an error it has a type that a layer can ask for; other layers show it as the id.
#[derive(Clone)]
pub(crate) struct SpanLog {
    pub(crate) job: JobId,
    pub(crate) logs: Weak<JobLogs>,
}

impl SpanLog {
    pub(crate) fn span(self) -> Span {
        let job: &(dyn Error + 'static) = &self;
        // At the highest level, so that filters by level let it pass.
        tracing::error_span!(target: TARGET, "job", job)
    }
}

impl fmt::Display for SpanLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.job, f)
    }
}

impl fmt::Debug for SpanLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.job, f)
    }
}

impl Error for SpanLog {}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != TARGET {
            return;
        }
        let mut found = FindLog(None);
        attributes.record(&mut found);
        if let (Some(log), Some(span)) = (found.0, context.span(id)) {
            span.extensions_mut().replace(log);
        }
    }

    fn on_record(&self, _: &Id, _: &Record<'_>, _: Context<'_, S>) {}

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let target = event.metadata().target();
        if OWN.contains(&target.split("::").next().unwrap_or_default()) {
            return;
        }
        let Some(mut scope) = context.event_scope(event) else { return };
        let log = scope.find_map(|span| span.extensions().get::<SpanLog>().cloned());
        let Some((logs, job)) = log.and_then(|log| Some((log.logs.upgrade()?, log.job))) else {
            return;
        };
        let mut line = Line { message: String::new(), fields: String::new() };
        event.record(&mut line);
        let text = format!("{} {}{}", event.metadata().level(), line.message, line.fields);
        logs.write(&job, &text, Timestamp::now());
    }
}

struct FindLog(Option<SpanLog>);

impl Visit for FindLog {
    fn record_error(&mut self, _: &Field, value: &(dyn Error + 'static)) {
        if let Some(log) = value.downcast_ref::<SpanLog>() {
            self.0 = Some(log.clone());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// An event as text.
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let is_message = field.name() == "message";
        let into = if is_message { &mut self.message } else { &mut self.fields };
        let mut into = Bounded(into);
        // What is beyond the bound is cut, and a value that cannot be formatted is left out.
        let _ = if is_message {
            into.write_fmt(value)
        } else {
            into.write_fmt(format_args!(" {}={value}", field.name()))
        };
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

/// A text of at most [`MAX_BYTES`]. Formatting stops there.
struct Bounded<'a>(&'a mut String);

impl fmt::Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_BYTES.saturating_sub(self.0.len());
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(&text[..end]);
        Err(fmt::Error)
    }
}
