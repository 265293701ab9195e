use std::time::{Duration, Instant};

use milepost_protocol::{JobId, Status};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::builder::Builder;
use crate::encode;
use crate::invalid_url::InvalidUrl;
use crate::record::worker_clock;
use crate::reporter::Reporter;
use crate::server::Server;
use crate::update::{Metadata, Part, Progress, Truncated, Update};

/// A reporter with the methods and messages of the Python service that Milepost replaces (`spec/README.md`,
/// section 13). For new workers, use [`Reporter`] and its [`Job`](crate::Job).
///
/// Each call is one whole update and returns at once. If it changes stage or status, it is sent at once,
/// otherwise within the interval (200 ms); of several updates in that time, the last is sent. There are no
/// heartbeats: without another call, the job stays as it is.
#[derive(Clone, Debug)]
pub struct ProgressReporter {
    reporter: Reporter,
    /// `None`: nothing is reported, and no job is known.
    server: Option<Server>,
}

/// The most that [`ProgressReporter::get_status`] takes.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

impl ProgressReporter {
    /// Reports to the server at `url`: see [`Builder::connect`](Builder::connect).
    ///
    /// # Errors
    /// If `url` has none of the forms that it accepts.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        Server::at(url, None).map(|server| Self::reporting_to(Some(server)))
    }

    /// Reports to the server that the environment names: [`Reporter::from_env`].
    pub fn from_env() -> Self {
        let builder = Builder::default();
        let url = builder.url_in_environment();
        Self::reporting_to(url.and_then(|url| builder.server_or_notice(&url)))
    }

    fn reporting_to(server: Option<Server>) -> Self {
        let reporter = match &server {
            Some(server) => Builder::default().report_to(server.clone()),
            None => Reporter::silent(),
        };
        Self { reporter, server }
    }

    /// Does nothing; kept for compatibility.
    pub fn initialize(&self) {}

    /// Reports that the job is in `stage`, at `progress` (0…1, clamped with a notice; NaN counts as absent), with a
    /// message. `null` metadata counts as absent.
    pub fn report(
        &self,
        job_id: &str,
        stage: &str,
        progress: f64,
        message: &str,
        metadata: impl Serialize,
    ) {
        let (metadata, truncated) = json(&metadata, Part::Metadata);
        self.reporter.report_whole(job_id, |job| Update {
            metadata: metadata.map(Metadata::Given),
            truncated,
            stage: Some(stage.to_owned()),
            progress: (!progress.is_nan()).then_some(Progress(Some(progress))),
            message: Some(message.to_owned()),
            ..update(job, Status::Processing)
        });
    }

    /// Reports that the job has failed in `stage` (`error`, if it is not known).
    pub fn report_error(&self, job_id: &str, error: &str, stage: &str) {
        self.reporter.report_whole(job_id, |job| Update {
            stage: Some(stage.to_owned()),
            progress: Some(Progress(Some(0.0))),
            message: Some(format!("Error: {error}")),
            error: Some(error.to_owned()),
            ..update(job, Status::Failed)
        });
    }

    /// Reports that the job has completed, with its result. The usual message is `Job completed`.
    pub fn report_complete(&self, job_id: &str, result: impl Serialize, message: &str) {
        let (result, truncated) = json(&result, Part::Result);
        self.reporter.report_whole(job_id, |job| Update {
            truncated,
            stage: Some("complete".to_owned()),
            progress: Some(Progress(Some(1.0))),
            message: Some(message.to_owned()),
            result,
            ..update(job, Status::Completed)
        });
    }

    /// The job's last state; `None` if the server does not know the job or does not answer. First sends the
    /// pending updates of this reporter. Takes at most 2 s.
    pub fn get_status(&self, job_id: &str) -> Option<Value> {
        let server = self.server.as_ref()?;
        let job = JobId::parse(job_id).ok()?;
        let begun = Instant::now();
        self.reporter.flush(STATUS_TIMEOUT / 2);
        server.state(&job, STATUS_TIMEOUT.saturating_sub(begun.elapsed())).ok().flatten()
    }

    /// Sends pending updates, for at most 2 s. Later calls report nothing.
    pub fn close(self) {
        self.reporter.close();
    }
}

fn update(job: &JobId, status: Status) -> Update {
    Update::new(job, status, worker_clock())
}

/// `None` for `null`, which is Python's `None`, and for a value that cannot be encoded, which is left out.
fn json(value: &impl Serialize, part: Part) -> (Option<Box<RawValue>>, Truncated) {
    let mut truncated = Truncated::default();
    let json = encode::json(value);
    if json.is_err() {
        truncated.insert(part);
    }
    (json.ok().filter(|json| json.get() != "null"), truncated)
}
