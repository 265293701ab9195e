use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::json::number;
use crate::{Attribute, Epoch, JobId, Position, State, Status, Update};

/// Whether a job's worker is there and gets on: `spec/README.md`, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It reports, and gets on.
    Ok,
    /// It reports, but has made no progress for `stall_after`.
    Stalled,
    /// It has not reported for three heartbeats, and 30 s at least.
    Lost,
}

impl Health {
    /// Every health, from good to bad.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Stalled, Self::Lost];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
        }
    }

    /// Parses a health by its name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|health| health.as_str() == name)
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How long a job may be silent, and stand still, before its health changes or it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    silent: Option<Duration>,
    still: Option<Duration>,
    ending: Option<Duration>,
}

impl Patience {
    /// A worker that misses a few heartbeats may just be busy.
    const HEARTBEATS: f64 = 3.0;
    /// No worker is lost sooner.
    const SHORTEST: Duration = Duration::from_secs(30);

    /// That of a job in this state; none if nothing changes by time alone: it has ended, or its worker has said neither how
    /// often it reports, nor when it is stalled, nor when it is to be ended.
    pub fn of(state: &State) -> Option<Self> {
        let seconds = |attribute| {
            let seconds = state.attribute(attribute).and_then(number)?;
            Duration::try_from_secs_f64(seconds).ok()
        };
        let missed =
            seconds(Attribute::Heartbeat).map(|heartbeat| heartbeat.mul_f64(Self::HEARTBEATS));
        let silent = missed.map(|missed| missed.max(Self::SHORTEST));
        // A worker that reports as often as it says is not ended between two reports.
        let ending = seconds(Attribute::LostAfter).map(|most| most.max(missed.unwrap_or_default()));
        let still = seconds(Attribute::StallAfter).filter(|_| state.status() == Status::Processing);
        let is_timed = silent.is_some() || still.is_some() || ending.is_some();
        (is_timed && !state.status().is_end()).then_some(Self { silent, still, ending })
    }

    /// The health of a job that was heard, and has progressed, that long ago.
    pub fn health(&self, silence: Duration, standstill: Duration) -> Health {
        if self.silent.is_some_and(|most| silence >= most) {
            Health::Lost
        } else if self.still.is_some_and(|most| standstill >= most) {
            Health::Stalled
        } else {
            Health::Ok
        }
    }

    /// How long the job's worker has to be silent for the job to end, if it is that long already.
    pub fn ending(&self, silence: Duration) -> Option<Duration> {
        self.ending.filter(|most| silence >= *most)
    }

    /// After how much silence the worker is probably gone: two thirds of the time after which the job is lost, or ends. None if
    /// neither happens.
    pub fn silent_after(&self) -> Option<Duration> {
        let first = [self.silent, self.ending].into_iter().flatten().min();
        first.map(|first| first / 3 * 2)
    }

    /// When the health may become worse than it is, or the job may end, given the moments at which the job was heard and
    /// progressed last; none if neither will happen.
    pub fn next_change(
        &self,
        health: Health,
        seen: Duration,
        progressed: Duration,
    ) -> Option<Duration> {
        let lost = self.silent.map(|most| seen + most).filter(|_| health < Health::Lost);
        let stalled = self.still.map(|most| progressed + most).filter(|_| health < Health::Stalled);
        let ended = self.ending.map(|most| seen + most);
        [lost, stalled, ended].into_iter().flatten().min()
    }
}

impl Update {
    /// The end of an attempt whose worker has been silent for as long as its `lost_after` allows.
    pub fn end_of_lost(job: &JobId, attempt: u32, silence: Duration) -> Self {
        let seconds = silence.as_secs_f64();
        let error =
            format!("The worker has not reported for {seconds} s: its lost_after ended the job");
        let json = format!(
            r#"{{"status":"failed","attempt":{attempt},"message":"Error: {error}","error":"{error}"}}"#
        );
        Self::parse(Some(job), json.as_bytes()).expect("a valid update")
    }
}

impl State {
    /// The job's health; none if the state says nothing of it, which is as good as [`Health::Ok`].
    pub fn health(&self) -> Option<Health> {
        let json = self.layout.health.get(&self.json)?;
        Health::from_name(json.trim_matches('"'))
    }

    /// When the status, the stage, the progress or `current` changed last, as JSON.
    pub fn progressed_at(&self) -> Option<&str> {
        self.layout.progressed_at.get(&self.json)
    }

    /// The state after this one if nothing happens but that time passes, until the job's health is another one. None if the
    /// state does not show health.
    pub fn with_health(&self, health: Health, epoch: Epoch) -> Option<Self> {
        let (before, after) = self.layout.health.around(&self.json)?;
        let (between, _) = after.rsplit_once(",\"position\":")?;
        let position = Position::following(Some(self.position), epoch);
        let json = format!("{before}\"{health}\"{between},\"position\":\"{position}\"}}");
        let state = Self::parse(&json).ok()?;
        Some(Self { pace: self.pace.clone(), ..state }.with_usual_of(self))
    }
}
