//! How jobs look in a terminal.

mod job_bar;
mod screen;
mod summary;

pub(crate) use job_bar::JobBar;
pub(crate) use screen::Screen;
pub(crate) use summary::{JobSummary, duration, percent, sanitized};

/// Redraws a second, at most.
pub(crate) const MAX_REDRAWS: u8 = 10;
