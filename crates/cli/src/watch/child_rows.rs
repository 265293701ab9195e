//! The rows that children take below the job that is watched.

use milepost_protocol::{Children, Health, Status, Timestamp};

use super::watched_jobs::{Child, Watched};
use crate::bars::{RowOptions, bar_line, grouped, known, named};

/// The most children of a job that have a row.
const MAX_SHOWN: usize = 10;

/// Names of children are indented by this.
pub(super) const INDENT: &str = "  ";

/// The children that have a row if there are `room` rows. A job that has ended shows only what failed: of the others,
/// the newest state may not have come.
pub(super) fn shown(watched: &Watched, room: usize) -> Vec<&Child> {
    // One row counts the others.
    let most = room.saturating_sub(1).min(MAX_SHOWN);
    let matters = |child: &&Child| match child.summary.status {
        Status::Failed => true,
        Status::Processing => !watched.is_over(),
        Status::Queued => child.summary.health.is_some() && !watched.is_over(),
        Status::Completed | Status::Cancelled => false,
    };
    watched.children.iter().filter(matters).take(most).collect()
}

/// A row for each of these children, and one that counts the others.
pub(super) fn rows(
    watched: &Watched,
    shown: &[&Child],
    options: RowOptions<'_>,
    now: Timestamp,
) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for child in shown {
        let clock = child.times.clock(now);
        let options = RowOptions { clock: clock.as_deref(), note: None, ..options };
        rows.push(bar_line(&format!("{INDENT}{}", child.job), Some(&child.summary), options));
    }
    let counts = watched.summary.as_ref().and_then(|summary| summary.children.as_ref());
    if let Some(counts) = counts.filter(|_| !shown.is_empty()) {
        let rest = known(counts).saturating_sub(shown.len());
        if rest > 0 {
            let line = format!("{INDENT}… and {}", others(counts, shown, rest));
            let columns = options.columns.saturating_sub(1);
            rows.push(console::truncate_str(&line, columns, "…").into_owned());
        }
    }
    rows
}

/// `9,980 more: 9,900 completed, 80 queued`.
fn others(counts: &Children, shown: &[&Child], rest: usize) -> String {
    let is_lost = |child: &Child| child.summary.health == Some(Health::Lost);
    let of = |status: Status| {
        let has = |child: &&&Child| child.summary.status == status && !is_lost(child);
        u32::try_from(shown.iter().filter(has).count()).unwrap_or(u32::MAX)
    };
    let lost = shown.iter().filter(|child| is_lost(child) && !child.summary.status.is_end());
    let lost = u32::try_from(lost.count()).unwrap_or(u32::MAX);
    let left = named([
        (counts.failed.saturating_sub(of(Status::Failed)), "failed"),
        (counts.lost.saturating_sub(lost), "lost"),
        (counts.processing.saturating_sub(of(Status::Processing)), "processing"),
        (counts.queued.saturating_sub(of(Status::Queued)), "queued"),
        (counts.cancelled, "cancelled"),
        (counts.completed, "completed"),
    ]);
    let rest = grouped(u64::try_from(rest).unwrap_or(u64::MAX));
    format!("{rest} more: {}", left.join(", "))
}
