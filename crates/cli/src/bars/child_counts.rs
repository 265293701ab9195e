//! In words how many children a job has.

use milepost_protocol::Children;

/// How many children have been reported.
pub(crate) fn known(counts: &Children) -> usize {
    let known = counts.ended() + counts.queued + counts.processing + counts.lost;
    usize::try_from(known).unwrap_or(usize::MAX)
}

/// `7 of 12 ended, 1 failed, 2 processing`.
pub(crate) fn counts_in_words(counts: &Children) -> String {
    let [ended, expected] = [counts.ended(), counts.expected].map(|count| grouped(count.into()));
    let others = named([
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
        (counts.lost, "lost"),
        (counts.processing, "processing"),
        (counts.queued, "queued"),
    ]);
    let words = [vec![format!("{ended} of {expected} ended")], others].concat();
    words.join(", ")
}

/// `1 failed`, `2 processing`; nothing for a count of 0.
pub(crate) fn named<const N: usize>(counts: [(u32, &str); N]) -> Vec<String> {
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, name)| format!("{} {name}", grouped(count.into()))).collect()
}

/// `9,980`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_children_in_words() {
        let counts: Children = serde_json::from_str(
            r#"{"expected":10000,"queued":2,"processing":0,"completed":9000,"failed":1,"cancelled":0,"lost":3}"#,
        )
        .unwrap();
        assert_eq!(counts_in_words(&counts), "9,001 of 10,000 ended, 1 failed, 3 lost, 2 queued");
        assert_eq!(known(&counts), 9006);
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
