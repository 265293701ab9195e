//! How long an input file is, from ffprobe.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration as Wait, Instant};

use super::concat;
use super::{Duration, Input};

/// How long ffprobe may take for one input, or for all files of a list. ffmpeg runs meanwhile; only the total comes later.
const PATIENCE: Wait = Wait::from_secs(10);

/// ffprobe's answer is two short lines; more is not read.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Asks ffprobe. `None` if it is not installed, does not know, takes too long, or the result is no longer needed. Of a list (`-f concat`)
/// it is asked about each file.
pub(crate) fn probe(ffprobe: &OsStr, input: &Input, pointless: &AtomicBool) -> Option<Duration> {
    let deadline = Instant::now() + PATIENCE;
    let ask = |command: &mut Command| ask(command, deadline, pointless);
    let Some(parts) = concat::parts(input) else {
        let mut command = ffprobe_command(ffprobe);
        if let Some(format) = &input.format {
            command.args(["-f", format]);
        }
        return ask(command.args(&input.opening).arg("-i").arg(&input.name));
    };
    let mut sum = 0.0;
    for part in parts {
        let asks = !part.is_known() && part.name.is_file();
        let answer = asks.then(|| ask(ffprobe_command(ffprobe).arg("-i").arg(&part.name)));
        let whole = match answer.flatten() {
            Some(Duration::Seconds(seconds)) => Some(seconds),
            Some(Duration::Picture) | None => None,
        };
        sum += part.seconds(whole)?;
    }
    Some(Duration::Seconds(sum))
}

fn ffprobe_command(ffprobe: &OsStr) -> Command {
    let mut command = Command::new(ffprobe);
    command.args([
        "-v",
        "error",
        "-show_entries",
        "format=duration,format_name",
        "-of",
        "default=noprint_wrappers=1",
    ]);
    command
}

/// ffprobe's answer, if it comes in time.
fn ask(command: &mut Command, deadline: Instant, pointless: &AtomicBool) -> Option<Duration> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let finished = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < deadline && !pointless.load(Ordering::Relaxed) => {
                std::thread::sleep(Wait::from_millis(10));
            }
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                break false;
            }
        }
    };
    let mut answer = String::new();
    child.stdout.take()?.take(MAX_ANSWER_BYTES).read_to_string(&mut answer).ok()?;
    if finished { parse(&answer) } else { None }
}

fn parse(answer: &str) -> Option<Duration> {
    let value =
        |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let seconds = value("duration")
        .and_then(|s| s.trim().parse::<f64>().ok())
        .filter(|s| s.is_finite() && *s > 0.0);
    if let Some(seconds) = seconds {
        return Some(Duration::Seconds(seconds));
    }
    value("format_name")?
        .split(',')
        .any(|f| f.ends_with("_pipe") || f == "image2")
        .then_some(Duration::Picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert_eq!(parse("format_name=mov,mp4\nduration=3.000000\n"), Some(Duration::Seconds(3.0)));
        assert_eq!(parse("format_name=png_pipe\nduration=N/A\n"), Some(Duration::Picture));
        assert_eq!(parse("format_name=lavfi\nduration=N/A\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn without_ffprobe_nothing_is_known() {
        assert_eq!(
            probe(OsStr::new("/nonexistent/ffprobe"), &Input::default(), &AtomicBool::new(false)),
            None
        );
    }
}
