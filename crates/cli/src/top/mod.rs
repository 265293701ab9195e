//! `milepost top`: the jobs that a server knows, live, and a page for each.

mod app;
mod draw;
mod fetch;

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use milepost_protocol::Timestamp;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;

use crate::bars::Terminal;
use crate::client::{Client, ServerArgs};
use crate::exit::{ExitCode, complain};
use crate::jobs::{Filter, SortKey};
use app::{Action, App};
use draw::Surroundings;
use fetch::{Command, Fetcher};

/// How long a request may take. Meanwhile nothing new is shown.
const TIMEOUT: Duration = Duration::from_secs(5);

/// After a signal that ends the process, how long it may take to restore the terminal.
const GIVE_BACK: Duration = Duration::from_secs(1);

/// How often ages move, if no key is pressed.
const TICK: Duration = Duration::from_millis(200);

/// Show jobs in a live table, and each job on a page with its stages, a chart and its log.
///
/// Keys: the arrows select a job, Enter opens it, / filters, s changes the order, r reverses it, q leaves. On a job's page,
/// c requests that the job be cancelled, once you confirm with y, and Esc leads back.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// At most this many jobs: the most recently begun
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// The order at the start
    #[arg(long, value_name = "KEY", value_enum, default_value_t = SortKey::Begun)]
    sort: SortKey,
    /// Sort in the opposite order
    #[arg(long)]
    reverse: bool,
    #[command(flatten)]
    server: ServerArgs,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let url = match self.server.http_url() {
            Ok(url) => url.to_owned(),
            Err(error) => return complain(&error, error.exit_code()),
        };
        let client = match Client::with_timeout(&url, TIMEOUT) {
            Ok(client) => client,
            Err(error) => return complain(&error, error.exit_code()),
        };
        if !Terminal::is_interactive() {
            let instead = "top needs a terminal; elsewhere use milepost jobs";
            return complain(instead, ExitCode::Usage);
        }
        let signals = match Caught::catch() {
            Ok(signals) => signals,
            Err(error) => {
                return complain(format_args!("cannot catch signals: {error}"), ExitCode::Failure);
            }
        };
        let fetcher = Fetcher::start(client, self.filter, self.limit);
        let shown =
            Shown { app: App::new(self.sort, self.reverse), fetcher, signals, server: &url };
        let code = ratatui::try_init().and_then(|mut terminal| shown.until_left(&mut terminal));
        // A terminal that is gone cannot be restored.
        let _ = ratatui::try_restore();
        code.unwrap_or_else(|error| {
            complain(format_args!("the terminal cannot be used: {error}"), ExitCode::Failure)
        })
    }
}

/// The signals that came from elsewhere: on a terminal in raw mode keys send none.
#[derive(Debug, Clone, Default)]
struct Caught {
    /// One that ends us.
    ended: Arc<AtomicBool>,
    suspended: Arc<AtomicBool>,
}

impl Caught {
    fn catch() -> io::Result<Self> {
        let caught = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGTSTP])?;
        let Self { ended, suspended } = caught.clone();
        // The thread holds nothing that anybody waits for: it ends with the process.
        thread::spawn(move || {
            for signal in signals.forever() {
                if signal == SIGTSTP {
                    suspended.store(true, Ordering::Relaxed);
                    continue;
                }
                ended.store(true, Ordering::Relaxed);
                // Reading a terminal that is gone, crossterm tries again and never returns.
                thread::sleep(GIVE_BACK);
                let _ = ratatui::try_restore();
                process::exit(ExitCode::Interrupted.number().into());
            }
        });
        Ok(caught)
    }
}

struct Shown<'a> {
    app: App,
    fetcher: Fetcher,
    signals: Caught,
    server: &'a str,
}

impl Shown<'_> {
    fn until_left(mut self, terminal: &mut DefaultTerminal) -> io::Result<ExitCode> {
        while !self.signals.ended.load(Ordering::Relaxed) {
            if self.signals.suspended.swap(false, Ordering::Relaxed) {
                suspend(terminal)?;
            }
            let now = Timestamp::now();
            for snapshot in self.fetcher.snapshots() {
                self.app.take(snapshot, now);
            }
            let around =
                Surroundings { server: self.server, colours: console::colors_enabled(), now };
            terminal.draw(|frame| draw::draw(frame, &self.app, around))?;
            if !event::poll(TICK)? {
                continue;
            }
            let Event::Key(key) = event::read()? else { continue };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            let page = draw::page(terminal.size()?.height);
            match self.app.press(key, page, now) {
                Action::Nothing => {}
                Action::Show(job) => self.command(Command::Show(job)),
                Action::Cancel(job) => self.command(Command::Cancel(job)),
                Action::Suspend => suspend(terminal)?,
                Action::Quit => return Ok(ExitCode::Success),
                Action::Interrupt => return Ok(ExitCode::Interrupted),
            }
        }
        Ok(ExitCode::Interrupted)
    }

    fn command(&mut self, command: Command) {
        if !self.fetcher.command(command) {
            self.app.outcome = Some("the server is too slow: press the key again".to_owned());
        }
    }
}

/// Stops the process as Ctrl-Z does elsewhere, with the terminal as it was before.
fn suspend(terminal: &mut DefaultTerminal) -> io::Result<()> {
    ratatui::try_restore()?;
    signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
    // As at the start, the screen is empty. `clear` would ask the terminal for its cursor, which not all terminals
    // answer.
    *terminal = ratatui::try_init()?;
    Ok(())
}
