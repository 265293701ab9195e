//! Two plots of what was measured: what a delivery costs, and an idle watcher's memory, against the number of watchers.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, doing};
use crate::result::median;

/// A plot, of one measure of one figure.
struct Plot {
    file: &'static str,
    figure: &'static str,
    measure: &'static str,
    title: &'static str,
    unit: &'static str,
    /// Converts a measured value to a shown one.
    shown: fn(f64) -> f64,
}

const PLOTS: [Plot; 2] = [
    Plot {
        file: "cost-per-delivery.svg",
        figure: "jobs",
        measure: "deliveries/CPU-s",
        title: "A report and its delivery, a job for each watcher",
        unit: "µs of the server's CPU",
        shown: |per_second| 1e6 / per_second,
    },
    Plot {
        file: "memory-per-watcher.svg",
        figure: "memory",
        measure: "KiB/watcher with its job",
        title: "Memory of an idle watcher and its job",
        unit: "KiB in user space",
        shown: |kib| kib,
    },
];

/// A server's medians by the number of watchers.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

/// Draws the latest results in `results` into `out`; the files.
pub(crate) fn draw(results: &Path, out: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::create_dir_all(out).map_err(doing(format!("making {}", out.display())))?;
    let draw = |plot: &Plot| {
        let lines = lines(plot, &latest(results, plot.figure)?);
        let path = out.join(plot.file);
        fs::write(&path, svg(plot, &lines))
            .map_err(doing(format!("writing {}", path.display())))?;
        Ok(path)
    };
    PLOTS.iter().map(draw).collect()
}

/// The latest results of a figure that were measured with several numbers of watchers.
fn latest(results: &Path, figure: &str) -> Result<Value, Error> {
    let entries = fs::read_dir(results).map_err(doing(format!("reading {}", results.display())))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    // The name ends with the time.
    paths.sort();
    let is_of_it = |path: &&PathBuf| {
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&format!("{figure}-")) && path.extension().is_some_and(|it| it == "json")
    };
    let read = |path: &PathBuf| serde_json::from_str::<Value>(&fs::read_to_string(path).ok()?).ok();
    let has_sizes = |result: &Value| sizes(result).len() > 1;
    paths.iter().rev().filter(is_of_it).filter_map(read).find(has_sizes).ok_or_else(|| {
        let results = results.display();
        Error::Limit(format!(
            "{results} has no {figure} with several numbers of watchers; measure growth first"
        ))
    })
}

fn rows(result: &Value) -> impl Iterator<Item = &Value> {
    result["rows"].as_array().into_iter().flatten()
}

fn sizes(result: &Value) -> Vec<u64> {
    let mut sizes: Vec<_> =
        rows(result).filter_map(|row| row["load"]["watchers"].as_u64()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn lines(plot: &Plot, result: &Value) -> Lines {
    let mut lines = Lines::new();
    for size in sizes(result) {
        let mut measured: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for row in rows(result).filter(|row| row["load"]["watchers"] == size) {
            let value = row["measures"][plot.measure].as_f64().filter(|value| *value > 0.0);
            if let Some((server, value)) = row["server"].as_str().zip(value) {
                measured.entry(server).or_default().push(value);
            }
        }
        for (server, values) in measured {
            if let Some(value) = median(values) {
                let point = (crate::figures::number(size), (plot.shown)(value));
                lines.entry(server.to_owned()).or_default().push(point);
            }
        }
    }
    lines
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Of the area between the axes.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 590.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 365.0;
const COLOURS: [&str; 6] = ["#1f6feb", "#d1242f", "#8250df", "#1a7f37", "#9a6700", "#57606a"];

/// Both axes are logarithmic: a peer may take thirty times as much.
fn svg(plot: &Plot, lines: &Lines) -> String {
    let points = || lines.values().flatten();
    let axes = Axes {
        x: Scale::of(points().map(|(x, _)| *x), LEFT, RIGHT),
        y: Scale::of(points().map(|(_, y)| *y), BOTTOM, TOP),
    };
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">
<title>{title}</title>
<rect width="100%" height="100%" fill="white"/>
<text x="{LEFT}" y="22" font-size="16">{title}</text>
<text x="{LEFT}" y="40" fill="#57606a">{unit}; both axes are logarithmic</text>
<text x="{middle}" y="405" text-anchor="middle" fill="#57606a">watchers</text>
"##,
        title = plot.title,
        unit = plot.unit,
        middle = f64::midpoint(LEFT, RIGHT),
    );
    let written = axes.draw(&mut svg, lines).and_then(|()| axes.draw_lines(&mut svg, lines));
    written.expect("writing to a String cannot fail");
    svg.push_str("</svg>\n");
    svg
}

struct Axes {
    x: Scale,
    y: Scale,
}

impl Axes {
    fn draw(&self, svg: &mut String, lines: &Lines) -> fmt::Result {
        for value in self.y.ticks() {
            let y = self.y.at(value);
            writeln!(svg, r##"<path d="M{LEFT} {y:.1}H{RIGHT}" stroke="#d0d7de"/>"##)?;
            let (x, y) = (LEFT - 8.0, y + 4.0);
            writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="end">{value}</text>"#)?;
        }
        let mut watchers: Vec<f64> = lines.values().flatten().map(|(x, _)| *x).collect();
        watchers.sort_by(f64::total_cmp);
        watchers.dedup();
        for value in watchers {
            let x = self.x.at(value);
            writeln!(svg, r##"<path d="M{x:.1} {TOP}V{BOTTOM}" stroke="#eaeef2"/>"##)?;
            let y = BOTTOM + 18.0;
            writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="middle">{value}</text>"#)?;
        }
        Ok(())
    }

    /// Each server's line, with its name beside the last point.
    fn draw_lines(&self, svg: &mut String, lines: &Lines) -> fmt::Result {
        let mut used = Vec::<f64>::new();
        for ((server, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let at = |(x, y): &(f64, f64)| format!("{:.1},{:.1}", self.x.at(*x), self.y.at(*y));
            let path: Vec<_> = points.iter().map(at).collect();
            writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                path.join(" ")
            )?;
            for point in &path {
                let (x, y) = point.split_once(',').unwrap_or_default();
                writeln!(svg, r#"<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>"#)?;
            }
            // Two names do not overlap.
            let mut y = points.last().map_or(TOP, |(_, y)| self.y.at(*y)) + 4.0;
            while used.iter().any(|other| (other - y).abs() < 15.0) {
                y += 15.0;
            }
            used.push(y);
            let server = server.replace('&', "&amp;").replace('<', "&lt;");
            let x = RIGHT + 10.0;
            writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" fill="{colour}">{server}</text>"#)?;
        }
        Ok(())
    }
}

/// A logarithmic axis.
struct Scale {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        Self { least: least * 0.8, most: most * 1.25, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value / self.least).ln() / (self.most / self.least).ln();
        self.from + share * (self.to - self.from)
    }

    /// Of 1, 2 and 5 times a power of ten those that fit.
    fn ticks(&self) -> Vec<f64> {
        let powers = (-3..7).map(|power| 10_f64.powi(power));
        let ticks = powers.flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * power));
        ticks.filter(|tick| (self.least..=self.most).contains(tick)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(server: &str, watchers: u64, value: f64) -> Value {
        json!({"server": server, "load": {"watchers": watchers}, "measures": {"deliveries/CPU-s": value,
            "KiB/watcher with its job": value}})
    }

    #[test]
    fn plots_show_the_latest_results_of_several_sizes() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, rows: Vec<Value>| {
            fs::write(dir.path().join(name), json!({ "rows": rows }).to_string()).unwrap();
        };
        let fails = draw(dir.path(), dir.path()).unwrap_err().to_string();
        assert!(fails.contains("no jobs with several numbers of watchers"), "{fails}");
        write("jobs-1.json", vec![row("old", 100, 1e5), row("old", 1_000, 1e5)]);
        write(
            "jobs-2.json",
            vec![row("milepost", 100, 5e4), row("uws", 100, 1e5), row("milepost", 1_000, 4e4)],
        );
        write("jobs-3.json", vec![row("milepost", 100, 1.0)]);
        write("memory-2.json", vec![row("milepost", 100, 1.5), row("milepost", 1_000, 0.9)]);
        let files = draw(dir.path(), &dir.path().join("out")).unwrap();
        let svg = fs::read_to_string(&files[0]).unwrap();
        assert!(
            svg.contains(">milepost<") && svg.contains(">uws<") && !svg.contains(">old<"),
            "{svg}"
        );
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(fs::read_to_string(&files[1]).unwrap().matches("<circle").count(), 2);
    }
}
