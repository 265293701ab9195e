use std::fmt;
use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A moment in UTC, to the microsecond, by a server's or a worker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// What this machine's clock says. The one place where it is read; nothing else in this crate calls it.
    #[expect(clippy::disallowed_methods, reason = "everybody else calls this")]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    /// The moment that many microseconds after 1970-01-01T00:00:00Z. Out of range (year −9999…9999): the
    /// nearest that is in range.
    pub fn from_micros(micros: i64) -> Self {
        let clamped = micros
            .clamp(jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond());
        Self(jiff::Timestamp::from_microsecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn as_micros(self) -> i64 {
        self.0.as_microsecond()
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// Parses RFC 3339, or the same without a zone, which is UTC: what Python's
    /// `datetime.utcnow().isoformat()` writes, and legacy workers send.
    pub fn parse(text: &str) -> Option<Self> {
        let zoned = text.parse::<jiff::Timestamp>();
        let moment = match zoned {
            Ok(moment) => moment,
            Err(_) => TimeZone::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok()?,
        };
        Some(Self::from_micros(moment.as_microsecond()))
    }

    /// RFC 3339 in UTC with milliseconds: how the fold writes the moments that it adds.
    pub fn with_millis(self) -> impl fmt::Display {
        WithMillis(self)
    }

    /// How long `self` is after `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.as_micros() - earlier.as_micros()).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.as_micros().saturating_add(micros))
    }
}

/// RFC 3339 in UTC with microseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

struct WithMillis(Timestamp);

impl fmt::Display for WithMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0.0)
    }
}
