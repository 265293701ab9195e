//! Jobs whose health is judged: their workers, which work, die or hang during a fault, and their watchers, on each instance.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use crate::failure::Failure;
use crate::http::Connection;
use crate::watcher::connect;
use crate::world::World;

/// Seconds between the heartbeats that each job announces. Its workers report more often.
const HEARTBEAT: u64 = 5;
/// After so much silence, such a job is lost: `spec/README.md`, section 3.
const LOST: Duration = Duration::from_secs(30);
/// Without progress for so long, a job that sets it is stalled.
const STALLED: Duration = Duration::from_secs(10);
/// Clocks are looked at once a second, and this machine is busy.
const LATE: Duration = Duration::from_secs(5);
const REPORTED_EVERY: Duration = Duration::from_secs(1);
/// Everybody who returns has reported by then, and every watcher has been shown it.
const RETURN: Duration = Duration::from_secs(10);
/// What is shown twice is by then.
const STRAYS: Duration = Duration::from_secs(3);

/// The jobs of each conduct: without and with `stall_after`. Fewer than half of all workers fall silent, so that the server does
/// not take it for its own fault.
const JOBS: [(Conduct, [usize; 2]); 4] = [
    (Conduct::Works, [10, 10]),
    (Conduct::Dies, [4, 4]),
    (Conduct::Hangs, [4, 4]),
    (Conduct::Beats, [4, 4]),
];

/// What a worker does during the fault. Afterwards, all work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    /// It works, as before.
    Works,
    /// It is killed.
    Dies,
    /// It hangs with all that reports for it: its process and its connection are there, and it sends nothing.
    Hangs,
    /// It hangs, and what reports for it does not: heartbeats go on.
    Beats,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before = 0,
    During = 1,
    After = 2,
}

/// One job, and what is known of its worker.
#[derive(Debug)]
struct Patient {
    id: String,
    conduct: Conduct,
    stalls: bool,
    /// When its worker began to send its latest accepted report before it hung or died.
    reported: Mutex<Instant>,
    /// The same, of its latest progress.
    progressed: Mutex<Instant>,
}

/// A health that a watcher was shown, after another one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    health: String,
    position: String,
    at: Instant,
}

/// What one watcher was shown of one job.
#[derive(Debug)]
struct Shown {
    patient: Arc<Patient>,
    instance: usize,
    course: Mutex<Vec<Change>>,
}

/// All of them.
pub(crate) struct Judged {
    tasks: JoinSet<()>,
    phase: Arc<AtomicU8>,
    shown: Vec<Arc<Shown>>,
}

/// The outcome.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// How often watchers were shown that a job was lost, as they had to be.
    pub(crate) lost: usize,
    pub(crate) stalled: usize,
    /// How long after its last report, or the end of the fault if that was later, the last job was lost.
    pub(crate) latest: Duration,
    /// What watchers were shown and should not have been, or were not shown.
    pub(crate) wrongs: Vec<String>,
}

impl Judged {
    /// Starts the workers and their watchers, and waits until each watcher has seen its job.
    pub(crate) async fn begin(world: &Arc<World>, instances: usize) -> Result<Self, Failure> {
        let phase = Arc::new(AtomicU8::new(Phase::Before as u8));
        let mut judged = Self { tasks: JoinSet::new(), phase, shown: Vec::new() };
        let run = fastrand::u32(..);
        let all = JOBS.iter().flat_map(|(conduct, [without, with])| {
            let stalls = (0..without + with).map(move |number| number >= *without);
            stalls.map(|stalls| (*conduct, stalls))
        });
        for (number, (conduct, stalls)) in all.enumerate() {
            let now = Instant::now();
            let (reported, progressed) = (Mutex::new(now), Mutex::new(now));
            let id = format!("health-{run:08x}-{number}");
            let patient = Arc::new(Patient { id, conduct, stalls, reported, progressed });
            let phase = Arc::clone(&judged.phase);
            judged.tasks.spawn(work(Arc::clone(&patient), Arc::clone(world), phase, number));
            for instance in 0..instances {
                let patient = Arc::clone(&patient);
                let shown = Arc::new(Shown { patient, instance, course: Mutex::default() });
                judged.tasks.spawn(watch(Arc::clone(&shown), world.instance(instance)));
                judged.shown.push(shown);
            }
        }
        if judged.within(RETURN, |shown| !shown.course().is_empty()).await {
            return Ok(judged);
        }
        Err(Failure("a job whose health is judged is not shown".into()))
    }

    /// From now on, workers do what they do during the fault.
    pub(crate) fn fall_ill(&self) {
        self.enter(Phase::During);
    }

    /// Waits until all that has to be shown is, lets all workers return, and says what was wrong. The fault ended at `end`.
    pub(crate) async fn verdict(self, end: Instant) -> Verdict {
        // Also those that work have to be well for so long.
        sleep((end + LOST).saturating_duration_since(Instant::now())).await;
        self.within(LATE, |shown| shown.is_as_expected(Phase::During)).await;
        self.enter(Phase::After);
        self.within(RETURN, |shown| shown.is_as_expected(Phase::After)).await;
        sleep(STRAYS).await;
        let mut verdict = Verdict::default();
        for shown in &self.shown {
            shown.judge(end, &mut verdict);
        }
        verdict
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    /// Whether it holds for all that watchers were shown, after this time at most.
    async fn within(&self, time: Duration, holds: impl Fn(&Shown) -> bool) -> bool {
        let deadline = Instant::now() + time;
        while !self.shown.iter().all(|shown| holds(shown)) {
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(50)).await;
        }
        true
    }
}

impl Shown {
    fn course(&self) -> MutexGuard<'_, Vec<Change>> {
        locked(&self.course)
    }

    /// A state lies in the course if it changes the health. Each state of a lost job does, because a report would have made it
    /// `ok`.
    fn take(&self, health: &str, position: &str) {
        let mut course = self.course();
        let is_next = course.last().is_none_or(|last| {
            last.health != health || health == "lost" && last.position != position
        });
        if is_next {
            let (health, position) = (health.to_owned(), position.to_owned());
            course.push(Change { health, position, at: Instant::now() });
        }
    }

    /// The healths that the watcher has to be shown, until then.
    fn expected(&self, until: Phase) -> Vec<&'static str> {
        let Patient { conduct, stalls, .. } = *self.patient;
        let is_silent = matches!(conduct, Conduct::Dies | Conduct::Hangs);
        let mut course = vec!["ok"];
        course.extend((stalls && conduct != Conduct::Works).then_some("stalled"));
        course.extend(is_silent.then_some("lost"));
        let is_ill = course.len() > 1;
        course.extend((is_ill && until == Phase::After).then_some("ok"));
        course
    }

    fn is_as_expected(&self, until: Phase) -> bool {
        let course = self.course();
        course.iter().map(|change| change.health.as_str()).eq(self.expected(until))
    }

    fn judge(&self, end: Instant, verdict: &mut Verdict) {
        let patient = &self.patient;
        let (course, expected) = (self.course().clone(), self.expected(Phase::After));
        let was: Vec<_> = course.iter().map(|change| change.health.as_str()).collect();
        let Patient { id, conduct, .. } = &**patient;
        let who = format!("{id} ({conduct:?}) on instance {}", self.instance);
        if was != expected {
            verdict.wrongs.push(format!("{who} was {was:?}, and not {expected:?}"));
            return;
        }
        for change in course {
            let (since, most) = match change.health.as_str() {
                "lost" => (*locked(&patient.reported), LOST),
                "stalled" => (*locked(&patient.progressed), STALLED),
                _ => continue,
            };
            let after = change.at.saturating_duration_since(since);
            let late = change.at.saturating_duration_since(since.max(end));
            if after < most || late > most + LATE {
                verdict.wrongs.push(format!(
                    "{who} was {} {after:?} after its last sign of that, {late:?} after the fault",
                    change.health
                ));
            }
            if change.health == "lost" {
                verdict.lost += 1;
                verdict.latest = verdict.latest.max(late);
            } else {
                verdict.stalled += 1;
            }
        }
    }
}

/// Reports until it is aborted, to the instance that answered last.
async fn work(patient: Arc<Patient>, world: Arc<World>, phase: Arc<AtomicU8>, instance: usize) {
    let (mut instance, mut number) = (instance, 0_u64);
    let mut connection: Option<Connection> = None;
    let path = format!("/jobs/{}", patient.id);
    let stall_after = if patient.stalls {
        format!(r#","stall_after":{}"#, STALLED.as_secs())
    } else {
        String::new()
    };
    // Not all at once.
    sleep(REPORTED_EVERY.mul_f64(fastrand::f64())).await;
    loop {
        let is_during = phase.load(Ordering::Acquire) == Phase::During as u8;
        match patient.conduct {
            Conduct::Dies if is_during => connection = None,
            Conduct::Hangs if is_during => {}
            conduct => {
                let progresses = !(is_during && conduct == Conduct::Beats);
                number += u64::from(progresses);
                let update =
                    format!(r#"{{"current":{number},"heartbeat":{HEARTBEAT}{stall_after}}}"#);
                let sent = Instant::now();
                if connection.is_none() {
                    connection = Connection::open(world.instance(instance)).await.ok();
                }
                let answer = match &mut connection {
                    Some(connection) => connection.post(&path, &update).await.ok(),
                    None => None,
                };
                if answer.is_some_and(|answer| answer.status == 200) {
                    let is_after = phase.load(Ordering::Acquire) == Phase::After as u8;
                    note(&patient, sent, progresses, is_after);
                } else {
                    connection = None;
                    instance += 1;
                }
            }
        }
        sleep(REPORTED_EVERY).await;
    }
}

/// An accepted report. What a worker reports after its return does not count.
fn note(patient: &Patient, sent: Instant, progresses: bool, is_after: bool) {
    if !is_after {
        *locked(&patient.reported) = sent;
        if progresses {
            *locked(&patient.progressed) = sent;
        }
    }
}

/// Watches until it is aborted, always on the same instance.
async fn watch(shown: Arc<Shown>, instance: SocketAddr) {
    #[derive(Deserialize)]
    struct State {
        health: String,
        position: String,
    }
    let mut position: Option<String> = None;
    loop {
        let since = position.as_ref().map(|at| format!("?since={at}")).unwrap_or_default();
        let url = format!("ws://{instance}/ws/jobs/{}{since}", shown.patient.id);
        if let Ok(mut socket) = connect(&url).await {
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                if let Ok(state) = serde_json::from_str::<State>(text.as_str()) {
                    shown.take(&state.health, &state.position);
                    position = Some(state.position);
                }
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(conduct: Conduct, stalls: bool) -> Shown {
        let now = Instant::now();
        let (reported, progressed) = (Mutex::new(now), Mutex::new(now));
        let patient = Patient { id: "a".into(), conduct, stalls, reported, progressed };
        Shown { patient: Arc::new(patient), instance: 0, course: Mutex::default() }
    }

    /// Which healths are shown so many seconds after the worker's last report, and what is wrong with that.
    fn wrongs(shown: &Shown, course: &[(&str, u64)]) -> Vec<String> {
        let start = *locked(&shown.patient.reported);
        for (number, (health, seconds)) in course.iter().enumerate() {
            shown.take(health, &format!("a-{number}"));
            if let Some(last) = shown.course().last_mut() {
                last.at = start + Duration::from_secs(*seconds);
            }
        }
        let mut verdict = Verdict::default();
        shown.judge(start, &mut verdict);
        verdict.wrongs
    }

    #[test]
    fn each_change_is_expected_once() {
        let of =
            |conduct, stalls, course: &[(&str, u64)]| wrongs(&shown(conduct, stalls), course).len();
        assert_eq!(of(Conduct::Works, true, &[("ok", 0), ("ok", 1)]), 0);
        assert_eq!(of(Conduct::Works, false, &[("ok", 0), ("lost", 31), ("ok", 32)]), 1);
        let whole = [("ok", 0), ("stalled", 10), ("lost", 31), ("ok", 40)];
        assert_eq!(of(Conduct::Hangs, true, &whole), 0);
        assert_eq!(of(Conduct::Hangs, true, &whole[..3]), 1, "not well again");
        assert_eq!(of(Conduct::Hangs, false, &whole), 1, "it does not set stall_after");
        assert_eq!(of(Conduct::Beats, true, &[("ok", 0), ("stalled", 10), ("ok", 40)]), 0);
        assert_eq!(of(Conduct::Beats, true, &whole), 1, "its heartbeats go on");
        assert_eq!(of(Conduct::Dies, false, &[("ok", 0), ("ok", 40)]), 1, "missed");
        let twice = [("ok", 0), ("lost", 31), ("lost", 32), ("ok", 40)];
        assert_eq!(of(Conduct::Dies, false, &twice), 1, "twice");
    }

    #[test]
    fn a_change_is_neither_too_early_nor_too_late() {
        let of = |lost| {
            let course = [("ok", 0), ("lost", lost), ("ok", 50)];
            wrongs(&shown(Conduct::Dies, false), &course).len()
        };
        assert_eq!([29, 30, 35, 36].map(of), [1, 0, 0, 1]);
    }
}
