//! Whose address a request has, where proxies stand before the server.

use std::fmt;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use crate::config_error::ConfigError;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which trusted proxies name their client.
///
/// It is one header, and set explicitly: a proxy that sets one of them passes the other on as its client wrote it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAddressHeader {
    /// `X-Forwarded-For`: addresses between commas, the nearest last.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl fmt::Debug for ClientAddressHeader {
    /// As the setting has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        })
    }
}

/// The proxies whose header names the client of a request.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Box<[Network]>,
    /// Whether the peers of the server's Unix socket are trusted.
    unix: bool,
    header: ClientAddressHeader,
}

/// Names the peers of a Unix socket, which have no address.
const UNIX: &str = "unix";

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl TrustedProxies {
    /// Reads addresses and networks: `10.0.0.0/8`, `::1`. `unix` stands for the peers of a Unix socket.
    ///
    /// # Errors
    /// When one of them is neither.
    pub fn parse(texts: &[String], header: ClientAddressHeader) -> Result<Self, ConfigError> {
        let networks = texts.iter().filter(|text| *text != UNIX).map(|text| Network::parse(text));
        let unix = texts.iter().any(|text| text == UNIX);
        Ok(Self { networks: networks.collect::<Result<_, _>>()?, unix, header })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether a peer is a trusted proxy: one with that address, or of a Unix socket.
    pub fn trusts(&self, peer: Option<IpAddr>) -> bool {
        let Some(address) = peer else { return self.unix };
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The address of the client: from the peer backwards, the first that is not a trusted proxy. What the client
    /// itself claims stands before that, and is not read. Where a proxy names no address, the proxy is the client. None
    /// for a peer of a Unix socket that names no client, or is not trusted.
    pub fn client(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer.map(|address| address.to_canonical());
        if !self.trusts(client) {
            return client;
        }
        let (name, parse): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            ClientAddressHeader::Forwarded => (FORWARDED, forwarded_for),
            ClientAddressHeader::XForwardedFor => (X_FORWARDED_FOR, address),
        };
        for value in headers.get_all(name).iter().rev() {
            for hop in value.to_str().unwrap_or_default().rsplit(',') {
                let Some(named) = parse(hop.trim()) else { return client };
                client = Some(named);
                if !self.trusts(client) {
                    return client;
                }
            }
        }
        client
    }
}

impl Network {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let wrong = || {
            ConfigError::new(format!(
                "trusted_proxies has {text:?}; it takes addresses and networks such as 10.0.0.0/8"
            ))
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most: u8 = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        if bits > most {
            return Err(wrong());
        }
        // Peers are compared in their canonical form: of `::ffff:10.0.0.0/104` that is `10.0.0.0/8`.
        match address.to_canonical() {
            IpAddr::V4(mapped) if address.is_ipv6() => {
                let bits = bits.checked_sub(96).ok_or_else(wrong)?;
                Ok(Self { address: mapped.into(), bits })
            }
            _ => Ok(Self { address, bits }),
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        let differ = match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).leading_zeros()
            }
            _ => return false,
        };
        differ >= u32::from(self.bits)
    }
}

/// An element of `Forwarded`: `for=192.0.2.1;proto=https`. A name such as `unknown` or `_hidden` is not an address.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let named = |(name, _): &(&str, &str)| name.trim().eq_ignore_ascii_case("for");
    let (_, node) = pairs.into_iter().find(named)?;
    address(node.trim().trim_matches('"'))
}

/// An address, perhaps with a port: `192.0.2.1:80`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let text = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => match text.split_once(':') {
            Some((address, port)) if !port.contains(':') => address,
            _ => text,
        },
    };
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(texts: &[&str], header: ClientAddressHeader) -> TrustedProxies {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        TrustedProxies::parse(&texts, header).unwrap()
    }

    /// The client, where the proxies are configured to name it in the first of the headers.
    fn client(peer: &str, headers: &[(HeaderName, &str)]) -> String {
        let header = match headers.first() {
            Some((name, _)) if *name == FORWARDED => ClientAddressHeader::Forwarded,
            _ => ClientAddressHeader::XForwardedFor,
        };
        let trusted = proxies(&["10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1"], header);
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        trusted.client(Some(peer.parse().unwrap()), &map).unwrap().to_string()
    }

    #[test]
    fn who_is_no_trusted_proxy_is_not_believed() {
        for claim in [(X_FORWARDED_FOR, "192.0.2.9"), (FORWARDED, "for=192.0.2.9")] {
            assert_eq!(client("192.0.2.1", std::slice::from_ref(&claim)), "192.0.2.1");
            assert_eq!(client("::ffff:192.0.2.1", &[claim]), "192.0.2.1");
        }
        assert_eq!(client("10.1.2.3", &[]), "10.1.2.3", "it asks for itself");
    }

    #[test]
    fn the_last_that_is_not_trusted_is_the_client() {
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            // What stands before it was claimed by the client.
            ("198.51.100.7, 192.0.2.1", "192.0.2.1"),
            ("198.51.100.7, 192.0.2.1, 10.9.9.9,127.0.0.1", "192.0.2.1"),
            ("10.0.0.5", "10.0.0.5"),
            ("192.0.2.1, nonsense", "10.1.2.3"),
            ("", "10.1.2.3"),
        ] {
            assert_eq!(client("10.1.2.3", &[(X_FORWARDED_FOR, value)]), expected, "{value}");
        }
        let two = [(X_FORWARDED_FOR, "198.51.100.7"), (X_FORWARDED_FOR, "192.0.2.1")];
        assert_eq!(client("2001:db8:1::5", &two), "192.0.2.1");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_has_it() {
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=198.51.100.7, proto=https;for=192.0.2.1;by=10.0.0.1", "192.0.2.1"),
            ("for=unknown", "127.0.0.1"),
            ("for=_hidden, for=10.0.0.9", "10.0.0.9"),
            ("proto=https", "127.0.0.1"),
        ] {
            assert_eq!(client("127.0.0.1", &[(FORWARDED, value)]), expected, "{value}");
        }
    }

    #[test]
    fn only_the_configured_header_is_read() {
        // A proxy that sets one of the headers passes the other on as it came, so a client may have written it.
        let forwarded = (FORWARDED, "for=192.0.2.1");
        let x_forwarded_for = (X_FORWARDED_FOR, "192.0.2.2");
        let both = [forwarded.clone(), x_forwarded_for.clone()];
        assert_eq!(client("127.0.0.1", &both), "192.0.2.1");
        assert_eq!(client("127.0.0.1", &[x_forwarded_for, forwarded]), "192.0.2.2");
        let trusted = proxies(&["127.0.0.1"], ClientAddressHeader::XForwardedFor);
        let claimed = HeaderMap::from_iter([(FORWARDED, "for=192.0.2.1".parse().unwrap())]);
        let proxy = Some("127.0.0.1".parse().unwrap());
        assert_eq!(trusted.client(proxy, &claimed), proxy);
    }

    #[test]
    fn a_unix_sockets_peers_are_trusted_by_name() {
        let claimed = HeaderMap::from_iter([(X_FORWARDED_FOR, "192.0.2.1".parse().unwrap())]);
        let client = |texts: &[&str]| {
            let client = proxies(texts, ClientAddressHeader::XForwardedFor).client(None, &claimed);
            client.map(|address| address.to_string())
        };
        assert_eq!(client(&["unix"]).as_deref(), Some("192.0.2.1"));
        assert_eq!(client(&["127.0.0.1", "0.0.0.0/0"]), None);
    }

    #[test]
    fn networks_are_understood_or_refused() {
        let proxies = |texts: &[&str]| proxies(texts, ClientAddressHeader::default());
        assert!(proxies(&["0.0.0.0/0"]).trusts("192.0.2.1".parse().ok()));
        assert!(!proxies(&["0.0.0.0/0"]).trusts("::1".parse().ok()));
        assert!(!proxies(&["192.0.2.1"]).trusts("192.0.2.2".parse().ok()));
        let mapped = proxies(&["::ffff:192.0.2.1", "::ffff:10.0.0.0/104"]);
        for (address, is_trusted) in
            [("192.0.2.1", true), ("::ffff:10.1.2.3", true), ("11.1.2.3", false)]
        {
            assert_eq!(mapped.trusts(address.parse().ok()), is_trusted, "{address}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0",
            "::/129",
            "::ffff:10.0.0.0/95",
            "example.com",
            "10.0.0.0/-1",
        ] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }
}
