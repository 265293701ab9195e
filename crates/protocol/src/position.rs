use std::cmp::Ordering;
use std::fmt;

/// One stretch of a job's life in which positions can be compared. A new one begins when the job was
/// forgotten, or when the broker lost what came after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// Where in its job's life a state stands. On the wire `<epoch>-<number>`, opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The stretch in which `number` counts.
    pub epoch: Epoch,
    /// Counts the job's states one by one, from 1.
    pub number: u64,
}

impl Position {
    /// Reads a position; none if the text is not one, which a client's memory of another server may be.
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

    /// The position of the next state in the same epoch. A job that reported without a pause, a million
    /// times a second, would come to the last one after 580,000 years; it stays there.
    pub fn next(self) -> Self {
        Self { number: self.number.saturating_add(1), ..self }
    }

    /// Where a watcher stands that has seen `since`, while the job's present state is here. One that hands
    /// back something else than a position is [`Standing::Foreign`] too.
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

/// How a position that a client hands back compares with the present one: `spec/README.md`, section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Same epoch, lower number: the watcher gets what it missed, or the newest state.
    Behind,
    /// The very same: nothing until there is something newer.
    Current,
    /// Same epoch, higher number, which another instance may have told it: as [`Current`](Self::Current).
    Ahead,
    /// Another epoch, or not a position at all: the whole state.
    Foreign,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch.0, self.number)
    }
}
