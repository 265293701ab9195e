use milepost_protocol::State;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::RequestError;

/// A page of `GET /jobs`: `spec/README.md`, section 10.
#[derive(Deserialize)]
pub(crate) struct JobsPage<'a> {
    #[serde(borrow)]
    pub(crate) jobs: Vec<&'a RawValue>,
    pub(crate) next: Option<String>,
}

/// The states of a page that can be read.
pub(crate) fn listed(json: &str) -> Result<Vec<State>, RequestError> {
    let page: JobsPage<'_> =
        serde_json::from_str(json).map_err(|_| RequestError::UnreadableList)?;
    Ok(page.jobs.iter().filter_map(|job| State::parse(job.get()).ok()).collect())
}
