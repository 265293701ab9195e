//! What came of the faults, as a table.

use std::fmt::Write as _;
use std::time::Duration;

use crate::fault::Fault;
use crate::sight::Wrongs;
use crate::stage::MEMORY;

/// So soon `/readyz` has to tell, and tell that it is over.
const TOLD: Duration = Duration::from_secs(10);

/// By so much may the delays of jobs that are well grow while others are in trouble.
const WORSE: f64 = 1.5;

/// What came of one fault.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    /// From the first breakage to when all was there again.
    pub(crate) took: Duration,
    /// By how much the workers' counts went up: from before the fault to the end.
    pub(crate) confirmed: u64,
    /// Of the updates that workers were to report in the quiet seconds before the fault, how many they did: less than
    /// 1, if this machine is too slow for the load.
    pub(crate) share: f64,
    /// Updates that failed, of workers of the old kind, who do not try again.
    pub(crate) lost: u64,
    /// Updates that the server did not take, by its own word (4xx).
    pub(crate) refused: u64,
    /// States shown to watchers.
    pub(crate) states: u64,
    /// When each watcher showed something newer than the fault, after its end.
    pub(crate) back: Vec<Option<Duration>>,
    /// Watchers that did not show the newest state later.
    pub(crate) stale: u64,
    /// Jobs whose end the workers could not tell.
    pub(crate) unended: u64,
    /// Watchers without the end.
    pub(crate) missing_ends: u64,
    /// Watchers that were shown an end more than once.
    pub(crate) twice: u64,
    pub(crate) wrongs: Wrongs,
    pub(crate) thrown_out: Vec<String>,
    /// What watchers were shown and should not have been.
    pub(crate) notes: Vec<String>,
    /// Connections lost with their instance.
    pub(crate) displaced: u64,
    /// Watchers that are not connected at last.
    pub(crate) disconnected: u64,
    pub(crate) readied: Vec<Readied>,
    /// How long 99 of 100 updates took to their watchers: before the fault, and during it.
    pub(crate) p99: (Option<Duration>, Option<Duration>),
    /// The most bytes of resident memory that an instance had.
    pub(crate) peak: Option<u64>,
}

/// What `/readyz` of an instance said of the fault.
#[derive(Debug)]
pub(crate) struct Readied {
    pub(crate) instance: usize,
    /// After the fault began.
    pub(crate) unready: Option<Duration>,
    pub(crate) said: String,
    /// After the fault's end.
    pub(crate) ready: Option<Duration>,
}

impl Row {
    /// Watchers that were late after the fault.
    pub(crate) fn late(&self) -> u64 {
        let bound = self.fault.bound();
        self.back.iter().filter(|back| back.is_none_or(|back| back > bound)).count() as u64
    }

    /// Everything that is not as it has to be, for a person. `quick`: the faults are too short for `/readyz` to tell.
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
        count(self.twice, "watchers with an end more than once");
        count(self.wrongs.steps_back, "steps back");
        count(self.wrongs.duplicates, "duplicates");
        count(self.wrongs.positions, "positions out of order");
        count(self.wrongs.foreign, "frames that nobody reported");
        count(self.thrown_out.len() as u64, "losses of a connection to an instance that was there");
        count(self.disconnected, "watchers that did not come back");
        count(self.refused, "updates refused");
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
        let late = |time: Option<Duration>| time.is_none_or(|time| time > TOLD);
        for readied in self.readied.iter().filter(|_| !quick) {
            let Readied { instance, unready, ready, .. } = readied;
            if late(*unready) {
                all.push(format!("/readyz of instance {instance} did not tell: {unready:?}"));
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
        let wrongs = self.wrongs;
        vec![
            self.fault.about().to_owned(),
            format!("{:.1}", self.took.as_secs_f64()),
            format!("{} / {}", seconds(back.get(back.len() / 2)), seconds(back.last())),
            (self.late() + self.stale).to_string(),
            format!("{} / {}", self.missing_ends, self.twice),
            (wrongs.steps_back + wrongs.positions).to_string(),
            wrongs.duplicates.to_string(),
            format!("{} / {}", self.thrown_out.len(), self.displaced),
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
        "`/readyz` tells / recovers, s",
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
