//! How long a generated input (`-f lavfi -i testsrc2=duration=30:size=1920x1080`) is, from its own text.

use super::time;

/// Filters after which output is as long as input, so that a chain of them keeps its source's duration.
const KEEPS_DURATION: [&str; 16] = [
    "format",
    "scale",
    "fps",
    "drawtext",
    "drawbox",
    "hue",
    "eq",
    "setsar",
    "setdar",
    "pad",
    "crop",
    "hflip",
    "vflip",
    "volume",
    "aformat",
    "aresample",
];

/// Sources that never end unless they are given a duration.
const ENDLESS: [&str; 12] = [
    "testsrc",
    "testsrc2",
    "color",
    "smptebars",
    "smptehdbars",
    "rgbtestsrc",
    "yuvtestsrc",
    "mandelbrot",
    "life",
    "sine",
    "anoisesrc",
    "anullsrc",
];

/// Whether the graph is one chain from a source that does not end by itself.
pub(super) fn is_endless(graph: &str) -> bool {
    let source = graph.split(['=', ',']).next().unwrap_or("").trim();
    chain_options(graph)
        .is_some_and(|options| ENDLESS.contains(&source) && duration_option(&options).is_none())
}

/// Seconds, if the graph is one chain from a source with a `duration` (or `d`).
pub(super) fn duration(graph: &str) -> Option<f64> {
    let options = chain_options(graph)?;
    let value: String =
        duration_option(&options)?.chars().filter(|c| !matches!(c, '\\' | '\'')).collect();
    time::seconds(&value).filter(|s| *s > 0.0)
}

/// The source's options, if what follows it keeps its duration.
fn chain_options(graph: &str) -> Option<Vec<&str>> {
    if graph.contains([';', '[']) {
        return None;
    }
    let mut chain = split(graph, ',').into_iter();
    let source = chain.next()?;
    let keeps =
        chain.all(|filter| KEEPS_DURATION.contains(&filter.split('=').next().unwrap_or("").trim()));
    keeps.then(|| source.split_once('=').map_or_else(Vec::new, |(_, options)| split(options, ':')))
}

fn duration_option<'a>(options: &[&'a str]) -> Option<&'a str> {
    options.iter().find_map(|option| {
        let (key, value) = option.split_once('=')?;
        matches!(key.trim(), "duration" | "d").then_some(value)
    })
}

/// Splits where the separator is neither escaped nor quoted.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        if escaped {
            // Graphs are escaped up to three times over: `\\\\:`.
            escaped = c == '\\';
        } else if c == '\\' {
            escaped = true;
        } else if c == '\'' {
            quoted = !quoted;
        } else if c == separator && !quoted {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_sources() {
        for (graph, expected) in [
            ("testsrc2=duration=30:size=1920x1080:rate=30", Some(30.0)),
            ("sine=frequency=440:d=2.5", Some(2.5)),
            ("testsrc=d=500ms,format=yuv420p,scale=10:10", Some(0.5)),
            (r"color=c=black:duration=00\\:01\\:00", Some(60.0)),
            ("color=c=black:duration='00:01:00':s=1x1", Some(60.0)),
            ("testsrc2", None),
            ("testsrc2=size=1x1", None),
            ("testsrc2=d=-1", None),
            ("testsrc=d=5,loop=3:25", None),
            ("movie=a.mp4:loop=2", None),
            ("testsrc=d=5[a];sine=d=9[b]", None),
        ] {
            assert_eq!(duration(graph), expected, "{graph}");
        }
    }

    #[test]
    fn endless_sources() {
        assert!(is_endless("testsrc2") && is_endless("sine=frequency=440,volume=0.5"));
        assert!(
            !is_endless("testsrc2=d=5")
                && !is_endless("movie=a.mp4")
                && !is_endless("testsrc,trim=0:5")
        );
    }
}
