//! The header of the PROXY protocol: read whole or not at all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use milepost_server::proxy_header::client;

fuzz_target!(|bytes: &[u8]| {
    let Ok(named) = client(bytes) else { return };
    assert_eq!(named, named.map(|address| address.to_canonical()));
    // A header that names somebody is not one of its own beginnings.
    if named.is_some() && bytes.starts_with(b"PROXY ") {
        assert!(bytes.ends_with(b"\n") || bytes.contains(&b'\n'));
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or_default();
        assert!(client(&bytes[..end]).is_err());
    }
});
