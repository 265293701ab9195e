//! The demo's rendering: a generated clip, by the same way as `milepost run -- ffmpeg …`.

use std::path::Path;
use std::process::{Command, Stdio};

use milepost_reporter::Job;

use crate::run::{CannotStart, Destination, Outcome, OutputTargets, ReportedJob, Signals, Task};

const SECONDS: u32 = 10;

/// Whether there is an ffmpeg to render with.
pub(super) fn has_ffmpeg() -> bool {
    let mut version = Command::new("ffmpeg");
    version.arg("-version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// Renders 1080p to `out`, with the encoder that this ffmpeg prefers for such a file. A signal ends it.
pub(super) fn render(job: Job, out: &Path) {
    let arguments = [
        "-hide_banner".to_owned(),
        "-nostdin".to_owned(),
        "-y".to_owned(),
        "-f".to_owned(),
        "lavfi".to_owned(),
        "-i".to_owned(),
        format!("testsrc2=duration={SECONDS}:size=1920x1080:rate=30"),
    ];
    let task = Task {
        program: "ffmpeg".into(),
        arguments: arguments
            .into_iter()
            .map(Into::into)
            .chain([out.as_os_str().to_owned()])
            .collect(),
        stage: None,
        environment: Vec::new(),
        hides_text: false,
    };
    let sink = ReportedJob::new(job);
    let targets = OutputTargets {
        stdout: Destination::Nothing,
        stderr: Destination::Nothing,
        screen: None,
        shows_progress: false,
        log: None,
        pty: None,
    };
    let outcome = Signals::catch()
        .map_err(|error| CannotStart::new(&task.program, error))
        .and_then(|mut signals| task.supervise(targets, &mut signals, &sink));
    sink.end(&outcome.unwrap_or_else(|error| Outcome::Failed {
        exit_code: error.exit_code(),
        error: error.to_string(),
    }));
}
