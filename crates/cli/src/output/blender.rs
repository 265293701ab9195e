//! Blender: `Fra:3 Mem:20.1M (Peak 20.5M) | Time:00:01.20 | … | Rendered 12/64 Tiles`, or `Sample 12/128`: of one frame.

use super::{Progress, Reading, scan};

pub(super) fn read(text: &str) -> Option<Reading> {
    let frame = text.strip_prefix("Fra:")?;
    let (frame, _) = frame.split_once(' ')?;
    let frame = frame.parse::<u64>().ok()?;
    let last = text.rsplit(" | ").next()?;
    let count = ["Rendered ", "Sample ", "Path Tracing Sample ", "Path Tracing Tile "]
        .iter()
        .find_map(|start| scan::count(last.strip_prefix(start)?).filter(|count| count.start == 0));
    let remaining = text.split_once("Remaining:").and_then(|(_, time)| time.split(' ').next());
    Some(
        Reading {
            progress: count.map(|count| Progress::of(count.done, count.total)),
            ..Reading::default()
        }
        .message(&format!("frame {frame}"))
        .with("frame", frame)
        .with("time_left", remaining.and_then(scan::clock)),
    )
}
