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
//! - a percentage stands in brackets at the line's end: `test_a.py ....  [ 20%]`; or
//! - the line is drawn over in place (ended or begun by `\r` or `\b`); or
//! - the line before it of this kind had the same words before the number, and a lower number of the same
//!   total: `Rendering 10%`, `Rendering 20%`. The first such line is not taken, the second is.
//!
//! A step that begins is not done: `Step 3/10 : RUN make`, `#7 [3/10] RUN make`, `[3/4] Linking dependencies...` are two of
//! ten and two of four. Tries are not work: `attempt 2/30`, `worker 4/4 started`. Sizes (`1.2/18.3 MB`) and numbers with
//! thousands separators are counts as well.
//!
//! A line that names a resource or a rating there instead of work (`cpu`, `memory`, `disk`, `battery`,
//! `accuracy`, …) is never taken. What is taken for progress wrongly is put right by the next line and by the
//! command's end; it never decides an outcome.

use super::{Line, Progress, Reading, scan};

/// Words whose percentage measures a resource or a quality, not work done.
const RESOURCE_WORDS: [&str; 29] = [
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
    "flash",
    "cover",
];

/// Before a count: it is of tries or of those who work, not of work.
const NOT_COUNTED: [&str; 16] = [
    "attempt", "attempts", "try", "tries", "retry", "retries", "retrying", "worker", "workers",
    "thread", "threads", "process", "rank", "replica", "port", "channel",
];

/// Before a count: what it names begins with this line.
const STEP_WORDS: [&str; 8] = ["step", "stage", "phase", "task", "epoch", "pass", "round", "part"];

/// After a step's count: it is the step's instruction in a Dockerfile, whose text may be any command.
const INSTRUCTIONS: [&str; 18] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "ARG",
    "WORKDIR",
    "USER",
    "EXPOSE",
    "VOLUME",
    "LABEL",
    "SHELL",
    "HEALTHCHECK",
    "ONBUILD",
    "STOPSIGNAL",
    "MAINTAINER",
];

/// After a count that is the whole line: what is counted.
const COUNTED: [&str; 16] = [
    "rows",
    "records",
    "files",
    "items",
    "bytes",
    "lines",
    "images",
    "frames",
    "documents",
    "pages",
    "tasks",
    "tests",
    "chunks",
    "blocks",
    "steps",
    "objects",
];

const MAX_WORDS: usize = 64;

const DONE_WORDS: [&str; 4] = ["done", "complete", "completed", "finished"];

/// A number that may be progress.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    value: f64,
    total: f64,
    progress: Progress,
    /// Done and in all, in bytes.
    bytes: Option<(f64, f64)>,
    /// Counted one by one, not in percent or in bytes.
    count: Option<scan::Count>,
    is_percent: bool,
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
    total: f64,
}

impl Meter {
    pub(super) fn read(&mut self, line: Line<'_>) -> Option<Reading> {
        let candidate = candidate(line.text)?;
        let before = line.text[..candidate.start].trim();
        let after = line.text[candidate.end..].trim();
        let rises = self.rises(before, candidate);
        let begins = candidate.count.filter(|_| begins_a_step(before, after));
        let taken = rises
            || begins.is_some()
            || line.redrawn
            || is_whole(before, after)
            || in_brackets(before, after).is_some()
            || candidate.is_percent && before.ends_with('[') && after == "]"
            || has_bar(line.text);
        if !taken
            || measures_a_resource(before, after) && !(begins.is_some() && is_instruction(after))
            || candidate.count.is_some() && counts_tries(before)
        {
            return None;
        }
        let progress = match begins {
            Some(count) => Progress::of(count.done.saturating_sub(1), count.total),
            None => candidate.progress,
        };
        let reading = Reading::at(progress);
        let message = in_brackets(before, after).or_else(|| begins.map(|_| step_name(after)));
        let reading = match message {
            // axel draws dots there.
            Some(rest) if rest.starts_with("...") => reading,
            Some(rest) => match remaining(rest) {
                Some(seconds) => reading.with("time_left", seconds),
                None => reading.message(without_eta(rest)),
            },
            None => reading.message(label(before)),
        };
        let reading = Reading { bytes: candidate.bytes, ..reading };
        let reading = reading.with("time_left", scan::eta(line.text));
        Some(match scan::count(line.text) {
            Some(count) => reading.with("done", count.done).with("total", count.total),
            None => reading,
        })
    }

    /// Whether this number continues from the last one. Remembers it.
    fn rises(&mut self, before: &str, candidate: Candidate) -> bool {
        let words = || before.chars().filter(|c| !c.is_ascii_digit()).take(MAX_WORDS);
        let Candidate { value, total, .. } = candidate;
        let last = self.last.get_or_insert_default();
        let rises = last.total.total_cmp(&total).is_eq()
            && last.value < value
            && !is_table_row(before)
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
    let percent = percents.next();
    // zstd's percentage is how small the output is.
    if let Some(percent) =
        percent.filter(|percent| !text[..percent.start].trim_end().ends_with("==>"))
    {
        return percents.next().is_none().then_some(Candidate {
            value: percent.value,
            total: 100.0,
            progress: Progress::percent(percent.value),
            bytes: scan::amount(text).filter(|a| a.in_bytes).map(|a| (a.done, a.total)),
            count: None,
            is_percent: true,
            start: percent.start,
            end: percent.end,
        });
    }
    if let Some(count) = scan::count(text) {
        #[expect(clippy::cast_precision_loss, reason = "only compared with the value before")]
        let (value, total) = (count.done as f64, count.total as f64);
        return Some(Candidate {
            value,
            total,
            progress: Progress::of(count.done, count.total),
            bytes: None,
            count: Some(count),
            is_percent: false,
            start: count.start,
            end: count.end,
        });
    }
    let amount = scan::amount(text)?;
    Some(Candidate {
        value: amount.done,
        total: amount.total,
        progress: Progress::ratio(amount.done, amount.total),
        bytes: amount.in_bytes.then_some((amount.done, amount.total)),
        count: None,
        is_percent: false,
        start: amount.start,
        end: amount.end,
    })
}

fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|other| word.eq_ignore_ascii_case(other))
}

/// `attempt 2/30`, `Worker 4/4 started`.
fn counts_tries(before: &str) -> bool {
    words(before).next_back().is_some_and(|word| is_one_of(word, &NOT_COUNTED))
}

/// Whether a line is printed when the step begins that its count names: `Step 3/10 : RUN make`, `#7 [builder 3/10] COPY`,
/// `=> [3/10] RUN`, `[3/4] Linking dependencies...`.
fn begins_a_step(before: &str, after: &str) -> bool {
    let is_done = words(after).next_back().is_some_and(|word| is_one_of(word, &DONE_WORDS));
    // `RUN for file in *; do …; done` is not done.
    if is_done && !is_instruction(after) {
        return false;
    }
    let mark = before.trim_start_matches(['[', '(', ' ']);
    let is_step = mark.len() <= 12 && is_one_of(mark.trim_end(), &STEP_WORDS);
    let builder = before.starts_with("=> [")
        || before.strip_prefix('#').is_some_and(|rest| {
            let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            digits.len() < rest.len() && digits.starts_with(" [")
        });
    let bracketed =
        in_brackets(before, after).is_some_and(|rest| rest.ends_with("...") || rest.ends_with('…'));
    is_step || builder || bracketed
}

fn is_instruction(after: &str) -> bool {
    step_name(after).split(' ').next().is_some_and(|word| INSTRUCTIONS.contains(&word))
}

fn step_name(after: &str) -> &str {
    after.trim_start_matches([']', ')', ':', ' ', '-'])
}

/// A row of a table: a file's name and columns of numbers, as coverage prints it.
fn is_table_row(before: &str) -> bool {
    let mut columns = before.split("  ").filter(|column| !column.trim().is_empty());
    let name = columns.next().unwrap_or("");
    let is_number = |column: &str| {
        column.trim().bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
    };
    let numbers = columns.filter(|column| is_number(column)).count();
    numbers >= 2 || numbers == 1 && name.contains('.')
}

/// Among the words before the number and the two after it. (Training tools write measures after a bar.)
fn measures_a_resource(before: &str, after: &str) -> bool {
    words(before).chain(words(after).take(2)).any(|word| is_one_of(word, &RESOURCE_WORDS))
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
    labelled && (after.is_empty() || is_one_of(after, &DONE_WORDS) || is_one_of(after, &COUNTED))
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

/// What stands before the number, without a bracket that the number is in: `(Reading database ... 5%`.
fn label(before: &str) -> &str {
    let label = before.trim_end_matches(|c: char| !c.is_alphanumeric() && c != ')').trim();
    let opened = label.find(['(', '[']).filter(|at| !label[*at..].contains([')', ']']));
    let label = match opened {
        Some(0) => &label[1..],
        Some(at) => label[..at].trim_end(),
        None => label,
    };
    // sox prints `In:42.0%`.
    if label != "In" && label.chars().any(char::is_alphabetic) { label } else { "" }
}

/// Seconds out of oggenc's `[ 0m02s remaining] /`.
fn remaining(text: &str) -> Option<f64> {
    let (time, _spinner) = text.strip_prefix('[')?.split_once(" remaining]")?;
    scan::spelled_time(time.trim())
}

/// The text without the times that the bar shows by itself: x264's `24/300 frames, 61.17 fps, eta 0:00:04`.
fn without_eta(text: &str) -> &str {
    match text.rsplit_once(", eta ") {
        Some((rest, time)) if scan::clock(time).is_some() => rest,
        _ => text,
    }
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
            ("#7 [3/10] RUN make", 0.2),
            ("#5 [builder 2/2] RUN cargo build", 0.5),
            ("=> [3/10] RUN make", 0.2),
            ("[4/4] Building fresh packages...", 0.75),
            ("Step 3/10 : RUN make", 0.2),
            ("STEP 1/5: FROM debian", 0.0),
            ("STEP 2/5: RUN for file in *; do gzip $file; done", 0.2),
            ("#9 [4/5] RUN make && echo complete", 0.6),
            ("Step 3/10 : COPY disk.img memory.img /", 0.2),
            ("Epoch 2/4", 0.25),
            ("tests/test_a.py ........   [ 20%]", 0.2),
            ("1,000 of 20,000 rows", 0.05),
            ("1.5/3.0 MB", 0.5),
            ("Progress: 1.5 GiB / 3.0 GiB", 0.5),
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
            "attempt 2/30",
            "Worker 4/4 started",
            "RAM:   [=         ]   9.7% (used 31792 bytes from 327680 bytes)",
            "Flash: [==        ]  20.5% (used 268513 bytes from 1310720 bytes)",
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
            taken(&["Loaded shard 1/3 now", "Loaded shard 2/3 now"], false),
            [None, Some(2.0 / 3.0)]
        );
        assert_eq!(taken(&["Worker 1/4 started", "Worker 2/4 started"], false), [None, None]);
        assert_eq!(taken(&["try 1/4", "try 2/4"], false), [None, None]);
        assert_eq!(
            taken(&["step_1.py      20     15    25%", "step_2.py      20     10    50%"], false),
            [None, None]
        );
        assert_eq!(taken(&["CPU 10% now", "CPU 20% now"], false), [None, None]);
        assert_eq!(taken(&["10% cotton", "20% linen"], false), [None, None]);
    }

    #[test]
    fn what_is_drawn_in_place_is_a_meter_unless_it_names_a_resource() {
        assert_eq!(taken(&["fetching 42% of it", "cpu 42%"], true), [Some(0.42), None]);
    }
}
