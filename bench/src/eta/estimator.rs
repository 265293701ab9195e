//! Estimators of the remaining time: the fold's, and those of three libraries as they publish their formulas. A job's progress is
//! their count, and 1 the total.

use std::collections::VecDeque;
use std::sync::Arc;

use milepost_protocol::{
    Epoch, Fold, JobId, Origin, State, Timestamp, Update, Usual, fold_with_usual,
};
use serde_json::Value;

/// A library's estimator: learns how progress grows.
pub(super) trait Estimator {
    /// The progress is `progress` from `at` on, in seconds.
    fn step(&mut self, at: f64, progress: f64);

    /// The remaining seconds; none while they are not known.
    fn left(&self, now: f64) -> Option<f64>;
}

/// What the fold adds to states.
#[derive(Default)]
pub(super) struct Milepost {
    state: Option<State>,
    /// What runs of that name usually take, if there were any before.
    usual: Option<Arc<Usual>>,
}

impl Milepost {
    /// Of a run of which there were others before.
    pub(super) fn knowing(usual: Option<Arc<Usual>>) -> Self {
        Self { state: None, usual }
    }

    /// As [`Estimator::step`].
    pub(super) fn step(&mut self, at: f64, progress: f64) {
        let job = JobId::parse("a").expect("a job id");
        let json = format!(r#"{{"name":"a","progress":{progress}}}"#);
        let update = Update::parse(Some(&job), json.as_bytes()).expect("an update");
        #[expect(clippy::cast_possible_truncation, reason = "some hours")]
        let now = Timestamp::from_micros((at * 1e6) as i64);
        let (previous, usual) = (self.state.as_ref(), self.usual.as_ref());
        let folded = fold_with_usual(previous, &update, Origin::Report, Epoch(1), now, usual, None);
        if let Ok(Fold::New(state)) = folded {
            self.state = Some(state);
        }
    }

    /// `eta` and `eta_high`, in seconds.
    pub(super) fn instants(&self) -> Option<[f64; 2]> {
        let state: Value = serde_json::from_str(self.state.as_ref()?.json()).ok()?;
        let instant = |name: &str| {
            let moment = Timestamp::parse(state.get(name)?.as_str()?)?;
            Some(moment.since(Timestamp::from_micros(0)).as_secs_f64())
        };
        Some([instant("eta")?, instant("eta_high")?])
    }
}

/// tqdm: the ratio of two exponential averages over updates, with its default smoothing.
#[derive(Default)]
pub(super) struct Tqdm {
    last: Option<(f64, f64)>,
    gain: f64,
    time: f64,
}

impl Tqdm {
    const SMOOTHING: f64 = 0.3;
}

impl Estimator for Tqdm {
    fn step(&mut self, at: f64, progress: f64) {
        if let Some((before, reached)) = self.last {
            if progress <= reached || at <= before {
                return;
            }
            let kept = 1.0 - Self::SMOOTHING;
            // Both averages are corrected for how few updates there were by the same factor, which cancels out.
            self.gain = self.gain * kept + (progress - reached) * Self::SMOOTHING;
            self.time = self.time * kept + (at - before) * Self::SMOOTHING;
        }
        self.last = Some((at, progress));
    }

    fn left(&self, _now: f64) -> Option<f64> {
        let (_, progress) = self.last?;
        (self.gain > 0.0).then(|| (1.0 - progress) * self.time / self.gain)
    }
}

/// indicatif: a doubly smoothed exponential average over time, in which the last 15 s weigh nine tenths.
#[derive(Default)]
pub(super) struct Indicatif {
    begin: Option<f64>,
    last: (f64, f64),
    once: f64,
    twice: f64,
}

impl Indicatif {
    fn weight(age: f64) -> f64 {
        0.1_f64.powf(age / 15.0)
    }
}

impl Estimator for Indicatif {
    fn step(&mut self, at: f64, progress: f64) {
        let Some(begin) = self.begin else {
            (self.begin, self.last) = (Some(at), (at, progress));
            return;
        };
        let (before, reached) = self.last;
        if progress <= reached || at <= before {
            return;
        }
        let kept = Self::weight(at - before);
        let rate = (progress - reached) / (at - before);
        self.once = self.once * kept + rate * (1.0 - kept);
        // What came before the beginning has no weight.
        let seen = 1.0 - Self::weight(at - begin);
        self.twice = self.twice * kept + self.once / seen * (1.0 - kept);
        self.last = (at, progress);
    }

    fn left(&self, now: f64) -> Option<f64> {
        let (at, progress) = self.last;
        let seen = 1.0 - Self::weight(now - self.begin?);
        let kept = Self::weight(now - at);
        let once = self.once * kept / seen;
        let rate = (self.twice * kept + once * (1.0 - kept)) / seen;
        (rate > 0.0).then(|| (1.0 - progress) / rate)
    }
}

/// rich: the mean rate of the last 30 s, or of the last 1,000 updates.
#[derive(Default)]
pub(super) struct Rich {
    samples: VecDeque<(f64, f64)>,
}

impl Rich {
    const PERIOD: f64 = 30.0;
    const MOST: usize = 1_000;
}

impl Estimator for Rich {
    fn step(&mut self, at: f64, progress: f64) {
        while self.samples.front().is_some_and(|(oldest, _)| *oldest < at - Self::PERIOD)
            || self.samples.len() >= Self::MOST
        {
            self.samples.pop_front();
        }
        self.samples.push_back((at, progress));
    }

    fn left(&self, _now: f64) -> Option<f64> {
        let ((from, first), (to, last)) = (self.samples.front()?, self.samples.back()?);
        (last > first).then(|| ((1.0 - last) * (to - from) / (last - first)).ceil())
    }
}
