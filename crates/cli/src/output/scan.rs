//! Numbers in a line of text.

/// A percentage and where it stands in its line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percent {
    pub(super) value: f64,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// At most `max` bytes of the text, cut between characters.
pub(super) fn prefix(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The percentages of a line: 0…100, up to three decimals, `42%` or `42 %`.
///
/// Not one: `120%`, `-5%`, `+5%`, `v42%`, `1.2.3%`, `50%off`, and `20%20` (an escape in a URL).
pub(super) fn percents(text: &str) -> impl Iterator<Item = Percent> + '_ {
    text.match_indices('%').filter_map(|(at, _)| percent_before(text, at))
}

fn percent_before(text: &str, at: usize) -> Option<Percent> {
    let bytes = text.as_bytes();
    if bytes.get(at + 1).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'%') {
        return None;
    }
    let mut end = at;
    if end > 0 && bytes[end - 1] == b' ' {
        end -= 1;
    }
    let mut start = end;
    while start > 0
        && (bytes[start - 1].is_ascii_digit() || matches!(bytes[start - 1], b'.' | b','))
    {
        start -= 1;
    }
    if start > 0 && is_glued(text[..start].chars().next_back()) {
        return None;
    }
    let value = number(&text[start..end])?;
    (value <= 100.0).then_some(Percent { value, start, end: at + 1 })
}

fn number(text: &str) -> Option<f64> {
    let (whole, decimals) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let fits = (1..=3).contains(&whole.len()) && decimals.len() <= 3;
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if !fits || !digits(whole) || !digits(decimals) {
        return None;
    }
    format!("{whole}.{decimals}0").parse().ok()
}

/// A number after one of these belongs to a word, a path, a version or a signed number.
fn is_glued(before: Option<char>) -> bool {
    before.is_some_and(|c| {
        c.is_alphanumeric()
            || matches!(c, '.' | ',' | '-' | '+' | '_' | '/' | '\\' | '$' | '#' | '%')
    })
}

/// `done` of `total`, and where that stands in its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What may stand between a count and its total.
const SEPARATORS: [&str; 3] = ["/", " / ", " of "];

/// Where each number of the text that is not glued to the characters before it begins and ends. `end_of`: where a number that
/// begins there ends.
fn numbers(
    text: &str,
    end_of: impl Fn(&[u8], usize) -> usize,
) -> impl Iterator<Item = (usize, usize)> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + bytes[at..].iter().position(u8::is_ascii_digit)?;
            at = end_of(bytes, start);
            if !is_glued(text[..start].chars().next_back()) {
                return Some((start, at));
            }
        }
    })
}

/// The first `3/10`, `3 / 10` or `3 of 10` with `done` ≤ `total` and `total` ≥ 2.
///
/// Not one: dates (`3/10/2024`), paths (`a/3/10`), fractions of a larger number (`1.3/10`).
pub(super) fn count(text: &str) -> Option<Count> {
    numbers(text, digits_end).find_map(|(start, number)| {
        if text[..start].ends_with([':', '~']) {
            return None;
        }
        let separator = SEPARATORS.iter().find(|gap| text[number..].starts_with(**gap))?;
        let second = number + separator.len();
        let end = digits_end(text.as_bytes(), second);
        let goes_on =
            text[end..].starts_with(|c: char| c.is_alphanumeric() || "/.-_\\:".contains(c));
        if goes_on && !ends_a_sentence(&text[end..]) {
            return None;
        }
        let done = text[start..number].parse::<u64>().ok()?;
        let total = text[second..end].parse::<u64>().ok()?;
        (done <= total && total >= 2).then_some(Count { done, total, start, end })
    })
}

/// A size: `12`, `1,234,567`, `1.20MB`, `400.0KiB`, `57k`, `1.5 GiB`; in units of one.
///
/// A comma before three digits at the end of the number groups thousands. Powers are of 1024 for `KiB` and so on, else of
/// 1000.
pub(super) fn size(text: &str) -> Option<f64> {
    let digits =
        text.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b',')).count();
    let (number, unit) = text.split_at(digits);
    if !number.starts_with(|c: char| c.is_ascii_digit()) || digits > 24 {
        return None;
    }
    let grouped = number
        .split(',')
        .skip(1)
        .all(|group| group.split('.').next().is_some_and(|g| g.len() == 3));
    let number = if grouped { number.replace(',', "") } else { number.replace(',', ".") };
    let number = number.parse::<f64>().ok()?;
    Some(number * scale(unit.trim_start())?)
}

/// The factor of a unit of size; None if it is not one.
fn scale(unit: &str) -> Option<f64> {
    let unit =
        ["bytes", "byte", "B", "b"].iter().find_map(|end| unit.strip_suffix(end)).unwrap_or(unit);
    let (prefix, base) = match unit.strip_suffix('i') {
        Some(prefix) => (prefix, 1024.0_f64),
        None => (unit, 1000.0),
    };
    let power = match prefix {
        "" => 0,
        "k" | "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        _ => return None,
    };
    Some(base.powi(power))
}

/// A whole number of units, for metadata.
pub(super) fn whole(number: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0…2^53"
    )]
    let whole = number.clamp(0.0, 9e15).round() as u64;
    whole
}

/// Seconds out of `4m51s`, `1h2m`, `51s`.
pub(super) fn spelled_time(text: &str) -> Option<f64> {
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number = rest[..digits].parse::<u32>().ok()?;
        let factor = match rest[digits..].chars().next()? {
            'd' => 86_400.0,
            'h' => 3600.0,
            'm' => 60.0,
            's' => 1.0,
            _ => return None,
        };
        seconds += f64::from(number) * factor;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty()).then_some(seconds)
}

/// Seconds behind `ETA` in a line: `ETA: 0:00:12`, `eta 2s`. None if the time is not known yet.
pub(super) fn eta(text: &str) -> Option<f64> {
    let at = ["ETA", "eta"].iter().find_map(|word| {
        let at = text.find(word)?;
        let glued = text[..at].ends_with(|c: char| c.is_alphanumeric());
        (!glued).then_some(at + word.len())
    })?;
    let time = text[at..].trim_start_matches([':', ' ']);
    let end = time.find(|c: char| !(c.is_ascii_alphanumeric() || c == ':')).unwrap_or(time.len());
    let time = &time[..end];
    if time.contains(':') { clock(time) } else { spelled_time(time) }
}

/// Sizes: how much of how much, and where that stands in its line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Amount {
    pub(super) done: f64,
    pub(super) total: f64,
    pub(super) start: usize,
    pub(super) end: usize,
    /// The unit is one of bytes.
    pub(super) in_bytes: bool,
}

/// The first `1.2/18.3 MB`, `1.2 MiB / 3.4 MiB`, `452k/1.00M` or `1,000 of 20,000`, which [`count`] does not take.
pub(super) fn amount(text: &str) -> Option<Amount> {
    let bytes = text.as_bytes();
    numbers(text, number_end).find_map(|(start, number)| {
        let unit = unit_end(text, number);
        let separator = SEPARATORS.iter().find(|gap| text[unit..].starts_with(**gap))?;
        let after_gap = &text[unit + separator.len()..];
        let second = text.len() - after_gap.trim_start_matches(' ').len();
        if !bytes.get(second).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let second_number = number_end(bytes, second);
        let end = unit_end(text, second_number);
        let ends = !text[end..].starts_with(|c: char| c.is_alphanumeric() || "/\\_-".contains(c));
        let own = text[number..unit].trim();
        let of = text[second_number..end].trim();
        // `1.2/18.3 MB`: one unit for both.
        let unit = if own.is_empty() { of } else { own };
        let done = size(&format!("{}{unit}", &text[start..number]))?;
        let total = size(&text[second..end])?;
        let in_bytes = of.ends_with(['B', 'b']) || of == "bytes";
        let is_amount = ends && done <= total && total > 0.0;
        is_amount.then_some(Amount { done, total, start, end, in_bytes })
    })
}

fn number_end(bytes: &[u8], from: usize) -> usize {
    let mut end = from;
    while bytes.get(end).is_some_and(|b| {
        b.is_ascii_digit()
            || matches!(b, b'.' | b',') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit)
    }) {
        end += 1;
    }
    end
}

/// Behind the unit of size at this place, if there is one.
fn unit_end(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    // zstd aligns: `0   B /  57.2 MiB`.
    let space = rest.bytes().take(3).take_while(|b| *b == b' ').count();
    let letters = rest[space..].bytes().take_while(u8::is_ascii_alphabetic).count();
    let unit = &rest[space..space + letters];
    if letters > 0 && scale(unit).is_some() { from + space + letters } else { from }
}

/// Punctuation that ends a clause, as in `3/10: linking` or `3/10...`.
fn ends_a_sentence(rest: &str) -> bool {
    let tail = rest.trim_start_matches(['.', ':']);
    tail.len() < rest.len() && (tail.is_empty() || tail.starts_with(' '))
}

fn digits_end(bytes: &[u8], from: usize) -> usize {
    from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count()
}

/// Seconds out of `SS`, `MM:SS` or `HH:MM:SS`, each with an optional fraction at the end; at most 10 years.
pub(super) fn clock(text: &str) -> Option<f64> {
    const MAX_SECONDS: f64 = 10.0 * 366.0 * 86_400.0;
    let mut seconds = 0.0;
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || text.len() > 24 {
        return None;
    }
    for (index, part) in parts.iter().enumerate() {
        let fraction_allowed = index == parts.len() - 1;
        let valid = part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_digit() || b == b'.' && fraction_allowed);
        if !valid {
            return None;
        }
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    (seconds <= MAX_SECONDS).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        let of = |text| percents(text).map(|p| p.value).collect::<Vec<_>>();
        assert_eq!(of("42%"), [42.0]);
        assert_eq!(of("at 12.5 % or 7,25%."), [12.5, 7.25]);
        assert_eq!(of("[  3%] a 100.0%"), [3.0, 100.0]);
        for none in [
            "120%", "-5%", "+5%", "v42%", "1.2.3%", "50%off", "a%20b", "20%20", "%", "1e3%",
            "1234%", "5%%",
        ] {
            assert_eq!(of(none), [0.0; 0], "{none}");
        }
    }

    #[test]
    fn counts() {
        let of = |text| count(text).map(|c| (c.done, c.total));
        assert_eq!(of("3/10"), Some((3, 10)));
        assert_eq!(of("(3 / 10) x"), Some((3, 10)));
        assert_eq!(of("file 3 of 10."), Some((3, 10)));
        assert_eq!(of("3/10: x"), Some((3, 10)));
        assert_eq!(of("v1.2/3 then 4/5"), Some((4, 5)));
        for none in [
            "3/10/2024",
            "a/3/10",
            "1.3/10",
            "11/10",
            "1/1",
            "3/10ths",
            "3/",
            "/10",
            "3/10.5",
            "12:3/10",
            "99999999999999999999/99999999999999999999",
        ] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("12", 12.0),
            ("1,234,567", 1_234_567.0),
            ("1.20MB", 1_200_000.0),
            ("1,5 GiB", 1.5 * 1024.0 * 1024.0 * 1024.0),
            ("400.0KiB", 409_600.0),
            ("57k", 57_000.0),
            ("3 bytes", 3.0),
        ] {
            assert_eq!(size(text), Some(expected), "{text}");
        }
        for none in ["", "MB", "1.2.3", "12it", "12 apples", "-1", "1e9"] {
            assert_eq!(size(none), None, "{none}");
        }
    }

    #[test]
    fn amounts() {
        let of = |text| amount(text).map(|a| (a.done, a.total, a.in_bytes));
        assert_eq!(of("1.2/18.3 MB 1.3 MB/s"), Some((1.2e6, 18.3e6, true)));
        assert_eq!(
            of("1.2 MiB / 3.4 MiB = 0.345"),
            Some((1.2 * 1024.0 * 1024.0, 3.4 * 1024.0 * 1024.0, true))
        );
        assert_eq!(of("452k/1.00M [00:01"), Some((452e3, 1e6, false)));
        assert_eq!(of("1,000 of 20,000 rows"), Some((1000.0, 20_000.0, false)));
        for none in ["v1.2/3.4.5", "a/1.2/3", "3.4/1.2 MB", "1.2 of the", "", "1.2/3x"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn spelled_times() {
        assert_eq!(spelled_time("4m51s"), Some(291.0));
        assert_eq!(spelled_time("1h2m"), Some(3720.0));
        for none in ["", "4", "m", "4x", "--"] {
            assert_eq!(spelled_time(none), None, "{none}");
        }
    }

    #[test]
    fn etas() {
        for (text, expected) in [
            ("9 of 40 | Elapsed Time: 0:00:00 ETA: 0:01:02", Some(62.0)),
            ("7.48 fps, eta 0:00:39", Some(39.0)),
            ("12.2MB/s    eta 1m 2s", Some(60.0)),
            ("ETA:  --:--:--", None),
            ("beta 2s", None),
            ("ETA", None),
        ] {
            assert_eq!(eta(text), expected, "{text}");
        }
    }

    #[test]
    fn clocks() {
        assert_eq!(clock("00:01:02.5"), Some(62.5));
        assert_eq!(clock("1:02"), Some(62.0));
        assert_eq!(clock("7"), Some(7.0));
        for none in
            ["", ":", "--:--:--", "1:2:3:4", "1.5:00", "N/A", "-1", "1e9", "99999999999999999999"]
        {
            assert_eq!(clock(none), None, "{none}");
        }
    }
}
