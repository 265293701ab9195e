//! No two modules of a crate import each other, not even through others. A child may import from the modules above it.
//!
//! The source is read by its tokens. With `proc-macro2` or `syn` in this crate, which would read it better, cargo builds every
//! derive of the workspace twice: once for commands that also build this crate, and once for those that do not.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

use crate::root;
use crate::step::{Failure, Outcome, Shell};

/// The names of a path, such as `["crate", "log", "Mode"]`.
type Names = Vec<String>;
/// By module: the modules that it imports from.
type Imports = BTreeMap<Names, BTreeSet<Names>>;

/// Refuses circles of imports in every crate of the workspace.
pub(crate) fn check() -> Result<Outcome, Failure> {
    if !root().join(".git").exists() {
        return Ok(Outcome::Skipped("this is no checkout".into()));
    }
    let Some(list) = Shell::new("git").args("ls-files -z -- *.rs").output() else {
        return Err(Failure::Found("git ls-files fails here".into()));
    };
    let mut crates = BTreeMap::<String, Vec<(Names, String)>>::new();
    for name in String::from_utf8_lossy(&list).split_terminator('\0') {
        let Some((folder, file)) = name.split_once("/src/") else { continue };
        // A file that was just deleted has no text.
        let Ok(text) = fs::read_to_string(root().join(name)) else { continue };
        crates.entry(folder.to_owned()).or_default().push((module_of(file), text));
    }
    let mut found = Vec::new();
    for (folder, files) in crates {
        found.extend(circles(&files).into_iter().map(|circle| format!("{folder}: {circle}")));
    }
    if found.is_empty() { Ok(Outcome::Passed) } else { Err(Failure::Found(found.join("\n"))) }
}

/// The module that a file below `src/` is.
fn module_of(file: &str) -> Names {
    let mut names: Names = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if names.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// Each circle, as a person reads it.
fn circles(files: &[(Names, String)]) -> Vec<String> {
    let read = |(module, text): &(Names, String)| (module.clone(), Source::read(module, text));
    let sources: BTreeMap<_, _> = files.iter().map(read).collect();
    let mut imports = Imports::new();
    for (module, source) in &sources {
        let from = source.paths.iter().filter_map(|path| resolve(&sources, module, path));
        let from = from.filter(|other| !module.starts_with(other)).collect();
        imports.insert(module.clone(), from);
    }
    let mut found = Vec::new();
    let mut done = BTreeSet::new();
    for module in imports.keys() {
        if done.contains(module) {
            continue;
        }
        if let Some(circle) = shortest_circle(&imports, module) {
            found.push(circle.iter().map(|name| shown(name)).collect::<Vec<_>>().join(" -> "));
            done.extend(circle);
        }
    }
    found
}

fn shown(module: &[String]) -> String {
    if module.is_empty() { "the crate's root".to_owned() } else { module.join("::") }
}

/// The shortest way from a module back to itself, both ends included.
fn shortest_circle(imports: &Imports, start: &Names) -> Option<Vec<Names>> {
    let mut came_from = BTreeMap::<Names, Names>::new();
    let mut queue = VecDeque::from([start.clone()]);
    while let Some(module) = queue.pop_front() {
        for next in imports.get(&module).into_iter().flatten() {
            if next == start {
                let mut circle = vec![start.clone(), module];
                while let Some(before) = circle.last().and_then(|last| came_from.get(last)) {
                    circle.push(before.clone());
                }
                circle.reverse();
                return Some(circle);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next.clone(), module.clone());
                queue.push_back(next.clone());
            }
        }
    }
    None
}

/// What one file says about other modules.
#[derive(Default)]
struct Source {
    module: Names,
    /// Every path that it names, except those that it only passes on.
    paths: BTreeSet<Names>,
    /// By the name under which it is imported.
    imported: BTreeMap<String, Names>,
    /// By the name under which it is passed on.
    passed_on: BTreeMap<String, Names>,
}

impl Source {
    /// Reads `use` declarations, and paths such as `log::Mode`. What is for tests only does not count.
    fn read(module: &Names, text: &str) -> Self {
        let mut source = Self { module: module.clone(), ..Self::default() };
        let tokens = tokens(text);
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            if tokens[at..].starts_with(&FOR_TESTS.map(str::to_owned)) {
                at = end_of_item(&tokens, at + FOR_TESTS.len());
            } else if token == "use" && tokens.get(at + 1).is_some_and(|next| next != "<") {
                // `use<'a>` imports nothing: it says what a type captures. What follows `pub` or `pub(crate)` is passed on.
                let before = at.checked_sub(1).map(|before| tokens[before].as_str());
                let is_passed_on = matches!(before, Some("pub" | ")"));
                at = source.import(&tokens, at + 1, &[], is_passed_on);
            } else if is_name(token) && tokens.get(at + 1).is_some_and(|next| next == "::") {
                let mut path = vec![tokens[at].clone()];
                at += 1;
                while tokens.get(at).is_some_and(|sign| sign == "::")
                    && tokens.get(at + 1).is_some_and(|name| is_name(name))
                {
                    path.push(tokens[at + 1].clone());
                    at += 2;
                }
                source.paths.insert(path);
            } else {
                at += 1;
            }
        }
        source
    }

    /// Reads one tree of a `use` below `above`. Returns where it ends.
    fn import(
        &mut self,
        tokens: &[String],
        mut at: usize,
        above: &[String],
        is_passed_on: bool,
    ) -> usize {
        let mut path = above.to_vec();
        let mut name = None;
        while let Some(token) = tokens.get(at) {
            match token.as_str() {
                "," | ";" | "}" => break,
                "{" => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| token != "}" && token != ";") {
                        at = self.import(tokens, at, &path, is_passed_on);
                        at += usize::from(tokens.get(at).is_some_and(|token| token == ","));
                    }
                    return at + 1;
                }
                "as" => {
                    name = tokens.get(at + 1).cloned();
                    at += 1;
                }
                // `a::{self}` is `a`.
                "self" if !path.is_empty() => {}
                token if is_name(token) => path.push(token.to_owned()),
                _ => {}
            }
            at += 1;
        }
        let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
        if is_passed_on {
            self.passed_on.insert(name, path);
        } else {
            self.paths.insert(path.clone());
            self.imported.insert(name, path);
        }
        at
    }
}

/// `#[cfg(test)]`
const FOR_TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// Where the item that begins at `at` is over: after its block, or its semicolon.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            ";" => {}
            _ => continue,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The names and signs of a file, without its comments, texts and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            1 + length_of_text(&rest[1..], '"')
        } else if let Some(length) = length_of_raw_text(rest) {
            length
        } else if first == '\'' {
            let mut next = rest[1..].chars();
            let is_char = matches!((next.next(), next.next()), (Some('\\'), _) | (_, Some('\'')));
            // Otherwise it is the sign of a lifetime, whose name follows: it is no path.
            1 + if is_char { length_of_text(&rest[1..], '\'') } else { 0 }
        } else if is_name(rest) {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let length = length.unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a text such as `r#"…"#`, if `source` begins with one.
fn length_of_raw_text(source: &str) -> Option<usize> {
    let text = source.strip_prefix(['b', 'c']).unwrap_or(source).strip_prefix('r')?;
    let quoted = text.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(text.len() - quoted.len()));
    let after = quoted.strip_prefix('"')?.split_once(&end).map_or("", |(_, after)| after);
    Some(source.len() - after.len())
}

/// The length of what is quoted, the closing quote included.
fn length_of_text(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        if c == quote && !is_escaped {
            return at + c.len_utf8();
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

/// The file that defines what `path` names in `module`; none if it is not of this crate.
fn resolve(sources: &BTreeMap<Names, Source>, module: &Names, path: &[String]) -> Option<Names> {
    /// More names in a row are a circle of their own.
    const MAX_HOPS: usize = 8;
    let mut path = absolute(sources, module, path)?;
    for _ in 0..MAX_HOPS {
        let length =
            (0..=path.len()).rev().find(|length| sources.contains_key(&path[..*length]))?;
        let source = &sources[&path[..length]];
        let Some(next) = path.get(length).and_then(|name| source.passed_on.get(name)) else {
            return Some(source.module.clone());
        };
        let defined = absolute(sources, &source.module, next)?;
        path = [&defined[..], &path[length + 1..]].concat();
    }
    None
}

/// The path from the crate's root on.
fn absolute(sources: &BTreeMap<Names, Source>, module: &Names, path: &[String]) -> Option<Names> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([module, rest].concat()),
        "super" => {
            let ups = path.iter().take_while(|name| *name == "super").count();
            let above = &module[..module.len().checked_sub(ups)?];
            Some([above, &path[ups..]].concat())
        }
        _ => {
            let child = [&module[..], &path[..1]].concat();
            if sources.contains_key(&child) {
                return Some([module, path].concat());
            }
            let imported = sources.get(module)?.imported.get(first)?;
            // What is imported under its own name is of another crate.
            if imported.first() == Some(first) {
                return None;
            }
            Some([&absolute(sources, module, imported)?[..], rest].concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> =
            files.iter().map(|(file, text)| (module_of(file), (*text).to_owned())).collect();
        circles(&files)
    }

    #[test]
    fn modules_that_import_each_other_are_found() {
        let a = ("a.rs", "use crate::b::{self, B};");
        assert_eq!(found(&[a, ("b.rs", "fn f() -> crate::a::A { A }")]), ["a -> b -> a"]);
        let c = ("c.rs", "use super::a;");
        assert_eq!(found(&[a, ("b.rs", "use crate::c::C;"), c]), ["a -> b -> c -> a"]);
        let passes_on = ("c/mod.rs", "mod d; pub use d::D;");
        let d = ("c/d.rs", "use crate::a::A;");
        assert_eq!(
            found(&[a, ("b.rs", "use crate::c::D;"), passes_on, d]),
            ["a -> b -> c::d -> a"]
        );
    }

    #[test]
    fn children_and_tests_may_import_what_is_above() {
        let a = ("a/mod.rs", "mod b; use b::B; pub struct A;");
        assert!(found(&[a, ("a/b.rs", "use super::A;")]).is_empty());
        let tests = "#[cfg(test)] mod tests { use crate::a::A; }";
        assert!(found(&[("a.rs", "use crate::b::B;"), ("b.rs", tests)]).is_empty());
        assert!(found(&[("a.rs", "use b::B; use std::fmt;"), ("b.rs", "use a::A;")]).is_empty());
        let captures = "use crate::b::B; fn f() -> impl Sized + use<> { if x { y(); } }";
        assert!(found(&[("a.rs", captures), ("b.rs", "fn f() {}")]).is_empty());
        let quoted = "// crate::a::A\n/// [`crate::a::A`]\nconst T: [&str; 2] = [\"\\\"crate::a::A\", r#\"crate::a::A\"#];";
        assert!(found(&[("a.rs", "use crate::b::B;"), ("b.rs", quoted)]).is_empty());
        let raw = "const T: [&str; 2] = [r##\"\"# crate::a::A\"##, br#\"\"crate::a::A\"#];";
        assert!(found(&[("a.rs", "use crate::b::B;"), ("b.rs", raw)]).is_empty());
    }
}
