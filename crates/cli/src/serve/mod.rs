//! `milepost serve`: configures the server, runs it, and stops it on a signal.

mod log;
mod memory;
mod settings;
mod signals;

use std::path::PathBuf;
use std::sync::Arc;

use milepost_server::{Config, ConfigError, Control, Listener, RunError};

use crate::exit::{ExitCode, complain};
use log::Log;
use memory::Jemalloc;
use settings::{Flag, Settings, Source};
use signals::Signals;

pub(crate) use signals::asked_to_stop;

/// Run the server.
///
/// Flags override the environment, which overrides the configuration file (TOML). A setting NAME is --set NAME=VALUE on the command
/// line, MILEPOST_NAME in the environment and NAME = VALUE in the file. HOST, PORT and REDIS_URL are read too. The server refuses to
/// start with an unknown name or an invalid value.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help in a terminal")]
pub(crate) struct Args {
    /// The address to listen on, and the port: `127.0.0.1:8084`, `[::1]:8084`; the port alone; or a Unix
    /// socket: `unix:/run/milepost.sock`
    #[arg(long, value_name = "[HOST:]PORT|unix:PATH")]
    listen: Option<String>,
    /// The port to listen on; 0 is any free port
    #[arg(long, conflicts_with = "listen")]
    port: Option<String>,
    /// The directory for states that survive a restart
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "MILEPOST_CONFIG")]
    config: Option<PathBuf>,
    /// Any setting: ttl=60, max_jobs=1000, …
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The format of the log on stderr [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
    /// Listen on an address that other machines reach, without credentials: everybody there may watch, report and delete
    #[arg(long)]
    insecure: bool,
    /// Check the configuration and exit
    #[arg(long)]
    check: bool,
}

impl Args {
    pub(crate) fn run(&self) -> ExitCode {
        let settings = match self.settings() {
            Ok(settings) => settings,
            Err(error) => return complain(error, ExitCode::Usage),
        };
        if let Err(error) = check_start(&settings.config) {
            return complain(error, ExitCode::Usage);
        }
        if self.check {
            return ExitCode::Success;
        }
        let log = match Log::start(&settings) {
            Ok(log) => log,
            Err(error) => return complain(format_args!("cannot log: {error}"), ExitCode::Failure),
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return complain(format_args!("cannot start: {error}"), ExitCode::Failure);
            }
        };
        runtime.block_on(self.serve(settings, &log))
    }

    async fn serve(&self, mut settings: Settings, log: &Log) -> ExitCode {
        let config = settings.config.clone();
        let listener = match listen(&config).await {
            Ok(listener) => listener,
            Err(error) => return complain(error, ExitCode::Failure),
        };
        let signals = match Signals::catch() {
            Ok(signals) => signals,
            Err(error) => {
                return complain(format_args!("cannot catch signals: {error}"), ExitCode::Failure);
            }
        };
        let control = Control {
            shutdown: signals.stopped(1),
            hurry: signals.stopped(2),
            dropped_log_lines: Arc::new(log.dropped()),
            memory: Some(Arc::new(Jemalloc::new())),
        };
        let ended = tokio::select! {
            ended = milepost_server::run_with(config, listener, control) => ended,
            () = signals.handle(|| self.reload(&mut settings, log)) => Ok(()),
        };
        match ended {
            Ok(()) => ExitCode::Success,
            Err(error @ (RunError::Exposed(_) | RunError::Access(_) | RunError::Tls(_))) => {
                complain(error, ExitCode::Usage)
            }
            Err(error) => complain(error, ExitCode::Failure),
        }
    }

    /// Reads the settings again and takes over what can change while the server runs: `log`.
    fn reload(&self, settings: &mut Settings, log: &Log) {
        let new = self.settings().map_err(|error| error.to_string()).and_then(|new| {
            check_start(&new.config).map_err(|error| error.to_string())?;
            Ok(new)
        });
        let new = match new {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(%error, "SIGHUP: the settings are wrong; keeping those before");
                return;
            }
        };
        let changed = settings.changed(&new);
        if changed.is_empty() {
            tracing::info!("SIGHUP: no setting has changed");
        }
        for name in changed {
            if name != "log" {
                tracing::warn!(
                    setting = name,
                    "SIGHUP: this setting needs a restart; keeping its value"
                );
                continue;
            }
            match log.set_filter(&new.log) {
                Ok(()) => {
                    tracing::info!(log = new.log, "SIGHUP: the log's filter has changed");
                    settings.set_log(&new);
                }
                Err(error) => tracing::error!(error, "SIGHUP: cannot change the log's filter"),
            }
        }
    }

    fn settings(&self) -> Result<Settings, settings::SettingsError> {
        let mut flags = Vec::new();
        if let Some(listen) = &self.listen {
            flags.extend(settings::listen(listen)?);
        }
        if let Some(port) = &self.port {
            flags.push(Flag::of("port", port));
        }
        if let Some(directory) = &self.data_dir {
            flags.push(Flag::of("data_dir", directory.to_string_lossy()));
        }
        if self.insecure {
            flags.push(Flag::of("insecure", "true"));
        }
        if let Some(format) = &self.log_format {
            flags.push(Flag::of("log_format", format));
        }
        for pair in &self.set {
            flags.push(Flag::set(pair)?);
        }
        let mut source = Source::default();
        if let Some(file) = &self.config {
            source.file(file)?;
        }
        source.environment(std::env::vars_os())?;
        source.flags(flags)?;
        source.settings()
    }
}

/// What the server itself would refuse at its start.
fn check_start(config: &Config) -> Result<(), ConfigError> {
    config.check_host()?;
    config.check_tls()?;
    config.check_credentials()
}

/// Where to take connections from: the socket that systemd has passed, else the Unix socket, else the address.
async fn listen(config: &Config) -> Result<Listener, String> {
    match Listener::from_systemd() {
        Ok(Some(listener)) => return Ok(listener),
        Ok(None) => {}
        Err(error) => return Err(format!("cannot take systemd's socket: {error}")),
    }
    if let Some(path) = &config.unix_socket {
        let listener = Listener::unix(path, config.unix_socket_mode.bits());
        return listener
            .map_err(|error| format!("cannot listen on unix:{}: {error}", path.display()));
    }
    let (host, port) = (config.host(), config.port);
    let listener = milepost_server::listen((host, port)).await.map(Listener::from);
    listener.map_err(|error| format!("cannot listen on {host}:{port}: {error}"))
}
