//! What a watcher was shown, and the violations in it. Judged by the worker's own count (`metadata.n`), so that it does
//! not depend on the positions that are under test.

use std::cmp::Ordering;
use std::time::Instant;

use serde::Deserialize;

/// So many wrongs of each watcher are kept in full.
const NOTES: usize = 3;

/// What one watcher has been shown so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// The `n` of the newest update shown; 0: none yet.
    pub(crate) newest: u64,
    /// The position of the latest frame: what the watcher resumes from.
    pub(crate) position: Option<String>,
    pub(crate) wrongs: Wrongs,
    /// States shown.
    pub(crate) states: u64,
    /// How often an end was shown.
    pub(crate) ends: u64,
    /// The first few wrongs, for a person.
    pub(crate) notes: Vec<String>,
    /// What is waited for, and when it was shown.
    target: u64,
    reached: Option<Instant>,
}

/// What must not happen, and how often it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrongs {
    /// An update after a newer one.
    pub(crate) steps_back: u64,
    /// An update that was the newest already.
    pub(crate) duplicates: u64,
    /// A newer update whose position is not after the one before, in the same epoch.
    pub(crate) positions: u64,
    /// A frame that is neither a state that a worker reported nor another known message.
    pub(crate) foreign: u64,
    /// A notice that the job was forgotten, which is right where the fault loses jobs.
    pub(crate) forgotten: u64,
}

impl Wrongs {
    pub(crate) fn add(&mut self, other: Self) {
        self.steps_back += other.steps_back;
        self.duplicates += other.duplicates;
        self.positions += other.positions;
        self.foreign += other.foreign;
        self.forgotten += other.forgotten;
    }
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    position: Option<&'a str>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a str>,
    #[serde(borrow)]
    problem: Option<&'a str>,
    #[serde(borrow)]
    status: Option<&'a str>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    n: u64,
    /// When the worker sent it, by [`now_micros`](crate::delays::now_micros).
    #[serde(default)]
    at: u64,
}

impl Sight {
    /// From now on, what counts is when update `number`, or a later one, is shown; it may be already.
    pub(crate) fn aim(&mut self, number: u64, now: Instant) {
        self.target = number;
        self.reached = (self.newest >= number).then_some(now);
    }

    /// When the target was shown.
    pub(crate) fn reached(&self) -> Option<Instant> {
        self.reached
    }

    /// Takes a text frame. If it is an update newer than all before, this is when its worker sent it.
    pub(crate) fn frame(&mut self, text: &str, now: Instant) -> Option<u64> {
        let Ok(frame) = serde_json::from_str::<Frame<'_>>(text) else {
            self.is_foreign(text);
            return None;
        };
        let Some(position) = frame.position else {
            match (frame.kind, frame.problem) {
                (Some("connected" | "ping" | "pong"), _) => {}
                (Some("error"), Some("unknown-job")) => self.wrongs.forgotten += 1,
                _ => self.is_foreign(text),
            }
            return None;
        };
        let Some(Metadata { n, at }) = frame.metadata else {
            self.is_foreign(text);
            return None;
        };
        let before = self.position.as_deref().unwrap_or("nothing");
        let wrong = match n.cmp(&self.newest) {
            Ordering::Less => Some(("a step back", &mut self.wrongs.steps_back)),
            Ordering::Equal => Some(("a duplicate", &mut self.wrongs.duplicates)),
            Ordering::Greater if follows(before, position) == Some(false) => {
                Some(("a position out of order", &mut self.wrongs.positions))
            }
            Ordering::Greater => None,
        };
        if let Some((what, count)) = wrong {
            *count += 1;
            if self.notes.len() < NOTES {
                let (newest, status) = (self.newest, frame.status.unwrap_or("no status"));
                self.notes.push(format!(
                    "{what}: update {n} ({status}) at {position} after update {newest} at {before}"
                ));
            }
        }
        let is_newer = n > self.newest;
        self.states += 1;
        self.ends += u64::from(matches!(frame.status, Some("completed" | "failed" | "cancelled")));
        self.newest = self.newest.max(n);
        if self.newest >= self.target {
            self.reached.get_or_insert(now);
        }
        self.position = Some(position.to_owned());
        is_newer.then_some(at)
    }

    fn is_foreign(&mut self, text: &str) {
        self.wrongs.foreign += 1;
        if self.notes.len() < NOTES {
            self.notes.push(format!("a frame that nobody reported: {text}"));
        }
    }
}

/// Whether a position comes after another one; none if they are of different epochs.
fn follows(before: &str, after: &str) -> Option<bool> {
    let read = |position: &str| {
        let (epoch, number) = position.split_once('-')?;
        Some((epoch.to_owned(), number.parse::<u64>().ok()?))
    };
    let (before, after) = (read(before)?, read(after)?);
    (before.0 == after.0).then_some(after.1 > before.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(frames: &[(u64, &str, &str)]) -> Sight {
        let mut sight = Sight::default();
        for (n, status, position) in frames {
            let text = format!(
                r#"{{"job_id":"a","status":"{status}","position":"{position}","metadata":{{"n":{n}}}}}"#
            );
            sight.frame(&text, Instant::now());
        }
        sight
    }

    const FINE: Wrongs =
        Wrongs { steps_back: 0, duplicates: 0, positions: 0, foreign: 0, forgotten: 0 };

    #[test]
    fn what_is_in_order_is_fine() {
        let sight = shown(&[
            (1, "processing", "a-1"),
            (3, "processing", "a-3"),
            (4, "processing", "b-1"),
            (5, "completed", "b-2"),
        ]);
        assert_eq!((sight.newest, sight.ends, sight.wrongs), (5, 1, FINE));
        assert_eq!(sight.position.as_deref(), Some("b-2"));
    }

    #[test]
    fn what_is_not_is_counted() {
        let back = shown(&[(2, "processing", "a-2"), (1, "processing", "a-3")]);
        assert_eq!((back.newest, back.wrongs), (2, Wrongs { steps_back: 1, ..FINE }));
        let twice = shown(&[(2, "completed", "a-2"), (2, "completed", "b-1")]);
        assert_eq!((twice.ends, twice.wrongs), (2, Wrongs { duplicates: 1, ..FINE }));
        let revived = shown(&[(2, "completed", "a-2"), (1, "processing", "b-1")]);
        assert_eq!(revived.wrongs, Wrongs { steps_back: 1, ..FINE });
        let positions = shown(&[(1, "processing", "a-2"), (2, "processing", "a-2")]);
        assert_eq!(positions.wrongs, Wrongs { positions: 1, ..FINE });
        let numbers = shown(&[(1, "processing", "a-10"), (2, "processing", "a-9")]);
        assert_eq!(numbers.wrongs, Wrongs { positions: 1, ..FINE });
    }

    #[test]
    fn other_frames_are_distinguished() {
        let mut sight = Sight::default();
        for text in [r#"{"type":"connected","known":true}"#, r#"{"type":"ping"}"#] {
            sight.frame(text, Instant::now());
        }
        assert_eq!((sight.states, sight.wrongs), (0, FINE));
        for text in ["?", r#"{"type":"error","message":"x"}"#, r#"{"position":"a-1"}"#] {
            sight.frame(text, Instant::now());
        }
        sight.frame(r#"{"type":"error","problem":"unknown-job","job_id":"a"}"#, Instant::now());
        assert_eq!(sight.wrongs, Wrongs { foreign: 3, forgotten: 1, ..FINE });
    }

    #[test]
    fn what_is_aimed_at_may_be_there_already() {
        let mut sight = shown(&[(3, "processing", "a-1")]);
        sight.aim(3, Instant::now());
        assert!(sight.reached().is_some());
        sight.aim(4, Instant::now());
        assert!(sight.reached().is_none());
        sight.frame(r#"{"position":"a-2","metadata":{"n":5}}"#, Instant::now());
        assert!(sight.reached().is_some());
    }
}
