//! Makes of `web/` what the binary carries: scripts without their comments, bundles as they are, and all of it gzipped
//! as well.
//! `docs/decisions` says why; `sdks/typescript/build.js` makes the very same scripts for npm.

use std::io::Write;
use std::path::Path;
use std::{env, fs, io};

use flate2::{Compression, GzBuilder};

const WEB: &str = "web";
const BUNDLES: [&str; 5] =
    ["milepost.js", "job-progress.min.js", "first.min.js", "index.min.js", "try.min.js"];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets no OUT_DIR"))?;
    let to = Path::new(&out).join("web");
    println!("cargo::rerun-if-changed={WEB}");
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(WEB)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let text = match path.extension().and_then(|ending| ending.to_str()) {
            // Bundles are minified already, and mind their line breaks.
            Some("js") if BUNDLES.contains(&name) => fs::read_to_string(&path)?,
            Some("js") if !name.ends_with(".test.js") => {
                without_comments(&fs::read_to_string(&path)?)
            }
            Some("css" | "html") => fs::read_to_string(&path)?,
            _ => continue,
        };
        // Without a time or a name, so that the same source makes the same bytes.
        let file = fs::File::create(to.join(format!("{name}.gz")))?;
        let mut gzip = GzBuilder::new().write(file, Compression::best());
        gzip.write_all(text.as_bytes())?;
        gzip.finish()?;
        fs::write(to.join(name), text)?;
    }
    Ok(())
}

/// A script without the lines that are only a comment, without empty lines and without indentation. No literal of
/// ours begins a line like a comment, or minds its indentation.
fn without_comments(script: &str) -> String {
    let mut bare = String::new();
    let mut inside = false;
    for line in script.lines().map(str::trim) {
        inside |= line.starts_with("/*") && !line.trim_end_matches("*/").contains("*/");
        if inside {
            inside = !line.ends_with("*/");
        } else if !line.is_empty() && !line.starts_with("//") {
            bare.push_str(line);
            bare.push('\n');
        }
    }
    bare
}
