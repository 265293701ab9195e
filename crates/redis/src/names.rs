use milepost_protocol::JobId;

use crate::slots::slot_of;

/// The keys and channels of a job: `spec/README.md`, section 14.
///
/// In a Cluster the job's id is in braces, so all keys of a job are on one server.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    cluster: bool,
}

/// The index of jobs: by the time at which they began, and by the time at which they expire. In a Cluster both are on one server.
pub const INDEX: [&str; 2] = ["{milepost}:begun", "{milepost}:expires"];

/// The jobs whose health changes with time, by the time of their next check.
pub(crate) const CLOCKS: &str = "{milepost}:clocks";

/// When a server started the clocks of all jobs over, in milliseconds by the clock of Redis.
pub(crate) const STARTED_OVER: &str = "{milepost}:started_over";

/// The jobs whose children changed or have not all ended, by the time of their next check.
pub(crate) const PARENTS: &str = "{milepost}:parents";

/// The number of keys over which the names of jobs are spread, …
pub(crate) const BUCKETS: u16 = 256;
/// … and the most names in each. Names are chosen by clients, so there must be a bound.
pub(crate) const NAMES_IN_BUCKET: usize = 8;

const CHANNEL: &str = "job_progress:";

impl Names {
    pub(crate) fn new(cluster: bool) -> Self {
        Self { cluster }
    }

    /// The keys of a job: its state, and the hash with its latest states and the data that the fold needs.
    pub(crate) fn keys(self, job: &JobId) -> [String; 2] {
        ["job_status:", "job_meta:"].map(|prefix| self.name(prefix, job))
    }

    /// The job's children that have not ended, by the time of their latest summary, in milliseconds.
    pub(crate) fn open_children(self, job: &JobId) -> String {
        self.name("job_open_children:", job)
    }

    /// The key with the durations of jobs of that name. There are [`BUCKETS`] of these keys.
    pub(crate) fn runs(name: &str) -> String {
        format!("job_runs:{{{}}}", slot_of(name) % BUCKETS)
    }

    /// The channel on which the job's states are published.
    pub fn channel(self, job: &JobId) -> String {
        self.name(CHANNEL, job)
    }

    /// A key and a channel that look like a job's, on the server that has `channel`. No job has them, because the name is no
    /// job id.
    pub(crate) fn probed(channel: &str) -> [String; 2] {
        ["job_status:", CHANNEL].map(|prefix| format!("{prefix}%{channel}"))
    }

    /// The job to which this channel belongs; none if it is not a job's channel.
    pub fn job_of(self, channel: &str) -> Option<JobId> {
        let id = channel.strip_prefix(CHANNEL)?;
        let id = if self.cluster { id.strip_prefix('{')?.strip_suffix('}')? } else { id };
        JobId::parse(id).ok()
    }

    /// The command that publishes a message.
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
