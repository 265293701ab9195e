//! The runs that are replayed.

use std::fs;
use std::path::Path;

use crate::error::{Error, doing};

/// How the progress of a job grew.
pub(super) struct Run {
    pub(super) name: String,
    /// Seconds since the job began, and the progress from then on.
    pub(super) steps: Vec<(f64, f64)>,
    /// When it completed, in seconds.
    pub(super) end: f64,
}

/// The runs that `record.py` recorded, by name.
pub(super) fn recorded(folder: &Path) -> Result<Vec<Run>, Error> {
    let mut runs = Vec::new();
    let reading = || doing(format!("reading {}", folder.display()));
    for entry in fs::read_dir(folder).map_err(reading())? {
        let path = entry.map_err(reading())?.path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(reading())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        runs.push(parse(name, &text).ok_or_else(|| {
            Error::Recording(format!("{}: a line is not seconds and a progress", path.display()))
        })?);
    }
    runs.sort_by(|one: &Run, other| one.name.cmp(&other.name));
    Ok(runs)
}

fn parse(name: String, text: &str) -> Option<Run> {
    let mut steps = Vec::new();
    for line in text.lines() {
        let (seconds, progress) = line.split_once(' ')?;
        let seconds = seconds.parse().ok()?;
        if progress == "end" {
            return Some(Run { name, steps, end: seconds });
        }
        steps.push((seconds, progress.parse().ok()?));
    }
    None
}

/// What a step costs, by the progress before it and its number.
type Cost = fn(f64, usize) -> f64;

/// How the work is spread over a run.
const SHAPES: [(&str, Cost); 6] = [
    ("steady", |_, _| 1.0),
    ("bursty", |_, step| if step % 10 == 9 { 20.0 } else { 0.5 }),
    ("two phases, the second slower", |done, _| if done < 0.5 { 1.0 } else { 2.5 }),
    ("two phases, the second faster", |done, _| if done < 0.5 { 2.5 } else { 1.0 }),
    ("slowing down", |done, _| 1.0 + 2.0 * done),
    ("speeding up", |done, _| 3.0 - 2.0 * done),
];

/// Series of several shapes, durations and grains, each with noise.
pub(super) fn made() -> Vec<Run> {
    let mut runs = Vec::new();
    let mut random = Random(7);
    for (name, cost) in SHAPES {
        for seconds in [60.0, 300.0, 1_800.0, 7_200.0] {
            for count in [40_u16, 200, 1_000] {
                runs.push(one(name, seconds, count, cost, &mut random));
            }
        }
    }
    runs
}

/// Runs of one name, one after the other: their durations differ by a factor of up to `spread`, up and down.
pub(super) fn repeated(spread: f64, times: usize) -> Vec<Vec<Run>> {
    let mut random = Random(11);
    let mut series = Vec::new();
    for (name, cost) in SHAPES {
        for seconds in [60.0, 300.0, 1_800.0] {
            for count in [40_u16, 200] {
                let run = |_| {
                    let factor = spread.powf(random.next() + random.next() - 1.0);
                    one(name, seconds * factor, count, cost, &mut random)
                };
                series.push((0..times).map(run).collect());
            }
        }
    }
    series
}

fn one(name: &str, seconds: f64, count: u16, cost: Cost, random: &mut Random) -> Run {
    let progress = |step: u16| f64::from(step) / f64::from(count);
    let costs: Vec<_> = (0..count)
        .map(|step| cost(progress(step), step.into()) * (0.5 + random.next() + random.next()))
        .collect();
    let scale = seconds / costs.iter().sum::<f64>();
    let mut at = 0.0;
    let mut steps = vec![(0.0, 0.0)];
    for (step, cost) in (1..=count).zip(costs) {
        at += cost * scale;
        steps.push((at, progress(step)));
    }
    Run { name: name.to_owned(), steps, end: at }
}

/// The same numbers each time, from 0 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = u32::try_from(self.0 >> 32).unwrap_or(0);
        f64::from(high) / f64::from(u32::MAX)
    }
}
