//! A picture goes through four stages: uploading, analyzing, captioning, cropping. Each has a share of the
//! bar, and a total of its own. `ai_pipeline [JOB_ID]`
//!
//! What stands in for a model here is small but real: it finds the picture's edges, names the colours that
//! there are most of, and crops to where most happens.

use std::io::{self, Read};

use milepost_reporter::{Job, Reporter};
use serde_json::{Value, json};

const SIDE: usize = 512;
const CROP: usize = 128;
const STEP: usize = 16;

type Rgb = [u8; 3];

fn main() -> io::Result<()> {
    let id = std::env::args().nth(1).unwrap_or_else(|| "ai-pipeline".to_owned());
    let reporter = Reporter::from_env();
    let job = reporter.job(&id);
    // An error on the way out of `run` drops the job, which says that it has failed.
    let result = run(&job)?;
    println!("{result}");
    job.complete_with(result);
    Ok(())
}

fn run(job: &Job) -> io::Result<Value> {
    let picture = upload(&job.stage_within("uploading", 0.0..0.25))?;
    let edges = analyze(&job.stage_within("analyzing", 0.25..0.6), &picture);
    let caption = caption(&job.stage_within("captioning", 0.6..0.8), &picture);
    job.message(caption.as_str());
    let (left, top) = crop(&job.stage_within("cropping", 0.8..1.0), &edges);
    Ok(json!({"caption": caption, "crop": {"left": left, "top": top, "side": CROP}}))
}

/// Reads the picture; `wrap_read` counts the bytes.
fn upload(stage: &Job) -> io::Result<Vec<Rgb>> {
    let file = painted();
    stage.set_total(file.len() as u64);
    let mut source = stage.wrap_read(file.as_slice());
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        match source.read(&mut chunk)? {
            0 => break,
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
    Ok(bytes.chunks_exact(3).map(|rgb| [rgb[0], rgb[1], rgb[2]]).collect())
}

/// How much neighbouring pixels differ, row by row.
fn analyze(stage: &Job, picture: &[Rgb]) -> Vec<u32> {
    stage.unit("rows");
    let mut edges = vec![0; SIDE * SIDE];
    for y in stage.track(0..SIDE) {
        for x in 0..SIDE {
            let here = picture[y * SIDE + x];
            let right = picture[y * SIDE + (x + 1) % SIDE];
            let below = picture[(y + 1) % SIDE * SIDE + x];
            edges[y * SIDE + x] = difference(here, right) + difference(here, below);
        }
    }
    edges
}

/// Names the two colours that most tiles have.
fn caption(stage: &Job, picture: &[Rgb]) -> String {
    const NAMES: [(&str, Rgb); 6] = [
        ("black", [0, 0, 0]),
        ("white", [255, 255, 255]),
        ("red", [200, 40, 40]),
        ("green", [40, 160, 60]),
        ("blue", [60, 120, 220]),
        ("yellow", [240, 210, 60]),
    ];
    let mut votes = [0; NAMES.len()];
    stage.unit("pixels");
    for pixel in stage.track(picture) {
        let nearest = (0..NAMES.len()).min_by_key(|&name| difference(*pixel, NAMES[name].1));
        votes[nearest.unwrap_or(0)] += 1;
    }
    let mut order: Vec<usize> = (0..NAMES.len()).collect();
    order.sort_by_key(|&name| std::cmp::Reverse(votes[name]));
    format!("A picture in {} and {}", NAMES[order[0]].0, NAMES[order[1]].0)
}

/// The square with the most edges in it.
fn crop(stage: &Job, edges: &[u32]) -> (usize, usize) {
    stage.unit("windows");
    let corners = || (0..=SIDE - CROP).step_by(STEP);
    let windows: Vec<_> = corners().flat_map(|y| corners().map(move |x| (x, y))).collect();
    let mut best = (0, (0, 0));
    for (left, top) in stage.track(windows) {
        let rows = (top..top + CROP).map(|y| &edges[y * SIDE + left..y * SIDE + left + CROP]);
        let energy: u32 = rows.map(|row| row.iter().sum::<u32>()).sum();
        best = best.max((energy, (left, top)));
    }
    best.1
}

fn difference(one: Rgb, other: Rgb) -> u32 {
    one.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(b))).sum()
}

/// A sky, a meadow, and a chequered flag: the picture that is uploaded.
fn painted() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SIDE * SIDE * 3);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let flag = (320..448).contains(&x) && (64..192).contains(&y);
            bytes.extend(match (flag, (x / 8 + y / 8) % 2) {
                (true, 0) => [0, 0, 0],
                (true, _) => [255, 255, 255],
                (false, _) if y < SIDE * 2 / 3 => [70, 130, 220],
                (false, _) => [50, 160, 70],
            });
        }
    }
    bytes
}
