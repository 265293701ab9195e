/// Where a job is watched or reported.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) path: String,
    /// If the path does not name the job: the channel that messages name.
    pub(crate) channel: Option<String>,
}
