//! restic on a terminal, or with `RESTIC_PROGRESS_FPS`: `[0:05] 45.00%  12 files 30.1 MiB, total 31 files 66.7 MiB, 0 errors ETA 0:10`.

use super::{Progress, Reading, scan};

pub(super) fn read(text: &str) -> Option<Reading> {
    let (elapsed, rest) = text.strip_prefix('[')?.split_once("] ")?;
    scan::clock(elapsed)?;
    let (done, total) = rest.split_once(", total ")?;
    let bytes = |part: &str| scan::size(part.split_once(" files ")?.1.split(',').next()?.trim());
    let (done, total) = (bytes(done)?, bytes(total)?);
    let eta = text.split_once(" ETA ").and_then(|(_, eta)| scan::clock(eta.trim()));
    Some(
        Reading::at(Progress::ratio(done, total))
            .with("bytes", scan::whole(done))
            .with("total_bytes", scan::whole(total))
            .with("time_left", eta),
    )
}
