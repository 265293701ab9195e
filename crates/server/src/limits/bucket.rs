//! Token buckets: each holder may do a certain amount at once, and a certain amount in each second after that.

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
/// The most holders that have a bucket of their own. All others share one.
const MAX_HOLDERS: usize = 1 << 16;
/// How often holders with a full bucket are removed, once the table is full.
const SWEEP: Duration = Duration::from_secs(1);

/// The buckets of all holders, such as addresses. Times are by the clock's `elapsed`.
pub(crate) struct Buckets<K> {
    /// What is added to each bucket in a second; none if nothing is bounded.
    rate: Option<f64>,
    table: Mutex<Table<K>>,
    refused: AtomicU64,
    /// Until when some bucket that was charged may be empty, in microseconds. Once it has passed, [`check`](Self::check) looks nobody up.
    empty_until: AtomicU64,
}

struct Table<K> {
    holders: HashMap<K, Bucket>,
    /// For holders that arrive when the table is full.
    others: Option<Bucket>,
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
}

impl<K: Hash + Eq> Buckets<K> {
    pub(crate) fn new(rate: Option<f64>) -> Self {
        let table = Table { holders: HashMap::new(), others: None, swept: None };
        Self {
            rate,
            table: Mutex::new(table),
            refused: AtomicU64::new(0),
            empty_until: AtomicU64::new(0),
        }
    }

    /// Takes `cost` from a holder's bucket, which may be in debt afterwards. A cost of 0 only checks; if the cost is
    /// known later, [`charge`](Self::charge) follows.
    ///
    /// # Errors
    /// When there is less than 1 in it. Then nothing is taken.
    pub(crate) fn take<Q>(&self, holder: &Q, cost: f64, now: Duration) -> Result<(), Wait>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.try_take(holder, cost, now).inspect_err(|_| self.count_refusal())
    }

    fn try_take<Q>(&self, holder: &Q, cost: f64, now: Duration) -> Result<(), Wait>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(rate) = self.rate else { return Ok(()) };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = table.bucket(holder, rate, now);
        bucket.fill(rate, now);
        if bucket.level < 1.0 - ROUNDING {
            let wait = Duration::try_from_secs_f64((1.0 - bucket.level) / rate);
            return Err(Wait(wait.unwrap_or(Duration::MAX)));
        }
        bucket.level -= cost;
        Ok(())
    }

    /// Like [`take`](Self::take) with a cost of 0, but cheap while no bucket is empty, and not counted as a refusal: the caller decides
    /// whether it is one.
    ///
    /// # Errors
    /// When there is less than 1 in the holder's bucket.
    pub(crate) fn check<Q>(&self, holder: &Q, now: Duration) -> Result<(), Wait>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if micros(now) >= self.empty_until.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.try_take(holder, 0.0, now)
    }

    /// Takes `cost` from a holder's bucket, whatever is in it.
    pub(crate) fn charge<Q>(&self, holder: &Q, cost: f64, now: Duration)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(rate) = self.rate else { return };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = table.bucket(holder, rate, now);
        bucket.fill(rate, now);
        bucket.level -= cost;
        if bucket.level < 1.0 {
            let wait = Duration::try_from_secs_f64((1.0 - bucket.level) / rate);
            let until = now.saturating_add(wait.unwrap_or(Duration::MAX));
            self.empty_until.fetch_max(micros(until), Ordering::Relaxed);
        }
    }

    pub(crate) fn is_bounded(&self) -> bool {
        self.rate.is_some()
    }

    pub(crate) fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a holder was refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl<K: Hash + Eq> Table<K> {
    fn bucket<Q>(&mut self, holder: &Q, rate: f64, now: Duration) -> &mut Bucket
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // A report looks up several buckets, so a holder is copied only when it gets one.
        if !self.holders.contains_key(holder) {
            if self.holders.len() >= MAX_HOLDERS {
                self.sweep(rate, now);
            }
            if self.holders.len() < MAX_HOLDERS {
                self.holders.insert(holder.to_owned(), Bucket::full(rate, now));
            }
        }
        let others = &mut self.others;
        let bucket = self.holders.get_mut(holder);
        bucket.unwrap_or_else(|| others.get_or_insert_with(|| Bucket::full(rate, now)))
    }

    /// Forgets those whose bucket is full again: a new one is as full.
    fn sweep(&mut self, rate: f64, now: Duration) {
        if self.swept.is_some_and(|swept| now.saturating_sub(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        self.holders.retain(|_, bucket| {
            bucket.fill(rate, now);
            bucket.level < rate * BURST
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_holder_may_do_so_much_and_then_waits() {
        let buckets = Buckets::<u32>::new(Some(2.0));
        let accepted = |now| (0..100).filter(|_| buckets.take(&1, 1.0, at(now)).is_ok()).count();
        assert_eq!(
            [accepted(0.0), accepted(0.0), accepted(1.0), accepted(1.4), accepted(100.0)],
            [20, 0, 2, 0, 20]
        );
        assert_eq!(buckets.take(&2, 1.0, at(0.0)), Ok(()), "others have their own");
        assert!(buckets.refused() > 0);
        // The clock never goes back, but a caller may have read it a moment earlier.
        assert!(buckets.take(&1, 1.0, at(99.0)).is_err());
    }

    #[test]
    fn what_costs_more_than_there_is_leaves_a_debt() {
        let buckets = Buckets::<u32>::new(Some(10.0));
        assert_eq!(buckets.take(&1, 300.0, at(0.0)), Ok(()));
        assert_eq!(buckets.take(&1, 0.0, at(0.0)), Err(Wait(at(20.1))));
        assert!(buckets.take(&1, 0.0, at(20.0)).is_err());
        assert_eq!(buckets.take(&1, 0.0, at(20.1)), Ok(()), "the wait is as long as was said");
        // Those that were admitted at the same moment all cost what they cost.
        (0..3).for_each(|_| buckets.charge(&1, 100.0, at(20.1)));
        let Err(Wait(wait)) = buckets.take(&1, 0.0, at(20.1)) else { panic!("it is in debt") };
        assert_eq!(wait.as_millis(), 30_000);
    }

    #[test]
    fn the_table_of_holders_is_bounded() {
        let buckets = Buckets::<u32>::new(Some(1.0));
        let most = u32::try_from(MAX_HOLDERS).unwrap();
        for holder in 0..most {
            assert_eq!(buckets.take(&holder, 1.0, at(0.0)), Ok(()));
        }
        // New holders share a bucket, and the others keep theirs.
        let newcomers =
            (0..100).filter(|n| buckets.take(&(most + n), 1.0, at(0.0)).is_ok()).count();
        assert_eq!(newcomers, 10);
        assert_eq!(buckets.take(&0, 1.0, at(0.0)), Ok(()));
        let holders = || buckets.table.lock().unwrap().holders.len();
        assert_eq!(holders(), MAX_HOLDERS);
        // Those who have done nothing for a while make room.
        assert_eq!(buckets.take(&(most + 1), 1.0, at(1.5)), Ok(()));
        assert_eq!(holders(), 2, "who has not got it all back stays");
    }

    #[test]
    fn who_is_charged_too_much_is_noticed_and_nobody_else() {
        let buckets = Buckets::<u32>::new(Some(2.0));
        (0..19).for_each(|_| buckets.charge(&1, 1.0, at(0.0)));
        assert_eq!(buckets.check(&1, at(0.0)), Ok(()), "one is left");
        (0..3).for_each(|_| buckets.charge(&1, 1.0, at(0.0)));
        assert_eq!(buckets.check(&1, at(0.0)), Err(Wait(at(1.5))));
        assert_eq!(buckets.check(&2, at(0.0)), Ok(()));
        assert!(buckets.check(&1, at(1.4)).is_err());
        assert_eq!(buckets.check(&1, at(1.5)), Ok(()));
        assert_eq!(buckets.refused(), 0, "the caller counts");
    }

    #[test]
    fn without_a_rate_nothing_is_bounded() {
        let buckets = Buckets::<u32>::new(None);
        assert!((0..1_000).all(|_| buckets.take(&1, 1e9, at(0.0)).is_ok()));
        assert!(buckets.table.lock().unwrap().holders.is_empty());
    }
}
