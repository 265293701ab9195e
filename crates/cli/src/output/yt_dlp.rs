//! yt-dlp (and youtube-dl): `[download]  45.0% of 10.00MiB at 500.00KiB/s ETA 00:20`, once for each part, such as the video
//! and the audio, and for each item of a playlist. All parts are one bar; each counts the same. Where there are several,
//! each is a stage, and so is what comes after them.

use super::{Progress, Reading, scan};

/// The most parts that are distinguished.
const MAX_PARTS: u32 = 1000;

/// File names of audio alone end with these.
const AUDIO: [&str; 8] = ["m4a", "mp3", "opus", "ogg", "aac", "flac", "wav", "weba"];

/// What may follow the parts, by the word in brackets at the beginning of its line.
const AFTER: [(&str, &str); 4] = [
    ("[Merger] ", "merging"),
    ("[ExtractAudio] ", "extracting audio"),
    ("[VideoConvertor] ", "converting"),
    ("[VideoRemuxer] ", "converting"),
];

/// In a part that comes in fragments, `(frag 1/4)`, the size is a guess, and the percentage jumps with it. How many fragments are
/// there bounds it.
fn in_fragment(fraction: f64, rest: &str) -> f64 {
    let fragments = rest.split_once("(frag ").and_then(|(_, rest)| scan::count(rest));
    match fragments {
        #[expect(clippy::cast_precision_loss, reason = "a bar needs no more than 53 bits")]
        Some(count) => {
            let (done, total) = (count.done as f64, count.total as f64);
            fraction.clamp(done / total, ((done + 1.0) / total).min(1.0))
        }
        None => fraction,
    }
}

#[derive(Debug, Default)]
pub(super) struct YtDlp {
    /// Of the present item: parts, and the number of the present one.
    parts: u32,
    part: u32,
    /// Of the playlist: the present item's number, and how many there are.
    item: Option<(u64, u64)>,
    name: String,
    part_is_over: bool,
}

impl YtDlp {
    pub(super) fn note(&mut self, text: &str) {
        if let Some((_, formats)) =
            text.strip_prefix("[info] ").and_then(|t| t.split_once(" format(s): "))
        {
            let parts = formats.split('+').count();
            self.parts = u32::try_from(parts).unwrap_or(MAX_PARTS).min(MAX_PARTS);
            self.part = 0;
        }
        let Some(text) = text.strip_prefix("[download] ") else { return };
        let item = ["Downloading item ", "Downloading video "];
        if let Some(rest) = item.iter().find_map(|start| text.strip_prefix(start)) {
            self.item = scan::count(rest).map(|count| (count.done, count.total));
            self.part = 0;
        } else if let Some(file) = text.strip_prefix("Destination: ") {
            self.begin(file);
        } else if let Some(file) = text.strip_suffix(" has already been downloaded") {
            self.begin(file);
            self.part_is_over = true;
        }
    }

    fn begin(&mut self, file: &str) {
        self.part = (self.part + 1).min(MAX_PARTS);
        self.part_is_over = false;
        scan::prefix(file.rsplit('/').next().unwrap_or(file), 200).clone_into(&mut self.name);
    }

    /// What the present part is, where there are several. Those who ask for a video and an audio name the video first.
    fn stage(&self) -> Option<String> {
        let parts = self.parts.max(self.part);
        let extension = self.name.rsplit('.').next().unwrap_or_default();
        let is_audio = AUDIO.iter().any(|audio| extension.eq_ignore_ascii_case(audio));
        match (parts, self.part) {
            (0 | 1, _) | (_, 0) => None,
            _ if is_audio => Some("audio".to_owned()),
            (2, 1) => Some("video".to_owned()),
            (2, _) => Some("audio".to_owned()),
            (_, part) => Some(format!("part {part}")),
        }
    }

    /// What the tool does once all parts are there, if this line says that it begins.
    pub(super) fn after(text: &str) -> Option<&'static str> {
        AFTER.iter().find(|(begins, _)| text.starts_with(begins)).map(|(_, stage)| *stage)
    }

    pub(super) fn read(&mut self, text: &str) -> Option<Reading> {
        let text = text.strip_prefix("[download] ")?.trim_start();
        if !text.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let percent = scan::percents(text).next().filter(|percent| percent.start == 0)?;
        let (size, rest) = text[percent.end..]
            .trim_start()
            .strip_prefix("of")?
            .trim_start_matches([' ', '~'])
            .split_once(' ')?;
        scan::size(size)?;
        let rest = rest.trim_start();
        let rate = rest.strip_prefix("at ").map(|r| r.trim_start().split(' ').next().unwrap_or(""));
        let rate = rate.filter(|rate| rate.ends_with("B/s"));
        let eta = rest.split_once("ETA ").and_then(|(_, eta)| scan::clock(eta.split(' ').next()?));
        let reading = Reading::at(self.overall(in_fragment(percent.value / 100.0, rest)));
        let reading = match self.stage() {
            Some(stage) => reading.named_stage(&stage),
            None => reading,
        };
        Some(
            reading
                .message(&self.name)
                .with("total", size)
                .with("rate", rate)
                .with("time_left", eta.filter(|_| self.parts <= 1 && self.item.is_none())),
        )
    }

    /// Of all parts and items, when the present part is so far.
    fn overall(&self, fraction: f64) -> Progress {
        let parts = f64::from(self.parts.max(self.part).max(1));
        let item = (f64::from(self.part.max(1) - 1) + fraction) / parts;
        match self.item {
            #[expect(clippy::cast_precision_loss, reason = "a bar needs no more than 53 bits")]
            Some((number, items)) => {
                Progress::ratio(number.saturating_sub(1) as f64 + item, items as f64)
            }
            None => Progress::ratio(item, 1.0),
        }
    }
}
