use std::fmt;

use percent_encoding::percent_decode_str;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

/// The address of Redis, parsed from a URL:
///
/// - `redis://[[user]:password@]host[:6379][/db]`
/// - `redis+sentinel://[[user]:password@]host[:26379][,host…][/service[/db]]`; the service is `mymaster` if none is
///   named, and `?sentinel_username=…&sentinel_password=…` is the login at the Sentinels themselves
/// - `redis+cluster://[[user]:password@]host[:6379][,host…]`
///
/// With `rediss` instead of `redis`, connections use TLS. `valkey` means the same as `redis`. Characters that are not allowed in
/// a URL, such as `/` in a password, are percent-encoded.
#[derive(Clone, Debug)]
pub struct Address {
    pub(crate) topology: Topology,
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) tls: bool,
    pub(crate) login: Login,
    pub(crate) sentinel_login: Login,
    pub(crate) db: i64,
}

/// How the servers are arranged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    Single,
    Sentinel { service: String },
    Cluster,
}

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Login {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
}

impl Login {
    /// Reads `[user]:password` or `user`.
    fn parse(login: &str) -> Result<Self, InvalidAddress> {
        let (username, password) = match login.split_once(':') {
            Some((username, password)) => (username, Some(password)),
            None => (login, None),
        };
        let username = Some(decode("user name", username)?).filter(|name| !name.is_empty());
        let password = password.map(|text| decode("password", text)).transpose()?;
        Ok(Self { username, password })
    }

    /// Parses the parameters of a URL that are for the Sentinels. Ignores others, which are for other clients of the same URL.
    fn of_sentinels(query: &str) -> Result<Self, InvalidAddress> {
        let mut login = Self::default();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "sentinel_username" => login.username = Some(decode(name, value)?),
                "sentinel_password" => login.password = Some(decode(name, value)?),
                _ => {}
            }
        }
        Ok(login)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Why a URL is not a valid address of Redis. Never contains a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress(String);

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidAddress {}

impl Address {
    /// Whether the URL's scheme is one that [`parse`](Self::parse) knows.
    pub fn is_meant(url: &str) -> bool {
        url.split_once("://").is_some_and(|(scheme, _)| parse_scheme(scheme).is_some())
    }

    /// Parses a URL.
    ///
    /// # Errors
    /// When it has none of the forms above: what is wrong with it.
    pub fn parse(url: &str) -> Result<Self, InvalidAddress> {
        let invalid = |why: &str| InvalidAddress(format!("the Redis URL {why}"));
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| invalid("has no scheme, such as redis://"))?;
        let (tls, kind) = parse_scheme(scheme).ok_or_else(|| {
            let known = "redis://, rediss://, redis+sentinel:// or redis+cluster://";
            invalid(&format!("begins with {scheme}://, and not with {known}"))
        })?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // Not taken for a host, a port or a database, which are named where they are wrong.
        let is_cut = path.contains('@') || (query.contains('@') && !query.starts_with("sentinel_"));
        if is_cut && !authority.contains('@') {
            return Err(invalid("has a password in which / is not written as %2F, or ? as %3F"));
        }
        let (login, hosts) = match authority.rsplit_once('@') {
            None => (Login::default(), authority),
            Some((login, hosts)) => (Login::parse(login)?, hosts),
        };
        let port = if kind == Kind::Sentinel { 26_379 } else { 6_379 };
        let hosts: Vec<_> =
            hosts.split(',').map(|host| parse_host(host, port)).collect::<Result<_, _>>()?;
        if kind == Kind::Single && hosts.len() > 1 {
            return Err(invalid(
                "names several hosts; redis+sentinel:// or redis+cluster:// may do that",
            ));
        }
        let (topology, db) = parse_path(path, kind)?;
        let sentinel_login = match kind {
            Kind::Sentinel => Login::of_sentinels(query)?,
            Kind::Single | Kind::Cluster => Login::default(),
        };
        Ok(Self { topology, hosts, tls, login, sentinel_login, db })
    }

    /// Whether it is a Cluster, in which a job's keys need its id in braces so that they are all on one server.
    pub fn is_cluster(&self) -> bool {
        self.topology == Topology::Cluster
    }

    pub(crate) fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        if self.tls {
            let host = host.to_owned();
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host.to_owned(), port)
        }
    }

    /// How to connect to the hosts that the URL names.
    pub(crate) fn nodes(&self) -> redis::RedisResult<Vec<ConnectionInfo>> {
        let mut settings = RedisConnectionInfo::default().set_db(self.db);
        if let Some(username) = &self.login.username {
            settings = settings.set_username(username);
        }
        if let Some(password) = &self.login.password {
            settings = settings.set_password(password);
        }
        let connect = |(host, port): &(String, u16)| {
            let info = self.address(host, *port).into_connection_info()?;
            Ok(info.set_redis_settings(settings.clone()))
        };
        self.hosts.iter().map(connect).collect()
    }
}

/// The address without user names and passwords, for logs.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.topology {
            Topology::Single => "",
            Topology::Sentinel { .. } => "+sentinel",
            Topology::Cluster => "+cluster",
        };
        write!(f, "redis{}{kind}://", if self.tls { "s" } else { "" })?;
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "{comma}{open}{host}{close}:{port}")?;
        }
        if let Topology::Sentinel { service } = &self.topology {
            write!(f, "/{service}")?;
        }
        if self.db != 0 {
            write!(f, "/{}", self.db)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Sentinel,
    Cluster,
}

/// Parses the scheme: whether it means TLS, and the kind of address.
fn parse_scheme(scheme: &str) -> Option<(bool, Kind)> {
    let (base, kind) = match scheme.split_once('+') {
        None => (scheme, Kind::Single),
        Some((base, "sentinel")) => (base, Kind::Sentinel),
        Some((base, "cluster")) => (base, Kind::Cluster),
        Some(_) => return None,
    };
    match base {
        "redis" | "valkey" => Some((false, kind)),
        "rediss" | "valkeys" => Some((true, kind)),
        _ => None,
    }
}

/// Parses `[service/][db]`: how the servers are arranged, and the number of the database.
fn parse_path(path: &str, kind: Kind) -> Result<(Topology, i64), InvalidAddress> {
    let invalid = |why: &str| InvalidAddress(format!("the Redis URL {why}"));
    let mut path = path.split('/').filter(|part| !part.is_empty());
    let topology = match kind {
        Kind::Single => Topology::Single,
        Kind::Cluster => Topology::Cluster,
        Kind::Sentinel => {
            let service = path.next().unwrap_or("mymaster");
            Topology::Sentinel { service: decode("service", service)? }
        }
    };
    let db =
        match path.next() {
            None => 0,
            Some(_) if kind == Kind::Cluster => {
                return Err(invalid("names a database, which a Cluster does not have"));
            }
            Some(db) => db.parse().ok().filter(|db| *db >= 0).ok_or_else(|| {
                invalid(&format!("names the database {db:?}, which is no number"))
            })?,
        };
    if path.next().is_some() {
        return Err(invalid("has a path that is too long"));
    }
    Ok((topology, db))
}

fn parse_host(text: &str, default_port: u16) -> Result<(String, u16), InvalidAddress> {
    let invalid = |why: &str| InvalidAddress(format!("the Redis URL {why}"));
    let bad_port = |port: &str| invalid(&format!("names the port {port:?}, which is none"));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) =
                rest.split_once(']').ok_or_else(|| invalid("has a [ without its ]"))?;
            let port = match rest.strip_prefix(':') {
                None if rest.is_empty() => None,
                None => return Err(bad_port(rest)),
                port => port,
            };
            (host, port)
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() {
        return Err(invalid("names no host"));
    }
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| bad_port(port))?,
    };
    Ok((host.to_owned(), port))
}

fn decode(what: &str, text: &str) -> Result<String, InvalidAddress> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded
        .map_err(|_| InvalidAddress(format!("the Redis URL has a {what} that is not UTF-8")))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        Address::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn the_forms_in_use() {
        for (url, shown) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://localhost:7000/3", "redis://localhost:7000/3"),
            ("rediss://:secret@[::1]:7000/", "rediss://[::1]:7000"),
            ("valkey://user:secret@h", "redis://h:6379"),
            ("redis://h?protocol=3", "redis://h:6379"),
            ("redis+sentinel://a,b:1", "redis+sentinel://a:26379,b:1/mymaster"),
            ("rediss+sentinel://a/main/2", "rediss+sentinel://a:26379/main/2"),
            ("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2"),
        ] {
            assert_eq!(parse(url).to_string(), shown);
            assert!(Address::is_meant(url));
        }
    }

    #[test]
    fn logins_are_decoded_and_never_shown() {
        let address = parse("redis+sentinel://u:p%40ss%2F@h/m?sentinel_password=other");
        assert_eq!(address.login.username.as_deref(), Some("u"));
        assert_eq!(address.login.password.as_deref(), Some("p@ss/"));
        assert_eq!(address.sentinel_login.password.as_deref(), Some("other"));
        let shown = format!("{address} {address:?}");
        assert!(!shown.contains("p@ss") && !shown.contains("other"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, why) in [
            ("localhost:6379", "has no scheme"),
            ("http://h", "begins with http://"),
            ("redis+other://h", "begins with redis+other://"),
            ("redis://", "names no host"),
            ("redis://a,b", "names several hosts"),
            ("redis://h:0", "names the port \"0\""),
            ("redis://h:99999", "names the port"),
            ("redis://h/x", "names the database \"x\""),
            ("redis://h/1/2", "path that is too long"),
            ("redis+cluster://h/1", "which a Cluster does not have"),
            ("redis://:%ff@h", "a password that is not UTF-8"),
            ("redis://[::1", "has a [ without its ]"),
            ("redis://me:pass/word@h", "a password in which /"),
            ("redis://me:12/34@h", "a password in which /"),
            ("redis://me:pass?word@h", "a password in which /"),
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(error.contains(why), "{url}: {error}");
            assert!(!error.contains("pass") || error.contains("password"), "{error}");
        }
    }
}
