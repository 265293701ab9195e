//! What a job's record holds, and the update that describes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use milepost_protocol::{Action, JobId, Status, Timestamp};
use serde_json::value::{RawValue, to_raw_value};

use crate::attributes::Attributes;
use crate::counter::{Count, Counter};
use crate::rate::Rate;
use crate::update::{Metadata, Progress, Truncated, Update};

#[derive(Debug)]
pub(super) struct Fields {
    /// Incremented by every change of the fields below, except counters.
    pub(super) version: u64,
    /// The `version` of the latest change that watchers should see at once.
    pub(super) urgent: u64,
    pub(super) attempt: Option<u32>,
    pub(super) ttl: Option<u32>,
    /// The request that the worker acknowledged last.
    pub(super) acknowledged: Option<Action>,
    pub(super) queued: bool,
    pub(super) stage: Option<String>,
    pub(super) message: Option<String>,
    pub(super) attributes: Attributes,
    pub(super) metadata: BTreeMap<String, Box<RawValue>>,
    pub(super) metadata_bytes: usize,
    /// The counter that watchers see: the job's own, or that of a stage.
    pub(super) counter: Arc<Counter>,
    pub(super) rate: Rate,
    /// A whole update: an end, or an update of the legacy methods. An end is sent with the same bytes each
    /// time, so that the server recognizes it (section 3).
    pub(super) whole: Option<Whole>,
    pub(super) ended: bool,
    /// The parts that could not be encoded when they were set.
    pub(super) truncated: Truncated,
    /// By how many steps each update is reduced, because the server rejected larger ones.
    pub(super) reductions: u8,
    /// Why the server rejected a part of an update. The notice follows once it has accepted the rest.
    pub(super) rejected_part: Option<String>,
}

#[derive(Debug)]
pub(super) struct Whole {
    pub(super) update: Update,
    pub(super) json: Arc<str>,
}

impl Fields {
    pub(super) fn new(counter: Arc<Counter>) -> Self {
        Self {
            version: 0,
            urgent: 0,
            attempt: None,
            ttl: None,
            acknowledged: None,
            queued: false,
            stage: None,
            message: None,
            attributes: Attributes::default(),
            metadata: BTreeMap::new(),
            metadata_bytes: 0,
            counter,
            rate: Rate::default(),
            whole: None,
            ended: false,
            truncated: Truncated::default(),
            reductions: 0,
            rejected_part: None,
        }
    }

    /// Changes after the end are ignored.
    pub(super) fn change(&mut self) {
        if !self.ended {
            self.version += 1;
        }
    }

    pub(super) fn change_at_once(&mut self) {
        self.change();
        self.urgent = self.version;
    }

    /// Whether the present stage is a declared one.
    pub(super) fn is_declared(&self) -> bool {
        let stages = self.attributes.stages.as_ref().zip(self.stage.as_ref());
        stages.is_some_and(|(stages, stage)| stages.contains(stage))
    }

    pub(super) fn update(&self, job: &JobId, count: Count, rate: Option<f64>) -> Update {
        // The server works out the progress from declared stages, unless the stage covers a given part of it.
        let is_worked_out = self.is_declared() && !self.counter.is_part();
        let queued = self.queued && !count.has_moved();
        let status = if queued { Status::Queued } else { Status::Processing };
        Update {
            stage: self.stage.clone(),
            progress: (!is_worked_out).then(|| Progress(self.counter.progress(count))),
            stage_progress: if is_worked_out { count.given() } else { None },
            message: self.message.clone(),
            metadata: self.metadata(count, rate),
            attempt: self.attempt,
            ttl: self.ttl,
            acknowledged: self.acknowledged,
            paused: (self.acknowledged == Some(Action::Pause)).then_some(true),
            truncated: self.truncated.clone(),
            attributes: self.attributes.clone(),
            current: (count.current > 0 || count.total.is_some()).then_some(count.current),
            total: count.total,
            ..Update::new(job, status, worker_clock())
        }
    }

    /// The worker's own metadata, and the known values that the count adds: `current`, `total`, `unit`,
    /// `rate` (units per second). The worker's own override them. When the job completes is for the server to estimate.
    fn metadata(&self, count: Count, rate: Option<f64>) -> Option<Metadata> {
        let mut all = self.metadata.clone();
        let mut add = |key: &str, value: Option<Box<RawValue>>| {
            if let Some(value) = value {
                all.entry(key.to_owned()).or_insert(value);
            }
        };
        if count.current > 0 || count.total.is_some() {
            add("current", to_raw_value(&count.current).ok());
            add("total", count.total.and_then(|total| to_raw_value(&total).ok()));
            add("unit", self.attributes.unit.as_ref().and_then(|unit| to_raw_value(unit).ok()));
            add("rate", rate.and_then(|rate| to_raw_value(&rounded(rate)).ok()));
        }
        (!all.is_empty()).then_some(Metadata::Keyed(all))
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// The time as RFC 3339 in UTC.
pub(crate) fn worker_clock() -> String {
    Timestamp::now().to_string()
}
