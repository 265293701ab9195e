//! How jobs look in a terminal.

mod face;
mod job_bar;
mod screen;

pub(crate) use face::{Face, duration, percent, sanitized};
pub(crate) use job_bar::JobBar;
pub(crate) use screen::Screen;

/// Redraws a second, at most.
pub(crate) const MAX_REDRAWS: u8 = 10;
