//! The origins whose pages may watch and report.

use std::net::IpAddr;

use crate::config::Config;

/// The origins whose pages may watch, besides the server's own pages.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    /// Their pages may also report and control.
    named: Box<[String]>,
    unnamed: Unnamed,
}

/// Which origins may watch without being named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    None,
    /// Those of pages that this machine itself serves.
    Local,
    Any,
}

impl Origins {
    /// By default, pages of any origin may watch if they need a credential, or if other machines reach the server
    /// anyway: with `insecure`, or under one of its `hosts`. Otherwise only this machine reaches it, and a page on the
    /// internet must not do so through a browser here.
    pub(crate) fn new(config: &Config) -> Self {
        let Some(origins) = &config.cors_origins else {
            let is_open =
                config.insecure || config.asks_for_credentials() || !config.hosts.is_empty();
            let unnamed = if is_open { Unnamed::Any } else { Unnamed::Local };
            return Self { named: Box::default(), unnamed };
        };
        let (any, named): (Vec<_>, Vec<_>) =
            origins.iter().cloned().partition(|origin| origin == "*");
        let unnamed = if any.is_empty() { Unnamed::None } else { Unnamed::Any };
        Self { named: named.into(), unnamed }
    }

    pub(crate) fn named(&self) -> &[String] {
        &self.named
    }

    pub(crate) fn unnamed(&self) -> Unnamed {
        self.unnamed
    }

    pub(super) fn allow(&self, origin: &str, watches: bool) -> bool {
        let is_allowed = match self.unnamed {
            Unnamed::None => false,
            Unnamed::Local => is_local(origin),
            Unnamed::Any => true,
        };
        (watches && is_allowed) || self.named.iter().any(|named| named == origin)
    }
}

/// Whether this machine itself serves the pages of that origin. A page that was opened from a file has the origin
/// `null`, and so has a frame in a sandbox, which any page may have made.
pub(crate) fn is_local(origin: &str) -> bool {
    let page = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let Some(page) = page else { return false };
    if let Some(address) = page.strip_prefix('[') {
        let address = address.split_once(']').map(|(address, _)| address.parse::<IpAddr>());
        return matches!(address, Some(Ok(address)) if address.to_canonical().is_loopback());
    }
    let name = page.split_once(':').map_or(page, |(name, _)| name);
    name.parse::<IpAddr>().map_or_else(
        |_| name == "localhost" || name.ends_with(".localhost"),
        |address| address.is_loopback(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_pages_are_those_that_this_machine_serves() {
        for local in [
            "http://localhost",
            "https://localhost:3000",
            "http://app.localhost:3000",
            "http://127.0.0.1:8085",
            "http://127.9.9.9",
            "http://[::1]:3000",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(is_local(local), "{local}");
        }
        for foreign in [
            "null",
            "",
            "https://app.example.com",
            "https://localhost.example.com",
            "https://notlocalhost",
            "http://127.0.0.1.example.com",
            "http://192.168.1.2",
            "http://[::2]",
            "http://[::1",
            "file://localhost",
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }
}
