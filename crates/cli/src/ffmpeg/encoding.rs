//! One run of ffmpeg: its progress, from all of its streams.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::probe::probe;
use super::{Arguments, Duration};
use crate::output::Reading;
use crate::output::ffmpeg::{InputDurations, Sample, Total};

/// Collects durations and samples in any order, and passes on a reading for each change.
pub(crate) struct Encoding<'a> {
    arguments: Arguments,
    on_reading: Box<dyn Fn(Reading) + Send + Sync + 'a>,
    state: Mutex<EncodingState>,
    finished: AtomicBool,
}

struct EncodingState {
    /// By input number.
    probed: Vec<Option<Duration>>,
    printed: InputDurations,
    total: Total,
    last: Sample,
}

impl<'a> Encoding<'a> {
    pub(crate) fn new(
        arguments: Arguments,
        on_reading: impl Fn(Reading) + Send + Sync + 'a,
    ) -> Self {
        let mut state = EncodingState {
            probed: vec![None; arguments.inputs.len()],
            printed: InputDurations::default(),
            total: Total::default(),
            last: Sample::default(),
        };
        state.count(&arguments);
        on_reading(state.last.reading(Some(state.total)));
        Self {
            arguments,
            on_reading: Box::new(on_reading),
            state: Mutex::new(state),
            finished: AtomicBool::new(false),
        }
    }

    /// Asks ffprobe about the inputs that it can read without taking anything from ffmpeg: at most 16.
    pub(crate) fn probe(&self, ffprobe: &OsStr) {
        for (number, input) in self.arguments.inputs.iter().enumerate().take(16) {
            if self.finished.load(Ordering::Relaxed) {
                return;
            }
            if input.can_be_probed()
                && let Some(duration) = probe(ffprobe, input, &self.finished)
            {
                let mut state = self.lock();
                state.probed[number] = Some(duration);
                self.recount(&mut state);
            }
        }
    }

    /// ffmpeg has printed its progress.
    pub(crate) fn sample(&self, sample: Sample) {
        let mut state = self.lock();
        state.last = sample;
        (self.on_reading)(sample.reading(Some(state.total)));
    }

    /// ffmpeg has printed something on stderr.
    pub(crate) fn stderr_line(&self, line: &str) {
        let mut state = self.lock();
        if state.printed.line(line) {
            self.recount(&mut state);
        }
    }

    /// ffmpeg has exited: no more probing.
    pub(crate) fn finished(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    fn recount(&self, state: &mut EncodingState) {
        state.count(&self.arguments);
        (self.on_reading)(state.last.reading(Some(state.total)));
    }

    fn lock(&self) -> MutexGuard<'_, EncodingState> {
        // Each change is an assignment: nothing is left half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodingState {
    fn count(&mut self, arguments: &Arguments) {
        self.total = arguments.total(|number| {
            let probed = self.probed.get(number).copied().flatten();
            // What ffmpeg prints is rounded to hundredths.
            probed.or_else(|| self.printed.of(number).map(Duration::Seconds))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Progress;

    #[test]
    fn the_total_may_come_after_the_first_sample() {
        let readings = Mutex::new(Vec::new());
        let arguments = Arguments::parse(["-i", "http://elsewhere/a.mp4", "out.mp4"]);
        let encoding =
            Encoding::new(arguments, |reading| readings.lock().unwrap().push(reading.progress));
        encoding.sample(Sample { out_time: Some(1.0), ..Sample::default() });
        for line in [
            "Input #0, mov, from 'a':",
            "Metadata:",
            "Duration: 00:00:04.00, start: 0",
            "Stream #0:0",
        ] {
            encoding.stderr_line(line);
        }
        encoding.sample(Sample { out_time: Some(2.0), ..Sample::default() });
        drop(encoding);
        let fraction = |f| Some(Progress::Fraction(f));
        assert_eq!(
            readings.into_inner().unwrap(),
            [Some(Progress::Unknown), Some(Progress::Unknown), fraction(0.25), fraction(0.5)]
        );
    }
}
