//! The progress that ffmpeg prints: the blocks of `-progress`, the status line, and the durations of its inputs.

use super::lines::LineSplitter;
use super::{Progress, Reading, scan};

/// The lines with ffmpeg's version and configuration, which it prints first unless it has `-hide_banner`.
#[derive(Debug, Default)]
pub(crate) struct Banner {
    is_within: bool,
}

impl Banner {
    /// Whether this line, after those before it, is a part of it.
    pub(crate) fn has(&mut self, line: &str) -> bool {
        let begins = ["ffmpeg version ", "ffprobe version ", "ffplay version "];
        let continues = ["built with ", "configuration: "];
        let is = |starts: &[&str]| starts.iter().any(|start| line.starts_with(start));
        let is_library = || line.starts_with("lib") && line.contains(" / ");
        self.is_within = is(&begins) || self.is_within && (is(&continues) || is_library());
        self.is_within
    }
}

/// ffmpeg at one moment. What it does not know yet is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sample {
    pub(crate) frame: Option<u64>,
    pub(crate) fps: Option<f64>,
    /// Seconds of output that are written.
    pub(crate) out_time: Option<f64>,
    /// Seconds of output for each second that passes.
    pub(crate) speed: Option<f64>,
    /// kbit/s.
    pub(crate) bitrate: Option<f64>,
    /// Bytes of output.
    pub(crate) size: Option<u64>,
    pub(crate) duplicated: Option<u64>,
    pub(crate) dropped: Option<u64>,
}

/// How much output there will be. If both are unknown, there is no total.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Total {
    pub(crate) seconds: Option<f64>,
    pub(crate) frames: Option<u64>,
}

impl Sample {
    /// Towards that total. Without one, how far it is is unknown.
    pub(crate) fn reading(&self, total: Option<Total>) -> Reading {
        let total = total.unwrap_or_default();
        let seconds = total.seconds.filter(|s| *s > 0.0);
        let by_time = seconds.map(|total| self.out_time.unwrap_or(0.0) / total);
        let by_frames = total.frames.filter(|f| *f > 0).map(|frames| {
            match Progress::of(self.frame.unwrap_or(0), frames) {
                Progress::Fraction(fraction) => fraction,
                Progress::Unknown => 0.0,
            }
        });
        // Whichever limit is reached first ends it.
        let fraction = [by_time, by_frames].into_iter().flatten().reduce(f64::max);
        let progress =
            fraction.map_or(Progress::Unknown, |f| Progress::Fraction(f.clamp(0.0, 1.0)));
        let time_left = match (seconds, self.out_time, self.speed) {
            (Some(total), Some(out), Some(speed)) if speed > 0.0 => {
                Some(tenths((total - out).max(0.0) / speed))
            }
            _ => None,
        };
        Reading::at(progress)
            .message(&self.message(seconds, total.frames))
            .with("frame", self.frame)
            .with("total_frames", total.frames)
            .with("fps", self.fps)
            .with("speed", self.speed)
            .with("out_time", self.out_time)
            .with("duration", seconds)
            .with("time_left", time_left)
            .with("bitrate_kbit_s", self.bitrate)
            .with("size_bytes", self.size)
            .with("duplicated_frames", self.duplicated.filter(|n| *n > 0))
            .with("dropped_frames", self.dropped.filter(|n| *n > 0))
    }

    fn message(&self, seconds: Option<f64>, frames: Option<u64>) -> String {
        let mut text = match (self.frame, frames) {
            (Some(frame), Some(frames)) => format!("Frame {frame}/{frames}"),
            (Some(frame), None) => format!("Frame {frame}"),
            (None, _) => String::new(),
        };
        let mut add = |part: String| {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&part);
        };
        match (self.out_time, seconds) {
            (Some(out), Some(total)) => add(format!("{out:.1} of {total:.1} s")),
            (Some(out), None) => add(format!("{out:.1} s")),
            (None, _) => {}
        }
        if let Some(speed) = self.speed.filter(|s| *s > 0.0) {
            add(format!("{speed:.2}x"));
        }
        text
    }

    fn set(&mut self, key: &str, value: &str) {
        let value = value.trim();
        match key {
            "frame" => self.frame = value.parse().ok(),
            "fps" => self.fps = decimal(value),
            // `out_time_ms` is in microseconds too, in every release so far.
            "out_time_us" | "out_time_ms" => {
                self.out_time = value.parse::<u64>().ok().and_then(microseconds);
            }
            "time" => self.out_time = scan::clock(value),
            "speed" => self.speed = value.strip_suffix('x').and_then(decimal),
            "bitrate" => self.bitrate = value.strip_suffix("kbits/s").and_then(decimal),
            "total_size" => self.size = value.parse().ok(),
            "size" | "Lsize" => self.size = kibibytes(value),
            "dup_frames" | "dup" => self.duplicated = value.parse().ok(),
            "drop_frames" | "drop" => self.dropped = value.parse().ok(),
            _ => {}
        }
    }
}

fn decimal(text: &str) -> Option<f64> {
    let number = text.trim().parse::<f64>().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

fn kibibytes(text: &str) -> Option<u64> {
    let digits = text.strip_suffix("kB").or_else(|| text.strip_suffix("KiB"))?;
    digits.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[expect(clippy::cast_precision_loss, reason = "bounded to years, in microseconds")]
fn microseconds(us: u64) -> Option<f64> {
    (us < 1 << 50).then(|| us as f64 / 1e6)
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

/// Reads what `-progress` writes: `key=value` lines, a block of them ended by `progress=…`.
#[derive(Debug)]
pub(crate) struct ProgressBlocks {
    lines: LineSplitter,
    sample: Sample,
}

impl ProgressBlocks {
    pub(crate) fn new() -> Self {
        Self { lines: LineSplitter::new(), sample: Sample::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Sample)) {
        let Self { lines, sample } = self;
        lines.push(bytes, |line| {
            let Some((key, value)) =
                str::from_utf8(line.bytes).ok().and_then(|l| l.split_once('='))
            else {
                return;
            };
            if key == "progress" {
                each(std::mem::take(sample));
            } else {
                sample.set(key, value);
            }
        });
    }
}

/// Whether ffmpeg prints this line after its last status line: `video:83kB audio:0kB …`, `[libx264 @ 0x55] frame I:2`.
pub(super) fn is_statistic(text: &str) -> bool {
    text.starts_with("video:") && text.contains("muxing overhead")
        || text.starts_with('[') && text.contains(" @ 0x")
}

/// `frame=   83 fps= 76 q=29.0 size=     256kB time=00:00:01.10 bitrate=1906.7kbits/s speed=1.01x`.
pub(crate) fn stats_line(text: &str) -> Option<Sample> {
    let known =
        text.starts_with("frame=") || text.starts_with("size=") || text.starts_with("video:");
    if !known || !text.contains(" time=") || !text.contains("bitrate=") {
        return None;
    }
    let mut sample = Sample::default();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let end = after.find(' ').unwrap_or(after.len());
        sample.set(key.trim(), &after[..end]);
        rest = &after[end..];
    }
    Some(sample)
}

/// The durations that ffmpeg prints of its inputs on stderr: the fallback where ffprobe has none.
#[derive(Debug, Default)]
pub(crate) struct InputDurations {
    /// By input number; bounded by [`Self::MAX_INPUTS`].
    seconds: Vec<Option<f64>>,
    reading: bool,
}

impl InputDurations {
    const MAX_INPUTS: usize = 64;

    /// Takes a line of stderr. True if a duration came to be known by it.
    pub(crate) fn line(&mut self, text: &str) -> bool {
        if let Some(rest) = text.strip_prefix("Input #") {
            let number = rest.split(',').next().and_then(|n| n.parse::<usize>().ok());
            self.reading =
                number == Some(self.seconds.len()) && self.seconds.len() < Self::MAX_INPUTS;
            if self.reading {
                self.seconds.push(None);
            }
            return false;
        }
        if !self.reading {
            return false;
        }
        let Some(rest) = text.strip_prefix("Duration: ") else { return false };
        self.reading = false;
        let seconds = rest.split(',').next().and_then(scan::clock).filter(|s| *s > 0.0);
        if let Some(last) = self.seconds.last_mut() {
            *last = seconds;
        }
        seconds.is_some()
    }

    pub(crate) fn of(&self, input: usize) -> Option<f64> {
        self.seconds.get(input).copied().flatten()
    }
}

/// ffmpeg's status lines where its arguments are not known: behind a shell, `nice` or `timeout`. The total is the longest
/// `Duration:` of the inputs that it prints. In a script, each further run is a stage of its own: of the passes of an encoding, for
/// example, each begins at 0.
#[derive(Debug, Default)]
pub(super) struct StatusLines {
    durations: InputDurations,
    /// How many runs have ended.
    before: u32,
    /// The present run has printed how far it is.
    has_begun: bool,
}

impl StatusLines {
    pub(super) fn note(&mut self, text: &str) {
        if text.starts_with("Input #0,") {
            // The next ffmpeg of a script.
            self.durations = InputDurations::default();
            self.before = self.before.saturating_add(std::mem::take(&mut self.has_begun).into());
        }
        self.durations.line(text);
    }

    pub(super) fn read(&mut self, text: &str) -> Option<Reading> {
        let seconds = self.durations.seconds.iter().flatten().copied().reduce(f64::max);
        let reading = stats_line(text)?.reading(Some(Total { seconds, frames: None }));
        let reading = Reading { is_only_bar: true, ..reading };
        self.has_begun = true;
        Some(match self.before {
            0 => reading,
            before => reading.named_stage(&format!("ffmpeg {}", u64::from(before) + 1)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    #[test]
    fn progress_blocks_of_a_real_run() {
        let mut samples = Vec::new();
        ProgressBlocks::new().push(&fixture("ffmpeg-testsrc2.progress"), |s| samples.push(s));
        assert_eq!(samples[0].speed, None);
        assert_eq!(samples[0].out_time, Some(0.0));
        let third = samples[2];
        assert_eq!(
            (third.frame, third.fps, third.out_time, third.speed, third.bitrate, third.size),
            (Some(83), Some(75.9), Some(1.100_065), Some(1.01), Some(1906.7), Some(262_192))
        );
        let total = Total { seconds: Some(10.0), frames: None };
        let fractions: Vec<_> =
            samples.iter().map(|s| s.reading(Some(total)).progress.unwrap()).collect();
        assert!(matches!(fractions[2], Progress::Fraction(f) if (f - 0.11).abs() < 0.001));
        assert!(matches!(fractions.last(), Some(Progress::Fraction(f)) if *f > 0.98));
        assert!(samples.iter().all(|s| s.reading(None).progress == Some(Progress::Unknown)));
    }

    #[test]
    fn time_left_is_what_is_left_at_the_present_speed() {
        let sample =
            Sample { out_time: Some(4.0), speed: Some(2.0), frame: Some(120), ..Sample::default() };
        let reading = sample.reading(Some(Total { seconds: Some(10.0), frames: None }));
        assert_eq!(reading.metadata["time_left"], 3.0);
        assert_eq!(reading.message.as_deref(), Some("Frame 120, 4.0 of 10.0 s, 2.00x"));
        let no_speed = Sample { speed: Some(0.0), ..sample };
        assert!(
            !no_speed
                .reading(Some(Total { seconds: Some(10.0), frames: None }))
                .metadata
                .contains_key("time_left")
        );
    }

    #[test]
    fn a_limit_of_frames_is_a_total() {
        let sample = Sample { frame: Some(30), ..Sample::default() };
        let reading = sample.reading(Some(Total { seconds: None, frames: Some(120) }));
        assert_eq!(reading.progress, Some(Progress::Fraction(0.25)));
    }

    #[test]
    fn status_lines_old_and_new() {
        let sample = stats_line("frame=   83 fps= 76 q=29.0 size=     256kB time=00:00:01.10 bitrate=1906.7kbits/s speed=1.01x").unwrap();
        assert_eq!(
            (sample.frame, sample.out_time, sample.size),
            (Some(83), Some(1.1), Some(262_144))
        );
        let audio = stats_line(
            "size=     512KiB time=00:01:01.10 bitrate= 190.7kbits/s speed=10x elapsed=0:00:06.00",
        )
        .unwrap();
        assert_eq!(
            (audio.out_time, audio.speed, audio.size),
            (Some(61.1), Some(10.0), Some(524_288))
        );
        let early = stats_line("frame=    1 fps=0.0 q=0.0 size=N/A time=N/A bitrate=N/A speed=N/A")
            .unwrap();
        assert_eq!((early.frame, early.out_time, early.speed), (Some(1), None, None));
        assert_eq!(stats_line("frame=the picture"), None);
    }

    #[test]
    fn each_further_run_in_a_script_is_a_stage() {
        let mut lines = StatusLines::default();
        let mut read = |time: &str| {
            let status =
                format!("frame=1 fps=1 q=0.0 size=1kB time={time} bitrate=1kbits/s speed=1x");
            let reading = lines.read(&status).unwrap();
            lines.note("Input #0, mov, from 'a.mp4':");
            lines.note("Duration: 00:00:10.00, start: 0.000000, bitrate: 1 kb/s");
            (reading.stage, reading.progress.unwrap())
        };
        let stage = |name: &str| Some(name.to_owned());
        assert_eq!(read("00:00:09.00"), (None, Progress::Unknown));
        assert_eq!(read("00:00:01.00"), (stage("ffmpeg 2"), Progress::Fraction(0.1)));
        assert_eq!(read("00:00:02.00"), (stage("ffmpeg 3"), Progress::Fraction(0.2)));
        // Two that have begun, and none has printed how far it is.
        lines.note("Input #0, mov, from 'b.mp4':");
        let reading = lines.read("size=1kB time=00:00:01.00 bitrate=1kbits/s").unwrap();
        assert_eq!(reading.stage, stage("ffmpeg 4"));
    }

    #[test]
    fn durations_of_inputs() {
        let text = String::from_utf8(fixture("ffmpeg-file.stderr")).unwrap();
        let mut durations = InputDurations::default();
        assert_eq!(text.lines().filter(|l| durations.line(l.trim())).count(), 1);
        assert_eq!(durations.of(0), Some(3.0));
        assert_eq!(durations.of(1), None);
    }
}
