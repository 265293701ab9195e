use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use milepost_redis_servers::{Process, Signal, free_port};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::failure::Failure;
use crate::http::Connection;
use crate::process::{self, Held};
use crate::setup::Setup;

/// Nothing that an instance does takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often an instance's readiness is polled.
const ASKED_EVERY: Duration = Duration::from_millis(200);

/// One `milepost serve`, on a port that it keeps.
#[derive(Debug)]
pub(crate) struct Instance {
    binary: PathBuf,
    setup: Setup,
    log: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
    readiness: Arc<Mutex<Readiness>>,
    asking: JoinHandle<()>,
}

/// The latest answer of `/readyz`, and when it last changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    pub(crate) became_ready: Option<Instant>,
    /// When it became not ready, and why.
    pub(crate) became_unready: Option<(Instant, String)>,
}

impl Instance {
    /// Starts an instance; its log goes to `log`, unless the setup overrides it. It need not be ready.
    pub(crate) fn start(
        binary: &Path,
        setup: Setup,
        log: PathBuf,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, Failure> {
        let address = (Ipv4Addr::LOCALHOST, free_port()).into();
        let readiness = Arc::new(Mutex::new(Readiness::default()));
        let asking = runtime.spawn(ask(address, Arc::clone(&readiness)));
        let binary = binary.to_owned();
        let mut instance = Self { binary, setup, log, address, process: None, readiness, asking };
        instance.run()?;
        Ok(instance)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The key that it asks for.
    pub(crate) fn key(&self) -> Option<&'static str> {
        self.setup.key
    }

    /// Starts the process; it need not be ready yet.
    pub(crate) fn run(&mut self) -> Result<(), Failure> {
        if let Some(data) = &self.setup.data {
            fs::create_dir_all(data)
                .map_err(|error| Failure(format!("{}: {error}", data.display())))?;
        }
        let mut command = self.setup.command(&self.binary, &self.address.to_string());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MILEPOST_") {
                command.env_remove(name);
            }
        }
        command.env_remove("PORT").env_remove("HOST");
        if self.setup.redis.is_none() {
            command.env_remove("REDIS_URL");
        }
        let process = Process::start(command, &self.log, None).map_err(|error| {
            let binary = self.binary.display();
            Failure(format!("{binary}: {error}; `cargo build --release` builds it"))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it is ready.
    pub(crate) fn until_ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !self.readiness().ready {
            let ended = self.process.as_mut().is_none_or(|process| process.ended().is_some());
            if ended || Instant::now() > deadline {
                let log = self.log();
                let what = if ended { "has ended" } else { "does not get ready" };
                return Err(Failure(format!("an instance {what}:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// What its process holds; none if it has ended.
    pub(crate) fn held(&self) -> Option<Held> {
        process::held(self.process.as_ref()?.id())
    }

    /// What it has logged; nothing if its log goes elsewhere.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The file with its states, if its folder is on an ordinary disk.
    pub(crate) fn store(&self) -> Option<PathBuf> {
        Some(self.setup.data.as_ref()?.join("jobs.redb"))
    }

    /// Its folder, as it sees it.
    pub(crate) fn data(&self) -> Option<PathBuf> {
        Some(process::inside(self.process.as_ref()?.id(), self.setup.data.as_ref()?))
    }

    /// Waits until it has ended by itself; what it logged then.
    pub(crate) fn until_ended(&mut self) -> Result<String, Failure> {
        let deadline = Instant::now() + PATIENCE;
        while self.process.as_mut().is_some_and(|process| process.ended().is_none()) {
            if Instant::now() > deadline {
                return Err(Failure("an instance does not end".into()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(self.log())
    }

    /// As `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.process = None;
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).ready = false;
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn shut_down(&mut self) -> Result<(), Failure> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while process.ended().is_none() {
            if Instant::now() > deadline {
                return Err(Failure("an instance does not end".into()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).ready = false;
        Ok(())
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

/// Asks again and again whether the instance is ready.
async fn ask(address: SocketAddr, readiness: Arc<Mutex<Readiness>>) {
    loop {
        let answer = match Connection::open(address).await {
            Ok(mut connection) => connection.get("/readyz").await,
            Err(error) => Err(error),
        };
        let (ready, said) = match answer {
            Ok(answer) => (answer.status == 200, answer.body),
            Err(error) => (false, error.to_string()),
        };
        {
            let mut readiness = readiness.lock().unwrap_or_else(PoisonError::into_inner);
            if ready && !readiness.ready {
                readiness.became_ready = Some(Instant::now());
            }
            if !ready && readiness.ready {
                readiness.became_unready = Some((Instant::now(), said));
            }
            readiness.ready = ready;
        }
        sleep(ASKED_EVERY).await;
    }
}
