//! Renders a short film, frame by frame, and reports each frame.
//!
//! `video_rendering [JOB_ID [FRAMES]]` writes `JOB_ID.y4m` into the temporary directory: a zoom into the
//! Mandelbrot set that mpv, VLC and ffplay show.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use milepost_reporter::{Job, Reporter};
use serde_json::json;

const WIDTH: u32 = 160;
const HEIGHT: u32 = 90;

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let id = arguments.next().unwrap_or_else(|| "video-rendering".to_owned());
    let frames = arguments.next().and_then(|frames| frames.parse().ok()).unwrap_or(240);

    let reporter = Reporter::from_env();
    let job = reporter.job(&id);
    let path = std::env::temp_dir().join(format!("{}.y4m", id.replace(':', "-")));
    match render(&job, &path, frames) {
        Ok(bytes) => {
            println!("{} ({bytes} bytes)", path.display());
            job.complete_with(json!({"video": path, "bytes": bytes}));
            Ok(())
        }
        Err(error) => {
            job.fail(&error);
            Err(error)
        }
    }
}

fn render(job: &Job, path: &PathBuf, frames: u32) -> io::Result<u64> {
    job.stage("rendering");
    job.unit("frames");
    job.metadata("resolution", [WIDTH, HEIGHT]);
    let mut video = BufWriter::new(File::create(Path::new(path))?);
    writeln!(video, "YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 Ip A1:1 Cmono")?;
    for frame in job.track(0..frames) {
        job.message(format!("Rendering frame {}/{frames}", frame + 1));
        video.write_all(b"FRAME\n")?;
        video.write_all(&pixels(f64::from(frame) / f64::from(frames)))?;
    }
    video.into_inner()?.metadata().map(|file| file.len())
}

/// One frame; `time` goes from 0 to 1 through the film.
fn pixels(time: f64) -> Vec<u8> {
    let zoom = 0.02 * (200.0_f64).powf(-time);
    let mut pixels = Vec::with_capacity((WIDTH * HEIGHT) as usize);
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let re = -0.743_643 + (f64::from(x) - f64::from(WIDTH) / 2.0) * zoom;
            let im = 0.131_825 + (f64::from(y) - f64::from(HEIGHT) / 2.0) * zoom;
            pixels.push(brightness(re, im));
        }
    }
    pixels
}

/// How soon the sequence z² + c leaves the circle of radius 2.
fn brightness(re: f64, im: f64) -> u8 {
    let (mut x, mut y) = (0.0, 0.0);
    for step in 0..=255 {
        if x * x + y * y > 4.0 {
            return step;
        }
        (x, y) = (x * x - y * y + re, 2.0 * x * y + im);
    }
    0
}
