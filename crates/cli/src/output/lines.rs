//! Cuts output into lines, however it arrives, in bounded memory.

/// The longest line that is kept; what goes beyond is dropped up to the line's end.
pub(crate) const MAX_LINE_BYTES: usize = 16 * 1024;

/// A line without its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawLine<'a> {
    pub(crate) bytes: &'a [u8],
    /// A carriage return or backspaces stand before or after it: it is drawn over in place.
    pub(crate) redrawn: bool,
    /// More than [`MAX_LINE_BYTES`]; only the beginning is here.
    pub(crate) cut: bool,
    /// The row on which it is drawn: newlines move down, `ESC [ A` moves up.
    pub(crate) row: i64,
    /// Some row of this stream was drawn above the lowest one.
    pub(crate) stacked: bool,
}

/// What came between the line before and this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    NewLine,
    /// `\r` or `\b`: the cursor went back.
    Back,
}

/// Cuts at `\n`, at `\r` that no `\n` follows, and at runs of `\b`.
///
/// Invariant: the same bytes give the same lines, in any pieces.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    buffer: Vec<u8>,
    cut: bool,
    /// The line's beginning is not known, so it does not count as a line.
    lost: bool,
    before: Gap,
    /// The buffered line was ended by `\r` and waits for the byte that distinguishes `\r\n` from a redraw.
    returned: bool,
    row: i64,
    /// Rows that the cursor was moved up by, in all.
    moved_up: i64,
}

impl LineSplitter {
    pub(crate) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            cut: false,
            lost: false,
            before: Gap::NewLine,
            returned: false,
            row: 0,
            moved_up: 0,
        }
    }

    /// Takes the next piece of output and hands each line that it completes to `line`.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(RawLine<'_>)) {
        while let Some(&first) = bytes.first() {
            if self.returned {
                self.returned = false;
                self.end(if first == b'\n' { Gap::NewLine } else { Gap::Back }, &mut line);
                if first == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            let Some(at) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r' | 0x08)) else {
                self.keep(bytes);
                return;
            };
            self.keep(&bytes[..at]);
            match bytes[at] {
                b'\n' => self.end(Gap::NewLine, &mut line),
                b'\r' => self.returned = true,
                _ => self.end(Gap::Back, &mut line),
            }
            bytes = &bytes[at + 1..];
        }
    }

    /// Some of the output is missing here. What follows is passed over up to the next line, unless it begins one.
    pub(crate) fn lose(&mut self, line_begins: bool) {
        self.buffer.clear();
        self.cut = false;
        self.returned = false;
        self.lost = !line_begins;
    }

    /// The line that is not ended yet, for when nothing more came for a while. It is not taken.
    pub(crate) fn pending(&self) -> Option<RawLine<'_>> {
        (!self.buffer.is_empty() && !self.lost).then(|| RawLine {
            bytes: &self.buffer,
            redrawn: self.returned || self.before == Gap::Back,
            cut: self.cut,
            row: self.row - rows_up(&self.buffer).0,
            stacked: self.moved_up > 0,
        })
    }

    /// The output has ended: the remainder is a line.
    pub(crate) fn finish(&mut self, mut line: impl FnMut(RawLine<'_>)) {
        let gap = if self.returned { Gap::Back } else { Gap::NewLine };
        self.returned = false;
        self.end(gap, &mut line);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES - self.buffer.len();
        self.cut |= bytes.len() > room;
        self.buffer.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end(&mut self, after: Gap, line: &mut impl FnMut(RawLine<'_>)) {
        let (up_before, up_after) = rows_up(&self.buffer);
        self.moved_up = self.moved_up.saturating_add(up_before + up_after);
        self.row -= up_before;
        if !self.buffer.is_empty() && !self.lost {
            let redrawn = self.before == Gap::Back || after == Gap::Back;
            let (row, stacked) = (self.row, self.moved_up > 0);
            line(RawLine { bytes: &self.buffer, redrawn, cut: self.cut, row, stacked });
        }
        self.row -= up_after;
        self.row += i64::from(after == Gap::NewLine);
        self.buffer.clear();
        self.cut = false;
        self.lost = false;
        self.before = after;
    }
}

/// How many rows the line moves the cursor up before its text, and after that has begun.
fn rows_up(line: &[u8]) -> (i64, i64) {
    let (mut before, mut after, mut text) = (0, 0, false);
    let mut rest = line;
    while let Some(&first) = rest.first() {
        let Some(sequence) = rest.strip_prefix(b"\x1b[") else {
            // Without an escape there is nothing more to find.
            let Some(next) = rest.iter().position(|b| *b == 0x1b) else { break };
            text |= next > 0;
            rest = &rest[next.max(usize::from(first == 0x1b))..];
            continue;
        };
        let digits = sequence.iter().take_while(|b| b.is_ascii_digit() || **b == b';').count();
        if matches!(sequence.get(digits), Some(b'A' | b'F')) {
            let rows = str::from_utf8(&sequence[..digits]).ok().and_then(|n| n.parse().ok());
            *(if text { &mut after } else { &mut before }) += rows.unwrap_or(1).clamp(1, 1000);
        }
        rest = &sequence[sequence.len().min(digits + 1)..];
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<(String, bool)> {
        let mut splitter = LineSplitter::new();
        let mut seen = Vec::new();
        let mut take = |l: RawLine<'_>| {
            seen.push((String::from_utf8_lossy(l.bytes).into_owned(), l.redrawn));
        };
        for piece in pieces {
            splitter.push(piece, &mut take);
        }
        splitter.finish(&mut take);
        seen
    }

    #[test]
    fn a_return_before_a_new_line_is_no_redraw() {
        assert_eq!(lines(&[b"a\r", b"\nb\r\n"]), [("a".into(), false), ("b".into(), false)]);
    }

    #[test]
    fn a_return_or_backspaces_are_a_redraw() {
        assert_eq!(
            lines(&[b"\r1%\r2%\n3%\x08\x08\x084%"]),
            ["1%", "2%", "3%", "4%"].map(|l| (l.to_owned(), true))
        );
    }

    #[test]
    fn a_line_of_which_some_is_missing_is_none() {
        let mut splitter = LineSplitter::new();
        let mut seen = Vec::new();
        let mut take = |l: RawLine<'_>| seen.push(l.bytes.to_vec());
        splitter.push(b"one\ntw", &mut take);
        splitter.lose(false);
        assert!(splitter.pending().is_none());
        splitter.push(b"ee\nfour\nfi", &mut take);
        splitter.lose(true);
        splitter.push(b"six\n", &mut take);
        assert_eq!(seen, [&b"one"[..], b"four", b"six"]);
    }

    #[test]
    fn an_endless_line_keeps_its_beginning_only() {
        let mut splitter = LineSplitter::new();
        for _ in 0..100 {
            splitter.push(&[b'x'; 1000], |_| panic!("no line has ended"));
        }
        assert!(splitter.buffer.capacity() <= 2 * MAX_LINE_BYTES);
        splitter.push(b"\nok\n", |l| {
            assert_eq!(l.cut, l.bytes != b"ok");
            assert!(l.bytes.len() <= MAX_LINE_BYTES);
        });
    }
}
