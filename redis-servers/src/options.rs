/// Which data survives a restart of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persistence {
    /// None.
    #[default]
    None,
    /// Every acknowledged write (`appendonly yes`), even after `kill -9`.
    Appended,
    /// The data of the latest snapshot, which `SAVE` or a shutdown writes.
    Snapshot,
}

/// The options of a [`crate::Server`].
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Which data survives a restart.
    pub persistence: Persistence,
    /// The default user's password (`requirepass`).
    pub password: Option<String>,
    /// An ACL user: name, password, and rules such as `~job_* &job_* +@all`. The default user is disabled then.
    pub user: Option<(String, String, String)>,
    /// The most bytes of memory. Writes beyond that are refused (`noeviction`).
    pub max_memory: Option<u64>,
    /// Whether the server accepts only TLS, with certificates of its own.
    pub tls: bool,
    /// Further lines of `redis.conf`.
    pub lines: Vec<String>,
}

impl Options {
    /// Adds a line of `redis.conf`.
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Sets the persistence.
    pub fn persistence(mut self, persistence: Persistence) -> Self {
        self.persistence = persistence;
        self
    }
}
