//! The server's settings: any table is understood or refused with a reason, in one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_server::Config;

fuzz_target!(|text: &str| {
    let Ok(table) = text.parse::<toml::Table>() else { return };
    match Config::from_table(&table) {
        Ok(config) => drop(config.check_host()),
        Err(error) => {
            let error = error.to_string();
            assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
        }
    }
});
