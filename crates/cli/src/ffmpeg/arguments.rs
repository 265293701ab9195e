//! The part of ffmpeg's command line that decides how long the output will be.

use std::path::Path;

use super::time;
use crate::output::ffmpeg::Total;

/// Options without a value, those that people use; any other `-option` takes one.
const FLAGS: [&str; 42] = [
    "y",
    "n",
    "hide_banner",
    "nostdin",
    "stdin",
    "stats",
    "nostats",
    "an",
    "vn",
    "sn",
    "dn",
    "shortest",
    "re",
    "copyts",
    "start_at_zero",
    "accurate_seek",
    "noaccurate_seek",
    "benchmark",
    "benchmark_all",
    "dump",
    "hex",
    "xerror",
    "ignore_unknown",
    "copy_unknown",
    "bitexact",
    "autorotate",
    "noautorotate",
    "autoscale",
    "noautoscale",
    "report",
    "debug_ts",
    "vstats",
    "find_stream_info",
    "nofind_stream_info",
    "seek_timestamp",
    "psnr",
    "qphist",
    "intra",
    "isync",
    "recast_media",
    "fix_sub_duration",
    "stdin_interaction",
];

/// Filters that make output longer or shorter than its input.
const CHANGES_DURATION: [&str; 19] = [
    "setpts",
    "asetpts",
    "atempo",
    "rubberband",
    "trim",
    "atrim",
    "loop",
    "aloop",
    "tpad",
    "apad",
    "concat",
    "select",
    "aselect",
    "framestep",
    "segment",
    "asegment",
    "xfade",
    "acrossfade",
    "adelay",
];

/// An input as the command line has it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Input {
    /// What stands after `-i`.
    pub(crate) name: String,
    /// `-f`.
    pub(crate) format: Option<String>,
    /// Options that change how the file is opened, to be handed to ffprobe: `-framerate`, `-safe`, …
    pub(crate) opening: Vec<String>,
    start: Option<f64>,
    from_end: Option<f64>,
    length: Option<f64>,
    stop: Option<f64>,
    repeats: i64,
    looped: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Output {
    start: Option<f64>,
    length: Option<f64>,
    stop: Option<f64>,
    frames: Option<u64>,
    shortest: bool,
    /// Inputs that `-map` names; empty: any.
    mapped: Vec<usize>,
    maps_a_graph: bool,
    changes_duration: bool,
}

/// What is known of the command line.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Arguments {
    /// In the order of their numbers.
    pub(crate) inputs: Vec<Input>,
    /// `-progress` is the user's own, and not ours to take.
    pub(crate) has_progress: bool,
    /// `-stats` or `-nostats` is the user's choice.
    pub(crate) has_stats: bool,
    outputs: Vec<Output>,
    /// `-copyts`, or a filter over all inputs that makes output longer or shorter.
    unpredictable: bool,
}

/// Options before a file name: they belong to that file.
#[derive(Debug, Default)]
struct Pending {
    input: Input,
    output: Output,
}

impl Arguments {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse<S: AsRef<str>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut read = Self::default();
        let mut pending = Pending::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let argument = argument.as_ref();
            let Some(option) = argument.strip_prefix('-').filter(|o| !o.is_empty()) else {
                read.outputs.push(std::mem::take(&mut pending).output);
                continue;
            };
            let name = option.split(':').next().unwrap_or(option);
            if FLAGS.contains(&name) {
                read.flag(name, &mut pending);
                continue;
            }
            let Some(value) = arguments.next() else { break };
            let value = value.as_ref();
            if option == "i" {
                let mut input = std::mem::take(&mut pending).input;
                value.clone_into(&mut input.name);
                read.inputs.push(input);
            } else {
                read.option(option, value, &mut pending);
            }
        }
        read
    }

    fn flag(&mut self, name: &str, pending: &mut Pending) {
        match name {
            "shortest" => pending.output.shortest = true,
            "copyts" => self.unpredictable = true,
            "stats" | "nostats" => self.has_stats = true,
            _ => {}
        }
    }

    fn option(&mut self, option: &str, value: &str, pending: &mut Pending) {
        let Pending { input, output } = pending;
        let name = option.split(':').next().unwrap_or(option);
        match name {
            "progress" => self.has_progress = true,
            "ss" => (input.start, output.start) = (time::seconds(value), time::seconds(value)),
            "t" => (input.length, output.length) = (time::seconds(value), time::seconds(value)),
            "to" => (input.stop, output.stop) = (time::seconds(value), time::seconds(value)),
            "sseof" => input.from_end = time::seconds(value).map(|s| -s),
            "stream_loop" => input.repeats = value.parse().unwrap_or(0),
            "loop" => input.looped = value != "0",
            "f" => input.format = Some(value.to_owned()),
            "framerate" | "r" | "safe" | "pattern_type" | "start_number" | "video_size" | "s"
            | "pixel_format" | "ar" | "ac" | "sample_rate" | "channels" | "protocol_whitelist" => {
                input.opening.extend([format!("-{option}"), value.to_owned()]);
            }
            "frames" | "vframes" if option != "frames:a" => output.frames = value.parse().ok(),
            "map" => output.map(value),
            "vf" | "af" | "filter" => output.changes_duration |= changes_duration(value),
            "filter_complex" | "lavfi" => self.unpredictable |= changes_duration(value),
            "filter_complex_script" | "filter_script" => self.unpredictable = true,
            _ => {}
        }
    }

    /// How much output there will be, given how long each input is.
    pub(crate) fn total(&self, duration_of: impl Fn(usize) -> Option<super::Duration>) -> Total {
        let inputs: Vec<_> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(n, input)| input.seconds(duration_of(n)))
            .collect();
        let seconds = self.outputs.iter().map(|output| self.output_seconds(output, &inputs));
        Total {
            // ffmpeg's clock is that of the output that is furthest.
            seconds: seconds.reduce(|a, b| Some(a?.max(b?))).flatten().filter(|s| *s > 0.0),
            frames: if let [output] = &self.outputs[..] { output.frames } else { None },
        }
    }

    fn output_seconds(&self, output: &Output, inputs: &[Extent]) -> Option<f64> {
        if self.unpredictable {
            return None;
        }
        let used = |n: &usize| {
            output.maps_a_graph || output.mapped.is_empty() || output.mapped.contains(n)
        };
        let used = inputs.iter().enumerate().filter(|(n, _)| used(n)).map(|(_, extent)| *extent);
        let source = if output.changes_duration {
            Extent::Unknown
        } else if output.shortest {
            used.reduce(Extent::shorter)?
        } else {
            used.reduce(Extent::longer)?
        };
        let start = output.start.unwrap_or(0.0);
        let limit = output.length.or_else(|| output.stop.map(|stop| stop - start));
        match (source, limit) {
            (Extent::Seconds(seconds), None) => Some(seconds - start),
            (Extent::Seconds(seconds), Some(limit)) => Some((seconds - start).min(limit)),
            // Without the source's end a limit is an upper bound; an endless source reaches it.
            (Extent::Endless, limit) => limit,
            (Extent::Unknown, _) => None,
        }
        .filter(|s| *s > 0.0)
    }
}

/// How long what an input delivers is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Extent {
    Seconds(f64),
    Endless,
    Unknown,
}

impl Extent {
    fn longer(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Endless, _) | (_, Self::Endless) => Self::Endless,
            (Self::Seconds(a), Self::Seconds(b)) => Self::Seconds(a.max(b)),
        }
    }

    fn shorter(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Endless, rest) | (rest, Self::Endless) => rest,
            (Self::Seconds(a), Self::Seconds(b)) => Self::Seconds(a.min(b)),
        }
    }
}

impl Input {
    /// A file on this machine, or a pattern of such: opening it once more takes nothing away from ffmpeg.
    pub(crate) fn can_be_probed(&self) -> bool {
        if self.format.as_deref() == Some("lavfi") {
            return false;
        }
        let name = self.name.strip_prefix("file:").unwrap_or(&self.name);
        let pattern = name.contains('%')
            && Path::new(name).parent().is_some_and(|p| p.as_os_str().is_empty() || p.is_dir());
        pattern || Path::new(name).is_file()
    }

    fn seconds(&self, duration: Option<super::Duration>) -> Extent {
        use super::Duration;
        let lavfi = self.format.as_deref() == Some("lavfi");
        let whole = match duration {
            _ if self.looped || self.repeats < 0 => Extent::Endless,
            Some(Duration::Seconds(seconds)) =>
            {
                #[expect(clippy::cast_precision_loss, reason = "a handful of repeats")]
                Extent::Seconds(seconds * (1 + self.repeats) as f64)
            }
            // A single picture adds nothing to how long the output is.
            Some(Duration::Picture) => Extent::Seconds(0.0),
            None if lavfi => match super::lavfi::duration(&self.name) {
                Some(seconds) => Extent::Seconds(seconds),
                None if super::lavfi::is_endless(&self.name) => Extent::Endless,
                None => Extent::Unknown,
            },
            None => Extent::Unknown,
        };
        let start = match (self.from_end, whole) {
            (Some(from_end), Extent::Seconds(seconds)) => (seconds - from_end).max(0.0),
            (Some(_), _) => return Extent::Unknown,
            (None, _) => self.start.unwrap_or(0.0),
        };
        let limit = self.length.or_else(|| self.stop.map(|stop| stop - start));
        match (whole, limit) {
            (Extent::Seconds(seconds), None) => Extent::Seconds((seconds - start).max(0.0)),
            (Extent::Seconds(seconds), Some(limit)) => {
                Extent::Seconds((seconds - start).min(limit).max(0.0))
            }
            (Extent::Endless, Some(limit)) => Extent::Seconds(limit.max(0.0)),
            (Extent::Endless, None) => Extent::Endless,
            (Extent::Unknown, _) => Extent::Unknown,
        }
    }
}

impl Output {
    fn map(&mut self, value: &str) {
        if value.starts_with('[') {
            self.maps_a_graph = true;
        } else if let Some(number) = value.split([':', '?']).next().and_then(|n| n.parse().ok()) {
            self.mapped.push(number);
        }
    }
}

/// Whether a filter graph has a filter that makes output longer or shorter. `setpts=PTS-STARTPTS` only shifts.
fn changes_duration(graph: &str) -> bool {
    graph.split([',', ';', ']']).any(|filter| {
        let filter = filter.trim();
        let (name, options) = filter.split_once('=').unwrap_or((filter, ""));
        let name = name.split('@').next().unwrap_or(name).trim();
        let shifts = name.ends_with("setpts") && options.trim_start().starts_with("PTS-STARTPTS");
        CHANGES_DURATION.contains(&name) && !shifts
    })
}

#[cfg(test)]
mod tests {
    use super::super::Duration;
    use super::*;

    /// The total of a command line whose inputs are that long (0: not known).
    fn total(line: &str, inputs: &[f64]) -> Total {
        let arguments = Arguments::parse(line.split(' '));
        arguments.total(|n| inputs.get(n).filter(|s| **s > 0.0).map(|s| Duration::Seconds(*s)))
    }

    fn seconds(line: &str, inputs: &[f64]) -> Option<f64> {
        total(line, inputs).seconds
    }

    #[test]
    fn the_whole_input_or_the_longest() {
        assert_eq!(seconds("-y -i a.mp4 -c:v libx264 -crf 20 out.mp4", &[60.0]), Some(60.0));
        assert_eq!(seconds("-i a.mp4 -i b.wav out.mp4", &[60.0, 61.0]), Some(61.0));
        assert_eq!(seconds("-i a.mp4 -i b.wav -shortest out.mp4", &[60.0, 61.0]), Some(60.0));
        assert_eq!(
            seconds("-i a.mp4 -i b.wav -map 0:v -map 0:a out.mp4", &[60.0, 99.0]),
            Some(60.0)
        );
        assert_eq!(seconds("-i a.mp4 -f null -", &[60.0]), Some(60.0));
    }

    #[test]
    fn cut_at_the_input() {
        assert_eq!(seconds("-ss 10 -i a out.mp4", &[60.0]), Some(50.0));
        assert_eq!(seconds("-ss 10 -t 20 -i a out.mp4", &[60.0]), Some(20.0));
        assert_eq!(seconds("-ss 50 -t 20 -i a out.mp4", &[60.0]), Some(10.0));
        assert_eq!(seconds("-ss 10 -to 00:00:30 -i a out.mp4", &[60.0]), Some(20.0));
        assert_eq!(seconds("-sseof -5 -i a out.mp4", &[60.0]), Some(5.0));
        assert_eq!(seconds("-stream_loop 2 -i a out.mp4", &[60.0]), Some(180.0));
    }

    #[test]
    fn cut_at_the_output() {
        assert_eq!(seconds("-i a -t 20 out.mp4", &[60.0]), Some(20.0));
        assert_eq!(seconds("-i a -ss 10 -to 30 out.mp4", &[60.0]), Some(20.0));
        assert_eq!(seconds("-i a -ss 55 -t 20 out.mp4", &[60.0]), Some(5.0));
        assert_eq!(seconds("-i a -t 5 a.mp4 -t 9 b.mp4", &[60.0]), Some(9.0));
        assert_eq!(total("-i a -frames:v 100 out.mp4", &[60.0]).frames, Some(100));
        assert_eq!(total("-i a -frames:a 100 out.mp4", &[60.0]).frames, None);
    }

    #[test]
    fn generated_and_endless_inputs() {
        assert_eq!(seconds("-f lavfi -i testsrc2=duration=30:size=1x1 out.mp4", &[]), Some(30.0));
        assert_eq!(seconds("-f lavfi -i testsrc2 out.mp4", &[]), None);
        assert_eq!(seconds("-f lavfi -i testsrc2 -t 30 out.mp4", &[]), Some(30.0));
        assert_eq!(seconds("-f lavfi -t 30 -i testsrc2=size=1x1 out.mp4", &[]), Some(30.0));
        assert_eq!(seconds("-loop 1 -i a.png -i b.wav -shortest out.mp4", &[0.0, 7.0]), Some(7.0));
        assert_eq!(seconds("-stream_loop -1 -i a out.mp4", &[60.0]), None);
    }

    #[test]
    fn what_is_not_known_is_not_made_up() {
        assert_eq!(seconds("-i rtsp://camera out.mp4", &[]), None);
        assert_eq!(seconds("-i rtsp://camera -t 20 out.mp4", &[]), None, "it may end before");
        assert_eq!(seconds("-i a -i pipe:0 out.mp4", &[60.0]), None);
        assert_eq!(seconds("-i a -vf setpts=0.5*PTS out.mp4", &[60.0]), None);
        assert_eq!(
            seconds("-i a -filter_complex [0:v]trim=0:5[v] -map [v] out.mp4", &[60.0]),
            None
        );
        assert_eq!(seconds("-i a -vf scale=1:1,setpts=PTS-STARTPTS out.mp4", &[60.0]), Some(60.0));
        assert_eq!(seconds("-copyts -ss 10 -i a out.mp4", &[60.0]), None);
        assert_eq!(seconds("", &[]), None);
        assert_eq!(seconds("-i", &[]), None);
        assert_eq!(seconds("-i a", &[60.0]), None, "no output");
    }

    #[test]
    fn a_picture_adds_nothing() {
        let arguments =
            Arguments::parse("-i a.mp4 -i logo.png -filter_complex overlay out.mp4".split(' '));
        let total = arguments
            .total(|n| Some(if n == 0 { Duration::Seconds(60.0) } else { Duration::Picture }));
        assert_eq!(total.seconds, Some(60.0));
    }

    #[test]
    fn the_users_own_choices_are_seen() {
        let arguments = Arguments::parse("-progress x -nostats -i a b".split(' '));
        assert!(arguments.has_progress && arguments.has_stats);
        assert_eq!(arguments.inputs.len(), 1);
    }
}
