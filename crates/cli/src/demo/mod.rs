//! `milepost demo`: a server and real work in one process, shown in the terminal and on a page.

mod clip;
mod files;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use milepost_protocol::JobId;
use milepost_reporter::{InvalidUrl, Reporter};
use milepost_server::{Config, RunError};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::bars::Suspension;
use crate::exit::{ExitCode, complain};
use crate::serve::asked_to_stop;
use crate::watch::watch;

/// Start a server on this machine and watch real work on it: checksums and compression of a folder's files and, if ffmpeg is
/// installed, the rendering of a clip.
///
/// The files are only read. Results go to a temporary folder, which is removed at the end. On a terminal, the server then runs until
/// Ctrl-C, so that you can look at its page.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The server's port on this machine. If it is in use, another port
    #[arg(long, default_value_t = 8084)]
    port: u16,
    /// Work on the files below this folder: the first 20,000 of them, 100 MiB at most
    #[arg(long, value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Exit when the work is done
    #[arg(long)]
    once: bool,
}

/// What may keep the demo from its work.
#[derive(Debug)]
enum DemoError {
    Folder(PathBuf, io::Error),
    Listen(io::Error),
    Server(RunError),
    TemporaryFolder(io::Error),
    Start(io::Error),
    Reporter(InvalidUrl),
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder, error) => {
                write!(f, "the folder {} cannot be read: {error}", folder.display())
            }
            Self::Listen(error) => write!(f, "cannot listen: {error}"),
            Self::Server(error) => write!(f, "the server: {error}"),
            Self::TemporaryFolder(error) => {
                write!(f, "no temporary folder can be created: {error}")
            }
            Self::Start(error) => write!(f, "cannot start: {error}"),
            Self::Reporter(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DemoError {}

impl Args {
    pub(crate) fn run(&self) -> ExitCode {
        self.demo().unwrap_or_else(|error| {
            let code = if matches!(error, DemoError::Folder(..)) {
                ExitCode::Usage
            } else {
                ExitCode::Failure
            };
            complain(error, code)
        })
    }

    fn demo(&self) -> Result<ExitCode, DemoError> {
        std::fs::read_dir(&self.folder)
            .map_err(|error| DemoError::Folder(self.folder.clone(), error))?;
        // Removed when it is dropped, so every way out of this function has to drop it.
        let temporary = tempfile::Builder::new()
            .prefix("milepost-demo-")
            .tempdir()
            .map_err(DemoError::TemporaryFolder)?;
        let runtime = Runtime::new().map_err(DemoError::Start)?;
        let (stop, stop_staying) = {
            let _context = runtime.enter();
            (interrupted().map_err(DemoError::Start)?, interrupted().map_err(DemoError::Start)?)
        };
        let listener = runtime.block_on(self.listen()).map_err(DemoError::Listen)?;
        let url = format!("http://{}", listener.local_addr().map_err(DemoError::Listen)?);
        let (shut_down, shutdown) = oneshot::channel::<()>();
        let config = Config { drain_period: 0.0, grace_period: 2.0, ..Config::default() };
        // Done when the sender is dropped, too.
        let server =
            runtime.spawn(milepost_server::run(config, listener, async { drop(shutdown.await) }));
        say(&format!("Watch it at {url}/ as well."));

        let reporter = Reporter::connect(&url).map_err(DemoError::Reporter)?;
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut jobs = vec![job_id("demo-files")];
        let work = thread::spawn({
            let (job, folder, out) =
                (reporter.job("demo-files"), self.folder.clone(), temporary.path().to_owned());
            let cancelled = Arc::clone(&cancelled);
            move || files::work(job, &folder, &out, &cancelled)
        });
        let rendering = if clip::has_ffmpeg() {
            jobs.push(job_id("demo-clip"));
            let (job, out) = (reporter.job("demo-clip"), temporary.path().join("clip.mp4"));
            Some(thread::spawn(move || clip::render(job, &out)))
        } else {
            say("ffmpeg is not installed, so no clip is rendered.");
            None
        };

        let code = runtime.block_on(watch(&url, jobs, false, None, stop));
        cancelled.store(true, Ordering::Relaxed);
        // If they panicked, the reporter reports that their jobs failed.
        if let Ok(Some(words)) = work.join() {
            say(&words);
        }
        let _ = rendering.map(thread::JoinHandle::join);
        reporter.close();
        let stays = !self.once && io::stdout().is_terminal() && code != ExitCode::Interrupted;
        if stays {
            say(&format!("The page stays up at {url}/ until Ctrl-C."));
            runtime.block_on(stay(stop_staying));
        }
        drop(shut_down);
        match runtime.block_on(server) {
            Ok(ended) => ended.map_err(DemoError::Server)?,
            Err(error) => return Ok(complain(error, ExitCode::Failure)),
        }
        Ok(code)
    }

    async fn listen(&self) -> io::Result<TcpListener> {
        match milepost_server::listen(("127.0.0.1", self.port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                say(&format!("Port {} is taken, so another one is used.", self.port));
                milepost_server::listen(("127.0.0.1", 0)).await
            }
            bound => bound,
        }
    }
}

/// Waits for `stop`. Ctrl-Z, which [`watch`] has taken from the system for good, still stops the process meanwhile.
async fn stay(stop: impl Future<Output = ()>) {
    tokio::pin!(stop);
    let mut suspension = Suspension::catch();
    loop {
        tokio::select! {
            () = &mut stop => return,
            () = suspension.requested() => Suspension::stop(),
        }
    }
}

/// SIGINT, SIGTERM, or the terminal is gone.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let asked = asked_to_stop()?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            () = asked => {}
            _ = hangup.recv() => {}
        }
    })
}

fn job_id(id: &str) -> JobId {
    #[expect(clippy::expect_used, reason = "constants of this module")]
    JobId::parse(id).expect("a valid id")
}

fn say(line: &str) {
    // The work continues without a reader.
    let _ = writeln!(io::stdout(), "{line}");
}
