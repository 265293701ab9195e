//! Lists of files that ffmpeg plays one after the other: `-f concat -i LIST`. ffprobe does not know how long such a list is, only how
//! long each file is.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Input;

/// Files of longer lists are not asked about one by one.
const MAX_PARTS: usize = 200;

/// The longest list that is read.
const MAX_LIST_BYTES: u64 = 256 * 1024;

/// One file of a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Part {
    pub(super) name: PathBuf,
    /// As the list has it, in seconds.
    duration: Option<f64>,
    start: Option<f64>,
    end: Option<f64>,
}

impl Part {
    /// Whether the list says how long it is.
    pub(super) fn is_known(&self) -> bool {
        self.duration.is_some() || self.end.is_some()
    }

    /// How long it plays, in seconds, if the file takes `whole`.
    pub(super) fn seconds(&self, whole: Option<f64>) -> Option<f64> {
        if self.duration.is_some() {
            return self.duration;
        }
        let end = self.end.or(whole)?;
        Some((end - self.start.unwrap_or(0.0)).max(0.0))
    }
}

/// The files of the list that the input is. None if it is no list, or one that cannot be read or has too many files.
pub(super) fn parts(input: &Input) -> Option<Vec<Part>> {
    let path = Path::new(input.name.strip_prefix("file:").unwrap_or(&input.name));
    let is_list = match input.format.as_deref() {
        Some(format) => format == "concat",
        None => path.extension().is_some_and(|extension| extension == "ffconcat"),
    };
    if !is_list || !path.is_file() {
        return None;
    }
    let mut list = String::new();
    File::open(path).ok()?.take(MAX_LIST_BYTES + 1).read_to_string(&mut list).ok()?;
    if list.len() as u64 > MAX_LIST_BYTES {
        return None;
    }
    parse(&list, path.parent().unwrap_or(Path::new("")))
}

fn parse(list: &str, folder: &Path) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for line in list.lines() {
        let line = line.trim();
        let (directive, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        if directive == "file" {
            if parts.len() == MAX_PARTS {
                return None;
            }
            let name = folder.join(word(rest.trim_start())?);
            parts.push(Part { name, ..Part::default() });
            continue;
        }
        let time = match directive {
            "duration" | "inpoint" | "outpoint" => super::time::seconds(rest.trim())?,
            // Comments, and what does not change how long it is.
            _ => continue,
        };
        let part = parts.last_mut()?;
        match directive {
            "duration" => part.duration = Some(time),
            "inpoint" => part.start = Some(time),
            _ => part.end = Some(time),
        }
    }
    (!parts.is_empty()).then_some(parts)
}

/// A word with ffmpeg's quotes: `'a b'`, `a\ b`.
fn word(text: &str) -> Option<String> {
    let mut word = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => word.push(rest.next()?),
            '\'' => loop {
                match rest.next()? {
                    '\'' => break,
                    quoted => word.push(quoted),
                }
            },
            c if c.is_whitespace() => break,
            c => word.push(c),
        }
    }
    (!word.is_empty()).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_files_and_how_much_of_them_is_played() {
        let list = "ffconcat version 1.0\n# a comment\nfile one.mp4\n  file 'it'\\''s two.mp4'\ninpoint 2\noutpoint 0:05\n\
                    file a\\ b.mp4\ninpoint 1.5\nfile /abs.mp4\nduration 7\n";
        let parts = parse(list, Path::new("clips")).unwrap();
        let names: Vec<&str> = parts.iter().map(|part| part.name.to_str().unwrap()).collect();
        assert_eq!(names, ["clips/one.mp4", "clips/it's two.mp4", "clips/a b.mp4", "/abs.mp4"]);
        let seconds: Vec<_> = parts.iter().map(|part| part.seconds(Some(10.0))).collect();
        assert_eq!(seconds, [Some(10.0), Some(3.0), Some(8.5), Some(7.0)]);
        assert_eq!(parts[0].seconds(None), None);
        assert_eq!(
            parts.iter().map(Part::is_known).collect::<Vec<_>>(),
            [false, true, false, true]
        );
    }

    #[test]
    fn what_cannot_be_understood_is_no_list() {
        for list in ["", "file", "file 'a", "duration 3", "file a\nduration soon"] {
            assert_eq!(parse(list, Path::new("")), None, "{list}");
        }
        let list = |files: usize| "file a\n".repeat(files);
        assert_eq!(parse(&list(MAX_PARTS), Path::new("")).unwrap().len(), MAX_PARTS);
        assert_eq!(parse(&list(MAX_PARTS + 1), Path::new("")), None);
    }
}
