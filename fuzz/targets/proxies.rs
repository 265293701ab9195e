//! Whose address a request has: never that of an untrusted peer's choice, and always one that the header names.
#![no_main]

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use milepost_server::{ClientAddressHeader, TrustedProxies};

// The first line is the setting `trusted_proxies`, each further one a value of the header.
fuzz_target!(|text: &str| {
    let mut lines = text.split('\n');
    let networks: Vec<String> =
        lines.next().unwrap_or_default().split(',').map(str::to_owned).collect();
    let values: Vec<HeaderValue> = lines.filter_map(|line| line.parse().ok()).collect();
    for (header, name) in [
        (ClientAddressHeader::XForwardedFor, "x-forwarded-for"),
        (ClientAddressHeader::Forwarded, "forwarded"),
    ] {
        let configured = TrustedProxies::parse(&networks, header);
        let all = ["127.0.0.1".to_owned(), "10.0.0.0/8".to_owned()];
        let fixed = TrustedProxies::parse(&all, header).expect("addresses");
        let mut headers = HeaderMap::new();
        for value in &values {
            headers.append(HeaderName::from_static(name), value.clone());
        }
        for proxies in configured.into_iter().chain([fixed]) {
            let stranger = IpAddr::from([198, 51, 100, 9]);
            let claimed = proxies.client(Some(stranger), &headers);
            assert!(claimed == Some(stranger) || proxies.trusts(Some(stranger)));
            let proxy = Some(IpAddr::from([127, 0, 0, 1]));
            let client = proxies.client(proxy, &headers);
            assert_eq!(client, client.map(|address| address.to_canonical()));
            assert_eq!(proxies.client(proxy, &HeaderMap::new()), proxy);
            assert!(proxies.client(None, &headers).is_none() || proxies.trusts(None));
        }
    }
});
