//! Token buckets: each holder may do a certain amount at once, and a certain amount in each second after that.

use std::array;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A full bucket holds what may be done in this many seconds.
const BURST: f64 = 10.0;
/// Tolerates rounding: a holder that has waited for the announced time finds its bucket filled.
const ROUNDING: f64 = 1e-6;
/// The most holders that have buckets of their own. All others share theirs.
const MAX_HOLDERS: usize = 1 << 16;
/// How often holders with full buckets are removed, once the table is full.
const SWEEP: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// WebSockets and event streams that begin.
    Handshakes,
    /// Updates.
    Reports,
    /// Bytes of reports and of logs.
    Bytes,
    /// Jobs that begin.
    Jobs,
}

impl Rate {
    pub(crate) const ALL: [Self; 4] = [Self::Handshakes, Self::Reports, Self::Bytes, Self::Jobs];
}

/// A number for each [`Rate`].
type PerRate<T> = [T; Rate::ALL.len()];

/// What all holders, such as addresses, may do. Each has a bucket for each rate. Times are by the clock's `elapsed`.
pub(crate) struct Rates<K> {
    /// What is added to each bucket in a second; none if nothing is bounded.
    per_second: PerRate<Option<f64>>,
    table: Mutex<Table<K>>,
    refused: PerRate<AtomicU64>,
    /// Until when some bucket that was charged may be empty, in microseconds. Once it has passed, [`check`](Self::check) looks nobody up.
    empty_until: PerRate<AtomicU64>,
}

/// The buckets are together, because a report is charged for several: their holder is looked up once.
struct Table<K> {
    holders: HashMap<K, PerRate<Bucket>>,
    /// For holders that arrive when the table is full.
    others: Option<PerRate<Bucket>>,
    swept: Option<Duration>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Below 0: in debt. The cost may exceed what is in the bucket; a holder in debt has to wait.
    level: f64,
    at: Duration,
}

/// The holder's bucket is empty. How long it stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

impl Bucket {
    fn full(rate: f64, now: Duration) -> Self {
        Self { level: rate * BURST, at: now }
    }

    fn fill(&mut self, rate: f64, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.level = (self.level + passed * rate).min(rate * BURST);
        self.at = self.at.max(now);
    }

    /// How long until there is 1 in it.
    fn wait(&self, rate: f64) -> Duration {
        Duration::try_from_secs_f64((1.0 - self.level) / rate).unwrap_or(Duration::MAX)
    }
}

impl<K: Hash + Eq> Rates<K> {
    /// In the order of [`Rate::ALL`]. None, and 0, do not bound.
    pub(crate) fn new(per_second: PerRate<Option<f64>>) -> Self {
        Self {
            per_second: per_second.map(|rate| rate.filter(|rate| *rate > 0.0)),
            table: Mutex::new(Table { holders: HashMap::new(), others: None, swept: None }),
            refused: array::from_fn(|_| AtomicU64::new(0)),
            empty_until: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Takes `cost` from a holder's bucket, which may be in debt afterwards. A cost of 0 only checks; if the cost is
    /// known later, [`charge`](Self::charge) follows.
    ///
    /// # Errors
    /// When there is less than 1 in it. Then nothing is taken.
    pub(crate) fn take<Q>(&self, of: Rate, holder: &Q, cost: f64, now: Duration) -> Result<(), Wait>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_take(of, holder, cost, now).inspect_err(|_| self.count_refusal(of))
    }

    fn try_take<Q>(&self, of: Rate, holder: &Q, cost: f64, now: Duration) -> Result<(), Wait>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(rate) = self.per_second[of as usize] else { return Ok(()) };
        self.with_buckets(holder, now, |buckets| {
            let bucket = &mut buckets[of as usize];
            bucket.fill(rate, now);
            if bucket.level < 1.0 - ROUNDING {
                return Err(Wait(bucket.wait(rate)));
            }
            bucket.level -= cost;
            Ok(())
        })
    }

    /// Like [`take`](Self::take) with a cost of 0, but cheap while no bucket is empty: then not even the time is asked for. Not counted as
    /// a refusal: the caller decides whether it is one.
    ///
    /// # Errors
    /// When there is less than 1 in the holder's bucket.
    pub(crate) fn check<Q>(
        &self,
        of: Rate,
        holder: &Q,
        now: impl FnOnce() -> Duration,
    ) -> Result<(), Wait>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let empty_until = self.empty_until[of as usize].load(Ordering::Relaxed);
        if empty_until == 0 {
            return Ok(());
        }
        let now = now();
        if micros(now) >= empty_until { Ok(()) } else { self.try_take(of, holder, 0.0, now) }
    }

    /// Takes what was done from a holder's buckets, whatever is in them.
    pub(crate) fn charge<Q>(&self, holder: &Q, costs: &[(Rate, f64)], now: Duration)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let bounded = costs
            .iter()
            .filter_map(|&(of, cost)| Some((of as usize, cost, self.per_second[of as usize]?)));
        if bounded.clone().next().is_none() {
            return;
        }
        self.with_buckets(holder, now, |buckets| {
            for (of, cost, rate) in bounded {
                let bucket = &mut buckets[of];
                bucket.fill(rate, now);
                bucket.level -= cost;
                if bucket.level < 1.0 {
                    let until = now.saturating_add(bucket.wait(rate));
                    self.empty_until[of].fetch_max(micros(until), Ordering::Relaxed);
                }
            }
        });
    }

    fn with_buckets<Q, R>(
        &self,
        holder: &Q,
        now: Duration,
        act: impl FnOnce(&mut PerRate<Bucket>) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buckets) = table.holders.get_mut(holder) {
            return act(buckets);
        }
        if table.holders.len() >= MAX_HOLDERS {
            table.sweep(&self.per_second, now);
        }
        let full = self.per_second.map(|rate| Bucket::full(rate.unwrap_or_default(), now));
        if table.holders.len() < MAX_HOLDERS {
            act(table.holders.entry(holder.to_owned()).or_insert(full))
        } else {
            act(table.others.get_or_insert(full))
        }
    }

    /// Whether anything is bounded.
    pub(crate) fn is_bounded(&self) -> bool {
        self.per_second.iter().any(Option::is_some)
    }

    pub(crate) fn count_refusal(&self, of: Rate) {
        self.refused[of as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often a holder was refused.
    pub(crate) fn refused(&self, of: Rate) -> u64 {
        self.refused[of as usize].load(Ordering::Relaxed)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl<K: Hash + Eq> Table<K> {
    /// Forgets those whose buckets are full again: new ones are as full.
    fn sweep(&mut self, per_second: &PerRate<Option<f64>>, now: Duration) {
        if self.swept.is_some_and(|swept| now.saturating_sub(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.holders.retain(|_, buckets| {
            buckets.iter_mut().zip(per_second).any(|(bucket, rate)| {
                let Some(rate) = *rate else { return false };
                bucket.fill(rate, now);
                bucket.level < rate * BURST
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// So many reports a second.
    fn reports(rate: Option<f64>) -> Rates<u32> {
        Rates::new([None, rate, None, None])
    }

    #[test]
    fn a_holder_may_do_so_much_and_then_waits() {
        let rates = reports(Some(2.0));
        let accepted =
            |now| (0..100).filter(|_| rates.take(Rate::Reports, &1, 1.0, at(now)).is_ok()).count();
        assert_eq!(
            [accepted(0.0), accepted(0.0), accepted(1.0), accepted(1.4), accepted(100.0)],
            [20, 0, 2, 0, 20]
        );
        assert_eq!(rates.take(Rate::Reports, &2, 1.0, at(0.0)), Ok(()), "others have their own");
        assert!(rates.refused(Rate::Reports) > 0);
        // The clock never goes back, but a caller may have read it a moment earlier.
        assert!(rates.take(Rate::Reports, &1, 1.0, at(99.0)).is_err());
    }

    #[test]
    fn what_costs_more_than_there_is_leaves_a_debt() {
        let rates = reports(Some(10.0));
        assert_eq!(rates.take(Rate::Reports, &1, 300.0, at(0.0)), Ok(()));
        assert_eq!(rates.take(Rate::Reports, &1, 0.0, at(0.0)), Err(Wait(at(20.1))));
        assert!(rates.take(Rate::Reports, &1, 0.0, at(20.0)).is_err());
        assert_eq!(
            rates.take(Rate::Reports, &1, 0.0, at(20.1)),
            Ok(()),
            "the wait is as long as was said"
        );
        // Those that were admitted at the same moment all cost what they cost.
        (0..3).for_each(|_| rates.charge(&1, &[(Rate::Reports, 100.0)], at(20.1)));
        let Err(Wait(wait)) = rates.take(Rate::Reports, &1, 0.0, at(20.1)) else {
            panic!("it is in debt")
        };
        assert_eq!(wait.as_millis(), 30_000);
    }

    #[test]
    fn the_table_of_holders_is_bounded() {
        let rates = reports(Some(1.0));
        let most = u32::try_from(MAX_HOLDERS).unwrap();
        for holder in 0..most {
            assert_eq!(rates.take(Rate::Reports, &holder, 1.0, at(0.0)), Ok(()));
        }
        // New holders share a bucket, and the others keep theirs.
        let newcomers = (0..100)
            .filter(|n| rates.take(Rate::Reports, &(most + n), 1.0, at(0.0)).is_ok())
            .count();
        assert_eq!(newcomers, 10);
        assert_eq!(rates.take(Rate::Reports, &0, 1.0, at(0.0)), Ok(()));
        let holders = || rates.table.lock().unwrap().holders.len();
        assert_eq!(holders(), MAX_HOLDERS);
        // Those who have done nothing for a while make room.
        assert_eq!(rates.take(Rate::Reports, &(most + 1), 1.0, at(1.5)), Ok(()));
        assert_eq!(holders(), 2, "who has not got it all back stays");
    }

    #[test]
    fn who_is_charged_too_much_is_noticed_and_nobody_else() {
        let rates = reports(Some(2.0));
        (0..19).for_each(|_| rates.charge(&1, &[(Rate::Reports, 1.0)], at(0.0)));
        assert_eq!(rates.check(Rate::Reports, &1, || at(0.0)), Ok(()), "one is left");
        (0..3).for_each(|_| rates.charge(&1, &[(Rate::Reports, 1.0)], at(0.0)));
        assert_eq!(rates.check(Rate::Reports, &1, || at(0.0)), Err(Wait(at(1.5))));
        assert_eq!(rates.check(Rate::Reports, &2, || at(0.0)), Ok(()));
        assert!(rates.check(Rate::Reports, &1, || at(1.4)).is_err());
        assert_eq!(rates.check(Rate::Reports, &1, || at(1.5)), Ok(()));
        assert_eq!(rates.refused(Rate::Reports), 0, "the caller counts");
    }

    #[test]
    fn without_a_rate_nothing_is_bounded() {
        let rates = reports(None);
        assert!((0..1_000).all(|_| rates.take(Rate::Reports, &1, 1e9, at(0.0)).is_ok()));
        assert!(rates.table.lock().unwrap().holders.is_empty());
    }
}
