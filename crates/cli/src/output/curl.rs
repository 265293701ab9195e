//! curl's meter: a row of twelve columns, and `-#`: a row of hashes with a percentage.

use super::{Line, Progress, Reading, scan};

pub(super) fn read(line: Line<'_>) -> Option<Reading> {
    row(line.text).or_else(|| parallel_row(line.text)).or_else(|| hashes(line))
}

/// `% total, % received, % sent, speed down, up, time total, spent, left, speed now`.
fn row(text: &str) -> Option<Reading> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) || text.len() > 200 {
        return None;
    }
    let columns: [&str; 12] = text.split_ascii_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let [percent, total, down_percent, down, up_percent, up, _, _, time, spent, left, speed] =
        columns;
    let percent_of = |column: &str| column.parse::<u8>().ok().filter(|p| *p <= 100);
    let (percent, down_percent, up_percent) =
        (percent_of(percent)?, percent_of(down_percent)?, percent_of(up_percent)?);
    let sizes = [total, down, up, speed].iter().all(|c| is_size(c));
    if !sizes || ![time, spent, left].iter().all(|c| is_time(c)) {
        return None;
    }
    // Without a known total, curl prints the bytes so far as the "total", and 100 %.
    let known = down_percent > 0 || up_percent > 0 || total != "0" && total != down && total != up;
    let progress = if known { Progress::percent(f64::from(percent)) } else { Progress::Unknown };
    let rate = if speed == "0" { None } else { Some(format!("{speed}B/s")) };
    Some(
        Reading::at(progress)
            .with("rate", rate)
            .with("transferred", if up_percent > down_percent || down == "0" { up } else { down })
            .with("total", known.then_some(total))
            .with("time_left", scan::clock(left)),
    )
}

/// Of `-Z`: `DL% UL% Dled Uled Xfers Live Total Current Left Speed`; `--` for a percentage that is not known.
fn parallel_row(text: &str) -> Option<Reading> {
    let columns: [&str; 10] = text.split_ascii_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let [down_percent, up_percent, down, up, _, _, total, current, left, speed] = columns;
    let percent = |column: &str| column.parse::<u8>().ok().filter(|p| *p <= 100);
    let valid = [down_percent, up_percent].iter().all(|c| *c == "--" || percent(c).is_some())
        && [down, up, speed].iter().all(|c| is_size(c))
        && [total, current, left].iter().all(|c| is_time(c));
    if !valid {
        return None;
    }
    let percent = percent(down_percent).or_else(|| percent(up_percent));
    let progress = percent.map_or(Progress::Unknown, |p| Progress::percent(p.into()));
    Some(
        Reading::at(progress)
            .with("rate", (speed != "0").then(|| format!("{speed}B/s")))
            .with("transferred", if down == "0" { up } else { down })
            .with("time_left", scan::clock(left)),
    )
}

fn is_size(column: &str) -> bool {
    let number = column.strip_suffix(['k', 'M', 'G', 'T', 'P']).unwrap_or(column);
    number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

fn is_time(column: &str) -> bool {
    column.contains([':', 'd', 'h', 'm', 's'])
        && column
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b':' | b'-' | b'd' | b'h' | b'm' | b's'))
}

fn hashes(line: Line<'_>) -> Option<Reading> {
    let text = line.text;
    let percent = scan::percents(text).last().filter(|p| p.end == text.len())?;
    let bar = &text[..percent.start];
    let drawn =
        bar.bytes().all(|b| matches!(b, b'#' | b' ')) && (bar.contains('#') || line.redrawn);
    drawn.then(|| Reading::at(Progress::percent(percent.value)))
}
