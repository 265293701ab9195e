use std::fs;

use crate::root;
use crate::step::{Failure, Outcome, Shell};

/// Phrases that the glossary replaces, cut in two so that this file does not contain them.
const REPLACED: [(&str, &str, &str); 5] = [
    ("today's ", "worker", "legacy worker"),
    ("today's ", "reader", "legacy reader"),
    ("todays_", "worker", "legacy_worker"),
    ("todays_", "reader", "legacy_reader"),
    ("goes ", "before", "overrides"),
];

/// The longest name of a function, in characters. Only names of tests come close to it.
const LONGEST_NAME: usize = 60;

/// Refuses the phrases in code, documentation and pages, and longer names in Rust and Python.
pub(crate) fn check() -> Result<Outcome, Failure> {
    if !root().join(".git").exists() {
        return Ok(Outcome::Skipped("this is no checkout".into()));
    }
    let list =
        Shell::new("git").args("ls-files -z -- *.rs *.py *.js *.ts *.lua *.html *.md *.json");
    let Some(list) = list.output() else {
        return Err(Failure::Found("git ls-files fails here".into()));
    };
    let mut found = Vec::new();
    for name in String::from_utf8_lossy(&list).split_terminator('\0') {
        // A file that was just deleted has no text.
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        for (at, line) in text.lines().enumerate() {
            if let Some(why) = refuse(name, line) {
                found.push(format!("{name}:{}: {why}", at + 1));
            }
        }
    }
    if found.is_empty() { Ok(Outcome::Passed) } else { Err(Failure::Found(found.join("\n"))) }
}

/// Why a line is refused, if it is.
fn refuse(file: &str, line: &str) -> Option<String> {
    for (head, tail, term) in REPLACED {
        let phrase = format!("{head}{tail}");
        if line.to_lowercase().contains(&phrase) {
            return Some(format!("{phrase:?}: the glossary's word is {term:?}"));
        }
    }
    let keyword = match file.rsplit_once('.')?.1 {
        "rs" => "fn ",
        "py" => "def ",
        _ => return None,
    };
    let (before, declared) = line.split_once(keyword)?;
    let is_declaration = before
        .split_whitespace()
        .all(|word| matches!(word, "pub" | "async" | "const" | "pub(crate)" | "pub(super)"));
    let length = declared.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (is_declaration && length > LONGEST_NAME)
        .then(|| format!("a name of {length} characters; at most {LONGEST_NAME}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_phrases_and_long_names_are_refused() {
        let phrase = concat!("as Today's ", "workers do");
        assert!(refuse("a.md", phrase).is_some());
        let long = "x".repeat(LONGEST_NAME + 1);
        assert!(refuse("a.rs", &format!("    async fn {long}() {{")).is_some());
        assert!(refuse("a.py", &format!("def {long}(scene) -> None:")).is_some());
        assert!(refuse("a.js", &format!("function {long}() {{")).is_none());
        assert!(refuse("a.rs", &format!("    fn {}() {{", &long[1..])).is_none());
        assert!(refuse("a.rs", &format!("// the fn {long}()")).is_none());
    }
}
