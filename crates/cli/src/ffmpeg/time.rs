//! ffmpeg's syntax for durations (its manual, "Time duration").

/// Seconds out of `[-][HH:]MM:SS[.m…]` or `[-]S+[.m…][s|ms|us]`.
pub(super) fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    if text.contains(':') {
        return Some(sign * clock(text)?);
    }
    let (number, a_second) = [("us", 1e6), ("ms", 1e3), ("s", 1.0)]
        .iter()
        .find_map(|(suffix, a_second)| Some((text.strip_suffix(suffix)?, *a_second)))
        .unwrap_or((text, 1.0));
    Some(sign * decimal(number)? / a_second)
}

fn clock(text: &str) -> Option<f64> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 {
        return None;
    }
    parts.iter().try_fold(0.0, |sum, part| Some(sum * 60.0 + decimal(part)?))
}

fn decimal(text: &str) -> Option<f64> {
    let valid = text.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if !valid {
        return None;
    }
    text.parse::<f64>().ok().filter(|n| n.is_finite())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn as_in_the_manual() {
        assert_eq!(seconds("55"), Some(55.0));
        assert_eq!(seconds("0.2"), Some(0.2));
        assert_eq!(seconds("200ms"), Some(0.2));
        assert_eq!(seconds("200000us"), Some(0.2));
        assert_eq!(seconds("12:03:45"), Some(43_425.0));
        assert_eq!(seconds("23.189"), Some(23.189));
        assert_eq!(seconds("-3.5"), Some(-3.5));
        assert_eq!(seconds("01:30"), Some(90.0));
        for none in ["", "x", "1:2:3:4", "1e5", "-", "::", "5m"] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }
}
