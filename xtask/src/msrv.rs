use std::collections::HashSet;

use serde_json::Value;

use crate::step::{Failure, Outcome, Shell};
use crate::{metadata, target_directory};

/// Checks the oldest Rust that the workspace claims to build with, `rust-version` in its `Cargo.toml`.
///
/// Three parts, of which two need no other compiler:
/// - Clippy's `incompatible_msrv` finds what the standard library did not have yet. It only looks at crates that name
///   their `rust-version`, so each of ours has to.
/// - No dependency in `Cargo.lock` names a later Rust.
/// - With that toolchain installed, the workspace is compiled with it. The hosted workflow always does.
pub(crate) fn check() -> Result<Outcome, Failure> {
    let packages = metadata::packages()?;
    let oldest = oldest(&packages)?;
    let mut found = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        match package["rust_version"].as_str() {
            None if package["source"].is_null() => {
                found.push(format!("{name} names no rust-version: rust-version.workspace = true"));
            }
            Some(wanted) if parse(wanted) > parse(&oldest) => {
                let version = package["version"].as_str().unwrap_or_default();
                found
                    .push(format!("{name} {version} needs Rust {wanted}, and we promise {oldest}"));
            }
            _ => {}
        }
    }
    if !found.is_empty() {
        return Err(Failure::Found(found.join("\n")));
    }

    let installed = Shell::new("rustup").args("toolchain list").output().unwrap_or_default();
    let installed = String::from_utf8_lossy(&installed);
    if !installed.lines().any(|line| {
        line.starts_with(&format!("{oldest}.")) || line.starts_with(&format!("{oldest}-"))
    }) {
        println!(
            "Rust {oldest} is not installed: not compiled with it (rustup toolchain install {oldest})"
        );
        return Ok(Outcome::Passed);
    }
    Shell::new("rustup")
        .args("run")
        .arg(&oldest)
        .args("cargo check --workspace --all-targets --locked --target-dir")
        .arg(target_directory().join("xtask/msrv"))
        .run()?;
    Ok(Outcome::Passed)
}

/// The one version that our crates promise.
fn oldest(packages: &[Value]) -> Result<String, Failure> {
    let ours = packages.iter().filter(|package| package["source"].is_null());
    let promised: HashSet<&str> =
        ours.filter_map(|package| package["rust_version"].as_str()).collect();
    match promised.iter().collect::<Vec<_>>()[..] {
        [one] => Ok((*one).to_owned()),
        _ => Err(Failure::Found(format!("our crates promise different Rusts: {promised:?}"))),
    }
}

/// `1.90` and `1.90.0` as numbers.
fn parse(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
