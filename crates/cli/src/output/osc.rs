//! `ESC ] 9 ; 4 ; STATE ; PERCENT`, with which a program shows its progress in the terminal's taskbar.

use super::{Progress, Reading};

const INTRODUCER: &[u8] = b"\x1b]9;4;";

/// `1;100`, at most.
const MAX_BODY_BYTES: usize = 8;

/// Finds the sequences in a stream, in any pieces.
#[derive(Debug, Default)]
pub(super) struct TaskbarProgress {
    /// How much of the introducer has been seen.
    matched: usize,
    body: Vec<u8>,
}

impl TaskbarProgress {
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Reading)) {
        // Most output has no escapes, and a look for one is quick.
        if self.matched == 0 && !bytes.contains(&0x1b) {
            return;
        }
        for byte in bytes {
            if self.matched < INTRODUCER.len() {
                if *byte == INTRODUCER[self.matched] {
                    self.matched += 1;
                } else {
                    self.matched = usize::from(*byte == INTRODUCER[0]);
                }
                continue;
            }
            if byte.is_ascii_digit() || *byte == b';' {
                self.body.push(*byte);
                if self.body.len() <= MAX_BODY_BYTES {
                    continue;
                }
            } else if matches!(byte, 0x07 | 0x1b)
                && let Some(reading) = read(&self.body)
            {
                each(reading);
            }
            self.body.clear();
            self.matched = 0;
        }
    }
}

/// State 1 is normal, 2 an error, 3 unknown, 4 paused. 0 removes the bar, which means nothing for the job.
fn read(body: &[u8]) -> Option<Reading> {
    let text = str::from_utf8(body).ok()?;
    let (state, percent) = text.split_once(';').unwrap_or((text, ""));
    match state {
        "1" | "2" | "4" => {
            let percent = percent.parse::<u8>().ok().filter(|percent| *percent <= 100)?;
            Some(Reading::at(Progress::percent(percent.into())))
        }
        "3" => Some(Reading::at(Progress::Unknown)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pieces: &[&[u8]]) -> Vec<Progress> {
        let mut scanner = TaskbarProgress::default();
        let mut seen = Vec::new();
        for piece in pieces {
            scanner.push(piece, |reading| seen.extend(reading.progress));
        }
        seen
    }

    #[test]
    fn both_terminators_and_any_pieces() {
        let fraction = Progress::Fraction;
        assert_eq!(
            read_all(&[b"a\x1b]9;4;1;42\x07b\x1b]9;4;1;43\x1b\\"]),
            [fraction(0.42), fraction(0.43)]
        );
        assert_eq!(read_all(&[b"\x1b]9;", b"4;1;", b"7", b"\x07"]), [fraction(0.07)]);
        assert_eq!(read_all(&[b"\x1b]9;4;3;0\x07"]), [Progress::Unknown]);
    }

    #[test]
    fn others_are_passed_over() {
        for text in [
            "\x1b]9;4;0;0\x07",
            "\x1b]9;4;1;101\x07",
            "\x1b]9;4;1;99999999999\x07",
            "\x1b]9;hello\x07",
            "\x1b]0;4;1;5\x07",
        ] {
            assert_eq!(read_all(&[text.as_bytes()]), [], "{text:?}");
        }
    }
}
