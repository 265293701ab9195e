use std::fs;
use std::path::Path;

use crate::root;
use crate::step::{Failure, Outcome, Shell};

/// Files larger than this are not text that Milepost wrote.
const LARGEST: u64 = 4 << 20;

/// Text that no file of the checkout may contain, cut in two so that this file does not: paths of a machine, and hosts
/// of package registries, which a lock file must not tie its readers to.
const REFUSED: [(&str, &str); 13] = [
    ("/wor", "k/"),
    ("/roo", "t/"),
    ("/far", "m/"),
    ("registry.", "npmjs"),
    ("registry.", "yarnpkg"),
    ("registry.", "npmmirror"),
    ("pypi.", "org"),
    ("files.python", "hosted"),
    ("index.", "crates.io"),
    ("static.", "crates.io"),
    ("crates.io", "-index"),
    ("index", "-url"),
    ("\"res", "olved\""),
];

/// The one line about a registry that a Cargo.lock needs.
const CARGO_SOURCE: &str =
    concat!("source = \"registry+https://github.com/rust-lang/crates.io", "-index\"");

/// Looks through every file that is tracked, or would be.
pub(crate) fn check() -> Result<Outcome, Failure> {
    if !root().join(".git").exists() {
        return Ok(Outcome::Skipped("this is no checkout".into()));
    }
    let list = Shell::new("git").args("ls-files -z --cached --others --exclude-standard");
    let Some(list) = list.output() else {
        return Err(Failure::Found("git ls-files fails here".into()));
    };
    let mut found = Vec::new();
    for name in String::from_utf8_lossy(&list).split_terminator('\0') {
        look_through(name, &mut found);
    }
    if found.is_empty() { Ok(Outcome::Passed) } else { Err(Failure::Found(found.join("\n"))) }
}

fn look_through(name: &str, found: &mut Vec<String>) {
    let path = root().join(name);
    // A tracked file that was just deleted, or a link, has no text of its own.
    let Ok(about) = fs::symlink_metadata(&path) else { return };
    if !about.is_file() || about.len() > LARGEST {
        return;
    }
    let Ok(bytes) = fs::read(&path) else { return };
    let is_lock = Path::new(name).file_name().is_some_and(|name| name == "Cargo.lock");
    for (at, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        if is_lock && line.trim() == CARGO_SOURCE {
            continue;
        }
        for (head, tail) in REFUSED {
            let refused = format!("{head}{tail}");
            if line.contains(&refused) {
                found.push(format!("{name}:{}: {refused}", at + 1));
            }
        }
    }
}
