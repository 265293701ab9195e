//! How jobs look in a terminal.

mod bar_line;
mod block;
mod child_counts;
mod cursor;
mod rate;
mod screen;
mod summary;
mod suspension;
mod terminal;
mod time_left;
mod times;

pub(crate) use bar_line::{RowOptions, bar_line};
pub(crate) use block::Block;
pub(crate) use child_counts::{counts_in_words, grouped, known, named};
pub(crate) use screen::Screen;
pub(crate) use summary::{JobSummary, PAUSED, escaped_json, last_line, percent, sanitized};
pub(crate) use suspension::Suspension;
pub(crate) use terminal::{Terminal, colours, columns, rows};
pub(crate) use times::{JobTimes, SILENCE, ago, clock, since, time_taken, utc};

/// Redraws a second, at most.
pub(crate) const MAX_REDRAWS: u8 = 10;
