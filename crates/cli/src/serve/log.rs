//! The server's log on stderr: it never blocks the server, and never ends it.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::settings::Settings;

/// So many lines wait for a log that is not read; more are dropped and counted.
const QUEUE: usize = 8_192;

/// The log of this process. Dropping it waits for its last lines, a second at most.
pub(crate) struct Log {
    dropped: Arc<Dropped>,
    filter: reload::Handle<EnvFilter, Registry>,
    #[expect(dead_code, reason = "writes the last lines when it is dropped")]
    guard: WorkerGuard,
}

/// Lines that were not written.
#[derive(Default)]
struct Dropped {
    /// Those that found the queue full.
    queue: OnceLock<ErrorCounter>,
    /// Those that the log's file or pipe refused.
    refused: AtomicU64,
}

impl Dropped {
    fn count(&self) -> u64 {
        let queue = self.queue.get().map_or(0, ErrorCounter::dropped_lines);
        self.refused.load(Ordering::Relaxed) + queue as u64
    }
}

impl Log {
    /// Sends this process' events and panics to stderr.
    pub(crate) fn start(settings: &Settings) -> io::Result<Self> {
        // A descriptor of its own: std's lock on stderr would be held for as long as a write blocks.
        let stderr = File::from(rustix::io::dup(rustix::stdio::stderr())?);
        let dropped = Arc::<Dropped>::default();
        let writer = Writer {
            file: stderr,
            dropped: Arc::clone(&dropped),
            logged: 0,
            json: settings.log_as_json,
        };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE);
        let (queue, guard) = builder.thread_name("log").finish(writer);
        let _ = dropped.queue.set(queue.error_counter());
        let (filter, handle) = reload::Layer::new(filter(&settings.log));
        let lines = fmt::layer().with_writer(queue).with_ansi(io::stderr().is_terminal());
        let lines = if settings.log_as_json { lines.json().boxed() } else { lines.boxed() };
        // Only this binary sets a subscriber, and a hook.
        let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        std::panic::set_hook(Box::new(log_panic));
        Ok(Self { dropped, filter: handle, guard })
    }

    /// How many lines were dropped since start.
    pub(crate) fn dropped(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let dropped = Arc::clone(&self.dropped);
        move || dropped.count()
    }

    /// Uses this filter from now on.
    pub(crate) fn set_filter(&self, log: &str) -> Result<(), String> {
        self.filter.reload(filter(log)).map_err(|error| error.to_string())
    }
}

/// The setting was checked where it came in.
fn filter(log: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(log)
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or_default();
    tracing::error!(thread = thread.name().unwrap_or_default(), location, message, "panic");
}

/// Writes whole lines. A line that cannot be written is counted, and the count is logged before the next one that can.
struct Writer {
    file: File,
    dropped: Arc<Dropped>,
    /// How many dropped lines have been logged.
    logged: u64,
    json: bool,
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let dropped = self.dropped.count();
        let count = dropped - self.logged;
        let notice = match (count, self.json) {
            (0, _) => String::new(),
            (_, false) => format!(" WARN milepost: log lines were dropped count={count}\n"),
            (_, true) => format!(
                "{{\"level\":\"WARN\",\"fields\":{{\"message\":\"log lines were dropped\",\"count\":{count}}},\
                 \"target\":\"milepost\"}}\n"
            ),
        };
        match self.file.write_all(&[notice.as_bytes(), line].concat()) {
            Ok(()) => self.logged = dropped,
            Err(_) => {
                self.dropped.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
