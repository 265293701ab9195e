//! Asks the server, on a thread of its own: a server that is slow does not delay keys.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use milepost_protocol::{Action, JobId};
use serde::Deserialize;
use serde_json::json;

use super::app::{OpenJob, Snapshot};
use crate::client::{Client, RequestError};
use crate::jobs::{Filter, list};
use crate::status::Timeline;

/// How often the server is queried.
const REFRESH: Duration = Duration::from_secs(1);

/// The most commands that wait during a query. Others are dropped.
const MAX_COMMANDS: usize = 16;

/// How many lines of a log are requested: more than a screen has.
const LOG_LINES: &str = "200";

/// What the fetcher is to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Fetch this job's page as well, or none.
    Show(Option<JobId>),
    Cancel(JobId),
}

/// Asks until it is dropped.
#[derive(Debug)]
pub(super) struct Fetcher {
    commands: SyncSender<Command>,
    snapshots: Receiver<Snapshot>,
}

impl Fetcher {
    /// At most `limit` jobs are listed. The thread holds nothing that anybody waits for: it ends after its present request,
    /// or with the process.
    pub(super) fn start(client: Client, filter: Filter, limit: u32) -> Self {
        let (commands, received) = sync_channel(MAX_COMMANDS);
        let (publish, snapshots) = sync_channel(1);
        thread::spawn(move || run(&client, &filter, limit, &received, &publish));
        Self { commands, snapshots }
    }

    /// False if too many commands wait.
    pub(super) fn command(&self, command: Command) -> bool {
        !matches!(self.commands.try_send(command), Err(TrySendError::Full(_)))
    }

    /// What came since the last call, oldest first.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = Snapshot> {
        self.snapshots.try_iter()
    }
}

fn run(
    client: &Client,
    filter: &Filter,
    limit: u32,
    commands: &Receiver<Command>,
    publish: &SyncSender<Snapshot>,
) {
    let mut shown: Option<JobId> = None;
    let mut outcome = None;
    loop {
        let snapshot = snapshot(client, filter, limit, shown.as_ref(), outcome.take());
        if publish.send(snapshot).is_err() {
            return;
        }
        match commands.recv_timeout(REFRESH) {
            Ok(Command::Show(job)) => shown = job,
            Ok(Command::Cancel(job)) => outcome = Some(cancel(client, &job)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn snapshot(
    client: &Client,
    filter: &Filter,
    limit: u32,
    shown: Option<&JobId>,
    outcome: Option<String>,
) -> Snapshot {
    let jobs = list(client, &filter.query(), limit);
    let open = shown.map(|job| open_job(client, job)).transpose();
    let problem = jobs.as_ref().err().or(open.as_ref().err()).map(ToString::to_string);
    Snapshot { jobs: jobs.ok(), open: open.ok().flatten(), problem, outcome }
}

fn open_job(client: &Client, job: &JobId) -> Result<OpenJob, RequestError> {
    let state = client.state(job)?;
    let log = match client.log(job, &[("limit", LOG_LINES)]) {
        Ok(json) => lines(&json)?,
        // A job that is not known has no log.
        Err(RequestError::Refused(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let timeline = Timeline::of(client, job)?;
    Ok(OpenJob { job: job.clone(), state, timeline, log })
}

fn lines(json: &str) -> Result<Vec<String>, RequestError> {
    #[derive(Deserialize)]
    struct Page {
        lines: Vec<Line>,
    }
    #[derive(Deserialize)]
    struct Line {
        text: String,
    }
    let page: Page = serde_json::from_str(json).map_err(|_| RequestError::UnreadableLog)?;
    Ok(page.lines.into_iter().map(|line| line.text).collect())
}

fn cancel(client: &Client, job: &JobId) -> String {
    let mut request = json!({ "action": Action::Cancel.as_str() });
    if let Some(by) = std::env::var("USER").ok().filter(|by| !by.is_empty()) {
        request["by"] = by.into();
    }
    match client.request(job, &request) {
        Ok(_) => format!("{job}: requested to cancel"),
        Err(error) => format!("{job}: {error}"),
    }
}
