use std::time::Duration;

use crate::backoff::Backoff;

/// Which of a job's states to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Every state, in order. A slow watcher skips to the newest.
    #[default]
    All,
    /// Only the newest state at each moment, and every end.
    Latest,
}

/// The options of a [`Watcher`](crate::Watcher).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    pub(crate) max_rate: Option<f64>,
    pub(crate) close_at_end: bool,
    pub(crate) silence: Duration,
    pub(crate) backoff: Backoff,
    /// Whether the program can be asked for another token.
    pub(crate) renewable: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mode: Mode::All,
            max_rate: None,
            close_at_end: false,
            silence: Duration::from_secs(15),
            backoff: Backoff::default(),
            renewable: false,
        }
    }
}
