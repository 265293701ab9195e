/// What a restart of the server finds again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// Nothing.
    #[default]
    None,
    /// Every write that was answered (`appendonly yes`): it survives `kill -9`.
    Appended,
    /// What the latest snapshot has: `SAVE`, or a shutdown.
    Snapshot,
}

/// How a [`crate::Server`] is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What a restart finds again.
    pub persistence: Persistence,
    /// The default user's password (`requirepass`).
    pub password: Option<String>,
    /// An ACL user: name, password, and rules such as `~job_* &job_* +@all`. The default user is off then.
    pub user: Option<(String, String, String)>,
    /// At most so many bytes; what would need more is refused (`noeviction`).
    pub max_memory: Option<u64>,
    /// TLS only, with certificates of the server's own.
    pub tls: bool,
    /// Any further lines of `redis.conf`.
    pub lines: Vec<String>,
}

impl Options {
    /// Also this line of `redis.conf`.
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// With this persistence.
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }
}
