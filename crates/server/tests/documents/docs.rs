//! `docs/` names every setting, metric and close code, and its links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use milepost_server::Config;
use serde_json::Value;

use crate::metrics::scrape;
use crate::support::Server;

const OPERATING: &str = include_str!("../../../../docs/operating.md");
const WATCHING: &str = include_str!("../../../../docs/watching.md");

/// The first two cells of each row of the table that begins so.
fn rows<'t>(text: &'t str, header: &str) -> Vec<(&'t str, &'t str)> {
    let table = text.split(header).nth(1).expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let mut cells = row.trim_matches('|').split(" | ").map(str::trim);
        (cells.next().unwrap(), cells.next().unwrap())
    })
    .collect()
}

#[test]
fn every_setting_is_described_with_its_default() {
    let mut described = Vec::new();
    for (names, defaults) in rows(OPERATING, "| setting | default | what |") {
        let defaults: Vec<_> = defaults.split(", ").collect();
        for (index, name) in names.split(", ").enumerate() {
            let default = defaults.get(index).unwrap_or(&defaults[0]);
            described.push((name.trim_matches('`'), default.trim_matches('`')));
        }
    }
    let config = format!("{:?}", Config::default());
    let fields = config.trim_start_matches("Config { ").trim_end_matches(" }").split(", ");
    let fields: Vec<_> = fields.map(|field| field.split_once(": ").unwrap()).collect();
    assert!(fields.len() > 20, "{config}");
    for (name, value) in &fields {
        let default = described.iter().find(|(described, _)| described == name);
        let (_, default) = default.unwrap_or_else(|| panic!("{name} is not described"));
        // Where there is no value, the table says in words what that means.
        let value = value.trim_end_matches(".0").trim_matches('"');
        assert!(value == "None" || value == *default, "{name} is {value}, not {default}");
    }
    // The log's two are the command line's.
    assert_eq!(described.len(), fields.len() + 2);
}

#[tokio::test]
async fn every_metric_is_described() {
    let described: Vec<String> = rows(OPERATING, "| metric | |")
        .iter()
        .flat_map(|(names, _)| names.split('`').skip(1).step_by(2))
        .map(|name| name.split('{').next().unwrap().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let server = Server::start().await;
    let samples = scrape(&server).await;
    let mut names: Vec<_> =
        samples.keys().map(|sample| sample.split('{').next().unwrap()).collect();
    names.dedup();
    for name in &names {
        assert!(described.iter().any(|described| described == name), "{name} is not described");
    }
    // Only the binary knows how much memory its process has.
    let own = described.iter().filter(|name| *name != "process_resident_memory_bytes").count();
    assert_eq!(own, names.len(), "{described:?}");
    server.stop().await;
}

#[test]
fn every_close_code_is_described() {
    let fixture: Value =
        serde_json::from_str(include_str!("../../../../spec/fixtures/close-codes.json")).unwrap();
    let described = rows(WATCHING, "| code | when | reconnect? |");
    for code in fixture["codes"].as_array().unwrap() {
        let number = code["code"].to_string();
        let row = described.iter().find(|(codes, _)| codes.split(", ").any(|code| code == number));
        assert!(row.is_some(), "{number}");
    }
}

#[test]
fn links_lead_somewhere() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = fs::read_dir(&docs).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<PathBuf> =
        pages.filter(|path| path.extension() == Some("md".as_ref())).collect();
    assert!(pages.len() > 5);
    let mut links = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap()) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { docs.join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let headings = fs::read_to_string(&target).unwrap();
                let mut headings = headings.lines().filter(|line| line.starts_with("##"));
                let found = headings.any(|heading| {
                    let heading = heading.trim_start_matches('#').trim_start().to_lowercase();
                    heading.replace(' ', "-").replace(',', "") == anchor
                });
                assert!(found, "{}: {link}", page.display());
            }
        }
    }
    assert!(links > 10, "{links}");
}
