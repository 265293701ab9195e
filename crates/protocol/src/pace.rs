//! When an attempt is expected to complete, from how its progress has grown: `spec/README.md`, section 3.

/// How the progress of an attempt has grown so far: what its `eta` is computed from.
///
/// Times are in milliseconds. All numbers are doubles, and only added, subtracted, multiplied, divided, compared and rounded down.
///
/// Invariant: `pace.lua` computes the same numbers, to the last digit, and stores the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pace {
    /// When the progress changed last, since 1970. 0 while the clock is stopped: the attempt is queued or paused.
    at: f64,
    /// The progress since then.
    progress: f64,
    /// By how much the progress has grown, in how much time, and how often it changed. Time in which the attempt was queued, paused or lost
    /// is left out, and so is progress made meanwhile.
    gained: f64,
    elapsed: f64,
    changes: f64,
    /// How irregular the steps are: the sum of the squares of how much longer or shorter each took than by the rate before it.
    strayed: f64,
    /// Gain, time and changes once more, but earlier steps count less: see [`memory`](Self::memory).
    recent_gain: f64,
    recent_time: f64,
    recent_changes: f64,
    /// The estimate in the state, since 1970; 0 if there is none.
    eta: f64,
    eta_high: f64,
}

/// A step counts half as much after this time at the latest, in milliseconds, …
const MOST_MEMORY: f64 = 30_000.0;
/// … or after this share of the time elapsed, if that is longer; …
const MEMORY_SHARE: f64 = 0.2;
/// … and sooner if the steps are regular: after as many as tell the rate to a sixth. The relative error of a mean of n steps is how much they
/// differ, over the root of n. …
const MEMORY_STRAYED: f64 = 40.0;
/// … But not before so many steps, nor before this time, in milliseconds.
const LEAST_MEMORY_STEPS: f64 = 10.0;
const LEAST_MEMORY: f64 = 5_000.0;

/// There is no estimate before the progress was seen to grow for so long, so often and by so much.
const MIN_ELAPSED: f64 = 10_000.0;
const MIN_CHANGES: f64 = 3.0;
const MIN_GAIN: f64 = 0.02;
/// A job that takes longer than ten years has no estimate.
const MAX_LEFT: f64 = 315_360_000_000.0;

/// `eta_high` leaves room for so many times the time that the slower of the two rates needs, …
const MARGIN: f64 = 1.15;
/// … and for so much more by the progress that is still to be made: early on, less is known of what is to come.
const MARGIN_AHEAD: f64 = 0.9;
/// A rate is doubted so many times more than its `eta_high` says: that is about the present attempt, not about what is to come.
const RATE_DOUBT: f64 = 2.0;
/// An estimate changes only if the time left changes by more than this share.
const TOLERANCE: f64 = 0.1;

/// When an attempt is expected to complete: `eta` and `eta_high`, in milliseconds since 1970, and where they come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Expected {
    pub(crate) instants: [f64; 2],
    pub(crate) basis: Basis,
}

/// What an estimate was computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Basis {
    /// How the attempt's progress has grown.
    Rate,
    /// How long earlier attempts of the job's name took.
    History,
    /// Both.
    Both,
}

impl Basis {
    /// As it stands in a state.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::History => "history",
            Self::Both => "both",
        }
    }
}

impl Pace {
    /// How many bytes a pace has when it is encoded.
    pub(crate) const ENCODED: usize = 88;

    /// That of an attempt whose progress has been `progress` since `at`.
    pub(crate) fn since(at: f64, progress: f64) -> Self {
        Self { at, progress, ..Self::default() }
    }

    /// After the attempt has reached `progress`. None if it was set back: the estimate begins anew.
    pub(crate) fn advanced(mut self, now: f64, progress: f64) -> Option<Self> {
        if progress < self.progress {
            return None;
        }
        if self.at == 0.0 {
            (self.at, self.progress) = (now, progress);
            return Some(self);
        }
        if progress <= self.progress {
            return Some(self);
        }
        let gain = progress - self.progress;
        let time = if now > self.at { now - self.at } else { 0.0 };
        if self.recent_gain > 0.0 {
            let stray = time - gain * self.recent_time / self.recent_gain;
            self.strayed += stray * stray;
        }
        self.gained += gain;
        self.elapsed += time;
        self.changes += 1.0;
        let kept = self.memory();
        let kept = kept / (kept + time);
        self.recent_gain = self.recent_gain * kept + gain;
        self.recent_time = self.recent_time * kept + time;
        self.recent_changes = self.recent_changes * kept + 1.0;
        (self.at, self.progress) = (now, progress);
        Some(self)
    }

    /// After how much time a step counts half as much.
    fn memory(&self) -> f64 {
        let most = (MEMORY_SHARE * self.elapsed).max(MOST_MEMORY);
        if self.changes < MIN_CHANGES || self.elapsed <= 0.0 {
            return most;
        }
        // Both are so many steps, times how long one takes.
        let for_steps = LEAST_MEMORY_STEPS * self.elapsed / self.changes;
        let for_strayed = MEMORY_STRAYED * self.strayed / self.elapsed;
        for_steps.max(for_strayed).max(LEAST_MEMORY).min(most)
    }

    /// While the attempt is queued or paused, or after it was lost: time does not count until the next update.
    pub(crate) fn stopped(mut self) -> Self {
        (self.at, self.eta, self.eta_high) = (0.0, 0.0, 0.0);
        self
    }

    /// Estimates when the attempt completes, given the same two instants by what its name usually takes; none if too little is known.
    pub(crate) fn estimate(&mut self, now: f64, by_usual: Option<[f64; 2]>) -> Option<Expected> {
        let (instants, basis) = match (self.computed(now), by_usual) {
            (Some(by_rate), None) => (by_rate, Basis::Rate),
            (None, Some(by_usual)) => (by_usual, Basis::History),
            (Some(by_rate), Some(by_usual)) => (self.blended(by_rate, by_usual), Basis::Both),
            (None, None) => {
                (self.eta, self.eta_high) = (0.0, 0.0);
                return None;
            }
        };
        let [eta, eta_high] = instants;
        if !(is_near(eta, self.eta, now) && is_near(eta_high, self.eta_high, now)) {
            (self.eta, self.eta_high) = (eta, eta_high);
        }
        Some(Expected { instants: [self.eta, self.eta_high], basis })
    }

    /// The more progress an attempt has made, the more its own rate counts; and of the two, the one whose instants are closer together.
    fn blended(&self, by_rate: [f64; 2], by_usual: [f64; 2]) -> [f64; 2] {
        let progress = if self.progress > 0.0 { self.progress } else { 0.0 };
        let for_rate = progress * (by_usual[1] - by_usual[0]);
        let for_usual = (1.0 - progress) * RATE_DOUBT * (by_rate[1] - by_rate[0]);
        let sum = for_rate + for_usual;
        let share = if sum > 0.0 { for_rate / sum } else { progress };
        let blend = |rate: f64, usual: f64| (share * rate + (1.0 - share) * usual + 0.5).floor();
        [blend(by_rate[0], by_usual[0]), blend(by_rate[1], by_usual[1])]
    }

    fn computed(&self, now: f64) -> Option<[f64; 2]> {
        if self.changes < MIN_CHANGES
            || self.elapsed < MIN_ELAPSED
            || self.gained < MIN_GAIN
            || self.progress >= 1.0
            || self.at == 0.0
        {
            return None;
        }
        // Only silence beyond twice the usual gap counts as standstill.
        let silence = now - self.at - 2.0 * self.recent_time / self.recent_changes;
        let standstill = if silence > 0.0 { silence } else { 0.0 };
        let to_gain = 1.0 - self.progress;
        let left = to_gain * (self.recent_time + standstill) / self.recent_gain;
        let overall = to_gain * (self.elapsed + standstill) / self.gained;
        let slower = if left > overall { left } else { overall };
        let high = slower * (MARGIN + MARGIN_AHEAD * to_gain);
        // Not a number is not below either.
        (high < MAX_LEFT).then(|| [left, high].map(|left| (self.at + left + 0.5).floor()))
    }

    /// The pace as it is stored.
    pub(crate) fn encode(&self) -> [u8; Self::ENCODED] {
        let mut bytes = [0; Self::ENCODED];
        let numbers = [
            self.at,
            self.progress,
            self.gained,
            self.elapsed,
            self.changes,
            self.strayed,
            self.recent_gain,
            self.recent_time,
            self.recent_changes,
            self.eta,
            self.eta_high,
        ];
        for (bytes, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            bytes.copy_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// The pace that was stored. None if the bytes are not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let numbers: [[u8; 8]; 11] = numbers.try_into().ok()?;
        let numbers = numbers.map(f64::from_be_bytes);
        if !rest.is_empty() || !numbers.iter().all(|number| number.is_finite() && *number >= 0.0) {
            return None;
        }
        let [at, progress, gained, elapsed, changes, strayed, ..] = numbers;
        let [.., recent_gain, recent_time, recent_changes, eta, eta_high] = numbers;
        Some(Self {
            at,
            progress,
            gained,
            elapsed,
            changes,
            strayed,
            recent_gain,
            recent_time,
            recent_changes,
            eta,
            eta_high,
        })
    }

    /// The progress that it was computed with.
    pub(crate) fn progress(&self) -> f64 {
        self.progress
    }
}

/// Whether an estimate is so near to the one in the state that the latter stays.
fn is_near(estimate: f64, stated: f64, now: f64) -> bool {
    let moved = if estimate > stated { estimate - stated } else { stated - estimate };
    moved <= TOLERANCE * (stated - now)
}
