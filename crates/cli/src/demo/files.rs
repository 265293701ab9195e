//! The demo's work on files: find them, checksum them, compress them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use milepost_reporter::Job;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Bounds of the work. Files beyond them are skipped, and the result says so.
const MAX_FILES: usize = 20_000;
const MAX_BYTES: u64 = 100 * 1024 * 1024;

const BUFFER_BYTES: usize = 64 * 1024;

/// How a stage ended before its end.
#[derive(Debug)]
enum Stop {
    Cancelled,
    Io(PathBuf, io::Error),
}

/// What there is to do.
#[derive(Debug, Default)]
struct Found {
    files: Vec<(PathBuf, u64)>,
    bytes: u64,
    /// The bounds were reached.
    is_part: bool,
    /// Could not be read.
    unreadable: u64,
}

/// Does the work, and ends the job. Files are only read; `out` gets one that is compressed. In words what there was
/// to do, if it was done.
pub(super) fn work(job: Job, folder: &Path, out: &Path, cancelled: &AtomicBool) -> Option<String> {
    match stages(&job, folder, out, cancelled) {
        Ok(result) => {
            let (files, bytes) = (&result["files"], result["bytes"].as_u64().unwrap_or(0));
            let all =
                if result["only_a_part"] == true { "only a part of what is there: " } else { "" };
            let words = format!("demo-files: {all}{files} files, {} MiB", bytes >> 20);
            job.complete_with(result);
            Some(words)
        }
        Err(Stop::Cancelled) => {
            job.cancel("Stopped");
            None
        }
        Err(Stop::Io(path, error)) => {
            job.fail(format_args!("{}: {error}", path.display()));
            None
        }
    }
}

fn stages(
    job: &Job,
    folder: &Path,
    out: &Path,
    cancelled: &AtomicBool,
) -> Result<serde_json::Value, Stop> {
    let scanning = job.stage_within("scanning", 0.0..0.05);
    scanning.unit("files");
    let found = scan(&scanning, folder, cancelled)?;
    let only = if found.is_part { ", and there is more" } else { "" };
    job.message(format!("{} files, {} MiB{only}", found.files.len(), found.bytes >> 20));

    let checksums = job.stage_within("checksums", 0.05..0.4);
    checksums.unit("bytes");
    checksums.set_total(found.bytes);
    let mut all = Sha256::new();
    let mut unreadable = found.unreadable;
    for (path, size) in &found.files {
        let mut digest = Sha256::new();
        match read(path, *size, &checksums, cancelled, |bytes| {
            digest.update(bytes);
            Ok(())
        }) {
            Ok(()) => all.update(digest.finalize()),
            Err(Stop::Io(..)) => unreadable += 1,
            Err(stop @ Stop::Cancelled) => return Err(stop),
        }
    }

    let compressing = job.stage_within("compressing", 0.4..1.0);
    compressing.unit("bytes");
    compressing.set_total(found.bytes);
    let path = out.join("files.gz");
    let io_error = |error| Stop::Io(path.clone(), error);
    let mut gzip = GzEncoder::new(File::create(&path).map_err(io_error)?, Compression::best());
    for (file, size) in &found.files {
        match read(file, *size, &compressing, cancelled, |bytes| gzip.write_all(bytes)) {
            Ok(()) => {}
            // It was counted above.
            Err(Stop::Io(failed, _)) if failed == *file => {}
            Err(stop) => return Err(stop),
        }
    }
    let compressed = gzip.finish().and_then(|file| file.metadata()).map_err(io_error)?.len();
    let sha256 = all.finalize().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Ok(json!({
        "files": found.files.len(),
        "bytes": found.bytes,
        "compressed_bytes": compressed,
        "sha256": sha256,
        "unreadable": unreadable,
        "only_a_part": found.is_part,
    }))
}

/// Plain files below the folder, breadth first, in the order of their names. Links are not followed.
fn scan(job: &Job, folder: &Path, cancelled: &AtomicBool) -> Result<Found, Stop> {
    let mut found = Found::default();
    let mut folders = VecDeque::from([folder.to_owned()]);
    while let Some(folder) = folders.pop_front() {
        let Ok(entries) = fs::read_dir(&folder) else {
            found.unreadable += 1;
            continue;
        };
        let mut entries: Vec<_> = entries.filter_map(Result::ok).take(MAX_FILES).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Stop::Cancelled);
            }
            let Ok(metadata) = entry.metadata() else {
                found.unreadable += 1;
                continue;
            };
            if metadata.is_dir() && folders.len() < MAX_FILES {
                folders.push_back(entry.path());
            } else if metadata.is_file() {
                if found.files.len() >= MAX_FILES {
                    found.is_part = true;
                    return Ok(found);
                }
                if found.bytes + metadata.len() > MAX_BYTES {
                    // A smaller one may still fit.
                    found.is_part = true;
                    continue;
                }
                found.bytes += metadata.len();
                found.files.push((entry.path(), metadata.len()));
                job.inc(1);
            }
        }
    }
    Ok(found)
}

/// Reads as much of a file as was found of it, and counts that: also where it has become shorter since.
fn read(
    path: &Path,
    size: u64,
    job: &Job,
    cancelled: &AtomicBool,
    mut with: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Stop> {
    let mut left = size;
    let result = (|| {
        let io_error = |error| Stop::Io(path.to_owned(), error);
        let mut file = File::open(path).map_err(io_error)?.take(size);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            if cancelled.load(Ordering::Relaxed) {
                return Err(Stop::Cancelled);
            }
            let n = file.read(&mut buffer).map_err(io_error)?;
            if n == 0 {
                return Ok(());
            }
            with(&buffer[..n])
                .map_err(|error| Stop::Io(PathBuf::from("the compressed file"), error))?;
            job.inc(n as u64);
            left = left.saturating_sub(n as u64);
        }
    })();
    job.inc(left);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use milepost_reporter::Reporter;

    fn run(folder: &Path) -> Result<serde_json::Value, Stop> {
        let out = tempfile::tempdir().unwrap();
        stages(&Reporter::silent().job("a"), folder, out.path(), &AtomicBool::new(false))
    }

    #[test]
    fn what_is_found_is_worked_on_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/two"), vec![0; 100_000]).unwrap();
        fs::write(folder.path().join("one"), "1").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        // Sparse, and over the bound.
        File::create(folder.path().join("huge")).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let result = run(folder.path()).unwrap();
        assert_eq!(
            (&result["files"], &result["bytes"], &result["only_a_part"]),
            (&json!(2), &json!(100_001), &json!(true))
        );
        assert!(result["compressed_bytes"].as_u64().unwrap() < 1000);
        assert_eq!(result, run(folder.path()).unwrap(), "the same files, the same checksum");
    }

    #[test]
    fn an_empty_folder_is_done_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(folder.path()).unwrap()["files"], 0);
    }

    #[test]
    fn it_can_be_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one"), "1").unwrap();
        let stopped = stages(
            &Reporter::silent().job("a"),
            folder.path(),
            folder.path(),
            &AtomicBool::new(true),
        );
        assert!(matches!(stopped, Err(Stop::Cancelled)));
    }
}
