//! Packs everything that is published, installs each package in an empty place, and runs it there.

use std::env;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::metadata;
use crate::setup::venv;
use crate::step::{Failure, Outcome, Shell, Step};
use crate::{root, target_directory};

/// How long an installed server may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The steps of a dry run. Nothing is uploaded: `docs/releasing.md` has the commands that do.
pub(crate) fn steps(arguments: &[String]) -> Result<Vec<Step>, String> {
    if arguments != ["--dry-run"] {
        return Err("release --dry-run; docs/releasing.md says how to publish".into());
    }
    Ok(vec![
        Step::new("versions", "one version, and a changelog for it", versions),
        Step::new("crates", "the published crates, packed", || pack_crates().map(passed)),
        Step::new("binary", "milepost from the packed crates, installed and run", install_binary),
        Step::new(
            "library",
            "a program of its own that reports with the packed crate",
            run_library,
        ),
        Step::new("wheel", "the Python package, built, installed and run", run_wheel),
        Step::new("npm", "the npm package, packed, installed and run", run_npm),
    ])
}

fn passed<T>(_: T) -> Outcome {
    Outcome::Passed
}

/// An empty place outside of the checkout, so that nothing is found by a relative path.
fn place() -> PathBuf {
    env::temp_dir().join("milepost-release")
}

/// Where the packages lie that would be uploaded.
fn dist() -> PathBuf {
    target_directory().join("release-packages")
}

fn versions() -> Result<Outcome, Failure> {
    let crates = published()?;
    let version = text(&crates[0], "version");
    let mut found = Vec::new();
    for package in &crates {
        let name = text(package, "name");
        if text(package, "version") != version {
            found.push(format!("{name} is {}, not {version}", text(package, "version")));
        }
        let folder = folder(package);
        for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
            if !folder.join(file).exists() {
                found.push(format!(
                    "{name} packs no {file}: ln -s ../../{file} {}",
                    folder.display()
                ));
            }
        }
    }
    let wheel = read(&root().join("sdks/python/pyproject.toml"))?;
    if !wheel.lines().any(|line| line == format!("version = \"{version}\"")) {
        found.push(format!("sdks/python/pyproject.toml is not {version}"));
    }
    let npm: Value = parse(&read(&root().join("sdks/typescript/package.json"))?)?;
    if npm["version"] != version.as_str() {
        found.push(format!("sdks/typescript/package.json is not {version}"));
    }
    if !read(&root().join("CHANGELOG.md"))?.contains("\n## [") {
        found.push("CHANGELOG.md has no section for this release".into());
    }
    if found.is_empty() { Ok(Outcome::Passed) } else { Err(Failure::Found(found.join("\n"))) }
}

/// The packages in this workspace that are published, as `cargo metadata` describes them.
fn published() -> Result<Vec<Value>, Failure> {
    let mut packages = metadata::packages()?;
    packages.retain(|package| package["source"].is_null() && package["publish"].is_null());
    if packages.is_empty() {
        Err(Failure::Found("nothing is published".into()))
    } else {
        Ok(packages)
    }
}

fn pack_crates() -> Result<(), Failure> {
    let cargo = Shell::cargo().args("package --no-verify --allow-dirty --quiet --target-dir");
    let mut cargo = cargo.arg(dist());
    for package in &published()? {
        cargo = cargo.arg("-p").arg(text(package, "name"));
    }
    cargo.run()
}

/// The empty place as a workspace, up to where each crate's own line begins.
const WORKSPACE: &str = "\
[workspace]
resolver = \"3\"
members = [\"milepost-*\", \"program\"]

[patch.crates-io]
";

/// Unpacks the crates beside each other and lets them find one another there, as they will in the registry.
fn install_binary() -> Result<Outcome, Failure> {
    let place = place();
    if place.exists() {
        fs::remove_dir_all(&place).map_err(|error| at(&place, &error))?;
    }
    create(&place)?;
    let mut patches = Vec::new();
    for package in &published()? {
        let (name, version) = (text(package, "name"), text(package, "version"));
        let packed = dist().join(format!("package/{name}-{version}.crate"));
        Shell::new("tar").args("-xzf").arg(packed).current_dir(&place).run()?;
        patches.push(format!("{name} = {{ path = \"{name}-{version}\" }}"));
    }
    let workspace = format!("{WORKSPACE}{}\n", patches.join("\n"));
    write(&place.join("Cargo.toml"), &workspace)?;
    write_program(&place)?;
    // The versions of everything else are those that the tests ran with.
    fs::copy(root().join("Cargo.lock"), place.join("Cargo.lock")).map_err(|e| at(&place, &e))?;
    Shell::cargo().args("update --workspace --quiet").current_dir(&place).run()?;

    let version = text(&published()?[0], "version");
    Shell::cargo()
        .args("install --locked --debug --quiet --root installed --path")
        .arg(format!("milepost-{version}"))
        .env("CARGO_TARGET_DIR", target_directory().join("xtask/release"))
        .current_dir(&place)
        .run()?;

    let server = Server::start()?;
    server.milepost("run --job release -- sh -c").arg("echo 50%; echo 100%").run()?;
    server.shows_end("release")?;
    // What the binary carries: a page, a script, a document.
    for path in ["/", "/milepost.js", "/job-progress.js", "/asyncapi.yaml", "/openapi.json"] {
        let url = format!("{}{path}", server.url);
        Shell::new("curl")
            .args("--fail --silent --show-error --output")
            .arg("/dev/null")
            .arg(url)
            .run()?;
    }
    Ok(Outcome::Passed)
}

const PROGRAM: &str = r#"//! A worker that links nothing but the published reporter.
fn main() {
    let reporter = milepost_reporter::Reporter::from_env();
    let job = reporter.job("library");
    for _ in job.track(0..10) {}
    job.complete();
    reporter.close();
}
"#;

fn write_program(place: &Path) -> Result<(), Failure> {
    let manifest = "[package]\nname = \"program\"\nedition = \"2024\"\n\n[dependencies]\nmilepost-reporter = \"0\"\n";
    write(&place.join("program/Cargo.toml"), manifest)?;
    write(&place.join("program/src/main.rs"), PROGRAM)
}

fn run_library() -> Result<Outcome, Failure> {
    let server = Server::start()?;
    Shell::cargo()
        .args("run --quiet --locked -p program")
        .env("CARGO_TARGET_DIR", target_directory().join("xtask/release"))
        .env("MILEPOST_URL", &server.url)
        .current_dir(&place())
        .run()?;
    server.shows_end("library")?;
    Ok(Outcome::Passed)
}

fn run_wheel() -> Result<Outcome, Failure> {
    let (place, dist) = (place(), dist().join("wheel"));
    let pip = "-m pip --disable-pip-version-check --quiet";
    Shell::new(venv("python"))
        .args(pip)
        .args("wheel --no-deps --wheel-dir")
        .arg(&dist)
        .arg("sdks/python")
        .run()?;
    Shell::new("python3").args("-m venv --clear").arg(place.join("python")).run()?;
    let python = || Shell::new(place.join("python/bin/python")).current_dir(&place);
    python().args(pip).args("install --no-index --find-links").arg(&dist).arg("milepost").run()?;

    let server = Server::start()?;
    let program = "import milepost\nwith milepost.job('wheel', id='wheel') as job:\n    for _ in job.track(range(10)): pass\n";
    python().args("-I -c").arg(program).env("MILEPOST_URL", &server.url).run()?;
    server.shows_end("wheel")?;
    Ok(Outcome::Passed)
}

fn run_npm() -> Result<Outcome, Failure> {
    let (place, dist) = (place().join("node"), dist().join("npm"));
    create(&dist)?;
    create(&place)?;
    let package: Value = parse(&read(&root().join("sdks/typescript/package.json"))?)?;
    let packed = dist.join(format!("milepost-{}.tgz", text(&package, "version")));
    let npm = Shell::new("npm").args("pack --silent --pack-destination").arg(&dist);
    npm.current_dir(&root().join("sdks/typescript")).run()?;
    write(&place.join("package.json"), &json!({ "private": true, "type": "module" }).to_string())?;
    let npm = Shell::new("npm").args("install --no-audit --no-fund --silent").arg(packed);
    npm.current_dir(&place).run()?;

    let server = Server::start()?;
    let program = "import { watch } from 'milepost';\nimport { job } from 'milepost/reporter';\n\
        await job('npm', { id: 'npm' }, async (j) => { for await (const _ of j.track([1, 2, 3])); });\n\
        for await (const state of watch('npm', { url: process.env.MILEPOST_URL })) console.log(state.status);\n";
    write(&place.join("program.js"), program)?;
    let node = Shell::new("node").arg("program.js").env("MILEPOST_URL", &server.url);
    node.current_dir(&place).run()?;
    server.shows_end("npm")?;
    Ok(Outcome::Passed)
}

/// The installed binary, serving; it is stopped with its owner.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start() -> Result<Self, Failure> {
        let unused = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = unused.map_err(|error| Failure::Found(format!("no free port: {error}")))?;
        let log = fs::File::create(place().join("server.log")).map_err(|e| at(&place(), &e))?;
        let process = Command::new(binary())
            .args(["serve", "--listen", &address.to_string()])
            .current_dir(place())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| Failure::Start { command: "milepost serve".into(), error })?;
        let server = Self { process, url: format!("http://{address}") };
        let begun = Instant::now();
        while server.get("/readyz").is_none() {
            if begun.elapsed() > PATIENCE {
                return Err(Failure::Found(format!(
                    "the installed server is not ready; its log is {}",
                    place().join("server.log").display()
                )));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    fn milepost(&self, arguments: &str) -> Shell {
        let milepost = Shell::new(binary()).args(arguments).current_dir(&place());
        milepost.env("MILEPOST_URL", &self.url)
    }

    fn get(&self, path: &str) -> Option<Vec<u8>> {
        let curl = Shell::new("curl").args("--fail --silent --max-time 5");
        curl.arg(format!("{}{path}", self.url)).output()
    }

    /// Fails unless the server knows the job as completed.
    fn shows_end(&self, job: &str) -> Result<(), Failure> {
        let state = self.get(&format!("/jobs/{job}")).unwrap_or_default();
        let state: Value = serde_json::from_slice(&state).unwrap_or_default();
        if state["status"] == "completed" {
            return Ok(());
        }
        Err(Failure::Found(format!("the server does not know {job} as completed: {state}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn binary() -> PathBuf {
    place().join("installed/bin/milepost")
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// A package's own folder.
fn folder(package: &Value) -> PathBuf {
    let mut folder = PathBuf::from(text(package, "manifest_path"));
    folder.pop();
    folder
}

fn parse(json: &str) -> Result<Value, Failure> {
    serde_json::from_str(json).map_err(|error| Failure::Found(error.to_string()))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| at(path, &error))
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| at(folder, &error))
}

fn write(path: &Path, content: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        create(folder)?;
    }
    let file = fs::File::create(path).and_then(|mut file| file.write_all(content.as_bytes()));
    file.map_err(|error| at(path, &error))
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Found(format!("{}: {error}", path.display()))
}
