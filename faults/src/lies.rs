//! The suite's own test: some watchers are lied to, and each lie has to be found out.

use tokio::runtime::Handle;

use crate::failure::Failure;
use crate::fault::Fault;
use crate::stage::Load;
use crate::trial;
use crate::watcher::Lie;

/// An update once more, right away.
fn again(kept: &mut Vec<String>, text: String) -> Vec<String> {
    if is_state(&text) && kept.is_empty() {
        kept.push(text.clone());
        return vec![text.clone(), text];
    }
    vec![text]
}

/// The first update once more, after the third.
fn back(kept: &mut Vec<String>, text: String) -> Vec<String> {
    if is_state(&text) && kept.len() < 3 {
        kept.push(text.clone());
        if kept.len() == 3 {
            return vec![text, kept[0].clone()];
        }
    }
    vec![text]
}

/// No end.
fn endless(_: &mut Vec<String>, text: String) -> Vec<String> {
    if text.contains("completed") { Vec::new() } else { vec![text] }
}

/// The end twice.
fn twice(_: &mut Vec<String>, text: String) -> Vec<String> {
    if text.contains("completed") { vec![text.clone(), text] } else { vec![text] }
}

/// Nothing after the first update, and then the end.
fn stale(kept: &mut Vec<String>, text: String) -> Vec<String> {
    if is_state(&text) && !text.contains("completed") {
        kept.push(String::new());
        if kept.len() > 1 {
            return Vec::new();
        }
    }
    vec![text]
}

/// A state that no worker reported.
fn made_up(kept: &mut Vec<String>, text: String) -> Vec<String> {
    if kept.is_empty() {
        kept.push(String::new());
        return vec![text, r#"{"job_id":"x","position":"a-1"}"#.into()];
    }
    vec![text]
}

/// A position that is before the one that came first.
fn misplaced(kept: &mut Vec<String>, text: String) -> Vec<String> {
    if !is_state(&text) {
        return vec![text];
    }
    kept.push(String::new());
    let Some((before, rest)) = text.split_once("\"position\":\"") else { return vec![text] };
    let (Some((epoch, _)), Some((_, after))) = (rest.split_once('-'), rest.split_once('"')) else {
        return vec![text];
    };
    // The second goes below the first; what follows is far above both, and in order.
    let number = if kept.len() == 2 { 1 } else { 1_000_000 + kept.len() };
    vec![format!("{before}\"position\":\"{epoch}-{number}\"{after}")]
}

fn is_state(text: &str) -> bool {
    text.contains("\"position\"")
}

/// Runs without a fault, with one liar of each kind; whether exactly those were found.
pub(crate) fn are_found_out(load: &Load, runtime: &Handle) -> Result<bool, Failure> {
    let lies: [Lie; 7] = [again, back, endless, twice, stale, made_up, misplaced];
    let row = trial::run(Fault::AloneWorkerKilled, load, &lies, runtime)?;
    let found = [
        // `again` and the second end of `twice`.
        ("duplicates", row.shown.wrongs.duplicates, 2),
        ("steps back", row.shown.wrongs.steps_back, 1),
        ("positions out of order", row.shown.wrongs.positions, 1),
        ("ends missing", row.missing_ends, 1),
        ("ends twice", row.shown.twice, 1),
        ("late", row.late(), 1),
        ("stale", row.stale, 1),
        ("made up", row.shown.wrongs.foreign, 1),
        ("thrown out", row.shown.thrown_out.len() as u64, 0),
        ("refused", row.refused, 0),
        ("jobs without an end", row.unended, 0),
    ];
    let mut all = true;
    for (what, found, expected) in found {
        println!("{what:<24} {expected} reported, {found} found");
        all &= found == expected;
    }
    Ok(all)
}
