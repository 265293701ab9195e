//! Rows at the bottom of a terminal that are drawn again and again.

use std::fmt::Write as _;
use std::io::{self, Write};

/// The cursor rests at the start of the first row, so that a terminal which is resized wraps the rows below the cursor,
/// from where they are erased.
#[derive(Debug, Default)]
pub(crate) struct Block {
    drawn: String,
}

impl Block {
    /// Draws the rows in place of those before. None may be wider than the terminal, nor may there be more than fit.
    pub(crate) fn draw(&mut self, rows: &[String], out: &mut impl Write) -> io::Result<()> {
        let mut text = String::from("\r");
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            text.push_str(row);
            text.push_str("\x1b[K");
        }
        text.push_str("\x1b[J\r");
        if rows.len() > 1 {
            let _ = write!(text, "\x1b[{}A", rows.len() - 1);
        }
        if text != self.drawn {
            out.write_all(text.as_bytes())?;
            out.flush()?;
            self.drawn = text;
        }
        Ok(())
    }

    /// Draws the rows for the last time and leaves them there, the cursor below.
    pub(crate) fn leave(&mut self, rows: &[String], out: &mut impl Write) -> io::Result<()> {
        self.drawn.clear();
        out.write_all(b"\r\x1b[J")?;
        for row in rows {
            write!(out, "{row}\r\n")?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(terminal: &vt100::Parser) -> String {
        terminal.screen().contents()
    }

    #[test]
    fn rows_are_drawn_in_place_and_left_at_the_end() {
        let mut terminal = vt100::Parser::new(6, 20, 0);
        terminal.process(b"$ command\r\n");
        let mut block = Block::default();
        let mut draw = |rows: &[&str]| {
            let rows: Vec<String> = rows.iter().map(|row| (*row).to_owned()).collect();
            let mut out = Vec::new();
            block.draw(&rows, &mut out).unwrap();
            terminal.process(&out);
            contents(&terminal)
        };
        assert_eq!(draw(&["a 10 %", "b 20 %", "c"]), "$ command\na 10 %\nb 20 %\nc");
        assert_eq!(draw(&["a", "b 30 %"]), "$ command\na\nb 30 %");
        let mut out = Vec::new();
        block.leave(&["a done".to_owned(), "b done".to_owned()], &mut out).unwrap();
        out.extend_from_slice(b"$ ");
        terminal.process(&out);
        assert_eq!(contents(&terminal), "$ command\na done\nb done\n$ ");
    }
}
