//! The names by which the server may be addressed.
//!
//! A page of `http://evil.example` may have its name resolve to 127.0.0.1 once it is loaded (DNS rebinding): to its
//! browser, this server is then the page's own. The name in `Host` gives it away.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::header::HOST;
use http::{HeaderMap, Uri, Version};
use milepost_protocol::ProblemType;

use crate::config_error::ConfigError;
use crate::response::problem::{Outcome, Refused};

/// Which names the server answers to.
///
/// Always: IP addresses, `localhost`, and names without a dot. Only whoever runs the network can make those resolve to
/// an address of their choice.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    named: Box<[String]>,
    /// Whether reading requests may use any name. Changing something takes a known name.
    any_reads: bool,
    any: bool,
}

impl Hosts {
    /// `named` are the configured names. `insecure`: the server serves everybody.
    pub(crate) fn new(named: &[String], asks_for_credentials: bool, insecure: bool) -> Self {
        let named: Box<[String]> = named.into();
        // If credentials are required, a page under a name of its own has none.
        let is_guarded = named.is_empty() && asks_for_credentials;
        let any = is_guarded || named.iter().any(|name| name == "*");
        Self { any_reads: any || (named.is_empty() && insecure), any, named }
    }

    /// Checks how a request addresses the server.
    ///
    /// # Errors
    /// `invalid-host` without one name (RFC 9112, section 3.2), `host-not-allowed` with a name that is not the
    /// server's.
    pub(crate) fn check(&self, version: Version, uri: &Uri, headers: &HeaderMap) -> Outcome<()> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(_), Some(_)) => return Err(invalid("there is more than one")),
            // HTTP/1.0 has none, and no browser speaks it. HTTP/2 has the authority in its place.
            (None, _) if version == Version::HTTP_11 => return Err(invalid("there is none")),
            (None, _) => None,
            (Some(host), None) => {
                Some(host.to_str().map_err(|_| invalid("it is not plain ASCII"))?)
            }
        };
        let authority = uri.authority().map(http::uri::Authority::as_str);
        for addressed in [host, authority].into_iter().flatten() {
            let name = name(addressed).ok_or_else(|| invalid("it is not a name or an address"))?;
            if !self.any_reads && !self.is_known(&name) {
                let detail = format!(
                    "this server does not answer to the name {addressed:?}; if it is one of its names, add it to the \
                     setting hosts"
                );
                return Err(Refused::new(ProblemType::HostNotAllowed, detail));
            }
        }
        Ok(())
    }

    /// Whether a page of this address, `host[:port]`, may be one of this server's own.
    pub(crate) fn may_be_own(&self, address: &str) -> bool {
        name(address).is_some_and(|name| self.is_known(&name))
    }

    fn is_known(&self, name: &Name<'_>) -> bool {
        match name {
            Name::Address => true,
            Name::Text(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                let is_local = name.len() > ".localhost".len()
                    && name.as_bytes()[name.len() - ".localhost".len()..]
                        .eq_ignore_ascii_case(b".localhost");
                self.any
                    || !name.contains('.')
                    || is_local
                    || self.named.iter().any(|named| named.eq_ignore_ascii_case(name))
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Name<'a> {
    Address,
    Text(&'a str),
}

/// The name in `host[:port]` (RFC 3986, section 3.2.2), in the form that browsers send; none if it is invalid.
fn name(address: &str) -> Option<Name<'_>> {
    let (name, port) = if let Some(rest) = address.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        address.parse::<Ipv6Addr>().ok()?;
        (Name::Address, port)
    } else {
        let end = address.find(':').unwrap_or(address.len());
        let (name, port) = address.split_at(end);
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > 253 || !name.bytes().all(is_name) {
            return None;
        }
        let is_address = name.parse::<Ipv4Addr>().is_ok();
        (if is_address { Name::Address } else { Name::Text(name) }, port)
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let is_port = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_port && port.len() <= digits.len() + 1).then_some(name)
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Address => "an address",
            Self::Text(name) => name,
        })
    }
}

fn invalid(why: &str) -> Refused {
    Refused::new(ProblemType::InvalidHost, format!("the header Host names the server; {why}"))
}

/// A name of the setting `hosts`.
pub(crate) fn parse_setting(name: &str) -> Result<String, ConfigError> {
    let bad =
        || ConfigError::new(format!("hosts has {name:?}; a host is a name like app.example.com"));
    if name == "*" {
        return Ok(name.to_owned());
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(is_name) {
        return Err(bad());
    }
    Ok(name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(named: &[&str], insecure: bool) -> Hosts {
        let named: Vec<_> = named.iter().map(|name| (*name).to_owned()).collect();
        Hosts::new(&named, false, insecure)
    }

    fn check(hosts: &Hosts, host: &str) -> Option<&'static str> {
        let headers = HeaderMap::from_iter([(HOST, host.parse().ok()?)]);
        let refused = hosts.check(Version::HTTP_11, &Uri::from_static("/"), &headers).err()?;
        ProblemType::from_uri(&refused.0.uri).map(ProblemType::name)
    }

    #[test]
    fn names_that_nobody_else_resolves_are_always_known() {
        for own in [
            "127.0.0.1",
            "127.0.0.1:8084",
            "[::1]:8084",
            "[::1]",
            "192.168.1.7",
            "localhost",
            "LocalHost:8084",
            "localhost.",
            "app.localhost",
            "milepost-1:8084",
        ] {
            assert_eq!(check(&hosts(&[], false), own), None, "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:8084",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
        ] {
            assert_eq!(check(&hosts(&[], false), foreign), Some("host-not-allowed"), "{foreign}");
        }
    }

    #[test]
    fn names_of_the_operator_are_known() {
        let named = hosts(&["app.example.com"], true);
        assert_eq!(check(&named, "App.Example.com:443"), None);
        assert_eq!(check(&named, "evil.example"), Some("host-not-allowed"));
        assert_eq!(check(&hosts(&["*"], false), "evil.example"), None);
    }

    #[test]
    fn without_access_rules_any_name_reads_and_none_writes() {
        let insecure = hosts(&[], true);
        assert_eq!(check(&insecure, "app.example.com"), None);
        assert!(!insecure.may_be_own("app.example.com"));
        assert!(insecure.may_be_own("10.0.0.1:8084"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let hosts = hosts(&["*"], false);
        for bad in
            ["", "a b", "user@127.0.0.1", "127.0.0.1:port", "[::1", "[localhost]", "a:1:2", "a/b"]
        {
            assert_eq!(check(&hosts, bad), Some("invalid-host"), "{bad:?}");
        }
        let none = hosts.check(Version::HTTP_11, &Uri::from_static("/"), &HeaderMap::new());
        assert!(none.is_err());
        let old = hosts.check(Version::HTTP_10, &Uri::from_static("/"), &HeaderMap::new());
        assert!(old.is_ok());
    }

    #[test]
    fn an_absolute_address_is_checked_as_well() {
        let headers = HeaderMap::from_iter([(HOST, http::HeaderValue::from_static("127.0.0.1"))]);
        let uri = Uri::from_static("http://evil.example/jobs");
        assert!(hosts(&[], false).check(Version::HTTP_11, &uri, &headers).is_err());
    }
}
