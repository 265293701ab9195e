//! Compiles `src/server.cpp` with the uWebSockets and uSockets sources out of the crate `libuwebsockets-sys`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/server.cpp");
    println!("cargo:rerun-if-changed=Cargo.lock");
    let sources = package_dir("libuwebsockets-sys").join("uWebSockets");
    let usockets = sources.join("uSockets/src");

    let mut c = cc::Build::new();
    c.define("LIBUS_NO_SSL", None).include(&usockets).opt_level(3).warnings(false);
    for dir in [usockets.clone(), usockets.join("eventing"), usockets.join("crypto")] {
        c.files(files(&dir, "c"));
    }
    c.compile("usockets");

    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .define("LIBUS_NO_SSL", None)
        .define("UWS_NO_ZLIB", None)
        .include(&usockets)
        .include(sources.join("src"))
        .opt_level(3)
        .warnings(false)
        .file("src/server.cpp")
        .compile("uws_server");
}

/// The folder in which cargo keeps the package's sources.
fn package_dir(name: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").expect("cargo sets CARGO for build scripts");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let package = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == name))
        .unwrap_or_else(|| panic!("{name} is not in cargo metadata"));
    let manifest = package["manifest_path"].as_str().expect("a manifest path");
    Path::new(manifest).parent().expect("a folder").to_owned()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the package holds its sources");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}
