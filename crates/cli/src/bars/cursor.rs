//! Where a command's output leaves the terminal's cursor, as far as a bar has to know it.

/// What is kept of a row that the command has not ended. A longer row gets no bar until it ends.
const MAX_ROW_BYTES: usize = 2048;

/// Parameters of a control sequence beyond this are dropped.
const MAX_PARAMETER_BYTES: usize = 32;

/// Follows the cursor relative to the lowest row that the command has written to.
///
/// A bar may only be drawn where nothing of the command's can be below the cursor. Rows are counted by newlines and by
/// the control sequences that move the cursor. Where a count may be wrong (a row wrapped, the screen's edge stopped the
/// cursor) the cursor is taken to be higher than it is, which only keeps the bar away. After an absolute move the
/// position is unknown until the command erases everything below the cursor.
#[derive(Debug, Default)]
pub(super) struct CursorTracker {
    state: Parse,
    parameters: Vec<u8>,
    position: Position,
    /// The position before the alternate screen was entered.
    before_alternate: Option<Position>,
}

#[derive(Debug, Clone, Default)]
struct Position {
    /// Rows between the cursor and the lowest row written to.
    rows_up: u32,
    /// The cursor was placed absolutely.
    unknown: bool,
    /// Nothing was written since the whole screen was erased.
    blank_screen: bool,
    /// Nothing was written since the cursor was placed in the first column.
    first_column: bool,
    row: Row,
}

/// The row that the cursor is on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Row {
    /// These bytes draw it, beginning at its start. Empty: nothing is on it.
    Bytes(Vec<u8>),
    /// Something may be on it, and it cannot be drawn again.
    Opaque,
}

impl Default for Row {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Parse {
    #[default]
    Text,
    Escape,
    /// After `ESC (` and the like: one more byte.
    Designation,
    Csi,
    /// OSC, DCS and so on, up to BEL or `ESC \`.
    String,
    StringEscape,
}

/// Where a bar can be drawn now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// Nowhere: it could hide or overwrite the command's output.
    None,
    /// At the start of an empty row.
    RowStart,
    /// On the row below this one, which these bytes draw again.
    Below(&'a [u8]),
}

impl CursorTracker {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.byte(*byte);
        }
    }

    /// Somebody else wrote to the current row.
    pub(super) fn row_is_opaque(&mut self) {
        self.position.row = Row::Opaque;
    }

    pub(super) fn place(&self, columns: usize) -> Place<'_> {
        let position = &self.position;
        let hidden = self.before_alternate.is_some() || position.unknown || position.rows_up > 0;
        match &position.row {
            _ if hidden || self.state != Parse::Text => Place::None,
            Row::Opaque => Place::None,
            Row::Bytes(bytes) if bytes.iter().all(|b| *b == b'\r') => Place::RowStart,
            Row::Bytes(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                let fits = console::measure_text_width(text.trim_matches('\r')) < columns;
                if fits { Place::Below(bytes) } else { Place::None }
            }
        }
    }

    /// The bytes that move the cursor to the start of an empty row below all output, for lines after the command's end.
    pub(super) fn to_empty_row(&self) -> Vec<u8> {
        let position = &self.position;
        match &position.row {
            Row::Bytes(bytes) if bytes.is_empty() && position.rows_up == 0 && !position.unknown => {
                Vec::new()
            }
            _ if position.rows_up > 0 && !position.unknown => {
                format!("\x1b[{}B\r\n", position.rows_up.min(999)).into_bytes()
            }
            _ => b"\r\n".to_vec(),
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.state {
            Parse::Text => match byte {
                0x1b => self.state = Parse::Escape,
                b'\n' | 0x0b | 0x0c => self.newline(),
                0x07 | 0x00 | 0x0e | 0x0f | 0x7f => {}
                _ => self.write(&[byte]),
            },
            Parse::Designation => self.state = Parse::Text,
            Parse::Csi if (0x40..=0x7e).contains(&byte) => {
                self.state = Parse::Text;
                let parameters = std::mem::take(&mut self.parameters);
                self.control(&parameters, byte);
            }
            Parse::Csi => {
                if self.parameters.len() < MAX_PARAMETER_BYTES {
                    self.parameters.push(byte);
                }
            }
            Parse::String => match byte {
                0x07 => self.state = Parse::Text,
                0x1b => self.state = Parse::StringEscape,
                _ => {}
            },
            Parse::StringEscape if byte == b'\\' => self.state = Parse::Text,
            Parse::Escape | Parse::StringEscape => self.escape(byte),
        }
    }

    fn escape(&mut self, byte: u8) {
        self.state = Parse::Text;
        match byte {
            b'[' => {
                self.parameters.clear();
                self.state = Parse::Csi;
            }
            b']' | b'P' | b'_' | b'^' | b'X' => self.state = Parse::String,
            b'(' | b')' | b'*' | b'+' | b'#' | b'%' => self.state = Parse::Designation,
            // Reverse index.
            b'M' => self.up(1),
            b'D' => self.down(1),
            b'E' => self.newline(),
            // Restore the cursor.
            b'8' => self.lose(false),
            // Reset.
            b'c' => self.position = Position { blank_screen: true, ..Position::default() },
            _ => {}
        }
    }

    fn control(&mut self, parameters: &[u8], last: u8) {
        let text = String::from_utf8_lossy(parameters);
        if let Some(modes) = text.strip_prefix('?') {
            if matches!(last, b'h' | b'l') {
                self.modes(modes, last == b'h');
            }
            return;
        }
        let mut numbers = text.split(';').map(|n| n.parse::<u32>().unwrap_or(0));
        let first = numbers.next().unwrap_or(0);
        match last {
            // Colours, erasing within the row, moves within the row: drawn again with it.
            b'm' | b'K' | b'G' | b'`' | b'C' | b'D' | b'X' | b'@' | b'P' => {
                let mut sequence = b"\x1b[".to_vec();
                sequence.extend_from_slice(parameters);
                sequence.push(last);
                self.keep(&sequence);
            }
            b'A' => self.up(first.max(1)),
            b'B' | b'e' => self.down(first.max(1)),
            b'F' => {
                self.up(first.max(1));
                self.position.first_column = true;
            }
            b'E' => {
                self.down(first.max(1));
                self.position.first_column = true;
            }
            b'J' => self.erase(first),
            b'H' | b'f' => {
                let column = numbers.next().unwrap_or(1);
                self.lose(column <= 1);
            }
            b'd' | b'u' | b'S' | b'T' | b'L' | b'M' | b'r' => self.lose(false),
            _ => {}
        }
    }

    fn modes(&mut self, modes: &str, on: bool) {
        for mode in modes.split(';') {
            match (mode, on) {
                ("47" | "1047" | "1049", true) if self.before_alternate.is_none() => {
                    self.before_alternate = Some(std::mem::take(&mut self.position));
                }
                ("47" | "1047" | "1049", false) => {
                    if let Some(position) = self.before_alternate.take() {
                        self.position = position;
                    }
                }
                // Origin mode.
                ("6", _) => self.lose(false),
                _ => {}
            }
        }
    }

    fn newline(&mut self) {
        let position = &mut self.position;
        position.blank_screen = false;
        position.first_column = true;
        if position.rows_up == 0 {
            position.row = Row::default();
        } else {
            // Onto a row that was written before.
            position.rows_up -= 1;
            position.row = Row::Opaque;
        }
    }

    fn up(&mut self, rows: u32) {
        let position = &mut self.position;
        position.rows_up = position.rows_up.saturating_add(rows);
        position.row = Row::Opaque;
        position.first_column = false;
    }

    fn down(&mut self, rows: u32) {
        let position = &mut self.position;
        position.rows_up = position.rows_up.saturating_sub(rows);
        position.row = Row::Opaque;
        position.first_column = false;
    }

    fn lose(&mut self, first_column: bool) {
        let position = &mut self.position;
        position.first_column = first_column;
        if position.blank_screen {
            position.row = if first_column { Row::default() } else { Row::Opaque };
        } else {
            position.unknown = true;
            position.row = Row::Opaque;
        }
    }

    fn erase(&mut self, what: u32) {
        let position = &mut self.position;
        if matches!(what, 0 | 2) {
            position.rows_up = 0;
            position.unknown = false;
            position.blank_screen = what == 2;
            position.row = if position.first_column { Row::default() } else { Row::Opaque };
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.position.blank_screen = false;
        self.position.first_column = bytes == b"\r";
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let Row::Bytes(row) = &mut self.position.row else { return };
        if bytes == b"\r" && row.iter().all(|b| *b == b'\r') {
            // Several returns count as one. One at the start is kept, because it marks a meter.
            row.clear();
        } else if row.last() == Some(&b'\r') && bytes != b"\r" {
            // What is drawn over is not needed to draw the row again.
            row.clear();
            row.push(b'\r');
        }
        row.extend_from_slice(bytes);
        if row.len() > MAX_ROW_BYTES {
            self.position.row = Row::Opaque;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pieces: &[&str]) -> String {
        let mut cursor = CursorTracker::default();
        for piece in pieces {
            cursor.push(piece.as_bytes());
        }
        match cursor.place(20) {
            Place::None => "none".to_owned(),
            Place::RowStart => "row start".to_owned(),
            Place::Below(bytes) => format!("below {}", String::from_utf8_lossy(bytes)),
        }
    }

    #[test]
    fn lines_and_rows_drawn_in_place() {
        assert_eq!(place(&[]), "row start");
        assert_eq!(place(&["done\n"]), "row start");
        assert_eq!(place(&["Password: "]), "below Password: ");
        assert_eq!(place(&["\r 42%"]), "below \r 42%");
        assert_eq!(place(&["41%\r", "42%\r"]), "below \r42%\r");
        assert_eq!(place(&["one\n\r 41%\r 42%"]), "below \r 42%");
        assert_eq!(place(&["\r 42%", "\r\n"]), "row start");
        assert_eq!(place(&["\r 42% of a line that is too long"]), "none");
        assert_eq!(place(&[&"x".repeat(5000)]), "none");
        assert_eq!(place(&[&"x".repeat(5000), "y\n"]), "row start");
        assert_eq!(place(&["\x1b[32m42%\x1b[0m\x1b[K"]), "below \x1b[32m42%\x1b[0m\x1b[K");
        assert_eq!(place(&["\x1b]0;a title\x07", "\x1b]9;4;1;5\x1b\\"]), "row start");
        assert_eq!(place(&["half a sequence \x1b[3"]), "none");
    }

    #[test]
    fn above_other_output_there_is_no_place() {
        let nested = "\router 1\n\rinner 1\x1b[A";
        assert_eq!(place(&[nested]), "none");
        assert_eq!(place(&[nested, "\router 2\n"]), "none", "the inner bar is on this row");
        assert_eq!(place(&[nested, "\n", "\n"]), "row start");
        assert_eq!(place(&[nested, "\n", "text\n"]), "row start");
        assert_eq!(
            place(&["a\nb\nc\n\x1b[3A", "x\ny\nz\n"]),
            "none",
            "nothing is known of the row"
        );
        assert_eq!(place(&["a\nb\nc\n\x1b[3A", "x\ny\nz\n\n"]), "row start");
        assert_eq!(place(&["a\n\x1b[2F\x1b[J"]), "row start");
        assert_eq!(place(&["a\n\x1b[A\x1b[J"]), "none", "the column is not known");
        assert_eq!(place(&["a\n\x1b[1A\r\x1b[J"]), "row start", "everything below is erased");
    }

    #[test]
    fn absolute_moves_are_unknown_until_the_rest_is_erased() {
        assert_eq!(place(&["\x1b[5;1Hx\n"]), "none");
        assert_eq!(place(&["\x1b7\x1b[1;1Hx\x1b8", "y\n"]), "none");
        assert_eq!(place(&["\x1b[H\x1b[2J\x1b[3J"]), "row start", "clear");
        assert_eq!(place(&["\x1b[2J\x1b[H"]), "row start");
        assert_eq!(place(&["\x1b[2J\x1b[H", "one\n"]), "row start");
        assert_eq!(place(&["x\x1bc"]), "row start");
    }

    #[test]
    fn the_alternate_screen_gives_the_position_back() {
        assert_eq!(place(&["a\n\x1b[?1049h\x1b[H\x1b[2J~\n~\n"]), "none");
        assert_eq!(place(&["a\n\x1b[?1049h\x1b[H\x1b[2J~\n~\n", "\x1b[?1049l"]), "row start");
        assert_eq!(place(&["\x1b[5;1H\x1b[?1049h\x1b[?1049l"]), "none");
    }

    #[test]
    fn the_end_line_goes_below_everything() {
        let to_empty_row = |text: &str| {
            let mut cursor = CursorTracker::default();
            cursor.push(text.as_bytes());
            String::from_utf8(cursor.to_empty_row()).unwrap()
        };
        assert_eq!(to_empty_row("a\n"), "");
        assert_eq!(to_empty_row("a"), "\r\n");
        assert_eq!(to_empty_row("a\nb\n\x1b[2A"), "\x1b[2B\r\n");
        assert_eq!(to_empty_row("\x1b[H"), "\r\n");
    }
}
