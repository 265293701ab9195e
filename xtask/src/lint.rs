use std::path::PathBuf;

use crate::root;
use crate::setup::{node_modules, venv};
use crate::step::{Outcome, Shell, Step};
use crate::tracked;

/// What has to hold before a test runs.
pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new("tracked", "no file names this machine or a package registry", tracked::check),
        Step::new("fmt", "formatting of Rust", || {
            Shell::cargo().args("fmt --all --check").run()?;
            Shell::cargo().args("fmt --manifest-path fuzz/Cargo.toml --check").run()?;
            Ok(Outcome::Passed)
        }),
        Step::command(
            "clippy",
            "lints of Rust, none allowed",
            Shell::cargo().args("clippy --workspace --all-targets -- -D warnings"),
        ),
        // Documented for who works on it: a crate's front page may link to modules that are private.
        Step::command(
            "rustdoc",
            "documentation of Rust, without a warning",
            Shell::cargo()
                .args("doc --workspace --no-deps --document-private-items --quiet")
                .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"),
        ),
        Step::new("ruff", "formatting and lints of Python", || {
            let python = python_folders();
            let ruff = || python.iter().fold(Shell::new(venv("ruff")).arg("check"), Shell::arg);
            ruff().run()?;
            let format = Shell::new(venv("ruff")).args("format --check");
            python.iter().fold(format, Shell::arg).run()?;
            Ok(Outcome::Passed)
        }),
        Step::new("mypy", "types of Python, strict", || {
            let mypy = Shell::new(venv("mypy")).args("--config-file e2e/pyproject.toml");
            python_folders().iter().fold(mypy, Shell::arg).run()?;
            Ok(Outcome::Passed)
        }),
        Step::new("tsc", "types of JavaScript, strict", || {
            for project in ["e2e/tsconfig.json", "e2e/tsconfig.web.json"] {
                Shell::new("node")
                    .arg(node_modules("typescript/bin/tsc"))
                    .arg("-p")
                    .arg(project)
                    .run()?;
            }
            Ok(Outcome::Passed)
        }),
    ]
}

/// Where Python lies, as far as it is there.
fn python_folders() -> Vec<PathBuf> {
    let folders = ["e2e", "sdks/python"].map(PathBuf::from);
    folders.into_iter().filter(|folder| root().join(folder).is_dir()).collect()
}
