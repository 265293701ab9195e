use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::certificates::Certificates;
use crate::client::{Client, Error, Reply};
use crate::options::{Options, Persistence};
use crate::port;
use crate::process::Process;

/// The user of [`Server::command`] if there are passwords. Whatever a test does to other users, this one may do everything.
const OWN_USER: &str = "redis-servers";
const OWN_PASSWORD: &str = "redis-servers";
/// How many ports are tried if other processes take those that were free a moment ago.
const TRIES: usize = 20;

/// The variable that names another server program, such as Valkey's: a name on the `PATH`, or a path.
pub const PROGRAM_VARIABLE: &str = "MILEPOST_TEST_REDIS_SERVER";

fn program() -> PathBuf {
    let named = std::env::var_os(PROGRAM_VARIABLE).filter(|named| !named.is_empty());
    named.map_or_else(|| PathBuf::from("redis-server"), PathBuf::from)
}

/// Which data a restarted server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// The data that its [`Persistence`] kept.
    Kept,
    /// None. Its configuration as a node of a cluster or as a replica is not data, and stays.
    Lost,
}

/// The kind of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Sentinel,
    /// A node of a cluster, with a second port for the other nodes.
    Node {
        bus: u16,
    },
}

/// One `redis-server` on a port of 127.0.0.1.
#[derive(Debug)]
pub struct Server {
    options: Options,
    kind: Kind,
    port: u16,
    certificates: Option<Certificates>,
    // Dropped before its folder is removed.
    process: Option<Process>,
    folder: TempDir,
}

const BACKDATE: &str = "local replaced = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    local value, times = string.gsub(redis.call('HGET', KEYS[1], field), ARGV[1], ARGV[2])
    redis.call('HSET', KEYS[1], field, value)
    replaced = replaced + times
end
return replaced";

impl Server {
    /// Starts a server without a password and without persistence.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Starts a server with these options. It answers when this returns.
    pub fn with(options: Options) -> Self {
        Self::of_kind(options, |_| Kind::Plain)
    }

    /// Starts a server of a kind that may depend on its port, which differs with each attempt.
    pub(crate) fn of_kind(options: Options, kind: impl Fn(u16) -> Kind) -> Self {
        let prefix = tempfile::Builder::new().prefix("redis-").tempdir();
        let folder = prefix.expect("a temporary folder can be made");
        let certificates = options.tls.then(|| Certificates::in_folder(folder.path()));
        let port = port::free_port();
        let kind_now = kind(port);
        let mut server =
            Self { options, kind: kind_now, port, certificates, process: None, folder };
        for _ in 0..TRIES {
            server.write_configuration();
            if let Ok(()) = server.run() {
                return server;
            }
            server.port = port::free_port();
            server.kind = kind(server.port);
        }
        panic!("{TRIES} ports were free and then taken");
    }

    /// The port that clients use.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address that clients use.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The process id, which changes with a restart. Panics while the server is down.
    pub fn id(&self) -> u32 {
        self.process().id()
    }

    /// `redis://…` with user and password, `rediss://…` with TLS.
    pub fn url(&self) -> String {
        self.url_through(self.address())
    }

    /// The URL for clients that reach the server at another address, such as that of a [`crate::Proxy`].
    pub fn url_through(&self, address: SocketAddr) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        let who = match (&self.options.user, &self.options.password) {
            (Some((name, password, _)), _) => format!("{name}:{password}@"),
            (None, Some(password)) => format!("default:{password}@"),
            (None, None) => String::new(),
        };
        format!("{scheme}://{who}{address}")
    }

    /// The certificate to trust, if the server uses TLS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs one command, whose arguments need not be text. It runs as a user that may do everything, over the server's Unix
    /// socket.
    ///
    /// # Errors
    /// If the server refuses it, is down, or does not answer within 5 s.
    pub fn command<W: AsRef<[u8]>>(&self, words: &[W]) -> Result<Reply, Error> {
        let mut client = Client::connect(&self.socket())?;
        if self.has_passwords() {
            client.command(&["AUTH", OWN_USER, OWN_PASSWORD])?;
        }
        client.command(words)
    }

    /// Like [`command`](Self::command), but panics on an error.
    pub fn answer<W: AsRef<[u8]>>(&self, words: &[W]) -> Reply {
        let answer = self.command(words);
        answer.unwrap_or_else(|error| {
            let words = words.iter().map(|word| String::from_utf8_lossy(word.as_ref()));
            panic!("{}: {}: {error}", self.port, words.collect::<Vec<_>>().join(" "))
        })
    }

    /// Replaces a time of a job by another one of the same length in all that is kept of its state, as if it had been then.
    pub fn backdate(&self, job: &str, time: &str, to: &str) {
        assert_eq!(time.len(), to.len(), "what is kept has lengths");
        let pattern = time.replace('-', "%-").replace('.', "%.");
        let reply = self.answer(&["EVAL", BACKDATE, "1", &format!("job_meta:{job}"), &pattern, to]);
        assert!(reply.integer() > Some(0), "{time} is nowhere in {job}: {reply:?}");
    }

    /// Kills the server (SIGKILL), so that it saves nothing and closes no connection.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Stops the server (SIGTERM): it saves, if it has persistence, and closes its connections. Waits until it has ended.
    pub fn shut_down(&mut self) {
        let mut process = self.process.take().expect("the server runs");
        process.signal(Signal::TERM);
        process.wait();
    }

    /// Whether the process exists, which it does while it is frozen.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Freezes the process (SIGSTOP): its connections stay open, and it does not answer.
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    /// Resumes a frozen process (SIGCONT).
    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Restarts the server on its port; kills it first if it runs. It answers when this returns.
    pub fn restart(&mut self, data: Data) {
        self.kill();
        if data == Data::Lost {
            let folder = self.folder.path();
            // It is no error if there is nothing to remove.
            let _ = fs::remove_file(folder.join("dump.rdb"));
            let _ = fs::remove_dir_all(folder.join("appendonlydir"));
        }
        let deadline = Instant::now() + PATIENCE;
        while let Err(PortTaken) = self.run() {
            assert!(Instant::now() < deadline, "somebody else keeps port {}", self.port);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The default user's password.
    pub(crate) fn password(&self) -> Option<&str> {
        self.options.password.as_deref()
    }

    /// The port for other nodes of a cluster.
    pub(crate) fn bus(&self) -> u16 {
        match self.kind {
            Kind::Node { bus } => bus,
            Kind::Plain | Kind::Sentinel => panic!("{} is no node of a cluster", self.port),
        }
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("the server of port {} is down", self.port))
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn has_passwords(&self) -> bool {
        self.options.password.is_some() || self.options.user.is_some()
    }

    /// Runs the process until it answers.
    fn run(&mut self) -> Result<(), PortTaken> {
        let log_before = self.log().len();
        let sentinel = if self.kind == Kind::Sentinel { &["--sentinel"][..] } else { &[] };
        let folder = self.folder.path();
        let program = program();
        let mut command = Command::new(&program);
        command.arg("redis.conf").args(sentinel).current_dir(folder);
        let started = Process::start(command, &folder.join("log"), Some(folder));
        let process = started.unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                panic!(
                    "{} is not installed; `cargo xtask setup` installs redis-server",
                    program.display()
                )
            }
            _ => panic!("{} does not start: {error}", program.display()),
        });
        let process = self.process.insert(process);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = process.ended().is_some();
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let log = log.get(log_before..).unwrap_or_default();
            if ended && log.contains("Address already in use") {
                self.process = None;
                return Err(PortTaken);
            }
            assert!(!ended, "the server ended at once:\n{log}");
            assert!(Instant::now() < deadline, "the server does not answer:\n{log}");
            let socket = self.folder.path().join("socket");
            // An error because of a missing password counts as an answer. `LOADING` does not.
            match Client::connect(&socket).and_then(|mut client| client.command(&["PING"])) {
                Ok(_) => return Ok(()),
                Err(Error::Refused(words)) if words.starts_with("NOAUTH") => return Ok(()),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    fn write_configuration(&self) {
        let lines = self.configuration().join("\n") + "\n";
        let file = self.folder.path().join("redis.conf");
        fs::write(file, lines).expect("a file can be written in a temporary folder");
    }

    fn configuration(&self) -> Vec<String> {
        let Options { persistence, password, user, max_memory, tls, lines } = &self.options;
        let folder = self.folder.path().display();
        let mut all = vec![
            "bind 127.0.0.1".to_owned(),
            "protected-mode no".to_owned(),
            format!("dir {folder}"),
            format!("unixsocket {folder}/socket"),
            "unixsocketperm 700".to_owned(),
        ];
        let plain_port = if *tls { 0 } else { self.port };
        all.push(format!("port {plain_port}"));
        if let Some(files) = &self.certificates {
            all.push(format!("tls-port {}", self.port));
            all.push("tls-auth-clients no".to_owned());
            all.push(format!("tls-cert-file {}", files.certificate.display()));
            all.push(format!("tls-key-file {}", files.key.display()));
            all.push(format!("tls-ca-cert-file {}", files.authority.display()));
        }
        if self.kind != Kind::Sentinel {
            // Replicas log in with the password of their primary.
            if let Some(password) = password {
                all.push(format!("requirepass {password}"));
                all.push(format!("masterauth {password}"));
            }
            if let Some((name, password, rules)) = user {
                all.push("user default off".to_owned());
                all.push(format!("user {name} on >{password} {rules}"));
            }
            if self.has_passwords() {
                all.push(format!("user {OWN_USER} on >{OWN_PASSWORD} ~* &* +@all"));
            }
            if let Some(bytes) = max_memory {
                all.push(format!("maxmemory {bytes}"));
                all.push("maxmemory-policy noeviction".to_owned());
            }
            all.extend(match persistence {
                Persistence::None => vec!["save \"\"".to_owned()],
                Persistence::Appended => {
                    vec!["save \"\"".to_owned(), "appendonly yes".to_owned()]
                }
                Persistence::Snapshot => vec!["save 3600 1".to_owned()],
            });
            // Replicas sync at once, instead of waiting some seconds for others to join.
            all.push("repl-diskless-sync-delay 0".to_owned());
        }
        if let Kind::Node { bus } = self.kind {
            all.push("cluster-enabled yes".to_owned());
            all.push("cluster-config-file nodes.conf".to_owned());
            all.push(format!("cluster-port {bus}"));
        }
        all.extend(lines.iter().cloned());
        all
    }
}

/// Another process listens on the port.
struct PortTaken;
