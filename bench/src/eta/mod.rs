//! How good estimates of the remaining time are: those of the fold, and of the published formulas of tqdm, indicatif and rich, on
//! recorded runs of real jobs (`bench/recordings`) and on series that are made. Nothing is measured but the estimates, so the result is
//! the same on every machine.

mod estimator;
mod history;
mod run;

use std::path::Path;

use crate::error::Error;
use crate::result::median;
use estimator::{Estimator, Indicatif, Milepost, Rich, Tqdm};
use run::Run;

/// The progress for which estimates are counted apart: those that a server measures of its own jobs.
const POINTS: [f64; 4] = [0.1, 0.25, 0.5, 0.75];
/// Estimates are compared with what became of the run whenever it passes another so many percent, between these two. Four looks
/// at each of some eight recordings would be too few to tell estimators apart.
const EVERY: u8 = 5;
const FIRST: u8 = 10;
const LAST: u8 = 90;
/// Less remaining time is not worth an estimate, in seconds.
const SHORTEST: f64 = 1.0;

/// What was estimated at one point of a run.
struct Look {
    point: f64,
    /// By how much each estimator missed the remaining time, as a share of it: Milepost's, tqdm's, indicatif's, rich's.
    errors: [f64; 4],
    /// Whether the run had completed by `eta_high`.
    held: bool,
}

/// Prints the tables: the median of the errors, and the ninth decile.
pub(crate) fn print(recordings: &Path) -> Result<(), Error> {
    let recorded = run::recorded(recordings)?;
    let made = run::made();
    println!("| runs | estimates | Milepost | tqdm | indicatif | rich | `eta_high` held |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut all = Vec::new();
    for (title, runs) in [("recorded", recorded), ("made", made)] {
        let mut looks = Vec::new();
        for runs in runs.chunk_by(|one, other| one.name == other.name) {
            let of_these: Vec<_> = runs.iter().flat_map(looks_at).collect();
            print_row(&runs[0].name, &of_these.iter().collect::<Vec<_>>());
            looks.extend(of_these);
        }
        print_row(&format!("**all {title}**"), &looks.iter().collect::<Vec<_>>());
        all.push((title, looks));
    }
    for (title, looks) in &all {
        for point in POINTS {
            #[expect(clippy::float_cmp, reason = "the same constants")]
            let these: Vec<_> = looks.iter().filter(|look| look.point == point).collect();
            print_row(&format!("{title}, at {} %", point * 100.0), &these);
        }
    }
    println!();
    history::print();
    Ok(())
}

fn print_row(name: &str, looks: &[&Look]) {
    let errors = |number: usize| {
        let mut errors: Vec<_> = looks.iter().map(|look| look.errors[number]).collect();
        errors.sort_by(f64::total_cmp);
        let ninth = errors.get(errors.len() * 9 / 10).copied();
        match (median(errors), ninth) {
            (Some(median), Some(ninth)) => {
                format!("{:.0} / {:.0} %", median * 100.0, ninth * 100.0)
            }
            _ => "–".to_owned(),
        }
    };
    let held = looks.iter().filter(|look| look.held).count();
    println!(
        "| {name} | {} | {} | {} | {} | {} | {held} of {} |",
        looks.len(),
        errors(0),
        errors(1),
        errors(2),
        errors(3),
        looks.len(),
    );
}

/// Replays a run.
fn looks_at(run: &Run) -> Vec<Look> {
    let mut milepost = Milepost::default();
    let mut peers: [Box<dyn Estimator>; 3] =
        [Box::new(Tqdm::default()), Box::new(Indicatif::default()), Box::new(Rich::default())];
    let points = (FIRST..=LAST).step_by(EVERY.into()).map(|percent| f64::from(percent) / 100.0);
    let mut points = points.peekable();
    let mut looks = Vec::new();
    for (at, progress) in &run.steps {
        milepost.step(*at, *progress);
        for peer in &mut peers {
            peer.step(*at, *progress);
        }
        let remaining = run.end - at;
        let mut point = None;
        while let Some(passed) = points.next_if(|point| progress >= point) {
            point = Some(passed);
        }
        let (Some(point), true) = (point, remaining >= SHORTEST) else { continue };
        // Where Milepost has no estimate yet, nothing is compared.
        let Some([eta, eta_high]) = milepost.instants() else { continue };
        let error = |left: f64| (left - remaining).abs() / remaining;
        let [tqdm, indicatif, rich] = &peers;
        let theirs = |peer: &dyn Estimator| peer.left(*at).map_or(1.0, error);
        looks.push(Look {
            point,
            errors: [error(eta - at), theirs(&**tqdm), theirs(&**indicatif), theirs(&**rich)],
            held: run.end <= eta_high,
        });
    }
    looks
}
