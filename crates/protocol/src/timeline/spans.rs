//! A timeline as clients see it.

use std::borrow::Cow;

use serde::Serialize;

use super::records::{Boundary, Earlier, read_all};
use super::{MAX_STAGES, Sample, Share, Timeline, last_line, millis, started_at};
use crate::json::text;
use crate::{Attribute, State, Status, Timestamp, stages};

/// A stage of an attempt, and when it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StageSpan<'a> {
    /// What updates call it.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub id: Cow<'a, str>,
    /// What people call it, if the job declares that.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub label: Option<Cow<'a, str>>,
    /// Its share of the work beside those of the other stages, if the job declares it.
    pub weight: Option<f64>,
    /// When it began, by the server's clock.
    pub started_at: Option<String>,
    /// When it ended; none while it lasts.
    pub ended_at: Option<String>,
    /// The job's progress when it began.
    pub progress_from: Option<f64>,
    /// The job's progress when it ended, or now.
    pub progress_to: Option<f64>,
}

/// An attempt, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptSpan<'a> {
    /// Which one, from 1.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub attempt: u32,
    /// Its latest status.
    pub status: Status,
    /// When it began, by the server's clock; none if it was queued only.
    pub started_at: Option<String>,
    /// When it ended; none if it did not.
    pub ended_at: Option<String>,
    /// Why it failed: the last line, cut after 96 bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub error: Option<Cow<'a, str>>,
}

impl Timeline {
    /// Progress over the present attempt, oldest first: seconds since it began, and the progress then.
    pub fn samples(&self) -> Vec<(f64, f64)> {
        let sample =
            |sample: &Sample| Some((f64::from(sample.tenths) / 10.0, sample.share.progress()?));
        self.samples.iter().filter_map(sample).collect()
    }

    /// The stages of the present attempt, oldest first. `present` is the job's present state.
    pub fn stages<'a>(&'a self, present: &'a State) -> Vec<StageSpan<'a>> {
        let usual = present.attribute(Attribute::StageWeights);
        let declared = present.attribute(Attribute::Stages);
        let declared = declared.and_then(|declared| stages::weighed(declared, usual));
        let declared = declared.unwrap_or_default();
        let mut spans: Vec<StageSpan<'a>> = Vec::new();
        for boundary in read_all(&self.boundaries, Boundary::read) {
            if let Some(last) = spans.last_mut() {
                last.ended_at = written(boundary.at);
                last.progress_to = boundary.before.progress();
            }
            let Some(id) = text(boundary.stage) else { continue };
            let stage = declared.iter().find(|stage| stage.id == id);
            spans.push(StageSpan {
                id,
                label: stage.and_then(|stage| stage.label.clone()),
                weight: stage.map(|stage| stage.weight),
                started_at: written(boundary.at),
                ended_at: None,
                progress_from: boundary.after.progress(),
                progress_to: Share::of(present).progress(),
            });
        }
        let surplus = spans.len().saturating_sub(MAX_STAGES);
        spans.drain(..surplus);
        spans
    }

    /// For how many milliseconds the attempt that completed with this state was in each declared stage that it did not skip. Empty if
    /// that is not known, or if the attempt was paused: it is not known in which stage.
    pub(crate) fn stage_durations<'a>(&self, end: &'a State) -> Vec<(Cow<'a, str>, u32)> {
        let declared = end.attribute(Attribute::Stages).and_then(stages::parse);
        let boundaries: Vec<_> = read_all(&self.boundaries, Boundary::read).collect();
        // The timeline may be of a later attempt, and its first stages may have been dropped.
        let is_whole = started_at(end) == Some(self.started)
            && boundaries.first().is_some_and(|first| first.at == self.started)
            && boundaries.last().is_some_and(|last| last.stage.is_empty());
        if !is_whole || end.paused_millis() > 0 {
            return Vec::new();
        }
        let took = |stage: &stages::Stage<'_>| {
            let spans = boundaries.windows(2).filter(|pair| {
                text(pair[0].stage).is_some_and(|id| id == stage.id) && !stage.skipped
            });
            let spans = spans.map(|pair| pair[1].at.saturating_sub(pair[0].at).max(0));
            let millis = spans.reduce(i64::saturating_add)?;
            Some(u32::try_from(millis).unwrap_or(u32::MAX))
        };
        let declared = declared.unwrap_or_default().into_iter();
        declared.filter_map(|stage| Some((stage.id.clone(), took(&stage)?))).collect()
    }

    /// The latest attempts, oldest first, the present one last. `present` is the job's present state.
    pub fn attempts<'a>(&'a self, present: &'a State) -> Vec<AttemptSpan<'a>> {
        let earlier = read_all(&self.earlier, Earlier::read).map(|earlier| AttemptSpan {
            attempt: earlier.attempt,
            status: earlier.status,
            started_at: written(earlier.started),
            ended_at: written(earlier.ended),
            error: Some(earlier.error.into()).filter(|error: &Cow<'_, str>| !error.is_empty()),
        });
        let view = present.view();
        let moment = |moment: Option<Cow<'_, str>>| written(moment.as_deref().and_then(millis)?);
        let error = view.error.as_deref().map(last_line).filter(|error| !error.is_empty());
        earlier
            .chain([AttemptSpan {
                attempt: present.attempt(),
                status: present.status(),
                started_at: moment(view.started_at),
                ended_at: moment(view.ended_at),
                error: error.map(|error| error.to_owned().into()),
            }])
            .collect()
    }
}

/// A moment as text; none for 0.
fn written(millis: i64) -> Option<String> {
    let moment = Timestamp::from_micros(millis.saturating_mul(1_000));
    (millis > 0).then(|| moment.with_millis().to_string())
}
