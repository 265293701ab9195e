//! What attempts of jobs with one name usually take: `spec/README.md`, section 3.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::Timestamp;

/// So many attempts of a name are remembered at most: the latest that completed.
pub const MAX_RUNS: usize = 32;

/// A name of which no attempt has completed for so long is forgotten.
pub const NAME_TTL: Duration = Duration::from_secs(30 * 86_400);

/// In milliseconds: a duration is kept in tenths of a second.
const TENTH: f64 = 100.0;

/// An attempt that has completed, of a job that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The job's name.
    pub name: Cow<'a, str>,
    /// How long it took from `started_at` on, in tenths of a second.
    pub tenths: u32,
}

/// How long the latest completed attempts of a name took.
///
/// Invariant: `runs.lua` stores the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// When the latest of them completed, in milliseconds since 1970.
    last: i64,
    /// In tenths of a second, oldest first. At most [`MAX_RUNS`].
    tenths: Vec<u32>,
}

impl Runs {
    /// Adds one that completed at that moment.
    pub fn add(&mut self, run: &Run<'_>, now: Timestamp) {
        self.last = now.as_millis();
        if self.tenths.len() == MAX_RUNS {
            self.tenths.remove(0);
        }
        self.tenths.push(run.tenths);
    }

    /// Whether none has completed for [`NAME_TTL`].
    pub fn is_over(&self, now: Timestamp) -> bool {
        now.since(self.last()) > NAME_TTL
    }

    /// When the latest of them completed.
    pub fn last(&self) -> Timestamp {
        Timestamp::from_micros(self.last.saturating_mul(1_000))
    }

    /// What they come to.
    pub fn usual(&self) -> Arc<Usual> {
        let mut tenths = self.tenths.clone();
        tenths.sort_unstable();
        Arc::new(Usual { tenths })
    }

    /// As they are stored: when the latest completed, in milliseconds, as six bytes; their number, as one; and their durations, oldest
    /// first, as four bytes each. Big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.last.max(0).to_be_bytes()[2..].to_vec();
        bytes.push(u8::try_from(self.tenths.len()).unwrap_or(0));
        bytes.extend(self.tenths.iter().flat_map(|tenths| tenths.to_be_bytes()));
        bytes
    }

    /// Those that were stored. None if the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (last, bytes) = bytes.split_first_chunk::<6>()?;
        let mut wide = [0; 8];
        wide[2..].copy_from_slice(last);
        let (count, bytes) = bytes.split_first()?;
        let tenths = decode_all(bytes)?;
        let is_bounded = tenths.len() == usize::from(*count) && tenths.len() <= MAX_RUNS;
        is_bounded.then_some(Self { last: i64::from_be_bytes(wide), tenths })
    }
}

/// What an attempt of a name usually takes, as it was known when the attempt took the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usual {
    /// How long earlier attempts took, in tenths of a second, shortest first.
    tenths: Vec<u32>,
}

impl Usual {
    /// When an attempt that began at `started` is expected to complete, in milliseconds since 1970: the median of the attempts that took
    /// longer than it has so far, and nine tenths of them. None if none did.
    ///
    /// Invariant: `pace.lua` computes the same numbers, to the last digit.
    pub(crate) fn expected(&self, started: f64, now: f64) -> Option<[f64; 2]> {
        let since = if now > started { now - started } else { 0.0 };
        let first = self.tenths.partition_point(|tenths| f64::from(*tenths) * TENTH <= since);
        let longer = self.tenths.get(first..).filter(|longer| !longer.is_empty())?;
        let count = longer.len();
        let of = |index: usize| f64::from(longer[index]) * TENTH;
        #[expect(clippy::manual_midpoint, reason = "the same operations as in pace.lua")]
        let median = (of((count - 1) / 2) + of(count / 2)) / 2.0;
        let count_as_number = f64::from(u8::try_from(count).unwrap_or(u8::MAX));
        let ninth = of((9 * count).div_ceil(10) - 1) * (1.0 + 1.0 / count_as_number);
        Some([started + median, (started + ninth + 0.5).floor()])
    }

    /// As it is stored beside the pace: the durations as four bytes each.
    pub(crate) fn encode(&self) -> impl Iterator<Item = u8> {
        self.tenths.iter().flat_map(|tenths| tenths.to_be_bytes())
    }

    /// What was stored. None if the bytes are something else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let tenths = decode_all(bytes)?;
        let is_sound = tenths.is_sorted() && tenths.len() <= MAX_RUNS && !tenths.is_empty();
        is_sound.then_some(Self { tenths })
    }

    /// How many bytes it has when it is encoded.
    pub(crate) fn encoded_len(&self) -> usize {
        4 * self.tenths.len()
    }
}

fn decode_all(bytes: &[u8]) -> Option<Vec<u32>> {
    let (numbers, rest) = bytes.as_chunks();
    rest.is_empty().then(|| numbers.iter().map(|number| u32::from_be_bytes(*number)).collect())
}
