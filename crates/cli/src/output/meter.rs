//! A percentage or a count in a line that no known tool writes.
//!
//! # The rule
//!
//! Prose and logs are full of percentages (`100% cotton`, `CPU 45%`), so a number alone is not enough. The
//! line must have exactly one percentage, or, without any, a count (`3/10`, `3 of 10`), and
//!
//! - the number stands in brackets at the line's beginning: `[ 12%] Building`, `[3/10] Linking`; or
//! - the line is nothing else, but for `progress` before it and `done`, `complete`, `completed` or
//!   `finished` after it: `42%`, `Progress: 42%`, `42% done`, `3/10`; or
//! - a bar is drawn beside it: `[####    ] 50%`, `45/100 [===>....]`; or
//! - the line is drawn over in place (ended or begun by `\r` or `\b`); or
//! - the line before it of this kind had the same words before the number, and a lower number of the same
//!   total: `Rendering 10%`, `Rendering 20%`. The first such line is not taken, the second is.
//!
//! A line that names a resource or a rating there instead of work (`cpu`, `memory`, `disk`, `battery`,
//! `accuracy`, …) is never taken. What is taken for progress wrongly is put right by the next line and by the
//! command's end; it never decides an outcome.

use super::{Line, Progress, Reading, scan};

/// Words whose percentage measures a resource or a quality, not work done.
const RESOURCE_WORDS: [&str; 27] = [
    "cpu",
    "gpu",
    "mem",
    "memory",
    "ram",
    "heap",
    "swap",
    "disk",
    "load",
    "usage",
    "use",
    "used",
    "util",
    "utilization",
    "utilisation",
    "battery",
    "idle",
    "free",
    "coverage",
    "accuracy",
    "acc",
    "loss",
    "packet",
    "hit",
    "off",
    "confidence",
    "volume",
];

const MAX_WORDS: usize = 64;

const DONE_WORDS: [&str; 4] = ["done", "complete", "completed", "finished"];

/// A number that may be progress.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    value: f64,
    total: u64,
    progress: Progress,
    start: usize,
    end: usize,
}

/// Remembers the last line with a number, to compare the next one with.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: Option<Last>,
}

#[derive(Debug, Default)]
struct Last {
    /// What stood before the number, without digits; at most [`MAX_WORDS`] characters.
    words: String,
    value: f64,
    total: u64,
}

impl Meter {
    pub(super) fn read(&mut self, line: Line<'_>) -> Option<Reading> {
        let candidate = candidate(line.text)?;
        let before = line.text[..candidate.start].trim();
        let after = line.text[candidate.end..].trim();
        let rises = self.rises(before, candidate);
        let taken = rises
            || line.redrawn
            || is_whole(before, after)
            || in_brackets(before, after).is_some()
            || has_bar(line.text);
        if !taken || measures_a_resource(before, after) {
            return None;
        }
        let reading = Reading::at(candidate.progress);
        let reading = match in_brackets(before, after) {
            Some(rest) => reading.message(rest),
            None => reading.message(label(before)),
        };
        Some(match scan::count(line.text) {
            Some(count) => reading.with("done", count.done).with("total", count.total),
            None => reading,
        })
    }

    /// Whether this number goes on from the last one. Remembers it.
    fn rises(&mut self, before: &str, candidate: Candidate) -> bool {
        let words = || before.chars().filter(|c| !c.is_ascii_digit()).take(MAX_WORDS);
        let Candidate { value, total, .. } = candidate;
        let last = self.last.get_or_insert_default();
        let rises = last.total == total
            && last.value < value
            && !last.words.is_empty()
            && last.words.chars().eq(words());
        last.words.clear();
        last.words.extend(words());
        (last.value, last.total) = (value, total);
        rises
    }
}

fn candidate(text: &str) -> Option<Candidate> {
    let mut percents = scan::percents(text);
    if let Some(percent) = percents.next() {
        return percents.next().is_none().then_some(Candidate {
            value: percent.value,
            total: 100,
            progress: Progress::percent(percent.value),
            start: percent.start,
            end: percent.end,
        });
    }
    let count = scan::count(text)?;
    #[expect(clippy::cast_precision_loss, reason = "only compared with the value before")]
    let value = count.done as f64;
    Some(Candidate {
        value,
        total: count.total,
        progress: Progress::of(count.done, count.total),
        start: count.start,
        end: count.end,
    })
}

/// Among the words before the number and the two after it. (Training tools write measures after a bar.)
fn measures_a_resource(before: &str, after: &str) -> bool {
    let words = |text| str::split(text, |c: char| !c.is_alphabetic()).filter(|w| !w.is_empty());
    words(before)
        .chain(words(after).take(2))
        .any(|word| RESOURCE_WORDS.iter().any(|not| word.eq_ignore_ascii_case(not)))
}

/// `[ 12%] rest`, `(3/10) rest`, also behind a builder's step mark as in `#7 [3/10] RUN make` and `=> [3/10]`.
/// The rest, if so.
fn in_brackets<'a>(before: &str, after: &'a str) -> Option<&'a str> {
    let close = match before.chars().next_back()? {
        '[' => ']',
        '(' => ')',
        _ => return None,
    };
    let mark = before[..before.len() - 1].trim();
    let is_mark = mark.is_empty()
        || mark == "=>"
        || mark.strip_prefix('#').is_some_and(|n| n.parse::<u32>().is_ok());
    after.strip_prefix(close).filter(|_| is_mark).map(str::trim)
}

/// Nothing else on the line but words for progress.
fn is_whole(before: &str, after: &str) -> bool {
    let before = before.trim_end_matches([':', ' ']);
    let labelled = before.is_empty() || before.eq_ignore_ascii_case("progress");
    let after = after.trim_matches(|c: char| c.is_ascii_punctuation() || c == '…');
    labelled && (after.is_empty() || DONE_WORDS.iter().any(|word| after.eq_ignore_ascii_case(word)))
}

/// A bar: between `[` and `]`, `|` and `|` or `(` and `)`, or at the line's beginning, at least four characters, all of
/// them such as bars are drawn with, and not all blank unless between brackets.
fn has_bar(text: &str) -> bool {
    let is_bar = |c: char| "#=>-.*█▉▊▋▌▍▎▏░▒▓━╸╺■□▰▱⣿⣀".contains(c);
    let mut run = 0;
    let mut drawn = false;
    let mut open = false;
    for c in text.chars() {
        if is_bar(c) || c == ' ' && open {
            run += 1;
            drawn |= is_bar(c);
            continue;
        }
        if open && drawn && run >= 4 && matches!(c, ']' | '|' | ')') {
            return true;
        }
        open = matches!(c, '[' | '|' | '(');
        run = 0;
        drawn = false;
    }
    let solid = text.chars().filter(|c| "█▓━■▰⣿".contains(*c)).count();
    solid >= 4
}

fn label(before: &str) -> &str {
    let label = before.trim_end_matches(|c: char| !c.is_alphanumeric() && c != ')').trim();
    if label.chars().any(char::is_alphabetic) { label } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(lines: &[&str], redrawn: bool) -> Vec<Option<f64>> {
        let mut meter = Meter::default();
        lines
            .iter()
            .map(|text| {
                meter.read(Line { text, redrawn }).map(|r| match r.progress {
                    Some(Progress::Fraction(f)) => f,
                    other => panic!("{other:?}"),
                })
            })
            .collect()
    }

    #[test]
    fn numbers_that_are_shaped_like_progress() {
        for (line, expected) in [
            ("42%", 0.42),
            ("42 %", 0.42),
            ("Progress: 42%", 0.42),
            ("progress 42.5%", 0.425),
            ("42% complete", 0.42),
            ("42% done.", 0.42),
            ("[ 12%] Building C object a.c.o", 0.12),
            ("[100%] Built target x", 1.0),
            ("[3/10] Linking", 0.3),
            ("(3/10) upgrading zlib", 0.3),
            ("#7 [3/10] RUN make", 0.3),
            ("=> [3/10] RUN make", 0.3),
            ("3/10", 0.3),
            ("Progress: 3/10", 0.3),
            ("[#####     ] 50%", 0.5),
            ("|=====     | 50% of it", 0.5),
            ("loading ████████        50% at once", 0.5),
            ("45/100 [====>.....] - ETA: 3s - loss: 0.5", 0.45),
            ("Building [=====>       ] 3/10: serde", 0.3),
        ] {
            assert_eq!(taken(&[line], false), [Some(expected)], "{line}");
        }
    }

    #[test]
    fn numbers_in_prose_and_logs() {
        for line in [
            "100% cotton",
            "We are 50% done with the migration",
            "CPU: 45%",
            "Disk usage: 91%",
            "Test coverage: 85%",
            "Accuracy: 97.5%",
            "Battery 45%",
            "i16 v,h,dc,p: 83% 14%  3%  1%",
            "coded y,uvDC,uvAC intra: 23.5%",
            "use 1/2 cup of sugar",
            "on 3/10 we met",
            "GET /a%20b 200 10/12",
            "(see chapter 3/10)",
            "error: 5 of 10 tests failed",
            "2024-01-01 10:00:00 [info] 3/10 workers up",
            "up 50%, down 20%",
            "Discount: 15%",
            "Step 3/10 : RUN make",
        ] {
            assert_eq!(taken(&[line], false), [None], "{line}");
        }
    }

    #[test]
    fn a_number_that_rises_is_taken_from_the_second_line_on() {
        assert_eq!(
            taken(
                &[
                    "Rendering frame 1: 10% so far",
                    "Rendering frame 2: 20% so far",
                    "Rendering frame 3: 20%  so far"
                ],
                false
            ),
            [None, Some(0.2), None]
        );
        assert_eq!(
            taken(&["Epoch 1/3 begins", "Epoch 2/3 begins"], false),
            [None, Some(2.0 / 3.0)]
        );
        assert_eq!(taken(&["CPU 10% now", "CPU 20% now"], false), [None, None]);
        assert_eq!(taken(&["10% cotton", "20% linen"], false), [None, None]);
    }

    #[test]
    fn what_is_drawn_in_place_is_a_meter_unless_it_names_a_resource() {
        assert_eq!(taken(&["fetching 42% of it", "cpu 42%"], true), [Some(0.42), None]);
    }
}
