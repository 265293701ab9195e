//! A timeline as bytes. All numbers are big-endian and unsigned.

use super::{MAX_SAMPLES, MAX_TIMELINE_BYTES, Sample, Share, Timeline, started_at};
use crate::{State, Status};

// The sizes of the parts in bytes, without texts.
pub(super) const HEADER: usize = 14;
pub(super) const SAMPLE: usize = 6;
pub(super) const ATTEMPT: usize = 19;

/// Where a stage began and the one before it ended.
pub(super) struct Boundary<'a> {
    /// The progress at the end of the stage before.
    pub(super) before: Share,
    /// In milliseconds since 1970.
    pub(super) at: i64,
    /// The progress at the beginning of this stage.
    pub(super) after: Share,
    /// The stage as JSON; empty where the attempt ended.
    pub(super) stage: &'a str,
}

/// An attempt before the present one.
pub(super) struct Earlier<'a> {
    pub(super) attempt: u32,
    pub(super) status: Status,
    /// In milliseconds since 1970; 0 if it did not.
    pub(super) started: i64,
    pub(super) ended: i64,
    pub(super) error: &'a str,
}

impl Timeline {
    /// The size of the encoded timeline, in bytes.
    pub fn encoded_len(&self) -> usize {
        HEADER + self.samples.len() * SAMPLE + self.boundaries.len() + self.earlier.len()
    }

    /// Encodes the timeline, to be stored.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        write_millis(self.started, &mut bytes);
        bytes.extend(self.interval.to_be_bytes());
        write_len(self.samples.len(), &mut bytes);
        write_len(self.boundaries.len(), &mut bytes);
        for Sample { tenths, share } in &self.samples {
            bytes.extend(tenths.to_be_bytes());
            bytes.extend(share.0.to_be_bytes());
        }
        bytes.extend(&self.boundaries);
        bytes.extend(&self.earlier);
        bytes
    }

    /// Decodes the timeline that was stored for a job in this state. None if the bytes are not one, or are of an earlier attempt: a
    /// version that knows no timelines may have written the states since. It may also have begun the present attempt, whose
    /// timeline then begins later.
    pub fn decode(bytes: &[u8], present: &State) -> Option<Self> {
        let (started, bytes) = read_millis(bytes)?;
        let is_of_attempt = started_at(present).map_or(started == 0, |began| started >= began);
        is_of_attempt.then_some(())?;
        let (interval, bytes) = bytes.split_first_chunk()?;
        let (count, bytes) = read_len(bytes)?;
        let (stages_len, bytes) = read_len(bytes)?;
        let (mut encoded, bytes) = bytes.split_at_checked(count.checked_mul(SAMPLE)?)?;
        let (boundaries, earlier) = bytes.split_at_checked(stages_len)?;
        let is_bounded = count <= MAX_SAMPLES && earlier.len() <= MAX_TIMELINE_BYTES;
        is_bounded.then_some(())?;
        let mut samples = Vec::with_capacity(count);
        while let Some((tenths, rest)) = encoded.split_first_chunk() {
            let (share, rest) = rest.split_first_chunk()?;
            let share = Share(u16::from_be_bytes(*share));
            samples.push(Sample { tenths: u32::from_be_bytes(*tenths), share });
            encoded = rest;
        }
        Some(Self {
            started,
            interval: u32::from_be_bytes(*interval).max(1),
            samples,
            boundaries: boundaries.to_vec(),
            earlier: earlier.to_vec(),
        })
    }
}

impl Boundary<'_> {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.before.0.to_be_bytes());
        write_millis(self.at, bytes);
        bytes.extend(self.after.0.to_be_bytes());
        write_len(self.stage.len(), bytes);
        bytes.extend(self.stage.as_bytes());
    }

    pub(super) fn read(bytes: &[u8]) -> Option<(Boundary<'_>, &[u8])> {
        let (before, bytes) = bytes.split_first_chunk()?;
        let (at, bytes) = read_millis(bytes)?;
        let (after, bytes) = bytes.split_first_chunk()?;
        let (stage, bytes) = read_text(bytes)?;
        let [before, after] = [*before, *after].map(|share| Share(u16::from_be_bytes(share)));
        Some((Boundary { before, at, after, stage }, bytes))
    }
}

impl Earlier<'_> {
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.attempt.to_be_bytes());
        let status = Status::ALL.iter().position(|status| *status == self.status);
        bytes.push(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(0));
        write_millis(self.started, bytes);
        write_millis(self.ended, bytes);
        write_len(self.error.len(), bytes);
        bytes.extend(self.error.as_bytes());
    }

    pub(super) fn read(bytes: &[u8]) -> Option<(Earlier<'_>, &[u8])> {
        let (attempt, bytes) = bytes.split_first_chunk()?;
        let (status, bytes) = bytes.split_first()?;
        let status = *Status::ALL.get(usize::from(*status))?;
        let (started, bytes) = read_millis(bytes)?;
        let (ended, bytes) = read_millis(bytes)?;
        let (error, bytes) = read_text(bytes)?;
        let attempt = u32::from_be_bytes(*attempt);
        Some((Earlier { attempt, status, started, ended, error }, bytes))
    }
}

/// Reads all records that are encoded one after the other.
pub(super) fn read_all<'a, T>(
    mut bytes: &'a [u8],
    read: impl Fn(&'a [u8]) -> Option<(T, &'a [u8])>,
) -> impl Iterator<Item = T> {
    std::iter::from_fn(move || {
        let (item, rest) = read(bytes)?;
        bytes = rest;
        Some(item)
    })
}

/// Milliseconds since 1970, as six bytes: until the year 10889.
fn write_millis(millis: i64, bytes: &mut Vec<u8>) {
    bytes.extend(&millis.max(0).to_be_bytes()[2..]);
}

fn read_millis(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (millis, rest) = bytes.split_first_chunk::<6>()?;
    let mut wide = [0; 8];
    wide[2..].copy_from_slice(millis);
    Some((i64::from_be_bytes(wide), rest))
}

fn write_len(len: usize, bytes: &mut Vec<u8>) {
    bytes.extend(u16::try_from(len).unwrap_or(0).to_be_bytes());
}

fn read_len(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*len).into(), rest))
}

fn read_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, bytes) = read_len(bytes)?;
    let (text, rest) = bytes.split_at_checked(len)?;
    Some((std::str::from_utf8(text).ok()?, rest))
}
