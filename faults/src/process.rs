//! What the system knows of a process.

use std::fs;
use std::path::PathBuf;

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Bytes of resident memory now.
    pub(crate) resident: u64,
    /// The most bytes of resident memory so far.
    pub(crate) peak: u64,
    /// Open files.
    pub(crate) files: usize,
    /// Threads.
    pub(crate) threads: u64,
}

/// What the process with this id holds; none if there is none.
pub(crate) fn held(id: u32) -> Option<Held> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Held {
        resident: number("VmRSS:")? << 10,
        peak: number("VmHWM:")? << 10,
        files: fs::read_dir(format!("/proc/{id}/fd")).ok()?.count(),
        threads: number("Threads:")?,
    })
}

/// A path as the process sees it, which may have mounts of its own.
pub(crate) fn inside(id: u32, path: &std::path::Path) -> PathBuf {
    PathBuf::from(format!("/proc/{id}/root{}", path.display()))
}
