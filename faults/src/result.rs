//! The results of the faults, as a table.

use std::fmt::Write as _;
use std::time::Duration;

use crate::fault::Fault;
use crate::health::Verdict;
use crate::sight::Wrongs;
use crate::stage::MEMORY;

/// How soon `/readyz` has to change when a fault begins, and when it is over.
const READINESS_BOUND: Duration = Duration::from_secs(10);

/// The factor by which the delays of healthy jobs may grow while other jobs fail.
const WORSE: f64 = 1.5;

/// The result of one fault.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    /// From when something broke to when all of it was back.
    pub(crate) took: Duration,
    /// How many updates workers reported, from before the fault to the end.
    pub(crate) confirmed: u64,
    /// The share of the updates due in the quiet seconds before the fault that workers reported: less than 1 if this
    /// machine is too slow for the load.
    pub(crate) share: f64,
    /// Updates of legacy workers that failed. Such workers do not retry.
    pub(crate) lost: u64,
    /// Updates that the server rejected (4xx).
    pub(crate) refused: u64,
    /// How long after the fault's end each watcher showed something newer than the fault.
    pub(crate) back: Vec<Option<Duration>>,
    /// Watchers that did not show the newest state some time later.
    pub(crate) stale: u64,
    /// Jobs whose end the workers could not report.
    pub(crate) unended: u64,
    /// Watchers without the end.
    pub(crate) missing_ends: u64,
    pub(crate) shown: Shown,
    pub(crate) readied: Vec<Readied>,
    /// The 99th percentile of the delay from report to watcher: before the fault, and during it.
    pub(crate) p99: (Option<Duration>, Option<Duration>),
    /// The most bytes of resident memory that an instance had.
    pub(crate) peak: Option<u64>,
    /// None if it was not judged.
    pub(crate) health: Option<Verdict>,
}

/// What watchers were shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) states: u64,
    /// Watchers that were shown an end more than once.
    pub(crate) twice: u64,
    pub(crate) wrongs: Wrongs,
    /// Connections lost while their instance was there, and why.
    pub(crate) thrown_out: Vec<String>,
    /// What watchers were shown and should not have been.
    pub(crate) notes: Vec<String>,
    /// Connections lost with their instance.
    pub(crate) displaced: u64,
    /// Watchers that are not connected at the end.
    pub(crate) disconnected: u64,
}

/// How `/readyz` of an instance answered the fault.
#[derive(Debug)]
pub(crate) struct Readied {
    pub(crate) instance: usize,
    /// After the fault began.
    pub(crate) unready: Option<Duration>,
    /// Why it was not ready.
    pub(crate) reason: String,
    /// After the fault's end.
    pub(crate) ready: Option<Duration>,
}

impl Row {
    /// Watchers that were late after the fault.
    pub(crate) fn late(&self) -> u64 {
        let bound = self.fault.bound();
        self.back.iter().filter(|back| back.is_none_or(|back| back > bound)).count() as u64
    }

    /// Every violation, for a person. If `quick`, the faults are too short for `/readyz` to change.
    pub(crate) fn wrong(&self, quick: bool) -> Vec<String> {
        let mut all = Vec::new();
        let mut count = |number: u64, what: &str| {
            if number > 0 {
                all.push(format!("{number} {what}"));
            }
        };
        let late =
            format!("watchers without anything newer {:?} after the fault", self.fault.bound());
        count(self.late(), &late);
        count(self.stale, "watchers without the newest state later");
        count(self.unended, "jobs whose end was not taken");
        count(self.missing_ends, "watchers without the end");
        count(self.shown.twice, "watchers with an end more than once");
        count(self.shown.wrongs.steps_back, "steps back");
        count(self.shown.wrongs.duplicates, "duplicates");
        count(self.shown.wrongs.positions, "positions out of order");
        count(self.shown.wrongs.foreign, "frames that nobody reported");
        if !self.fault.loses_jobs() {
            count(self.shown.wrongs.forgotten, "notices that a job was forgotten");
        }
        count(
            self.shown.thrown_out.len() as u64,
            "losses of a connection to an instance that was there",
        );
        count(self.shown.disconnected, "watchers that did not come back");
        count(self.refused, "updates refused");
        let health = self.health.as_ref().map_or(0, |health| health.wrongs.len());
        count(health as u64, "watchers with a wrong course of health");
        let is_bounded = matches!(self.fault, Fault::Abuse | Fault::UnreadAnswers);
        if is_bounded && self.peak.is_none_or(|peak| peak > MEMORY) {
            all.push(format!("{:?} bytes of resident memory, of {MEMORY}", self.peak));
        }
        if let (true, false, (Some(before), Some(during))) =
            (self.fault.is_of_others(), quick, self.p99)
            && during > before.mul_f64(WORSE)
        {
            all.push(format!(
                "99 of 100 updates took {during:?} during the fault, {before:?} before"
            ));
        }
        let late = |time: Option<Duration>| time.is_none_or(|time| time > READINESS_BOUND);
        for readied in self.readied.iter().filter(|_| !quick) {
            let Readied { instance, unready, ready, .. } = readied;
            if late(*unready) {
                all.push(format!("/readyz of instance {instance} did not report it: {unready:?}"));
            }
            if late(*ready) {
                all.push(format!("/readyz of instance {instance} did not come back: {ready:?}"));
            }
        }
        all
    }

    fn delays(&self) -> String {
        let shown = |time: Option<Duration>| {
            time.map_or("–".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3))
        };
        format!("{} / {}", shown(self.p99.0), shown(self.p99.1))
    }

    fn cells(&self, quick: bool) -> Vec<String> {
        let mut back: Vec<Duration> =
            self.back.iter().map(|b| b.unwrap_or(Duration::MAX)).collect();
        back.sort_unstable();
        let seconds = |time: Option<&Duration>| match time {
            Some(&Duration::MAX) | None => "never".to_owned(),
            Some(time) => format!("{:.1}", time.as_secs_f64()),
        };
        let readied = self.readied.iter().map(|readied| {
            let (from, to) = (seconds(readied.unready.as_ref()), seconds(readied.ready.as_ref()));
            format!("{from} / {to}")
        });
        let wrongs = self.shown.wrongs;
        vec![
            self.fault.about().to_owned(),
            format!("{:.1}", self.took.as_secs_f64()),
            format!("{} / {}", seconds(back.get(back.len() / 2)), seconds(back.last())),
            (self.late() + self.stale).to_string(),
            format!("{} / {}", self.missing_ends, self.shown.twice),
            (wrongs.steps_back + wrongs.positions).to_string(),
            wrongs.duplicates.to_string(),
            format!("{} / {}", self.shown.thrown_out.len(), self.shown.displaced),
            self.delays(),
            self.lost.to_string(),
            readied.collect::<Vec<_>>().join(", "),
            if self.wrong(quick).is_empty() { "ok".into() } else { "**FAILED**".into() },
        ]
    }
}

/// The table, in Markdown, and what the columns mean.
pub(crate) fn table(rows: &[Row], quick: bool) -> String {
    let head = [
        "fault",
        "took, s",
        "newest again: median / last watcher, s",
        "too late",
        "ends missing / twice",
        "steps back",
        "duplicates",
        "thrown out / moved with their instance",
        "p99 of delays before / during, ms",
        "lost by legacy workers",
        "`/readyz` reports / recovers, s",
        "",
    ];
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    };
    line(&head.map(str::to_owned));
    line(&head.map(|_| "---".to_owned()));
    for row in rows {
        line(&row.cells(quick));
    }
    text
}
