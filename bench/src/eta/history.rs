//! How much it helps to know how long earlier runs of the same name took.

use milepost_protocol::{Run as Completed, Runs, Timestamp};

use super::estimator::Milepost;
use super::run::{self, Run};
use super::{POINTS, SHORTEST};
use crate::result::median;

/// So many runs of each name, one after the other.
const TIMES: usize = 33;

/// By what factor the durations of one name differ, up and down.
const SPREADS: [f64; 3] = [1.1, 1.5, 4.0];

/// What was estimated at one point of a run.
#[derive(Default)]
struct Estimates {
    errors: Vec<f64>,
    held: usize,
}

impl Estimates {
    fn add(&mut self, [eta, eta_high]: [f64; 2], at: f64, end: f64) {
        self.errors.push((eta - end).abs() / (end - at));
        self.held += usize::from(end <= eta_high);
    }

    fn text(&self) -> String {
        let mut errors = self.errors.clone();
        errors.sort_by(f64::total_cmp);
        let ninth = errors.get(errors.len() * 9 / 10).copied();
        let count = errors.len();
        match (median(errors), ninth) {
            (Some(median), Some(ninth)) => {
                let (median, ninth) = (median * 100.0, ninth * 100.0);
                format!("{median:.0} / {ninth:.0} % | {} of {count}", self.held)
            }
            _ => "– | –".to_owned(),
        }
    }
}

/// Prints the table: the median of the errors and the ninth decile, with and without the runs before, by how many those were.
pub(super) fn print() {
    println!(
        "| durations differ by | earlier runs | at | with history | `eta_high` held | rate alone | `eta_high` held |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for spread in SPREADS {
        let series = run::repeated(spread, TIMES);
        for earlier in [1, 3, 10, 32] {
            for point in [0.0].into_iter().chain(POINTS) {
                let (mut with, mut without) = (Estimates::default(), Estimates::default());
                for runs in &series {
                    // So that there are as many estimates with few earlier runs as with many.
                    for runs in runs.windows(earlier + 1) {
                        look(runs, point, &mut with, &mut without);
                    }
                }
                println!(
                    "| {spread} | {earlier} | {} % | {} | {} |",
                    point * 100.0,
                    with.text(),
                    without.text()
                );
            }
        }
    }
}

/// Replays the last of the runs up to that progress.
fn look(runs: &[Run], point: f64, with: &mut Estimates, without: &mut Estimates) {
    let Some((run, earlier)) = runs.split_last() else { return };
    let mut known = Runs::default();
    for run in earlier {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hours")]
        let tenths = (run.end * 10.0) as u32;
        known.add(
            &Completed { name: "a".into(), tenths, ..Completed::default() },
            Timestamp::from_micros(0),
        );
    }
    let mut both = [Milepost::knowing(Some(known.usual())), Milepost::default()];
    for (at, progress) in &run.steps {
        for milepost in &mut both {
            milepost.step(*at, *progress);
        }
        if *progress < point {
            continue;
        }
        if run.end - at >= SHORTEST {
            for (milepost, estimates) in both.iter().zip([with, without]) {
                if let Some(instants) = milepost.instants() {
                    estimates.add(instants, *at, run.end);
                }
            }
        }
        return;
    }
}
