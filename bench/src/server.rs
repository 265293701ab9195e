//! The servers that are measured, each behind one small description.

use std::cell::Cell;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use milepost_access::{Pattern, Permissions, TokenRules};
use milepost_redis_servers::{self as redis_servers, Certificates};

use crate::endpoint::Endpoint;
use crate::error::{Error, doing};
use crate::process::{self, Memory};
use crate::stream::Address;
use crate::update::{Clock, Updates};
use crate::watchers::Watchers;

/// What is measured. All but Centrifugo take a report as `POST /jobs/{id}` and a watcher as a WebSocket at
/// `/ws/jobs/{id}`, one text frame an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// `milepost serve`.
    Milepost,
    /// The same with access control: each watcher sends a token of its own (HS256), and the reporter a key.
    WithTokens,
    /// The same with TLS, for watchers and reporters.
    WithTls,
    /// The same with limits for each address.
    WithLimits,
    /// Two of them on one Redis.
    Shared,
    /// Four of them on one Redis.
    SharedByFour,
    /// Two of them on a Redis Cluster of three servers.
    Clustered,
    /// The 20-line publish/subscribe server of `peers/uws`, on uWebSockets.
    Uws,
    /// nginx with Nchan, one worker, configured by `peers/nchan`.
    Nchan,
    /// Centrifugo, configured by `peers/centrifugo`: a job is a channel, which keeps its latest messages and shows the
    /// newest to who subscribes.
    Centrifugo,
    /// Two of them on one Redis.
    CentrifugoShared,
    /// One `write()` a watcher and nothing else: the kernel's limit for one delivery a call.
    Bound,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Milepost => "milepost",
            Self::WithTokens => "milepost with tokens",
            Self::WithTls => "milepost with TLS",
            Self::WithLimits => "milepost with limits",
            Self::Shared => "milepost, two on Redis",
            Self::SharedByFour => "milepost, four on Redis",
            Self::Clustered => "milepost, two on a Cluster of three",
            Self::Uws => "uws",
            Self::Nchan => "nchan",
            Self::Centrifugo => "centrifugo",
            Self::CentrifugoShared => "centrifugo, two on Redis",
            Self::Bound => "bound",
        }
    }

    /// How to get the server, if its command cannot be started.
    fn hint(self) -> &'static str {
        match self {
            Self::Milepost
            | Self::WithTokens
            | Self::WithTls
            | Self::WithLimits
            | Self::Shared
            | Self::SharedByFour
            | Self::Clustered => "; build it: cargo build --release",
            Self::Uws => {
                "; build it: cargo build --release --manifest-path bench/peers/uws/Cargo.toml"
            }
            Self::Nchan => "; install nginx and libnginx-mod-nchan",
            Self::Centrifugo | Self::CentrifugoShared => {
                "; go install github.com/centrifugal/centrifugo/v6@latest, and see --centrifugo-command"
            }
            Self::Bound => "",
        }
    }

    fn is_centrifugo(self) -> bool {
        matches!(self, Self::Centrifugo | Self::CentrifugoShared)
    }
}

/// What [`Kind::WithTokens`] takes from the reporter, and what tokens are signed with.
const KEY: &str = "a-key-that-is-long-enough";
const SECRET: &str = "a-secret-of-at-least-32-bytes-for-tokens";

/// How many connections an address may have with [`Kind::WithLimits`].
pub(crate) const MAX_CONNECTIONS_PER_ADDRESS: usize = 500;

/// How each server is started: words, in which `{port}`, `{dir}` and `{idle}` are filled in.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    pub(crate) milepost: String,
    pub(crate) uws: String,
    pub(crate) nchan: String,
    pub(crate) centrifugo: String,
}

impl Commands {
    /// The command of a server, whose configuration is written into `dir`.
    fn of(
        &self,
        kind: Kind,
        dir: &Path,
        port: u16,
        redis_url: Option<&str>,
    ) -> Result<String, Error> {
        Ok(match kind {
            Kind::Milepost | Kind::Shared | Kind::SharedByFour | Kind::Clustered => {
                self.milepost.clone()
            }
            Kind::WithTokens => format!(
                "{} --set key={KEY} --set token_secret={SECRET} --set reports_per_subject=0 --set bytes_per_subject=0",
                self.milepost
            ),
            Kind::WithLimits => format!(
                "{} --set max_connections_per_address={MAX_CONNECTIONS_PER_ADDRESS} --set handshakes_per_address=200 --set reports_per_address=2000",
                self.milepost
            ),
            Kind::WithTls => {
                let Certificates { certificate, key, .. } = Certificates::in_folder(dir);
                let [certificate, key] = [certificate, key].map(|file| file.display().to_string());
                format!("{} --set tls_cert={certificate} --set tls_key={key}", self.milepost)
            }
            Kind::Uws => self.uws.clone(),
            Kind::Nchan => {
                let conf = include_str!("../peers/nchan/nginx.conf")
                    .replace("{port}", &port.to_string())
                    .replace("{dir}", &dir.display().to_string())
                    .replace("{modules}", "/usr/lib/nginx/modules");
                fs::write(dir.join("nginx.conf"), conf).map_err(doing("writing nginx.conf"))?;
                self.nchan.clone()
            }
            Kind::Centrifugo | Kind::CentrifugoShared => {
                let conf = include_str!("../peers/centrifugo/config.json")
                    .replace("{port}", &port.to_string())
                    .replace("{engine}", if redis_url.is_some() { "redis" } else { "memory" })
                    .replace("{redis}", redis_url.unwrap_or("redis://127.0.0.1:6379"));
                fs::write(dir.join("config.json"), conf).map_err(doing("writing config.json"))?;
                self.centrifugo.clone()
            }
            Kind::Bound => {
                let own = std::env::current_exe().map_err(doing("finding this program"))?;
                format!("{} bound {{port}}", own.display())
            }
        })
    }
}

/// Starts a command, with its output in the file `log`.
fn spawn(kind: Kind, command: &str, log: &Path, redis_url: Option<&str>) -> Result<Child, Error> {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().ok_or_else(|| Error::Limit("an empty command".into()))?;
    let spawn = || {
        let file = File::create(log)?;
        Command::new(program)
            .args(words)
            .current_dir(root())
            .env_remove("REDIS_URL")
            .envs(redis_url.map(|url| ("REDIS_URL", url)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
    };
    spawn().map_err(|error| {
        let (name, hint) = (kind.name(), kind.hint());
        Error::Server(format!("{name} does not start: {program}: {error}{hint}"))
    })
}

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("bench/ has a parent").to_owned()
}

/// A server that runs, on a port and in a folder of its own; it is ended with this value.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: Address,
    /// How many tokens have been signed.
    tokens: Cell<u64>,
    child: Child,
    /// The other instances, and what all of them use; ended after this one.
    others: Vec<Server>,
    store: Store,
    // Removed after the server has ended.
    _dir: tempfile::TempDir,
}

/// What the instances share.
#[derive(Debug)]
enum Store {
    None,
    Redis(Box<redis_servers::Server>),
    Cluster(redis_servers::Cluster),
}

impl Store {
    fn servers(&self) -> &[redis_servers::Server] {
        match self {
            Self::None => &[],
            Self::Redis(server) => std::slice::from_ref(server),
            Self::Cluster(cluster) => &cluster.nodes,
        }
    }

    fn url(&self) -> Option<String> {
        let scheme = match self {
            Self::Cluster(_) => "redis+cluster",
            _ => "redis",
        };
        let address = self.servers().first()?.address();
        Some(format!("{scheme}://{address}"))
    }
}

impl Server {
    /// Starts a server and waits until it accepts connections. `pings`: a server that pings only on request
    /// does so as often as it can (uWebSockets: after 8 s).
    pub(crate) fn start(kind: Kind, commands: &Commands, pings: bool) -> Result<Self, Error> {
        let (store, instances) = match kind {
            Kind::Shared | Kind::CentrifugoShared => {
                (Store::Redis(Box::new(redis_servers::Server::start())), 2)
            }
            Kind::SharedByFour => (Store::Redis(Box::new(redis_servers::Server::start())), 4),
            Kind::Clustered => (Store::Cluster(redis_servers::Cluster::start(0)), 2),
            _ => (Store::None, 1),
        };
        let url = store.url();
        let start = || Self::instance(kind, commands, pings, url.as_deref());
        let mut server = start()?;
        server.others = (1..instances).map(|_| start()).collect::<Result<_, _>>()?;
        server.store = store;
        Ok(server)
    }

    fn instance(
        kind: Kind,
        commands: &Commands,
        pings: bool,
        redis_url: Option<&str>,
    ) -> Result<Self, Error> {
        let dir = tempfile::Builder::new()
            .prefix("milepost-bench-")
            .tempdir()
            .map_err(doing("making a folder"))?;
        let port = free_port().map_err(doing("finding a free port"))?;
        let command = commands
            .of(kind, dir.path(), port, redis_url)?
            .replace("{port}", &port.to_string())
            .replace("{dir}", &dir.path().display().to_string())
            .replace("{idle}", if pings { "8" } else { "0" });
        let authority = dir.path().join("authority.pem");
        let log = dir.path().join("log");
        let child = spawn(kind, &command, &log, redis_url)?;
        let socket = SocketAddr::from(([127, 0, 0, 1], port));
        let address = if kind == Kind::WithTls {
            Address::tls(socket, &authority).map_err(doing("reading a certificate"))?
        } else {
            Address::plain(socket)
        };
        let (others, store, tokens) = (Vec::new(), Store::None, Cell::new(0));
        let mut server = Self { kind, address, tokens, child, others, store, _dir: dir };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(socket).is_err() {
            let ended = server.child.try_wait().map_err(doing("looking after a server"))?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(&log).unwrap_or_default();
                return Err(Error::Server(format!(
                    "{} does not listen: {command}\n{log}",
                    kind.name()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Its process, the first of them.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where each of its instances listens.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        let others = self.others.iter().map(|other| other.address.clone());
        std::iter::once(self.address.clone()).chain(others).collect()
    }

    /// Its processor time so far, that of all instances.
    pub(crate) fn cpu(&self) -> Result<f64, Error> {
        let cpu = process::cpu(self.child.id());
        let cpu = cpu.map_err(doing(format!("reading the cost of {}", self.kind.name())))?;
        let others = self.others.iter().map(Self::cpu).sum::<Result<f64, Error>>()?;
        Ok(cpu.as_secs_f64() + others)
    }

    /// Ends its first instance as `kill -9` does.
    pub(crate) fn lose_first(&self) {
        signal(self.child.id(), rustix::process::Signal::KILL);
    }

    /// The processor time so far of the Redis servers behind it; none of one without.
    pub(crate) fn redis_cpu(&self) -> Result<f64, Error> {
        let cpu = |server: &redis_servers::Server| {
            let cpu = process::own_cpu(server.id()).map_err(doing("reading the cost of Redis"))?;
            Ok(cpu.as_secs_f64())
        };
        self.store.servers().iter().map(cpu).sum()
    }

    /// Where the Redis behind it listens.
    pub(crate) fn redis_address(&self) -> Option<SocketAddr> {
        Some(self.store.servers().first()?.address())
    }

    /// How many scripts the Redis servers behind it have run.
    pub(crate) fn scripts_run(&self) -> f64 {
        let run = |server: &redis_servers::Server| {
            let stats = server.answer(&["INFO", "commandstats"]).text().unwrap_or_default();
            let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
            let calls = line.and_then(|line| line.split(',').next()?.parse::<f64>().ok());
            calls.unwrap_or_default()
        };
        self.store.servers().iter().map(run).sum()
    }

    /// Where a job is watched.
    pub(crate) fn watched(&self, job: &str) -> Endpoint {
        if self.kind.is_centrifugo() {
            let path = "/connection/websocket".to_owned();
            return Endpoint { path, channel: Some(job.to_owned()), credential: None };
        }
        let credential = (self.kind == Kind::WithTokens).then(|| self.token(job));
        Endpoint { path: format!("/ws/jobs/{job}"), channel: None, credential }
    }

    /// Where a job is reported.
    pub(crate) fn reported(&self, job: &str) -> Endpoint {
        if self.kind.is_centrifugo() {
            let path = "/api/publish".to_owned();
            return Endpoint { path, channel: Some(job.to_owned()), credential: None };
        }
        let credential = (self.kind == Kind::WithTokens).then(|| KEY.to_owned());
        Endpoint { path: format!("/jobs/{job}"), channel: None, credential }
    }

    /// A token for one job, and for a user of its own.
    fn token(&self, job: &str) -> String {
        self.tokens.set(self.tokens.get() + 1);
        let pattern = Pattern::parse(job).expect("a job's id is a pattern");
        let permissions = Permissions { watch: vec![pattern], ..Permissions::default() };
        let (user, rules) = (self.tokens.get().to_string(), TokenRules::default());
        // In the year 2100.
        milepost_access::sign(SECRET, permissions, Some(user), &rules, 4_102_444_800.0)
            .expect("a secret of 32 bytes signs")
    }

    /// Its memory now, that of the first instance.
    pub(crate) fn memory(&self) -> Result<Memory, Error> {
        process::memory(self.child.id()).map_err(doing("reading a server's memory"))
    }

    /// How many bytes of padding make an update that *this* server delivers `size` bytes long. (Milepost adds
    /// the job's id, a time, the attempt and the position to what is reported; the others add nothing.)
    pub(crate) fn padding(&self, clock: Clock, size: usize) -> Result<usize, Error> {
        let mut watchers = Watchers::new(clock)?;
        let job = job(99_999);
        watchers.connect(&self.address, 1, |_| self.watched(&job))?;
        let (_, json) = Updates::new(clock, 0).next(false);
        let reporter = watchers.add_reporter(&self.address)?;
        reporter.queue(&self.reported(&job), &json);
        reporter.flush()?;
        watchers.turn_until(Duration::from_secs(5), "the first update", |watchers| {
            watchers.tally.deliveries == 1 && watchers.in_flight() == 0
        })?;
        let delivered = usize::try_from(watchers.tally.bytes).unwrap_or(usize::MAX);
        size.checked_sub(delivered).ok_or_else(|| {
            let name = self.kind.name();
            Error::Limit(format!("{name} delivers at least {delivered} bytes; --size is {size}"))
        })
    }

    /// Waits until the server is idle, so that what it still has to do is not counted later.
    pub(crate) fn settle(&self) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut before = self.cpu()?;
        while Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(200));
            let now = self.cpu()?;
            if now - before < 0.015 {
                break;
            }
            before = now;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's master ends its worker only when asked, so ask first.
        let pids = process::tree(self.child.id());
        signal(self.child.id(), rustix::process::Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        for pid in pids {
            signal(pid, rustix::process::Signal::KILL);
        }
        // It was killed: this returns at once.
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The id of a job by number; all have the same length.
pub(crate) fn job(number: usize) -> String {
    format!("job-{number:05}")
}
