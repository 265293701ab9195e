mod bounds;
mod effect;
mod origins;
mod socket_mode;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use milepost_broker_embedded::Limits;
use milepost_broker_redis::{Address, InvalidAddress, Retention};
use milepost_hub::{HubLimits, LogLimits};
use serde::Deserialize;

use crate::access::{Secret, host};
use crate::config_error::ConfigError;
use crate::limits::ClientAddressHeader;
use crate::memory::{self, Budget};

pub use socket_mode::SocketMode;

/// The server's settings. A TOML file may set each under its name. Times are in seconds.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on. None: 127.0.0.1.
    pub host: Option<String>,
    /// The port to listen on; 0 for any free one.
    pub port: u16,
    /// A port of its own for `/metrics` and the details of health. Whoever reaches it needs no credential. None: they are on the main
    /// port, for who may operate the server.
    pub metrics_address: Option<SocketAddr>,
    /// The directory that keeps states across restarts. None: states are in memory only.
    pub data_dir: Option<PathBuf>,
    /// The Redis or Valkey that keeps states, shared by all instances and by workers that report straight to it:
    /// `redis://`, `rediss://`, `redis+sentinel://` or `redis+cluster://`. None: the embedded broker.
    pub redis_url: Option<RedisUrl>,
    /// The most jobs that the embedded broker keeps. At the bound, ended jobs are evicted.
    pub max_jobs: usize,
    /// How much resident memory the process should stay under, in bytes. None: three quarters of the cgroup's limit, or
    /// half of the machine's memory.
    pub memory_limit: Option<usize>,
    /// The most bytes of states that the embedded broker keeps. At the bound, ended jobs are evicted. None: three
    /// eighths of the memory limit, 1 GiB at most.
    pub max_bytes: Option<usize>,
    /// How many states of each job are kept for watchers that reconnect, including the present one.
    pub history: NonZeroUsize,
    /// How long a job is kept after an update without a `ttl`.
    pub ttl: f64,
    /// How long a job is kept after its end, unless an update set a `ttl`.
    pub ttl_after_end: f64,
    /// The largest update, in bytes.
    pub max_update_bytes: usize,
    /// The largest batch, in bytes.
    pub max_batch_bytes: usize,
    /// The longest batch, in lines.
    pub max_batch_lines: usize,
    /// The most connections. `None`: as many as the limit of open files allows.
    pub max_connections: Option<usize>,
    /// The most connections from one IPv4 address or one IPv6 /64. `None`: no limit.
    pub max_connections_per_address: Option<usize>,
    /// The most WebSockets and event streams of one subject: of a key, or of the user that a token names.
    pub max_connections_per_subject: usize,
    /// How many WebSockets and event streams an address may begin in a second, and ten times as many at once; 0: any
    /// number. None: 1,000 if there are `trusted_proxies`, otherwise any number.
    pub handshakes_per_address: Option<f64>,
    /// How many updates an address may report in a second; likewise. None: 50,000.
    pub reports_per_address: Option<f64>,
    /// How many bytes of updates and logs an address may report in a second; likewise. None: 64 MiB.
    pub bytes_per_address: Option<f64>,
    /// How many new jobs an address may report in a second; likewise. None: 1,000.
    pub jobs_per_address: Option<f64>,
    /// How many WebSockets and event streams a subject may begin in a second; 0: any number. None: 1,000.
    pub handshakes_per_subject: Option<f64>,
    /// How many updates a subject may report in a second; 0: any number. None: 50,000.
    pub reports_per_subject: Option<f64>,
    /// How many bytes of updates and logs a subject may report in a second; 0: any number. None: 64 MiB.
    pub bytes_per_subject: Option<f64>,
    /// How many new jobs a subject may report in a second; 0: any number. None: 1,000.
    pub jobs_per_subject: Option<f64>,
    /// The proxies, as addresses and networks, that are believed when they name their client.
    pub trusted_proxies: Vec<String>,
    /// The header in which trusted proxies name their client. Only theirs is read, and no other header.
    pub client_address_header: ClientAddressHeader,
    /// Connections begin with the header of the PROXY protocol, version 1 or 2, and only trusted proxies may connect.
    pub proxy_protocol: bool,
    /// The server's certificate with its chain, in PEM. None: no TLS.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    pub tls_key: Option<PathBuf>,
    /// For how long browsers that have seen the server with TLS use nothing else for its name (HSTS); 0: for no time.
    pub hsts_max_age: f64,
    /// The Unix socket to listen on, in place of an address.
    pub unix_socket: Option<PathBuf>,
    /// Who may connect to the Unix socket: permissions of a file, in octal.
    pub unix_socket_mode: SocketMode,
    /// The most jobs on one WebSocket.
    pub max_subscriptions: usize,
    /// How long nothing is sent to a watcher before it is sent a keepalive.
    pub ping_interval: f64,
    /// How long a request's header may take, and a connection may stand idle between two requests.
    pub header_timeout: f64,
    /// How long a request's body may take.
    pub body_timeout: f64,
    /// How long a client may read nothing of a response before its connection is closed.
    pub stall_timeout: f64,
    /// How long a job stays subscribed after its last watcher left.
    pub linger: f64,
    /// When the server shuts down, the time over which its watchers are asked to reconnect, …
    pub drain_period: f64,
    /// … and how long work in progress may take after that.
    pub grace_period: f64,
    /// Web origins whose pages may watch and, if named rather than `*`, report and control. None: any, but only those
    /// of this machine if the server has no credentials, no `hosts` and is not `insecure`.
    pub cors_origins: Option<Vec<String>>,
    /// The names by which clients reach the server, besides IP addresses, `localhost` and names without a dot; `*` for
    /// any name.
    pub hosts: Vec<String>,
    /// Lets a server without credentials listen where other machines can reach it.
    pub insecure: bool,
    /// A key that allows everything.
    pub key: Option<Secret>,
    /// The file of the keys that `milepost key` adds and revokes. It is read again when it changes.
    pub keys_file: Option<PathBuf>,
    /// The secret that tokens are signed with (HS256).
    pub token_secret: Option<Secret>,
    /// Files with keys that tokens are signed with: public keys in PEM, sets of keys (JWKS), secrets. They are read
    /// again when they change.
    pub token_keys: Vec<PathBuf>,
    /// Where the keys that tokens are signed with are published (JWKS).
    pub token_jwks_url: Option<String>,
    /// The issuer that a token has to name.
    pub token_issuer: Option<String>,
    /// The audience that a token has to name. None: it must not name one.
    pub token_audience: Option<String>,
    /// How much the clocks of token issuers may differ.
    pub token_leeway: f64,
    /// Which pages may show the server's pages in a frame: sources of the directive `frame-ancestors` (CSP).
    pub frame_ancestors: Vec<String>,
    /// The number of shards that watchers are divided among. None: one for each core.
    pub shards: Option<NonZeroUsize>,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            host: None,
            port: 8084,
            metrics_address: None,
            data_dir: None,
            redis_url: None,
            max_jobs: limits.max_jobs,
            memory_limit: None,
            max_bytes: None,
            history: limits.history,
            ttl: limits.ttl.as_secs_f64(),
            ttl_after_end: limits.ttl_after_end.as_secs_f64(),
            max_update_bytes: milepost_protocol::MAX_UPDATE_BYTES,
            max_batch_bytes: 8 << 20,
            max_batch_lines: 10_000,
            max_connections: None,
            max_connections_per_address: None,
            max_connections_per_subject: 10_000,
            handshakes_per_address: None,
            reports_per_address: None,
            bytes_per_address: None,
            jobs_per_address: None,
            handshakes_per_subject: None,
            reports_per_subject: None,
            bytes_per_subject: None,
            jobs_per_subject: None,
            trusted_proxies: Vec::new(),
            client_address_header: ClientAddressHeader::default(),
            proxy_protocol: false,
            tls_cert: None,
            tls_key: None,
            hsts_max_age: 31_536_000.0,
            unix_socket: None,
            unix_socket_mode: SocketMode(0o660),
            max_subscriptions: 1_000,
            ping_interval: 5.0,
            header_timeout: 30.0,
            body_timeout: 30.0,
            stall_timeout: 300.0,
            linger: 10.0,
            drain_period: 1.0,
            grace_period: 10.0,
            cors_origins: None,
            hosts: Vec::new(),
            insecure: false,
            key: None,
            keys_file: None,
            token_secret: None,
            token_keys: Vec::new(),
            token_jwks_url: None,
            token_issuer: None,
            token_audience: None,
            token_leeway: 10.0,
            frame_ancestors: vec!["'self'".to_owned()],
            shards: None,
        }
    }
}

impl Config {
    /// Reads a TOML table, in which later sources have replaced the keys of earlier ones.
    ///
    /// # Errors
    /// When a key is unknown, a value is bad, or a setting would have no effect: which, and why.
    pub fn from_table(table: &toml::Table) -> Result<Self, ConfigError> {
        let config = Self::parse(table.clone())?;
        config.check_effects(table)?;
        Ok(config)
    }

    /// Checks one setting as if all others had their defaults.
    ///
    /// # Errors
    /// When there is no such setting or its value is bad.
    pub fn check_setting(name: &str, value: toml::Value) -> Result<(), ConfigError> {
        Self::parse(toml::Table::from_iter([(name.to_owned(), value)])).map(drop)
    }

    fn parse(table: toml::Table) -> Result<Self, ConfigError> {
        let mut config: Self = table.try_into()?;
        for origin in config.cors_origins.iter_mut().flatten() {
            *origin = origins::parse(origin)?;
        }
        for host in &mut config.hosts {
            *host = host::parse_setting(host)?;
        }
        for ancestor in &config.frame_ancestors {
            origins::check_frame_ancestor(ancestor)?;
        }
        config.check()?;
        Ok(config)
    }

    /// The memory budget, divided into shares.
    pub(crate) fn budget(&self) -> Budget {
        let limit = self.memory_limit.unwrap_or_else(memory::detect);
        let largest_body = self.max_batch_bytes.max(self.max_update_bytes);
        Budget::new(limit, largest_body, self.redis_url.is_some())
    }

    /// How many bytes of states the embedded broker may hold.
    pub(crate) fn states_limit(&self, budget: &Budget) -> usize {
        self.max_bytes.unwrap_or_else(|| budget.states.min(Limits::default().max_bytes))
    }

    pub(crate) fn broker_limits(&self, budget: &Budget) -> Limits {
        Limits {
            max_jobs: self.max_jobs,
            max_bytes: self.states_limit(budget),
            max_log_bytes: budget.job_logs,
            history: self.history,
            ttl: seconds(self.ttl),
            ttl_after_end: seconds(self.ttl_after_end),
            ..Limits::default()
        }
    }

    pub(crate) fn retention(&self) -> Retention {
        Retention {
            history: self.history,
            ttl: seconds(self.ttl),
            ttl_after_end: seconds(self.ttl_after_end),
            max_update_bytes: self.max_update_bytes,
            ..Retention::default()
        }
    }

    pub(crate) fn hub_limits(&self, budget: &Budget) -> HubLimits {
        HubLimits {
            log: LogLimits::default(),
            linger: seconds(self.linger),
            max_topics: budget.subscriptions / memory::TOPIC_BYTES,
            max_log_bytes: budget.logs,
            broker_keeps_states: budget.states > 0,
        }
    }
}

/// A parsed URL of a Redis. Shows no password.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct RedisUrl(pub(crate) Address);

impl TryFrom<String> for RedisUrl {
    type Error = InvalidAddress;

    fn try_from(url: String) -> Result<Self, InvalidAddress> {
        Address::parse(&url).map(Self)
    }
}

/// Times were checked to be in range.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
