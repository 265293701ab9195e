use std::fmt;

use milepost_protocol::without_password;
use tokio_tungstenite::tungstenite::http::Uri;

/// A server's base URL, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) tls: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The prefix of all paths: empty, or `/…` without a slash at its end.
    prefix: String,
    authority: String,
}

impl Address {
    pub(crate) fn parse(base_url: &str) -> Result<Self, InvalidUrl> {
        let invalid = |reason| InvalidUrl { url: base_url.to_owned(), reason };
        let (scheme, rest) = base_url.split_once("://").ok_or_else(|| invalid(Reason::Scheme))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => false,
            "https" | "wss" => true,
            _ => return Err(invalid(Reason::Scheme)),
        };
        if rest.contains(['?', '#']) {
            return Err(invalid(Reason::Query));
        }
        let uri: Uri = base_url.parse().map_err(|_| invalid(Reason::Syntax))?;
        let authority = uri.authority().ok_or_else(|| invalid(Reason::Syntax))?;
        if authority.as_str().contains('@') {
            return Err(invalid(Reason::Credentials));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let after_host = authority.as_str().trim_start_matches(authority.host());
        if host.is_empty() || !(after_host.is_empty() || authority.port_u16().is_some()) {
            return Err(invalid(Reason::Syntax));
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            authority: authority.to_string(),
        })
    }

    /// The URL of a WebSocket whose path (and query) the contract names.
    pub(crate) fn websocket(&self, path: &str) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}{path}", self.authority, self.prefix)
    }
}

/// Why a text is not the base URL of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidUrl {
    url: String,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    Scheme,
    Syntax,
    Query,
    Credentials,
    Certificates(String),
}

impl InvalidUrl {
    pub(crate) fn no_certificates(url: &str, detail: String) -> Self {
        Self { url: url.to_owned(), reason: Reason::Certificates(detail) }
    }
}

impl fmt::Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = without_password(&self.url);
        match &self.reason {
            Reason::Scheme => {
                write!(f, "{url:?} does not begin with http://, https://, ws:// or wss://")
            }
            Reason::Syntax => write!(f, "{url:?} is not a URL with a host"),
            Reason::Query => write!(f, "{url:?} has a query or a fragment: a base URL has none"),
            // The URL is not repeated here: it holds a password.
            Reason::Credentials => {
                f.write_str("the server's URL names a user, which is not supported")
            }
            Reason::Certificates(detail) => {
                write!(f, "{url:?} needs root certificates, and this system has none: {detail}")
            }
        }
    }
}

impl std::error::Error for InvalidUrl {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_becomes_a_websocket_url() {
        let url = |base| Address::parse(base).unwrap().websocket("/ws/jobs/a");
        assert_eq!(url("http://localhost:8084"), "ws://localhost:8084/ws/jobs/a");
        assert_eq!(url("https://example.com/"), "wss://example.com/ws/jobs/a");
        assert_eq!(url("wss://example.com/milepost/"), "wss://example.com/milepost/ws/jobs/a");
        assert_eq!(url("WS://[::1]:9"), "ws://[::1]:9/ws/jobs/a");
    }

    #[test]
    fn the_port_follows_from_the_scheme() {
        let address = |base| Address::parse(base).unwrap();
        assert_eq!(address("http://h").port, 80);
        assert_eq!(address("wss://h").port, 443);
        assert_eq!(address("ws://[::1]:9").port, 9);
        assert_eq!(address("ws://[::1]:9").host, "::1");
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_the_reason() {
        let refusal = |base| Address::parse(base).unwrap_err().to_string();
        assert!(refusal("localhost:8084").contains("does not begin with"));
        assert!(refusal("redis://localhost").contains("does not begin with"));
        assert!(refusal("http://").contains("not a URL with a host"));
        assert!(refusal("http://:80").contains("not a URL with a host"));
        assert!(refusal("http://h:99999").contains("not a URL with a host"));
        assert!(refusal("http://h:x/").contains("not a URL with a host"));
        assert!(refusal("http://h/?a=b").contains("query"));
        assert!(refusal("http://h/#x").contains("query"));
        let with_password = refusal("http://me:secret@h/");
        assert!(with_password.contains("names a user") && !with_password.contains("secret"));
    }
}
