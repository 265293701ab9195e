use std::sync::Arc;

use milepost_protocol::{State, View};

use crate::log::{Log, Mode, Pending};

/// Consecutive states of a log, framed for the wire: contiguous bytes, and where each frame ends. The allocation is
/// reused.
#[derive(Default)]
pub(crate) struct Rendered {
    bytes: Vec<u8>,
    /// How many bytes come before the first frame. They count as a part of it.
    lead: usize,
    frames: Vec<Frame>,
}

struct Frame {
    /// The state's number in the log.
    number: u64,
    end: usize,
    is_end: bool,
    is_newest: bool,
}

/// The result of a write that may have been partial.
pub(crate) struct Written {
    /// The first state of which no byte was written.
    pub(crate) cursor: u64,
    /// How many frames were written, the last one perhaps in part.
    pub(crate) frames: u64,
    /// How many of them are ends.
    pub(crate) ends: u64,
    /// Whether the last of them is an end and the job's newest state.
    pub(crate) at_end: bool,
    /// The unwritten remainder of a frame that was written in part.
    pub(crate) remainder: std::ops::Range<usize>,
}

impl Rendered {
    pub(crate) fn clear(&mut self) {
        self.begin_with(&[]);
    }

    /// Starts anew, with bytes that are written before the first frame.
    pub(crate) fn begin_with(&mut self, lead: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(lead);
        self.lead = lead.len();
        self.frames.clear();
    }

    /// Appends the states pending for a watcher at `cursor`.
    pub(crate) fn append(
        &mut self,
        log: &Log,
        cursor: u64,
        mode: Mode,
        view: View,
        frame: impl Fn(&State, &mut Vec<u8>),
    ) {
        let frame = |number, state: &Arc<State>, out: &mut Vec<u8>| {
            frame(&log.shown(number, state, view), out);
        };
        match log.pending(cursor, mode) {
            Pending::Nothing => {}
            Pending::From(from) => {
                log.from(from).for_each(|(number, state)| self.push(log, number, state, frame));
            }
            Pending::Newest => {
                let ends = log.ends_before_newest(cursor);
                ends.for_each(|(number, end)| self.push(log, number, end, frame));
                if let Some(newest) = log.newest() {
                    self.push(log, log.end() - 1, newest, frame);
                }
            }
        }
    }

    fn push(
        &mut self,
        log: &Log,
        number: u64,
        state: &Arc<State>,
        frame: impl Fn(u64, &Arc<State>, &mut Vec<u8>),
    ) {
        frame(number, state, &mut self.bytes);
        let is_end = state.status().is_end();
        let is_newest = number + 1 == log.end();
        self.frames.push(Frame { number, end: self.bytes.len(), is_end, is_newest });
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Removes the frames after the last end; false if there are none.
    pub(crate) fn cut_after_ends(&mut self) -> bool {
        let kept = self.frames.iter().rposition(|frame| frame.is_end).map_or(0, |last| last + 1);
        let cut = kept < self.frames.len();
        self.frames.truncate(kept);
        self.bytes.truncate(self.frames.last().map_or(self.lead, |last| last.end));
        cut
    }

    /// The number of the state in the frame at `index`.
    pub(crate) fn number(&self, index: usize) -> Option<u64> {
        self.frames.get(index).map(|frame| frame.number)
    }

    /// The index of the first frame whose state has that number or a later one.
    pub(crate) fn index_of(&self, number: u64) -> usize {
        self.frames.partition_point(|frame| frame.number < number)
    }

    /// The index of the newest state's frame.
    pub(crate) fn newest(&self) -> usize {
        self.frames.len().saturating_sub(1)
    }

    /// Where the frame at `index` begins.
    pub(crate) fn start(&self, index: usize) -> usize {
        if index == 0 { 0 } else { self.frames[index - 1].end }
    }

    /// The result of writing `written` bytes, starting with the frame at `index`.
    pub(crate) fn written(&self, index: usize, written: usize) -> Written {
        let end = self.start(index) + written;
        // Frames up to `end` were written whole; the next one was started if `end` is inside of it.
        let whole = index + self.frames[index..].partition_point(|frame| frame.end <= end);
        let is_partial = whole < self.frames.len() && end > self.start(whole);
        let started = whole + usize::from(is_partial);
        let remainder = if is_partial { end..self.frames[whole].end } else { end..end };
        Written {
            cursor: started
                .checked_sub(1)
                .filter(|last| *last >= index)
                .map_or(0, |last| self.frames[last].number + 1),
            frames: (started - index) as u64,
            ends: self.frames[index..started].iter().filter(|frame| frame.is_end).count() as u64,
            at_end: self.frames[..started].last().is_some_and(|last| last.is_end && last.is_newest),
            remainder,
        }
    }
}
