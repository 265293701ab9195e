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
        self.written(3)
    }

    /// RFC 3339 in UTC with so many decimals, 3 or 6.
    ///
    /// Each update is given moments, so this does without the formatting machinery. Years that do not have four digits, which
    /// no clock shows, are left to jiff.
    pub(crate) fn written(self, decimals: usize) -> Written {
        let moment = TimeZone::UTC.to_datetime(self.0);
        let Ok(year @ 0..=9999) = u32::try_from(moment.year()) else {
            return Written::Long(format!("{:.decimals$}", self.0));
        };
        let part = |part: i8| u32::from(part.unsigned_abs());
        let micros = moment.subsec_nanosecond().unsigned_abs() / 1_000;
        let fraction = if decimals == 3 { micros / 1_000 } else { micros };
        let mut digits = Digits(*b"0000-00-00T00:00:00.000000Z");
        let text = &mut digits.0;
        write_digits(&mut text[0..4], year);
        write_digits(&mut text[5..7], part(moment.month()));
        write_digits(&mut text[8..10], part(moment.day()));
        write_digits(&mut text[11..13], part(moment.hour()));
        write_digits(&mut text[14..16], part(moment.minute()));
        write_digits(&mut text[17..19], part(moment.second()));
        let end = 20 + decimals;
        write_digits(&mut text[20..end], fraction);
        text[end] = b'Z';
        Written::Short(digits, end + 1)
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
        self.written(6).fmt(f)
    }
}

/// A moment as text.
pub(crate) enum Written {
    /// So many of these bytes.
    Short(Digits, usize),
    Long(String),
}

/// Aligned, since the check that bytes are text goes by words then.
#[repr(align(8))]
pub(crate) struct Digits([u8; 27]);

impl Written {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            // Digits and punctuation only.
            Self::Short(text, len) => std::str::from_utf8(&text.0[..*len]).unwrap_or_default(),
            Self::Long(text) => text,
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes the number's last digits, as many as there is room for.
fn write_digits(out: &mut [u8], mut number: u32) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_jiff_writes_them() {
        // Steps of 41 days and some: leap days, turns of centuries, times before 1970, and years beyond four digits.
        let steps = (-110_000_i64..110_000).step_by(7);
        for micros in steps.map(|step| step * 3_601_234_567_891 + step) {
            let moment = Timestamp::from_micros(micros);
            assert_eq!(moment.to_string(), format!("{:.6}", moment.0));
            assert_eq!(moment.with_millis().to_string(), format!("{:.3}", moment.0));
        }
    }
}
