use std::time::{Duration, Instant};

use milepost_protocol::{JobId, Status};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::builder::Builder;
use crate::encode;
use crate::record::worker_clock;
use crate::reporter::Reporter;
use crate::server::{InvalidUrl, Server};
use crate::update::{Metadata, Part, Progress, Truncated, Update};

/// The reporter under the names that the workers of the service before Milepost call, with the messages
/// that they send (`spec/README.md`, section 13). New workers do better with [`Reporter`] and its
/// [`Job`](crate::Job).
///
/// Each call gives one update, in full, and returns at once. It is sent at once if it changes stage or
/// status, else within the interval (200 ms); of several in that time the last is sent. There are no
/// heartbeats, and a job that is left alone stays as it was.
#[derive(Clone, Debug)]
pub struct ProgressReporter {
    reporter: Reporter,
    /// None: nothing is reported, and nothing known.
    server: Option<Server>,
}

/// How long [`ProgressReporter::get_status`] takes at most.
const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

impl ProgressReporter {
    /// Reports to the server at `url`: one of those that [`Builder::connect`](Builder::connect) knows.
    ///
    /// # Errors
    /// When `url` is none of these.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        Server::at(url).map(|server| Self::reporting_to(Some(server)))
    }

    /// Reports to where the environment says: [`Reporter::from_env`].
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

    /// Nothing needs to be done before the first report; kept for the name.
    pub fn initialize(&self) {}

    /// The job is in `stage`, at `progress` (0…1, clamped; NaN is none), and there is this to say of it.
    /// Metadata that is `null` is none.
    pub fn report(
        &self,
        job_id: &str,
        stage: &str,
        progress: f64,
        message: &str,
        metadata: impl Serialize,
    ) {
        let (metadata, truncated) = json(&metadata, Part::Metadata);
        self.reporter.give(job_id, |job| Update {
            metadata: metadata.map(Metadata::Given),
            truncated,
            stage: Some(stage.to_owned()),
            progress: (!progress.is_nan()).then(|| Progress(Some(progress.clamp(0.0, 1.0)))),
            message: Some(message.to_owned()),
            ..update(job, Status::Processing)
        });
    }

    /// The job has failed, in `stage` (`error`, where it is not known).
    pub fn report_error(&self, job_id: &str, error: &str, stage: &str) {
        self.reporter.give(job_id, |job| Update {
            stage: Some(stage.to_owned()),
            progress: Some(Progress(Some(0.0))),
            message: Some(format!("Error: {error}")),
            error: Some(error.to_owned()),
            ..update(job, Status::Failed)
        });
    }

    /// The job is done, and this came of it. The message of today's workers is `Job completed`.
    pub fn report_complete(&self, job_id: &str, result: impl Serialize, message: &str) {
        let (result, truncated) = json(&result, Part::Result);
        self.reporter.give(job_id, |job| Update {
            truncated,
            stage: Some("complete".to_owned()),
            progress: Some(Progress(Some(1.0))),
            message: Some(message.to_owned()),
            result,
            ..update(job, Status::Completed)
        });
    }

    /// The job's last state; none if the server does not know the job, or does not answer. Sends what was
    /// reported here first, and waits for the answer: 2 s at most.
    pub fn get_status(&self, job_id: &str) -> Option<Value> {
        let server = self.server.as_ref()?;
        let job = JobId::parse(job_id).ok()?;
        let begun = Instant::now();
        self.reporter.flush(STATUS_TIMEOUT / 2);
        server.state(&job, STATUS_TIMEOUT.saturating_sub(begun.elapsed())).ok().flatten()
    }

    /// Sends what has not arrived yet, 2 s at most. Nothing is reported from then on.
    pub fn close(self) {
        self.reporter.close();
    }
}

fn update(job: &JobId, status: Status) -> Update {
    Update::new(job, status, worker_clock())
}

/// None for `null`, as Python's `None` is, and for what cannot be sent, which is then left out.
fn json(value: &impl Serialize, part: Part) -> (Option<Box<RawValue>>, Truncated) {
    let mut truncated = Truncated::default();
    let json = encode::json(value);
    if json.is_err() {
        truncated.insert(part);
    }
    (json.ok().filter(|json| json.get() != "null"), truncated)
}
