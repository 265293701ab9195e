//! Real tools' captured output, and any bytes in any pieces.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Progress(Reading),
    Text(String),
}

fn see(seen: &mut Vec<Seen>) -> impl FnMut(Event<'_>) {
    |event| {
        seen.push(match event {
            Event::Progress(reading) => Seen::Progress(reading),
            Event::Text(text) => Seen::Text(text.to_owned()),
        });
    }
}

fn events<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
    let mut parser = OutputParser::new();
    let mut seen = Vec::new();
    for piece in pieces {
        parser.push(piece, see(&mut seen));
    }
    parser.finish(see(&mut seen));
    seen
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn readings(name: &str) -> Vec<Reading> {
    events([&fixture(name)[..]])
        .into_iter()
        .filter_map(|seen| match seen {
            Seen::Progress(reading) => Some(reading),
            Seen::Text(_) => None,
        })
        .collect()
}

/// Percentages, rounded; -1 for an unknown total.
fn percents(name: &str) -> Vec<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "0…100")]
    readings(name)
        .iter()
        .map(|r| match r.progress {
            Some(Progress::Fraction(f)) => (f * 100.0).round() as i64,
            Some(Progress::Unknown) => -1,
            None => panic!("a meter without progress: {r:?}"),
        })
        .collect()
}

#[test]
fn curl() {
    assert_eq!(percents("curl-meter.stderr"), [-1, 13, 41, 83, 100]);
    assert_eq!(readings("curl-meter.stderr")[2].metadata["rate"], "9.9MB/s");
    assert_eq!(percents("curl-hash.stderr"), [18, 46, 60, 74, 89, 100]);
    assert_eq!(percents("curl-unknown.stderr"), [-1, -1, -1, -1]);
    assert_eq!(readings("curl-unknown.stderr")[3].metadata["transferred"], "9765k");
}

#[test]
fn a_second_ffmpeg_of_the_same_input_advances_too() {
    let status = |time| format!("size=1kB time=00:00:0{time}.00 bitrate=1kbits/s speed=1x\r");
    let run = [1, 5, 9].map(status).concat();
    let input = "Input #0, wav, from 'a.wav':\n  Duration: 00:00:10.00, bitrate: 1 kb/s\n";
    let readings: Vec<_> = events([format!("{input}{run}\n{input}{run}\n").as_bytes()])
        .into_iter()
        .filter_map(|seen| match seen {
            Seen::Progress(reading) => Some((reading.fraction().unwrap(), reading.stage)),
            Seen::Text(_) => None,
        })
        .collect();
    let stages = [None, Some("ffmpeg 2".to_owned())];
    let expected = stages.iter().flat_map(|stage| [0.1, 0.5, 0.9].map(|at| (at, stage.clone())));
    assert_eq!(readings, expected.collect::<Vec<_>>());
}

#[test]
fn rsync() {
    assert_eq!(percents("rsync-progress2.stdout"), [0, 20, 20, 40, 60, 71, 80, 100, 100]);
    assert_eq!(readings("rsync-progress2.stdout")[5].metadata["bytes"], 21_342_336);
    // Folders are named, so the first file is one of several; then the share of files.
    assert_eq!(percents("rsync-progress.stdout"), [-1, 33, 33, 50, 50, 67, 67, 83, 83, 100]);
}

#[test]
fn wget() {
    let dots = percents("wget-dots.stderr");
    assert_eq!((dots[0], *dots.last().unwrap()), (0, 100));
    assert!(dots.is_sorted() && dots.len() > 10, "{dots:?}");
    assert_eq!(percents("wget-bar.stderr"), [0, 10, 21, 31, 42, 53, 64, 74, 85, 96, 100]);
    assert_eq!(readings("wget-bar.stderr")[3].metadata["rate"], "15.0MB/s");
}

#[test]
fn git_names_its_phases() {
    let readings = readings("git-clone.stderr");
    let mut stages: Vec<_> = readings.iter().filter_map(|r| r.stage.clone()).collect();
    stages.dedup();
    assert_eq!(stages, ["Counting objects", "Compressing objects", "Receiving objects"]);
    let last = readings.iter().rfind(|reading| reading.stage.is_some()).unwrap();
    assert_eq!(last.progress, Some(Progress::Fraction(1.0)));
    assert_eq!(last.metadata["rate"], "22.94 MiB/s");
}

#[test]
fn pip() {
    assert_eq!(percents("pip-raw.stdout"), [0, 2, 100]);
}

#[test]
fn tqdm() {
    let readings = readings("tqdm.stderr");
    let first = readings.iter().find(|r| r.metadata.get("done") == Some(&25.into())).unwrap();
    assert_eq!(first.progress, Some(Progress::Fraction(25.0 / 60.0)));
    assert_eq!(first.message.as_deref(), Some("epoch 1"));
    assert_eq!(first.metadata["rate"], "49.35it/s");
    let percents = percents("tqdm.stderr");
    let unknown = percents.iter().filter(|p| **p == -1).count();
    assert_eq!(unknown, 8, "the one without a total");
    assert_eq!(percents.last(), Some(&100));
    assert!(events([&fixture("tqdm.stderr")[..]]).iter().all(|s| matches!(s, Seen::Progress(_))));
}

#[test]
fn builds() {
    assert_eq!(percents("cmake-make.stdout"), [16, 33, 50, 66, 83, 100, 100]);
    assert_eq!(percents("ninja.stdout"), [17, 33, 50, 67, 83, 100]);
    assert_eq!(readings("ninja.stdout")[5].message.as_deref(), Some("Linking C executable x"));
}

#[test]
fn ffmpeg_without_its_arguments_has_no_total() {
    let readings = readings("ffmpeg-testsrc2.stderr");
    assert!(readings.len() > 5);
    assert!(
        readings.iter().all(|r| r.progress == Some(Progress::Unknown)),
        "the encoder's statistics are no progress"
    );
    assert_eq!(readings.last().unwrap().metadata["frame"], 300);
}

#[test]
fn a_line_drawn_in_place_can_be_read_before_its_end() {
    let mut parser = OutputParser::new();
    let mut seen = Vec::new();
    parser.push(b"\r  8%|# | 5/60 [00:00<00:01, 49.54it/s]", see(&mut seen));
    assert_eq!(seen, []);
    parser.pause(see(&mut seen));
    parser.push(b"\n", see(&mut seen));
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0], seen[1], "read early, and again at its end");
}

#[test]
fn colours_are_looked_through_and_data_is_never_progress() {
    let seen = events([&b"\x1b[32m42%\x1b[0m\n\x00\x01 42%\r\xff 42%\r"[..]]);
    assert_eq!(seen[0], Seen::Progress(Reading::at(Progress::Fraction(0.42))));
    assert!(seen[1..].iter().all(|s| matches!(s, Seen::Text(_))), "{seen:?}");
}

/// Bytes out of which meters are made, so that random ones come near the formats.
fn meterish() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        any::<u8>().prop_map(|b| vec![b]),
        "[0-9]{1,4}(\\.[0-9]{1,2})?%".prop_map(String::into_bytes),
        "[0-9]{1,22}/[0-9]{1,22}".prop_map(String::into_bytes),
        prop::sample::select(vec![
            "\r",
            "\n",
            "\x08",
            "\x1b[K",
            "[",
            "]",
            "|",
            "(",
            ")",
            " ",
            ": ",
            "{\"progress\":",
            "}",
            "Progress ",
            " of ",
            "Receiving objects: ",
            "####",
            "00:00<00:01,",
            "it/s]",
            "12.3MB/s",
            "frame=",
            " time=00:00:01.10",
            " bitrate=",
            "K ....... ",
            "é",
            "█",
            "Duration: ",
            "--:--:-- ",
            "Input #0, ",
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_events(bytes in meterish(), sizes in prop::collection::vec(1usize..9, 1..20)) {
        let whole = events([&bytes[..]]);
        let mut rest = &bytes[..];
        let mut pieces = Vec::new();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at(rest.len().min(*size));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(events(pieces), whole);
    }

    #[test]
    fn every_fraction_is_one_and_every_text_is_bounded(bytes in meterish()) {
        for seen in events([&bytes[..]]) {
            match seen {
                Seen::Progress(Reading { progress: Some(Progress::Fraction(f)), .. }) => prop_assert!((0.0..=1.0).contains(&f)),
                Seen::Progress(_) => {}
                Seen::Text(text) => prop_assert!(text.len() <= MAX_METER_BYTES),
            }
        }
    }
}

#[test]
fn a_bar_whose_words_change_to_and_fro_is_one_bar() {
    let output = "\r[ 10%] x |\r[ 20%] x /\r[ 30%] x |\r[ 40%] x /\r";
    let fractions: Vec<Option<f64>> = events([output.as_bytes()])
        .iter()
        .map(|seen| match seen {
            Seen::Progress(reading) => reading.fraction(),
            Seen::Text(text) => panic!("{text}"),
        })
        .collect();
    assert_eq!(fractions, [0.1, 0.2, 0.3, 0.4].map(Some));
}

#[test]
fn what_follows_a_full_bar_says_whether_the_command_goes_on() {
    for (next, goes_on) in [
        ("Done.", false),
        ("==== 100 passed in 0.11s ====", false),
        ("‘out’ saved [60000/60000]", false),
        ("video:83kB audio:0kB subtitle:0kB muxing overhead: unknown", false),
        ("Elapsed time: 2.9s", false),
        ("Preparing to unpack hostname.deb", true),
    ] {
        let output = format!("\r50% [===   ] ETA 0:12\r100% [======] ETA 0:00\r{next}\n");
        let last = events([output.as_bytes()]).into_iter().rev().find_map(|seen| match seen {
            Seen::Progress(reading) => Some(reading),
            Seen::Text(_) => None,
        });
        let last = last.unwrap();
        assert_eq!(last.progress == Some(Progress::Unknown), goes_on, "{next}");
        assert_eq!(last.resets && last.message.as_deref() == Some(next), goes_on, "{next}");
    }
}
