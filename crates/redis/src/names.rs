use milepost_protocol::JobId;

/// The keys and channels of a job: `spec/README.md`, section 14.
///
/// In a Cluster the job's id stands in braces, so that all of them are on one server.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    cluster: bool,
}

/// The index of jobs by when they began, and by when their time is over. In a Cluster both are on one server.
pub const INDEX: [&str; 2] = ["{milepost}:begun", "{milepost}:expires"];

/// The jobs whose health changes by time, by when to look at them.
pub(crate) const CLOCKS: &str = "{milepost}:clocks";

/// The jobs whose children changed, or have not all ended, by when to look at them.
pub(crate) const PARENTS: &str = "{milepost}:parents";

const CHANNEL: &str = "job_progress:";

impl Names {
    pub(crate) fn new(cluster: bool) -> Self {
        Self { cluster }
    }

    /// The keys of a job: its state, and the hash with its latest states and what the fold has to know of it.
    pub(crate) fn keys(self, job: &JobId) -> [String; 2] {
        ["job_status:", "job_meta:"].map(|prefix| self.name(prefix, job))
    }

    /// The job's children that have not ended, by when they were heard last, in milliseconds.
    pub(crate) fn open_children(self, job: &JobId) -> String {
        self.name("job_open_children:", job)
    }

    /// Where the job's states are published.
    pub fn channel(self, job: &JobId) -> String {
        self.name(CHANNEL, job)
    }

    /// A key and a channel as jobs have, on the server of a channel for probes; no job's, since its name is none.
    pub(crate) fn probed(channel: &str) -> [String; 2] {
        ["job_status:", CHANNEL].map(|prefix| format!("{prefix}%{channel}"))
    }

    /// The job whose channel this is; none if it is no job's.
    pub fn job_of(self, channel: &str) -> Option<JobId> {
        let id = channel.strip_prefix(CHANNEL)?;
        let id = if self.cluster { id.strip_prefix('{')?.strip_suffix('}')? } else { id };
        JobId::parse(id).ok()
    }

    /// The command that publishes.
    pub(crate) fn publish(self) -> &'static str {
        if self.cluster { "SPUBLISH" } else { "PUBLISH" }
    }

    /// Whether this is a Cluster.
    pub fn is_cluster(self) -> bool {
        self.cluster
    }

    fn name(self, prefix: &str, job: &JobId) -> String {
        if self.cluster { format!("{prefix}{{{job}}}") } else { format!("{prefix}{job}") }
    }
}
