use std::cmp::Ordering;
use std::fmt;

use serde::{Serialize, Serializer};

/// One stretch of a job's life in which positions can be compared. A new one begins when the job was
/// forgotten, or when the broker lost what came after.
///
/// For example: a broker has counted states 1, 2 and 3 of a job, in epoch `a`, and a watcher has seen all three. The
/// broker crashes and restarts with state 2, the last one on disk. If it simply counted on, the next report would become
/// state 3 once more, and the watcher would take it for the one that it has. So the broker begins epoch `b`, and the
/// report becomes `b-1`. The watcher has seen `a-3`: the epochs differ, so it knows that the numbers say nothing and
/// takes the new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// A position as text. Each state has one, so it is written without the formatting machinery. Aligned, since the check
/// that bytes are text goes by words then.
#[repr(align(8))]
pub(crate) struct Written {
    text: [u8; Self::LONGEST],
    len: usize,
}

impl Written {
    const LONGEST: usize = "ffffffffffffffff-18446744073709551615".len();

    fn push(&mut self, byte: u8) {
        self.text[self.len] = byte;
        self.len += 1;
    }

    fn push_hex(&mut self, number: u64) {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let [low, ..] = (number >> (4 * digit)).to_le_bytes();
            self.push(b"0123456789abcdef"[usize::from(low & 15)]);
        }
    }

    fn push_decimal(&mut self, mut number: u64) {
        let start = self.len;
        loop {
            self.push(b"0123456789"[(number % 10) as usize]);
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.text[start..self.len].reverse();
    }

    pub(crate) fn as_str(&self) -> &str {
        // Digits and a hyphen only.
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

/// The position of a state in its job's life. On the wire `<epoch>-<number>`, opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The stretch in which `number` counts.
    pub epoch: Epoch,
    /// Counts the job's states one by one, from 1.
    pub number: u64,
}

impl Position {
    /// Parses a position. None if the text is not one, such as a position of another server.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, number) = text.split_once('-')?;
        let canonical_hex = !epoch.is_empty()
            && epoch.len() <= 16
            && (epoch == "0" || !epoch.starts_with('0'))
            && epoch.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let canonical_decimal =
            !number.starts_with('0') && number.bytes().all(|b| b.is_ascii_digit());
        if !canonical_hex || !canonical_decimal {
            return None;
        }
        let epoch = Epoch(u64::from_str_radix(epoch, 16).ok()?);
        Some(Self { epoch, number: number.parse().ok()? })
    }

    pub(crate) fn written(self) -> Written {
        let mut written = Written { text: [0; Written::LONGEST], len: 0 };
        written.push_hex(self.epoch.0);
        written.push(b'-');
        written.push_decimal(self.number);
        written
    }

    /// The position of the next state in the same epoch. At a million states per second, the last number is reached after
    /// 580,000 years; it then stays the same.
    pub fn next(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }

    /// The position of the state after the one at `previous`, in the broker's present `epoch`. Each epoch counts from 1.
    pub fn following(previous: Option<Self>, epoch: Epoch) -> Self {
        match previous {
            Some(previous) if previous.epoch == epoch => previous.next(),
            _ => Self { epoch, number: 1 },
        }
    }

    /// Whether a state here is *newer* than the one at `seen`: whether somebody who has seen `seen` must still see it.
    ///
    /// Within an epoch the higher number is newer. Another epoch is newer too, unless it is `left`: the epoch that the
    /// job has left for that of `seen`, if that is known. A message from there is late.
    ///
    /// Somebody who remembers positions of several epochs must see a state that is newer than all of them.
    pub fn is_newer_than(self, seen: Self, left: Option<Epoch>) -> bool {
        match self.standing_of(seen) {
            Standing::Behind => true,
            Standing::Current | Standing::Ahead => false,
            Standing::Foreign => left != Some(self.epoch),
        }
    }

    /// Whether states are missing between `seen`, the newest that somebody has seen, and the newer one here. Of another
    /// epoch, nothing has been seen.
    pub fn has_gap_after(self, seen: Option<Self>) -> bool {
        let same_epoch = seen.filter(|seen| seen.epoch == self.epoch);
        self.number > same_epoch.map_or(1, |seen| seen.next().number)
    }

    /// How `since`, which a watcher has seen, compares with the position here, the job's present one. A watcher that
    /// presents something that is not a position is [`Standing::Foreign`] as well.
    pub fn standing_of(self, since: Self) -> Standing {
        if since.epoch != self.epoch {
            return Standing::Foreign;
        }
        match since.number.cmp(&self.number) {
            Ordering::Less => Standing::Behind,
            Ordering::Equal => Standing::Current,
            Ordering::Greater => Standing::Ahead,
        }
    }
}

/// How a position that a client presents compares with the job's present one: `spec/README.md`, section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Same epoch, lower number: the watcher gets what it missed, or the newest state.
    Behind,
    /// The same position: nothing until there is a newer state.
    Current,
    /// Same epoch, higher number, perhaps from another instance: treated as [`Current`](Self::Current).
    Ahead,
    /// Another epoch, or not a position at all: the whole state.
    Foreign,
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.written().as_str())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.written().as_str())
    }
}
