//! How fast a job advances, in words.

use milepost_protocol::Timestamp;

/// The progress a second that an estimate by the rate stands for: what was left when the progress last grew, over the time
/// that it takes. None if there is no such estimate.
pub(super) fn rate_of(
    progress: Option<f64>,
    progressed: Option<Timestamp>,
    eta: Option<Timestamp>,
) -> Option<f64> {
    let takes = eta?.since(progressed?).as_secs_f64();
    (takes > 0.0).then_some((1.0 - progress?) / takes)
}

/// By the longest unit of time in which it is a figure that can be read: `2.5 %/s`, `8.4 %/min`.
pub(super) fn per_time(progress_a_second: f64) -> String {
    let percent = progress_a_second * 100.0;
    let (unit, seconds) = if percent >= 1.0 {
        ("s", 1.0)
    } else if percent * 60.0 >= 1.0 {
        ("min", 60.0)
    } else {
        ("h", 3600.0)
    };
    let figure = percent * seconds;
    let digits = usize::from(figure < 10.0);
    format!("{figure:.digits$} %/{unit}")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_words_are_those_of_the_fixtures() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../../../spec/fixtures/rate.json")).unwrap();
        let cases = fixture["cases"].as_array().unwrap();
        assert!(cases.len() > 5);
        for case in cases {
            let number = |name: &str| case[name].as_f64().unwrap();
            let (progress, seconds) = (number("progress"), number("seconds"));
            let progressed = Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
            #[expect(clippy::cast_possible_truncation, reason = "some days")]
            let eta = Timestamp::from_micros(progressed.as_micros() + (seconds * 1e6) as i64);
            let rate = rate_of(Some(progress), Some(progressed), Some(eta));
            assert_eq!(rate.map(per_time).as_deref(), case["words"].as_str(), "{case}");
        }
    }
}
