use std::time::Duration;

/// Fewer workers than this may well die at the same moment.
const LEAST: usize = 10;
/// After this time, workers that are still silent are lost after all.
const MAX_HOLD: Duration = Duration::from_secs(300);

/// Of the jobs that become `lost`, or end, if their worker is silent: how many there are that are not lost yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workers {
    /// All of them.
    pub known: usize,
    /// Those whose worker has been silent for two thirds of the time after which the job is lost, or ends.
    pub silent: usize,
}

impl Workers {
    /// Those of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { known: self.known + other.known, silent: self.silent + other.silent }
    }

    fn are_mostly_silent(self) -> bool {
        self.silent >= LEAST && self.silent * 2 > self.known
    }
}

/// What a look at the clocks has to do with workers that have been silent for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are lost.
    Lose,
    /// They are lost: they have been held for as long as possible.
    GiveUp,
    /// Most workers are silent: nobody is lost yet. Whoever holds one says so: [`MassLoss::hold`].
    Hold,
    /// Half of the silent workers report again: all clocks start over.
    StartOver,
}

/// Holds losses back while most workers are silent at once. In that case it is more likely that their reports do not arrive than that all
/// of them have died: `spec/README.md`, section 3.
///
/// Times are what the clock's `elapsed` returns.
#[derive(Debug, Default)]
pub struct MassLoss {
    phase: Phase,
    count: u64,
}

#[derive(Debug, Default)]
enum Phase {
    /// Workers are lost one by one.
    #[default]
    Ordinary,
    Held {
        until: Duration,
        workers: Workers,
        /// The most silent workers so far.
        most: usize,
    },
    /// The time is over, and those that were silent may still be most workers.
    GivenUp,
}

impl MassLoss {
    /// What to do at a look at the clocks.
    pub fn look(&mut self, now: Duration, workers: Workers) -> Verdict {
        match (&mut self.phase, workers.are_mostly_silent()) {
            (Phase::Ordinary, true) => Verdict::Hold,
            (Phase::Ordinary, false) | (Phase::GivenUp, true) => Verdict::Lose,
            (Phase::GivenUp, false) => {
                self.phase = Phase::Ordinary;
                Verdict::Lose
            }
            (Phase::Held { until, workers: present, most }, _) => {
                (*present, *most) = (workers, workers.silent.max(*most));
                // New jobs and others that were never silent say nothing about those that are. If they ended the hold, then a
                // few that come and go could start the clocks of dead workers over for ever.
                if workers.silent * 2 <= *most {
                    self.phase = Phase::Ordinary;
                    Verdict::StartOver
                } else if now >= *until {
                    self.phase = Phase::GivenUp;
                    Verdict::GiveUp
                } else {
                    Verdict::Hold
                }
            }
        }
    }

    /// The look has held somebody back. Returns whether that begins a mass loss.
    pub fn hold(&mut self, now: Duration, workers: Workers) -> bool {
        let begins = !matches!(self.phase, Phase::Held { .. });
        if begins {
            self.phase = Phase::Held { until: now + MAX_HOLD, workers, most: workers.silent };
            self.count += 1;
        }
        begins
    }

    /// Whether the next look needs to know the workers even if none of them is silent for too long.
    pub fn is_ordinary(&self) -> bool {
        matches!(self.phase, Phase::Ordinary)
    }

    /// What an operator has to know, while losses are held back.
    pub fn warning(&self) -> Option<String> {
        let Phase::Held { workers: Workers { known, silent }, .. } = self.phase else {
            return None;
        };
        Some(format!(
            "many workers are silent ({silent} of {known}), so their reports probably do not arrive: for up to {} minutes, no job \
             becomes lost",
            MAX_HOLD.as_secs() / 60
        ))
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workers(silent: usize, known: usize) -> Workers {
        Workers { known, silent }
    }

    #[test]
    fn more_than_half_and_at_least_ten_are_most() {
        for (silent, known, expected) in [
            (10, 19, Verdict::Hold),
            (10, 20, Verdict::Lose),
            (9, 9, Verdict::Lose),
            (500, 999, Verdict::Hold),
            (0, 0, Verdict::Lose),
        ] {
            let verdict = MassLoss::default().look(Duration::ZERO, workers(silent, known));
            assert_eq!(verdict, expected, "{silent} of {known}");
        }
    }

    #[test]
    fn an_operator_is_warned_once_until_workers_report() {
        let (mut losses, all) = (MassLoss::default(), workers(20, 20));
        let at = Duration::from_secs;
        assert_eq!(losses.look(at(30), all), Verdict::Hold);
        assert_eq!(losses.warning(), None, "nobody is silent for too long yet");
        assert!(losses.hold(at(30), all));
        assert!(!losses.hold(at(31), all));
        assert_eq!(losses.look(at(32), workers(11, 20)), Verdict::Hold);
        assert!(losses.warning().unwrap().contains("11 of 20"));
        assert_eq!(losses.look(at(33), workers(10, 20)), Verdict::StartOver);
        assert_eq!((losses.warning(), losses.count()), (None, 1));
        assert_eq!(losses.look(at(34), workers(10, 20)), Verdict::Lose);
        // Once more.
        assert_eq!(losses.look(at(99), all), Verdict::Hold);
        assert!(losses.hold(at(99), all));
        assert_eq!(losses.count(), 2);
    }

    #[test]
    fn new_jobs_do_not_end_it_again_and_again() {
        let mut losses = MassLoss::default();
        let at = Duration::from_secs;
        losses.hold(at(30), workers(10, 19));
        for (count, second) in (31..330).enumerate() {
            // Short jobs come and go beside ten whose machine has failed.
            let verdict = losses.look(at(second), workers(10, 19 + count % 3));
            assert_eq!(verdict, Verdict::Hold, "after {second} s");
        }
        assert_eq!(losses.look(at(330), workers(10, 20)), Verdict::GiveUp);
        assert_eq!(losses.look(at(331), workers(10, 20)), Verdict::Lose);
        // If more fell silent meanwhile, half of them have to report.
        losses.hold(at(400), workers(10, 19));
        assert_eq!(losses.look(at(401), workers(30, 40)), Verdict::Hold);
        assert_eq!(losses.look(at(402), workers(16, 40)), Verdict::Hold);
        assert_eq!(losses.look(at(403), workers(15, 40)), Verdict::StartOver);
    }

    #[test]
    fn after_five_minutes_silent_workers_are_lost() {
        let (mut losses, all) = (MassLoss::default(), workers(20, 20));
        let at = Duration::from_secs;
        losses.hold(at(30), all);
        assert_eq!(losses.look(at(329), all), Verdict::Hold);
        assert_eq!(losses.look(at(330), all), Verdict::GiveUp);
        // The others follow; none of them is held for another five minutes.
        assert_eq!(losses.look(at(331), workers(15, 15)), Verdict::Lose);
        assert_eq!(losses.warning(), None);
        assert_eq!(losses.look(at(332), workers(5, 5)), Verdict::Lose);
        assert_eq!(
            losses.look(at(333), all),
            Verdict::Hold,
            "most report again, and then another time not"
        );
    }
}
