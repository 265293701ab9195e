//! `milepost jobs`: what a server knows, as a table.

mod children;
mod table;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use milepost_protocol::{Health, JobId, State, Status, Timestamp};

use crate::argument_values::{keyword, status};
use crate::bars::{Block, Suspension, Terminal, columns, rows};
use crate::client::{Client, JobsPage, RequestError, ServerArgs};
use crate::complete;
use crate::exit::{ExitCode, complain, print_json, printed, warn};
use crate::serve::asked_to_stop;
pub(crate) use children::children;
use table::lines;
pub(crate) use table::{GAP, MIN_DETAILS, Row, SortKey, TITLES, sort, widths, with_shorter_ids};

/// The most that a server gives at once.
const PAGE: usize = 1000;

/// How often `--watch` queries the server.
const REFRESH: Duration = Duration::from_secs(1);

/// List the jobs that the server knows.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Args {
    /// Only jobs with this status. May be given several times, or with commas
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    status: Vec<Status>,
    /// Only jobs that have not ended and have this health: ok, stalled or lost. May be given several times, or with commas
    #[arg(long, value_name = "HEALTH", value_delimiter = ',', value_parser = health)]
    health: Vec<Health>,
    #[command(flatten)]
    filter: Filter,
    /// At most this many jobs: the most recently begun
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// The order of the listed jobs
    #[arg(long, value_name = "KEY", value_enum, default_value_t = SortKey::Begun)]
    sort: SortKey,
    /// Sort in the opposite order
    #[arg(long)]
    reverse: bool,
    /// Show the table until Ctrl-C, refreshed each second
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print each state as a line of JSON, in the server's order
    #[arg(long, conflicts_with_all = ["sort", "reverse"])]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Which jobs, by what their workers call them: those that match all of it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Filter {
    /// Only jobs whose id begins with this text
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only jobs of this kind
    #[arg(long, value_name = "NAME", value_parser = keyword)]
    name: Option<String>,
    /// Only jobs with this tag; with all of them if there are several
    #[arg(long = "tag", value_name = "TAG", value_parser = keyword)]
    tags: Vec<String>,
    /// Only children of this job
    #[arg(long, value_name = "JOB", value_parser = JobId::parse, add = complete::job_ids())]
    parent: Option<JobId>,
    /// Only jobs that have this text in their id, name or tags
    #[arg(long, value_name = "TEXT")]
    q: Option<String>,
}

impl Filter {
    pub(crate) fn is_empty(&self) -> bool {
        self.query().is_empty()
    }

    /// Whose children, if it asks for those of a job.
    pub(crate) fn parent(&self) -> Option<&JobId> {
        self.parent.as_ref()
    }

    /// As parameters of `GET /jobs`.
    pub(crate) fn query(&self) -> Vec<(&str, &str)> {
        let texts = [("prefix", &self.prefix), ("name", &self.name), ("q", &self.q)];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        let parent = self.parent.iter().map(|job| ("parent", job.as_str()));
        texts.chain(parent).chain(self.tags.iter().map(|tag| ("tag", tag.as_str()))).collect()
    }
}

fn health(text: &str) -> Result<Health, String> {
    Health::from_name(text).ok_or_else(|| "it must be ok, stalled or lost".to_owned())
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let client = match Client::new(self.server.url()) {
            Ok(client) => client,
            Err(error) => return complain(&error, error.exit_code()),
        };
        if self.watch {
            let Some(terminal) = Terminal::for_bars().filter(|_| io::stdout().is_terminal()) else {
                let instead = "--watch needs a terminal; elsewhere use milepost watch --all";
                return complain(instead, ExitCode::Usage);
            };
            return self.keep_showing(client, &terminal);
        }
        if self.json {
            return match self.each(&client, print_json) {
                Ok(printing) => printed(printing),
                Err(error) => complain(&error, error.exit_code()),
            };
        }
        match self.rows(&client) {
            Ok(rows) if rows.is_empty() => {
                warn(self.none_known());
                ExitCode::Success
            }
            Ok(rows) => {
                let columns = io::stdout()
                    .is_terminal()
                    .then(|| usize::from(console::Term::stdout().size().1));
                let mut text = lines(&rows, columns, Timestamp::now()).join("\n");
                text.push('\n');
                printed(io::stdout().write_all(text.as_bytes()))
            }
            Err(error) => complain(&error, error.exit_code()),
        }
    }

    fn none_known(&self) -> &'static str {
        let all = self.status.is_empty() && self.health.is_empty() && self.filter.is_empty();
        if all { "the server knows no jobs" } else { "no such jobs are known" }
    }

    /// Draws the table anew each second, until it is interrupted.
    fn keep_showing(self, client: Client, terminal: &Terminal) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                return complain(format_args!("cannot start: {error}"), ExitCode::Failure);
            }
        };
        let code = runtime.block_on(async {
            let stop = match asked_to_stop() {
                Ok(stop) => stop,
                Err(error) => {
                    let what = format_args!("cannot catch signals: {error}");
                    return complain(what, ExitCode::Failure);
                }
            };
            match refresh(Arc::new(self), Arc::new(client), terminal, stop).await {
                Ok(()) => ExitCode::Interrupted,
                Err(_) => ExitCode::OutputClosed,
            }
        });
        // A request that is under way is not waited for.
        runtime.shutdown_background();
        code
    }

    /// The matching jobs, sorted.
    fn rows(&self, client: &Client) -> Result<Vec<Row>, RequestError> {
        let mut rows = Vec::new();
        // Keeping a row cannot fail.
        let _: io::Result<()> = self.each(client, |json| {
            rows.extend(State::parse(json).ok().as_ref().map(Row::of));
            Ok(())
        })?;
        sort(&mut rows, self.sort, self.reverse, Timestamp::now());
        Ok(rows)
    }

    /// Calls `take` with the JSON of each matching job, until it fails.
    fn each(
        &self,
        client: &Client,
        take: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<io::Result<()>, RequestError> {
        let mut query: Vec<_> = self.status.iter().map(|s| ("status", s.as_str())).collect();
        query.extend(self.health.iter().map(|h| ("health", h.as_str())));
        query.extend(self.filter.query());
        each_listed(client, &query, self.limit, take)
    }
}

/// Calls `take` with the JSON of each job that matches the query, at most `limit`, page by page, until it fails.
fn each_listed(
    client: &Client,
    query: &[(&str, &str)],
    limit: u32,
    mut take: impl FnMut(&str) -> io::Result<()>,
) -> Result<io::Result<()>, RequestError> {
    let mut missing = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut after: Option<String> = None;
    loop {
        let page_limit = missing.min(PAGE).to_string();
        let mut query = [&[("limit", page_limit.as_str())], query].concat();
        query.extend(after.as_deref().map(|after| ("after", after)));
        let json = client.jobs(&query)?;
        let page: JobsPage<'_> =
            serde_json::from_str(&json).map_err(|_| RequestError::UnreadableList)?;
        missing = missing.saturating_sub(page.jobs.len());
        for job in &page.jobs {
            if let Err(error) = take(job.get()) {
                return Ok(Err(error));
            }
        }
        // A page may be empty and not the last: the server considers a bounded number of jobs for each.
        if missing == 0 || page.next.is_none() || page.next == after {
            return Ok(Ok(()));
        }
        after = page.next;
    }
}

/// The jobs that match the query, at most `limit`: those whose states can be read.
pub(crate) fn list(
    client: &Client,
    query: &[(&str, &str)],
    limit: u32,
) -> Result<Vec<State>, RequestError> {
    let mut states = Vec::new();
    // Keeping a state cannot fail.
    let _: io::Result<()> = each_listed(client, query, limit, |json| {
        states.extend(State::parse(json).ok());
        Ok(())
    })?;
    Ok(states)
}

/// Draws the table each second until `stop` is done. Fails if the output is closed.
async fn refresh(
    args: Arc<Args>,
    client: Arc<Client>,
    terminal: &Terminal,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    tokio::pin!(stop);
    let mut shown = Vec::new();
    let mut block = Block::default();
    let mut suspension = Suspension::catch();
    loop {
        let (asking, asked) = (Arc::clone(&args), Arc::clone(&client));
        let mut answer = tokio::task::spawn_blocking(move || asking.rows(&asked));
        let answer = loop {
            tokio::select! {
                () = &mut stop => return leave(&mut block, &shown),
                () = suspension.requested() => {
                    leave(&mut block, &shown)?;
                    Suspension::stop();
                }
                answer = &mut answer => break answer,
            }
        };
        let note = match answer {
            Ok(Ok(rows)) => {
                shown = rows;
                shown.is_empty().then(|| args.none_known().to_owned())
            }
            Ok(Err(error)) => Some(format!("{error}; trying again")),
            Err(error) => Some(error.to_string()),
        };
        if terminal.is_ours() {
            block.draw(&screen(&shown, note.as_deref()), &mut io::stderr())?;
        }
        tokio::select! {
            () = &mut stop => return leave(&mut block, &shown),
            () = suspension.requested() => {
                leave(&mut block, &shown)?;
                Suspension::stop();
            }
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
}

/// The table stays, with the cursor below.
fn leave(block: &mut Block, shown: &[Row]) -> io::Result<()> {
    block.leave(&screen(shown, None), &mut io::stderr())
}

/// As much of the table as fits the terminal, and a note below.
fn screen(jobs: &[Row], note: Option<&str>) -> Vec<String> {
    let columns = columns().saturating_sub(1);
    let mut screen = lines(jobs, Some(columns), Timestamp::now());
    let room = rows().saturating_sub(1 + usize::from(note.is_some())).max(2);
    if screen.len() > room {
        let hidden = screen.len() - room + 1;
        screen.truncate(room - 1);
        screen.push(format!("… and {hidden} more"));
    }
    screen.extend(note.map(|note| console::truncate_str(note, columns, "…").into_owned()));
    screen
}
