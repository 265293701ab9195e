//! Ordinary reports, folded here instead of in Redis: `docs/decisions/0034-ordinary-reports-are-folded-by-the-instance.md`.
//!
//! Redis runs one script at a time, and the fold is most of what `report.lua` does. A client that has reported a job
//! remembers the job's newest state and meta. It folds the next update itself, and asks Redis to store the result if the job still
//! has that meta. If it has not, because somebody else has reported the job since, `report.lua` folds the update.
//!
//! Invariant: a swap leaves in Redis what `report.lua` would have left. `tests/swap.rs` compares the two. So only the
//! reports that change nothing but what [`RecentJob::next`] computes are folded here.

use milepost_protocol::{Fold, Health, Origin, State, Status, Timestamp, Update, fold};

use crate::answer::Answer;
use crate::call::Call;
use crate::meta::{Field, Meta, Value};
use crate::names::Names;
use crate::published::Secret;
use crate::report::ServerId;
use crate::retention::Retention;

/// A job as this client has left it.
#[derive(Clone, Debug)]
pub(crate) struct RecentJob {
    state: State,
    meta: Box<[u8]>,
    /// How many bytes of an earlier state the next one overwrites, once the job has as many states as are kept.
    overwrites: u64,
}

/// A job's next state, which Redis has not accepted yet.
pub(crate) struct Swap {
    pub(crate) state: State,
    meta: Vec<u8>,
    pub(crate) call: Call,
}

/// The layout of meta that this version writes: `LAYOUT` in `report.lua`.
const LAYOUT: u64 = 1;

impl RecentJob {
    /// A job after `report.lua` has folded `state`, with its meta. None if the fold here would need more than these.
    pub(crate) fn new(state: State, meta: Vec<u8>, overwrites: u64) -> Option<Self> {
        let parsed = Meta::parse(&meta)?;
        let [pace, usual] = [Field::Pace, Field::Usual].map(|field| parsed.bytes(field));
        let state = state.with_pace_and_usual(pace, usual)?;
        Some(Self { state, meta: meta.into(), overwrites })
    }

    /// The job's newest state.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// About how many bytes of memory it takes.
    pub(crate) fn cost(&self) -> usize {
        /// The rest of a state, the id, and a place in a table.
        const FIXED: usize = 320;
        FIXED
            + self.state.json().len()
            + self.state.pace_len()
            + self.state.usual_len()
            + self.meta.len()
    }

    /// The state after `update`, if it is reported at `now`, in milliseconds by the server's clock. None if Redis has to fold the
    /// update: if it begins or ends something, or anything is due beside the new state.
    pub(crate) fn next(
        &self,
        update: &Update,
        now: i64,
        server: &ServerId,
        names: Names,
        retention: &Retention,
    ) -> Option<Swap> {
        let meta = Meta::parse(&self.meta)?;
        let known_until = meta.number(Field::Expires)?;
        let now = moment(&meta, now).filter(|now| *now < known_until)?;
        if meta.text(Field::Server) != Some(server.id()) || !self.is_ordinary(&meta, update) {
            return None;
        }
        let state = self.folded(&meta, update, now)?;
        let known_ttl = if meta.is_nil(Field::Ttl) { None } else { Some(meta.number(Field::Ttl)?) };
        let ttl = update.ttl().map(u64::from).or(known_ttl);
        let expires = expires(&meta, ttl, now, retention)?;
        let history = self.history(&meta, &state, retention)?;

        let pace = state.encoded_pace();
        let pace = pace.as_deref().and_then(|pace| pace.get(..state.pace_len()));
        let has_progressed = state.progressed_at() != self.state.progressed_at();
        let progressed_at = state.progressed_at().map(|at| at.trim_matches('"'));
        let mut changes = vec![
            (Field::Expires, Value::Number(expires)),
            (Field::Number, Value::Number(state.position().number)),
            (Field::Progress, Value::of(state.progress_json())),
            (Field::Written, Value::Number(history.written)),
            (Field::Oldest, Value::Number(history.oldest)),
            (Field::Bytes, Value::Number(history.bytes)),
            (Field::Current, Value::of(update.value("current"))),
            (Field::Seen, Value::Number(now)),
            (Field::Pace, pace.filter(|pace| !pace.is_empty()).map_or(Value::Nil, Value::Bytes)),
        ];
        changes.extend(ttl.map(|ttl| (Field::Ttl, Value::Number(ttl))));
        if has_progressed {
            changes.push((Field::ProgressedAt, Value::of(progressed_at)));
            changes.push((Field::Progressed, Value::Number(now)));
        }
        let after = meta.with(&changes);

        let proof = Secret::new(meta.text(Field::Secret)?).proof(state.position());
        let until = server.until().min(i64::try_from(known_until).ok()?);
        let metas = [&*self.meta, &*after];
        let call = Call::swap(names, &state, metas, history.fields, expires, until, &proof);
        Some(Swap { state, meta: after, call })
    }

    /// Whether the update changes nothing but what [`next`](Self::next) computes, as far as it is known before the fold.
    fn is_ordinary(&self, meta: &Meta<'_>, update: &Update) -> bool {
        let goes_on = update.status() == Status::Processing
            && self.state.status() == Status::Processing
            && !update.unless_known()
            && update.attempt().is_none_or(|named| u32::from(named) == self.state.attempt())
            && !meta.is_nil(Field::StartedAt);
        let sets_attributes = update.attributes().next().is_some() || !update.cleared().is_empty();
        // Progress that is unknown, or that of the job's children, is stored in other places.
        let has_own_progress = update.value("progress") != Some("null")
            && meta.is_nil(Field::Children)
            && meta.is_nil(Field::Last);
        let is_paused = update.is_paused() || !meta.is_nil(Field::PausedAt);
        // The next check is planned already, and a report only postpones it.
        let is_well = match meta.text(Field::Health) {
            None => meta.is_nil(Field::Health),
            Some(health) => health == Health::Ok.as_str() && !meta.is_nil(Field::Clocked),
        };
        meta.number(Field::Layout) == Some(LAYOUT)
            && goes_on
            && !is_paused
            && !sets_attributes
            && has_own_progress
            && is_well
    }

    /// The fold's state; none if a stage begins with it, or if the timeline or the date of the meta has to change.
    fn folded(&self, meta: &Meta<'_>, update: &Update, now: u64) -> Option<State> {
        let is_today = meta.number(Field::Day)? == now / DAY;
        let moment = Timestamp::from_micros(i64::try_from(now).ok()?.checked_mul(1_000)?);
        let epoch = self.state.position().epoch;
        let Ok(Fold::New(state)) = fold(Some(&self.state), update, Origin::Report, epoch, moment)
        else {
            return None;
        };
        let stage_begins = state.stage_json() != self.state.stage_json();
        let sample_at = meta.number(Field::SampleAt).unwrap_or(0);
        let has_sample = state.progress_json().is_some() && sample_at <= now;
        let is_well = state.health() == self.state.health();
        (is_today && !stage_begins && !has_sample && is_well).then_some(state)
    }

    /// The job's history with one state more; none if room has to be made for it.
    fn history(&self, meta: &Meta<'_>, state: &State, retention: &Retention) -> Option<History> {
        let ring = meta.number(Field::Ring).filter(|ring| *ring > 0)?;
        let (written, mut oldest) = (meta.number(Field::Written)?, meta.number(Field::Oldest)?);
        let mut bytes = meta.number(Field::Bytes)?;
        if written.checked_sub(oldest)? == ring {
            bytes = bytes.checked_sub(self.overwrites)?;
            oldest += 1;
        }
        let bytes = bytes.checked_add(u64::try_from(state.json().len()).ok()?)?;
        let has_room = bytes <= u64::try_from(retention.history_bytes).ok()? || oldest == written;
        let next = written.checked_add(1)?;
        let fields = [written % ring, next % ring];
        has_room.then_some(History { fields, written: next, oldest, bytes })
    }
}

/// How a job's history goes on: `written`, `oldest` and `bytes` of `report.lua`.
struct History {
    /// The fields of the new state, and of the one after it.
    fields: [u64; 2],
    written: u64,
    oldest: u64,
    bytes: u64,
}

/// In milliseconds.
const DAY: u64 = 86_400_000;

/// The moment of a report at `now`: not before the job's latest one. None if that is not just the difference of two readings of one clock.
fn moment(meta: &Meta<'_>, now: i64) -> Option<u64> {
    /// In milliseconds. A round trip of a report takes no longer.
    const MOST: u64 = 1_000;
    let (now, seen) = (u64::try_from(now).ok()?, meta.number(Field::Seen)?);
    (seen.saturating_sub(now) <= MOST).then_some(now.max(seen))
}

/// Until when the job is known; none if the index has to change.
fn expires(meta: &Meta<'_>, ttl: Option<u64>, now: u64, retention: &Retention) -> Option<u64> {
    let keep = u64::try_from(retention.ttl.as_millis()).ok()?;
    let life = ttl.map_or(Some(keep), |seconds| seconds.checked_mul(1_000))?;
    let (expires, indexed) = (now.checked_add(life)?, meta.number(Field::Indexed)?);
    let is_due = expires > indexed || expires.checked_add(life / 2)? < indexed;
    (!is_due).then_some(expires)
}

impl Swap {
    /// The job after Redis has answered; none if it was not as this client knew it.
    pub(crate) fn answered(self, answer: &Answer) -> Option<RecentJob> {
        let [length] = &answer.0[..] else { return None };
        let overwrites = std::str::from_utf8(length).ok()?.parse().ok()?;
        Some(RecentJob { state: self.state, meta: self.meta.into(), overwrites })
    }
}
