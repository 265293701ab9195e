//! How long a job still takes, in words.

use milepost_protocol::Timestamp;

/// Beyond this ratio of the two the estimate is a range.
const WIDE: f64 = 1.5;

/// From the estimate `eta`, the instant by which the job has probably completed, and `high`, by which it almost certainly
/// has: `about 4 min left`, `3–6 min left` if they are far apart, `longer than usual` past the latter. Never a negative
/// time, nor 0.
pub(super) fn time_left(eta: Timestamp, high: Option<Timestamp>, now: Timestamp) -> String {
    let left = |moment: Timestamp| moment.since(now).as_secs_f64();
    let (left, high) = (left(eta), high.map(left));
    match high {
        Some(high) if high < 1.0 => "longer than usual".to_owned(),
        None if left < 1.0 => "longer than usual".to_owned(),
        Some(high) if left < 1.0 => format!("less than {} left", rough(high)),
        Some(high) if high > left * WIDE => {
            let ((low, low_unit), (most, unit)) = (rounded(left), rounded(high));
            if low_unit == unit && low < most {
                format!("{low}–{most} {unit} left")
            } else {
                format!("about {} left", rough(left))
            }
        }
        _ => format!("about {} left", rough(left)),
    }
}

fn rough(seconds: f64) -> String {
    let (number, unit) = rounded(seconds);
    format!("{number} {unit}")
}

/// In one unit, at least 1 of it.
fn rounded(seconds: f64) -> (u64, &'static str) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
    let units = |size: f64| ((seconds / size).round() as u64).max(1);
    if seconds < 9.5 {
        (units(1.0), "s")
    } else if seconds < 57.5 {
        (units(5.0) * 5, "s")
    } else if seconds < 90.0 * 60.0 {
        (units(60.0), "min")
    } else if seconds < 36.0 * 3600.0 {
        (units(3600.0), "h")
    } else {
        (units(86_400.0), "days")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_words_are_those_of_the_fixtures() {
        let now = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
        let fixture: Value =
            serde_json::from_str(include_str!("../../../../spec/fixtures/time-left.json")).unwrap();
        let cases = fixture["cases"].as_array().unwrap();
        assert!(cases.len() > 10);
        for case in cases {
            let at = |name: &str| {
                let seconds = case[name].as_f64()?;
                #[expect(clippy::cast_possible_truncation, reason = "some days")]
                let micros = (seconds * 1e6) as i64;
                Some(Timestamp::from_micros(now.as_micros() + micros))
            };
            let words = time_left(at("eta").unwrap(), at("eta_high"), now);
            assert_eq!(words, case["words"].as_str().unwrap(), "{case}");
        }
    }
}
