//! What a command's output is read as: bounded, in range, and the same however it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_cli::output::{Event, OutputParser, Progress, Reading};

#[derive(Debug, PartialEq)]
enum Outcome {
    Progress(Reading),
    Text(String),
}

// The first two bytes say where to cut, the others are the output.
fuzz_target!(|bytes: &[u8]| {
    let Some((&[first, second], output)) = bytes.split_first_chunk() else { return };
    let whole = read(&[output], false);
    assert_eq!(whole, read(&output.chunks(1).collect::<Vec<_>>(), false));
    let first = usize::from(first).min(output.len());
    let second = (first + usize::from(second)).min(output.len());
    let pieces = [&output[..first], &output[first..second], &output[second..]];
    assert_eq!(whole, read(&pieces, false));
    // With pauses in between it may say more, but nothing that is out of range.
    read(&pieces, true);
});

fn read(pieces: &[&[u8]], pauses: bool) -> Vec<Outcome> {
    let mut parser = OutputParser::new();
    let mut said = Vec::new();
    for piece in pieces {
        parser.push(piece, |event| said.push(check(event)));
        if pauses {
            parser.pause(|event| said.push(check(event)));
        }
    }
    parser.finish(|event| said.push(check(event)));
    said
}

fn check(event: Event<'_>) -> Outcome {
    match event {
        Event::Progress(reading) => {
            if let Some(Progress::Fraction(fraction)) = reading.progress {
                assert!((0.0..=1.0).contains(&fraction), "{reading:?}");
            }
            let texts = [&reading.stage, &reading.message];
            for text in texts.into_iter().flatten() {
                assert!(!text.is_empty() && text.len() <= 240, "{reading:?}");
            }
            Outcome::Progress(reading)
        }
        Event::Text(text) => {
            assert!(!text.is_empty() && text.len() <= 1024, "{} bytes", text.len());
            Outcome::Text(text.to_owned())
        }
    }
}
