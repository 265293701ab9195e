//! What a command printed last: why it failed, most of the time.

use std::collections::VecDeque;

use crate::output::ffmpeg::Banner;

const MAX_LINES: usize = 20;
const MAX_LINE_BYTES: usize = 300;

/// The last 20 lines that are neither blank nor progress nor a banner, each at most 300 bytes.
#[derive(Debug, Default)]
pub(crate) struct ErrorTail {
    lines: VecDeque<String>,
    banner: Banner,
}

impl ErrorTail {
    pub(crate) fn push(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() || self.banner.has(line) {
            return;
        }
        let mut end = line.len().min(MAX_LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines
            .push_back(line[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
    }

    /// The lines, joined. None if there are none.
    pub(crate) fn text(&self) -> Option<String> {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ffmpeg_prints_of_itself_is_left_out() {
        let mut tail = ErrorTail::default();
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ffmpeg-banner.stderr");
        for line in std::fs::read_to_string(fixture).unwrap().lines() {
            tail.push(line);
        }
        tail.push("configuration: of another program");
        let why = "missing.mp4: No such file or directory\nconfiguration: of another program";
        assert_eq!(tail.text().unwrap(), why);
    }

    #[test]
    fn the_last_ones_only_and_not_too_much_of_them() {
        let mut tail = ErrorTail::default();
        assert_eq!(tail.text(), None);
        for line in ["one", "", "two", "three ", "  ", "four"] {
            tail.push(line);
        }
        assert_eq!(tail.text().unwrap(), "one\ntwo\nthree\nfour");
        for _ in 0..50 {
            tail.push(&"é".repeat(10_000));
        }
        assert!(tail.text().unwrap().len() <= 20 * 301);
    }
}
