//! ffmpeg as the command of `milepost run`: how much output there will be, and where it prints its progress.
//!
//! Its stdin, stdout and stderr stay the user's own: ffmpeg writes its progress to one more pipe. The total comes from
//! its arguments and from what ffprobe, or ffmpeg itself, prints about its inputs; if that is not enough (a live input,
//! an endless source, a filter that changes the speed), it is unknown.

mod arguments;
mod concat;
mod duration;
mod encoding;
mod lavfi;
mod probe;
mod time;

pub(crate) use arguments::{Arguments, Input};
pub(crate) use duration::Duration;
pub(crate) use encoding::Encoding;

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Whether the command is ffmpeg itself, wherever it is installed.
pub(crate) fn is_ffmpeg(program: &OsStr) -> bool {
    Path::new(program).file_name() == Some(OsStr::new("ffmpeg"))
}

/// The ffprobe that belongs to that ffmpeg: its neighbour, or else the one on the path.
pub(crate) fn ffprobe_of(program: &OsStr) -> OsString {
    let neighbour = Path::new(program).with_file_name("ffprobe");
    if neighbour.is_absolute() && neighbour.is_file() { neighbour.into() } else { "ffprobe".into() }
}
