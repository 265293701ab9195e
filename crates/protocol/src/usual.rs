//! What attempts of jobs with one name usually take: `spec/README.md`, section 3.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::attribute::MAX_ATTRIBUTE_BYTES;
use crate::{Timestamp, json, stages};

/// So many attempts of a name are remembered at most: the latest that completed.
pub const MAX_RUNS: usize = 32;

/// A name of which no attempt has completed for so long is forgotten.
pub const NAME_TTL: Duration = Duration::from_secs(30 * 86_400);

/// At most so many bytes of a name's record are about stages.
pub const MAX_STAGE_RECORD_BYTES: usize = 1_024;

/// The mean of a stage's durations follows a new one by a share of 1 / 32 at least.
const MAX_WEIGHT_OF_PAST: u8 = 32;

/// In milliseconds: a duration is kept in tenths of a second.
const TENTH: f64 = 100.0;

/// An attempt that has completed, of a job that has a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run<'a> {
    /// The job's name.
    pub name: Cow<'a, str>,
    /// How long it took from `started_at` on without its pauses, in tenths of a second.
    pub tenths: u32,
    /// How long it was in each of its declared stages, in milliseconds, if that is known.
    pub stages: Vec<(Cow<'a, str>, u32)>,
}

/// How long a stage of a name's attempts takes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StageMean {
    id: Box<str>,
    /// Of so many durations, [`MAX_WEIGHT_OF_PAST`] at most.
    count: u8,
    /// In milliseconds.
    mean: u32,
}

impl StageMean {
    /// The size of its record without the id, in bytes.
    const RECORD: usize = 7;

    fn of(id: &str, known: Option<&Self>, millis: u32) -> Self {
        let Some(known) = known else { return Self { id: id.into(), count: 1, mean: millis } };
        let count = (known.count + 1).min(MAX_WEIGHT_OF_PAST);
        let before = f64::from(known.mean);
        let mean = (before + (f64::from(millis) - before) / f64::from(count) + 0.5).floor();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between two u32"
        )]
        let mean = mean as u32;
        Self { id: id.into(), count, mean }
    }

    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (count, bytes) = bytes.split_first()?;
        let (mean, bytes) = bytes.split_first_chunk()?;
        let (len, bytes) = bytes.split_first_chunk()?;
        let (id, rest) = bytes.split_at_checked(u16::from_be_bytes(*len).into())?;
        let id = std::str::from_utf8(id).ok()?.into();
        let is_sound = (1..=MAX_WEIGHT_OF_PAST).contains(count);
        is_sound.then_some((Self { id, count: *count, mean: u32::from_be_bytes(*mean) }, rest))
    }
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
    /// The means of their stages: first those of the latest attempt that had any. At most [`MAX_STAGE_RECORD_BYTES`] when encoded.
    stages: Vec<StageMean>,
}

impl Runs {
    /// Adds one that completed at that moment.
    pub fn add(&mut self, run: &Run<'_>, now: Timestamp) {
        self.last = now.as_millis();
        if self.tenths.len() == MAX_RUNS {
            self.tenths.remove(0);
        }
        self.tenths.push(run.tenths);
        if run.stages.is_empty() {
            return;
        }
        let before = std::mem::take(&mut self.stages);
        let mean_of = |id: &str| before.iter().find(|known| *known.id == *id);
        let of_run = run.stages.iter().map(|(id, millis)| StageMean::of(id, mean_of(id), *millis));
        let is_other = |known: &&StageMean| !run.stages.iter().any(|(id, _)| *known.id == **id);
        let mut bytes = 0;
        let fits = |stage: &StageMean| {
            bytes += StageMean::RECORD + stage.id.len();
            bytes <= MAX_STAGE_RECORD_BYTES
        };
        let others = before.iter().filter(is_other).cloned();
        self.stages = of_run.chain(others).take_while(fits).collect();
    }

    /// The weights of stages that are declared like this, as JSON: how many seconds each takes on average. A stage that is not known
    /// takes as long as those that are, on average. None if none is known.
    pub fn stage_weights(&self, declared: &str) -> Option<String> {
        let declared = stages::parse(declared)?;
        let mean_of = |id: &str| self.stages.iter().find(|known| *known.id == *id);
        let means: Vec<_> = declared.iter().map(|stage| mean_of(&stage.id)).collect();
        let known = means.iter().flatten();
        let (sum, count) = known
            .fold((0_u64, 0_u64), |(sum, count), known| (sum + u64::from(known.mean), count + 1));
        let overall = u32::try_from(sum.checked_div(count)?).unwrap_or(u32::MAX);
        let mut json = String::from("{");
        let mut written: Vec<&str> = Vec::new();
        for (stage, mean) in declared.iter().zip(&means) {
            if written.contains(&&*stage.id) {
                continue;
            }
            if !written.is_empty() {
                json.push(',');
            }
            written.push(&stage.id);
            json::push_string(&mut json, &stage.id);
            // A weight is above 0.
            let seconds = f64::from(mean.map_or(overall, |known| known.mean).max(1)) / 1_000.0;
            json.push(':');
            json.push_str(&seconds.to_string());
        }
        json.push('}');
        (json.len() <= MAX_ATTRIBUTE_BYTES).then_some(json)
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

    /// As they are stored: when the latest completed, in milliseconds, as six bytes; their number, as one; their durations, oldest
    /// first, as four bytes each; and, for each stage, of how many durations the mean is, as one byte, the mean in milliseconds, as
    /// four, the length of the id, as two, and the id. Big-endian.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.last.max(0).to_be_bytes()[2..].to_vec();
        bytes.push(u8::try_from(self.tenths.len()).unwrap_or(0));
        bytes.extend(self.tenths.iter().flat_map(|tenths| tenths.to_be_bytes()));
        for StageMean { id, count, mean } in &self.stages {
            bytes.push(*count);
            bytes.extend(mean.to_be_bytes());
            bytes.extend(u16::try_from(id.len()).unwrap_or(0).to_be_bytes());
            bytes.extend(id.as_bytes());
        }
        bytes
    }

    /// Those that were stored. None if the bytes are something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (last, bytes) = bytes.split_first_chunk::<6>()?;
        let mut wide = [0; 8];
        wide[2..].copy_from_slice(last);
        let (count, bytes) = bytes.split_first()?;
        let (durations, mut bytes) = bytes.split_at_checked(4 * usize::from(*count))?;
        let tenths = decode_all(durations)?;
        let is_bounded = tenths.len() <= MAX_RUNS && bytes.len() <= MAX_STAGE_RECORD_BYTES;
        let mut stages = Vec::new();
        while !bytes.is_empty() {
            let (stage, rest) = StageMean::read(bytes)?;
            stages.push(stage);
            bytes = rest;
        }
        is_bounded.then_some(Self { last: i64::from_be_bytes(wide), tenths, stages })
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
