//! Several bars in one stream: nested loops, parallel downloads.

use std::collections::BTreeMap;

use super::lines::RawLine;
use super::{Progress, Reading};

/// The most bars that are distinguished.
const MAX_BARS: usize = 64;

/// Combines the bars of a stream: their sum if all have a size in bytes, otherwise the outermost one.
///
/// Bars are at once if one is drawn above another (the outermost is the highest), or if they take turns though none is
/// complete, one of them behind another (the outermost is the first).
#[derive(Debug, Default)]
pub(super) struct Bars {
    /// By row, where rows are drawn above others.
    rows: BTreeMap<i64, Reading>,
    /// In the order of their first line, where all draw over one row.
    turns: Vec<Reading>,
    /// The bar in `turns` that the last line was of.
    last: usize,
    take_turns: bool,
}

impl Bars {
    pub(super) fn observe(&mut self, line: &RawLine<'_>, reading: Reading) -> Reading {
        if reading.progress.is_none() || reading.is_only_bar || !(line.redrawn || line.stacked) {
            return reading;
        }
        if line.stacked {
            // What is complete above belongs to the past.
            self.rows
                .retain(|row, bar| *row >= line.row || bar.fraction().is_some_and(|f| f < 1.0));
            if self.rows.len() < MAX_BARS || self.rows.contains_key(&line.row) {
                self.rows.insert(line.row, reading.clone());
            }
            return combined(self.rows.values(), reading);
        }
        // The first bar is drawn before it shows that there are several.
        self.rows.clear();
        self.rows.insert(line.row, reading.clone());
        self.turn(reading)
    }

    fn turn(&mut self, reading: Reading) -> Reading {
        let known = self.turns.iter().position(|bar| bar.message == reading.message);
        match known {
            Some(index) => {
                let complete = self.turns[index].fraction().is_none_or(|f| f >= 1.0);
                // One bar may change its words to and fro, but it does not go back.
                let behind = reading.fraction() < self.turns[self.last].fraction();
                self.take_turns |= index != self.last && !complete && behind;
                self.turns[index] = reading.clone();
                self.last = index;
            }
            None if self.turns.len() < MAX_BARS => {
                // What came to its end before did so alone.
                if !self.take_turns {
                    self.turns.retain(|bar| bar.fraction().is_some_and(|f| f < 1.0));
                }
                self.last = self.turns.len();
                self.turns.push(reading.clone());
            }
            None => {}
        }
        if self.take_turns { combined(self.turns.iter(), reading) } else { reading }
    }
}

fn combined<'a>(bars: impl Iterator<Item = &'a Reading> + Clone, latest: Reading) -> Reading {
    let mut count = 0;
    let sum = bars.clone().try_fold((0.0, 0.0), |(done, total), bar| {
        count += 1;
        bar.bytes.map(|(d, t)| (done + d, total + t))
    });
    match sum {
        Some((done, total)) if count > 1 => Reading {
            progress: Some(Progress::ratio(done, total)),
            metadata: serde_json::Map::new(),
            ..latest
        },
        _ => match bars.into_iter().next() {
            Some(outermost) => Reading { message: latest.message, ..outermost.clone() },
            None => latest,
        },
    }
}
