use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Differs from an earlier one if one of the files has changed since: its content, or who may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(Box<[Option<Change>]>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    inode: u64,
    len: u64,
    /// Seconds and nanoseconds.
    at: (i64, i64),
}

impl Fingerprint {
    /// Of the files as they are now.
    pub(crate) fn of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let last_change = |file: &PathBuf| {
            let file = fs::metadata(file).ok()?;
            Some(Change {
                inode: file.ino(),
                len: file.len(),
                at: (file.ctime(), file.ctime_nsec()),
            })
        };
        Self(files.into_iter().map(last_change).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    #[test]
    fn content_and_permissions_count() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("key.pem");
        let now = || Fingerprint::of([&file]);
        let none = now();
        fs::write(&file, "a").expect("it is written");
        let written = now();
        assert_ne!(written, none);
        assert_eq!(written, now());
        // A file's time may have the kernel's resolution of a few milliseconds.
        std::thread::sleep(Duration::from_millis(50));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("it is ours");
        assert_ne!(now(), written);
    }
}
