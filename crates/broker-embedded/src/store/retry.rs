//! When the store commits again after a commit has failed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest time until a state is on disk if no caller waits for it. Also the first wait after a failed commit.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);
/// The longest wait if commits fail although there is room.
const LONGEST: Duration = Duration::from_secs(2);
/// The longest wait if there is no room. A commit is tried even so, because removed jobs may have left room within the file.
const WITHOUT_ROOM: Duration = Duration::from_secs(30);

/// When to commit again after a commit has failed.
///
/// A commit after a failure is expensive: redb reopens the file, which reads all of it, and writes everything that is pending. So
/// it is not tried until a small file can be written beside the store.
pub(super) struct Retry {
    failed_at: Instant,
    wait: Duration,
}

impl Retry {
    /// After a commit has failed.
    pub(super) fn new(now: Instant) -> Self {
        Self { failed_at: now, wait: INTERVAL }
    }

    /// Records that a commit has failed again.
    pub(super) fn failed_again(&mut self, now: Instant) {
        *self = Self { failed_at: now, wait: LONGEST.min(self.wait * 2) };
    }

    /// Whether to commit now. `has_room` is called only if the answer depends on it.
    pub(super) fn is_due(&self, now: Instant, has_room: impl FnOnce() -> bool) -> bool {
        let waited = now.saturating_duration_since(self.failed_at);
        waited >= WITHOUT_ROOM || (waited >= self.wait && has_room())
    }
}

/// Finds out whether the disk has room by writing a small file beside the store.
pub(super) struct Room {
    path: PathBuf,
}

impl Room {
    const LEAST_BYTES: usize = 64 << 10;
    const MOST_BYTES: usize = 1 << 20;
    /// The approximate size of a job's record.
    const JOB_BYTES: usize = 1 << 10;

    /// A probe beside the store at that path.
    pub(super) fn beside(store: &Path) -> Self {
        Self { path: store.with_extension("room") }
    }

    /// Whether there is room for the records of this many jobs, or for 1 MiB if they take more.
    pub(super) fn is_there(&self, jobs: usize) -> bool {
        let bytes = jobs.saturating_mul(Self::JOB_BYTES);
        let written = self.write(bytes.clamp(Self::LEAST_BYTES, Self::MOST_BYTES));
        self.remove();
        written.is_ok()
    }

    /// Removes the file, which a killed process may have left.
    pub(super) fn remove(&self) {
        // If it cannot be removed, the next probe overwrites it.
        let _ = fs::remove_file(&self.path);
    }

    fn write(&self, bytes: usize) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        for _ in 0..bytes.div_ceil(4096) {
            file.write_all(&[0; 4096])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_two_seconds() {
        let start = Instant::now();
        let mut retry = Retry::new(start);
        let mut now = start;
        for wait in [500, 1_000, 2_000, 2_000] {
            assert!(!retry.is_due(now + Duration::from_millis(wait - 1), || true));
            now += Duration::from_millis(wait);
            assert!(retry.is_due(now, || true));
            retry.failed_again(now);
        }
    }

    #[test]
    fn without_room_a_commit_is_tried_rarely() {
        let start = Instant::now();
        let retry = Retry::new(start);
        assert!(!retry.is_due(start + Duration::from_secs(29), || false));
        assert!(retry.is_due(start + Duration::from_secs(29), || true));
        assert!(retry.is_due(start + Duration::from_secs(30), || false));
    }

    #[test]
    fn room_is_looked_for_only_when_due() {
        let start = Instant::now();
        assert!(!Retry::new(start).is_due(start, || panic!("the answer does not depend on it")));
    }

    #[test]
    fn looking_for_room_leaves_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let room = Room::beside(&directory.path().join("jobs.redb"));
        assert!(room.is_there(0));
        assert!(room.is_there(usize::MAX));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
        let none = Room::beside(&directory.path().join("missing").join("jobs.redb"));
        assert!(!none.is_there(0));
    }
}
