//! A run's results: medians, ratios within rounds, the figures to reach; as Markdown and JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::ValueEnum as _;
use milepost_protocol::Timestamp;
use serde_json::json;

use crate::error::{Error, doing};
use crate::figures::{Load, Measures};
use crate::server::Kind;

/// What is to be reached by the figure's own server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// The median, over the rounds, of the first measure divided by another server's.
    Ratio(Kind, f64),
    /// The median of a measure, at least.
    AtLeast(&'static str, f64),
    /// The median of a measure, at most.
    AtMost(&'static str, f64),
}

/// One server in one round under one load.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    pub(crate) round: usize,
    pub(crate) load: Load,
    pub(crate) measures: Measures,
}

/// All rounds of a figure.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) figure: &'static str,
    pub(crate) title: &'static str,
    pub(crate) goals: &'static [Goal],
    /// Whose goals they are.
    pub(crate) own: Kind,
    pub(crate) rows: Vec<Row>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

impl Results {
    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<_> = self.rows.iter().map(|row| row.load.watchers).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    fn median_of(&self, size: usize, kind: Kind, name: &str) -> Option<f64> {
        let of = self.rows.iter().filter(|row| row.load.watchers == size && row.kind == kind);
        let values = of.filter_map(|row| row.measures.iter().find(|(found, _)| *found == name));
        median(values.map(|(_, value)| *value).collect())
    }

    /// Median over the rounds of `kind`'s first measure divided by `by`'s in the same round.
    fn ratio(&self, size: usize, kind: Kind, by: Kind) -> Option<f64> {
        let first = |kind, round| {
            let mut rows = self.rows.iter();
            let row = rows
                .find(|row| row.load.watchers == size && row.kind == kind && row.round == round)?;
            row.measures.first().map(|(_, value)| *value)
        };
        let rounds = self.rows.iter().map(|row| row.round).max()?;
        let ratios = (0..=rounds).filter_map(|round| Some(first(kind, round)? / first(by, round)?));
        median(ratios.collect())
    }

    /// Tables of medians and ratios, and which goals are reached.
    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        let rounds = self.rows.iter().map(|row| row.round + 1).max().unwrap_or(0);
        let write = |out: &mut String, text: std::fmt::Arguments<'_>| {
            out.write_fmt(text).expect("a String takes every write");
        };
        write(&mut out, format_args!("## {}\n\nMedians of {rounds} rounds.\n\n", self.title));
        let names: Vec<_> = self
            .rows
            .first()
            .map(|row| row.measures.iter().map(|(name, _)| *name).collect())
            .unwrap_or_default();
        write(&mut out, format_args!("| watchers | server | {} |\n", names.join(" | ")));
        write(&mut out, format_args!("| --: | --- |{}\n", " --: |".repeat(names.len())));
        for size in self.sizes() {
            for &kind in Kind::value_variants() {
                if !self.rows.iter().any(|row| row.kind == kind && row.load.watchers == size) {
                    continue;
                }
                let cells: Vec<_> = names
                    .iter()
                    .map(|name| self.median_of(size, kind, name).map_or_else(String::new, short))
                    .collect();
                let name = kind.name();
                write(&mut out, format_args!("| {size} | {name} | {} |\n", cells.join(" | ")));
            }
        }
        let first = names.first().copied().unwrap_or_default();
        out.push('\n');
        for size in self.sizes() {
            for &kind in Kind::value_variants() {
                for by in Kind::value_variants().iter().copied().filter(|by| *by != kind) {
                    if let Some(ratio) = self.ratio(size, kind, by) {
                        let (name, by) = (kind.name(), by.name());
                        if kind == self.own || by == "bound" {
                            let text =
                                format_args!("- {size}: {first}, {name} / {by}: {ratio:.2}\n");
                            write(&mut out, text);
                        }
                    }
                }
            }
            for goal in self.goals {
                if let Some((text, reached)) = self.goal(*goal, size) {
                    let verdict = if reached { "reached" } else { "**missed**" };
                    write(&mut out, format_args!("- {size}: {text}: {verdict}\n"));
                }
            }
        }
        for failure in &self.failures {
            write(&mut out, format_args!("- **not measured**: {failure}\n"));
        }
        out
    }

    /// The goal in words, with what was measured; and whether it is reached.
    fn goal(&self, goal: Goal, size: usize) -> Option<(String, bool)> {
        match goal {
            Goal::Ratio(by, least) => {
                let ratio = self.ratio(size, self.own, by)?;
                let text = format!("{ratio:.2} of {}, to reach {least}", by.name());
                Some((text, ratio >= least))
            }
            Goal::AtLeast(name, least) => {
                let value = self.median_of(size, self.own, name)?;
                Some((
                    format!("{name} {}, at least {}", short(value), short(least)),
                    value >= least,
                ))
            }
            Goal::AtMost(name, most) => {
                let value = self.median_of(size, self.own, name)?;
                Some((format!("{name} {}, at most {}", short(value), short(most)), value <= most))
            }
        }
    }

    /// Writes `<figure>-<seconds>.json` and `.md`; gives the latter's path.
    pub(crate) fn write(&self, dir: &Path) -> Result<PathBuf, Error> {
        let now = Timestamp::now().as_millis() / 1000;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find(|line| line.starts_with("model name")).unwrap_or_default();
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let measures: serde_json::Map<_, _> = row
                    .measures
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), json!(value)))
                    .collect();
                json!({
                    "server": row.kind.name(),
                    "round": row.round,
                    "load": {
                        "watchers": row.load.watchers,
                        "deliveries": row.load.deliveries,
                        "seconds": row.load.time.as_secs_f64(),
                        "rate": row.load.rate,
                        "depth": row.load.depth,
                        "size": row.load.size,
                        "stalled": row.load.stalled,
                    },
                    "measures": measures,
                })
            })
            .collect();
        let json = json!({
            "figure": self.figure,
            "title": self.title,
            "unix_time": now,
            "machine": {
                "cores": std::thread::available_parallelism().map_or(0, usize::from),
                "cpu": model.split_once(':').map_or("", |(_, model)| model.trim()),
                "kernel": kernel.trim(),
            },
            "rows": rows,
            "failures": self.failures,
        });
        let path = dir.join(format!("{}-{now}", self.figure));
        let write = || {
            fs::create_dir_all(dir)?;
            fs::write(path.with_extension("json"), format!("{json:#}\n"))?;
            fs::write(path.with_extension("md"), self.markdown())
        };
        write().map_err(doing(format!("writing {}", path.display())))?;
        Ok(path.with_extension("md"))
    }
}

/// The median; none of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], upper)
    } else {
        upper
    })
}

/// Three significant digits or so: more would claim what was not measured.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 10_000.0 => format!("{:.1} k", value / 1000.0),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let load = Load {
            watchers: 10,
            deliveries: 1,
            time: Duration::ZERO,
            rate: 1.0,
            depth: 1,
            size: 250,
            stalled: 0,
        };
        let row =
            |kind, round, value| Row { kind, round, load, measures: vec![("d/CPU-s", value)] };
        // The machine is half as fast in the second round and the third: each pair still says 2, 2 and 1.
        let results = Results {
            figure: "f",
            title: "F",
            own: Kind::Milepost,
            goals: &[Goal::Ratio(Kind::Uws, 1.5), Goal::AtMost("d/CPU-s", 10.0)],
            rows: vec![
                row(Kind::Milepost, 0, 200.0),
                row(Kind::Uws, 0, 100.0),
                row(Kind::Milepost, 1, 100.0),
                row(Kind::Uws, 1, 50.0),
                row(Kind::Milepost, 2, 50.0),
                row(Kind::Uws, 2, 50.0),
            ],
            failures: vec![],
        };
        assert_eq!(results.ratio(10, Kind::Milepost, Kind::Uws), Some(2.0));
        assert_eq!(results.median_of(10, Kind::Milepost, "d/CPU-s"), Some(100.0));
        let markdown = results.markdown();
        assert!(markdown.contains("2.00 of uws, to reach 1.5: reached"), "{markdown}");
        assert!(markdown.contains("at most 10.0: **missed**"), "{markdown}");
    }

    #[test]
    fn a_median_of_an_even_count_lies_between() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
