use std::fs;
use std::path::{Path, PathBuf};

use crate::root;
use crate::step::{Failure, Outcome, Shell, Step};

/// Programs that the tests run, and the Debian package of each.
const PROGRAMS: [(&str, &str); 12] = [
    ("ffmpeg", "ffmpeg"),
    ("ffprobe", "ffmpeg"),
    ("chromium", "chromium"),
    ("firefox-esr", "firefox-esr"),
    ("curl", "curl"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("valgrind", "valgrind"),
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("apache2", "apache2"),
    ("caddy", "caddy"),
];

/// What the tests need, installed where it is missing.
pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new("plan", "what the next steps install", || Ok(plan())),
        Step::new("tools", "Python, Node, and what comes from the distribution", tools)
            .concurrent(),
        Step::new("python", "the tests' own Python environment", python)
            .concurrent()
            .after(&["tools"]),
        Step::new("node", "the tests' own Node packages", || node("e2e"))
            .concurrent()
            .after(&["tools"]),
        Step::new("npm", "what the npm package is tested with", || node("sdks/typescript"))
            .concurrent()
            .after(&["tools"]),
    ]
}

/// A program of the tests' own Python environment.
pub(crate) fn venv(program: &str) -> PathBuf {
    root().join("target/xtask/venv/bin").join(program)
}

/// A file of the tests' own Node packages.
pub(crate) fn node_modules(file: &str) -> PathBuf {
    root().join("e2e/node_modules").join(file)
}

/// Prints what is about to be installed, and where, before anything is.
fn plan() -> Outcome {
    let mut plan = Vec::new();
    let packages = missing();
    if !packages.is_empty() {
        plan.push(format!("Debian packages, on this machine: {}", packages.join(", ")));
    }
    if !python_is_installed() {
        plan.push("Python packages of e2e/requirements.txt, in target/xtask/venv".into());
    }
    for folder in ["e2e", "sdks/typescript"].iter().filter(|folder| !node_is_installed(folder)) {
        plan.push(format!("Node packages of {folder}/package-lock.json, in {folder}/node_modules"));
    }
    if plan.is_empty() {
        return Outcome::Skipped("everything is installed".into());
    }
    println!("{}", plan.join("\n"));
    Outcome::Passed
}

/// The Debian packages of programs that are not there.
fn missing() -> Vec<&'static str> {
    let absent = PROGRAMS.iter().filter(|(program, _)| !is_installed(program));
    let mut missing: Vec<_> = absent.map(|(_, package)| *package).collect();
    if Shell::new("python3").args("-c").arg("import ensurepip, venv").output().is_none() {
        missing.push("python3-venv");
    }
    // For the snippet of Rails in docs/security.md.
    let of_rails = "require 'jwt'; require 'active_support/all'";
    if Shell::new("ruby").args("-e").arg(of_rails).output().is_none() {
        missing.extend(["ruby", "ruby-jwt", "ruby-activesupport"]);
    }
    missing.dedup();
    missing
}

fn tools() -> Result<Outcome, Failure> {
    at_least("python3", "import sys; print('%d.%d' % sys.version_info[:2])", "-c", (3, 9))?;
    at_least("node", "process.versions.node", "-p", (20, 0))?;

    let missing = missing();
    if missing.is_empty() {
        return Ok(Outcome::Passed);
    }

    let packages = missing.join(" ");
    let by_hand = || {
        let how = format!("sudo apt-get update && sudo apt-get install {packages}");
        Failure::Found(format!("missing: {packages}. Install them; on Debian and its like: {how}"))
    };
    let sudo = match Shell::new("id").arg("-u").output() {
        Some(id) if id == b"0\n" => None,
        _ if Shell::new("sudo").args("-n true").output().is_some() => Some("sudo"),
        _ => return Err(by_hand()),
    };
    if !is_installed("apt-get") {
        return Err(by_hand());
    }
    let apt = || match sudo {
        Some(sudo) => Shell::new(sudo).args("-n env DEBIAN_FRONTEND=noninteractive apt-get"),
        None => Shell::new("env").args("DEBIAN_FRONTEND=noninteractive apt-get"),
    };
    apt().args("-q update").run()?;
    apt().args("-q -y --no-install-recommends install").args(&packages).run()?;
    match PROGRAMS.iter().find(|(program, _)| !is_installed(program)) {
        Some((program, package)) => {
            Err(Failure::Found(format!("{package} is installed, but there is still no {program}")))
        }
        None => Ok(Outcome::Passed),
    }
}

/// Whether a program is in the `PATH`.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Fails if `program`, which prints its version with `flag` and `code`, is older, or not there.
fn at_least(program: &str, code: &str, flag: &str, wanted: (u32, u32)) -> Result<(), Failure> {
    let wants = format!("{program} {}.{} or later is needed", wanted.0, wanted.1);
    let Some(output) = Shell::new(program).arg(flag).arg(code).output() else {
        return Err(Failure::Found(format!("{wants}, and there is none")));
    };
    let text = String::from_utf8_lossy(&output).trim().to_owned();
    let mut numbers = text.split('.').map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < wanted {
        return Err(Failure::Found(format!("{wants}; this is {text}")));
    }
    println!("{program} {text}");
    Ok(())
}

/// What the tests' Python environment is made from, and the copy of it from when it was installed.
fn requirements() -> (PathBuf, PathBuf) {
    (root().join("e2e/requirements.txt"), root().join("target/xtask/venv/requirements.txt"))
}

fn python_is_installed() -> bool {
    let (requirements, installed) = requirements();
    same(&requirements, &installed) && venv("python").exists()
}

fn python() -> Result<Outcome, Failure> {
    let (requirements, installed) = requirements();
    if python_is_installed() {
        return Ok(Outcome::Skipped("installed already".into()));
    }
    Shell::new("python3").args("-m venv --clear target/xtask/venv").run()?;
    let pip = Shell::new(venv("python")).args("-m pip install --disable-pip-version-check --quiet");
    pip.arg("--requirement").arg("e2e/requirements.txt").run()?;
    remember(&requirements, &installed)
}

/// A folder's lock file, and the copy of it from when it was installed.
fn locks(folder: &str) -> (PathBuf, PathBuf) {
    let folder = root().join(folder);
    (folder.join("package-lock.json"), folder.join("node_modules/.xtask-lock.json"))
}

fn node_is_installed(folder: &str) -> bool {
    let (lock, installed) = locks(folder);
    same(&lock, &installed)
}

fn node(folder: &str) -> Result<Outcome, Failure> {
    let (lock, installed) = locks(folder);
    let folder = root().join(folder);
    if same(&lock, &installed) {
        return Ok(Outcome::Skipped("installed already".into()));
    }
    let npm = Shell::new("npm").args("ci --no-audit --no-fund --ignore-scripts");
    npm.current_dir(&folder).run()?;
    remember(&lock, &installed)
}

fn same(wanted: &Path, installed: &Path) -> bool {
    matches!((fs::read(wanted), fs::read(installed)), (Ok(wanted), Ok(installed)) if wanted == installed)
}

/// Copies what was installed, so that the next run knows.
fn remember(wanted: &Path, installed: &Path) -> Result<Outcome, Failure> {
    match fs::copy(wanted, installed) {
        Ok(_) => Ok(Outcome::Passed),
        Err(error) => Err(Failure::Found(format!("{}: {error}", installed.display()))),
    }
}
