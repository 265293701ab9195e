//! `milepost serve`: the server, configured and told when to stop.

mod settings;

use std::future::Future;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use milepost_server::Config;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::exit::{ExitCode, complain};
use settings::{Settings, Source};

/// Run the server.
///
/// Each setting comes from the flags, else from the environment, else from the configuration file (TOML), else it
/// has its default. A setting NAME is MILEPOST_NAME in the environment (HOST, PORT and REDIS_URL are understood as well); those that
/// have no flag of their own are set by --set NAME=VALUE. Whatever is unknown or wrong refuses to start.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help in a terminal")]
pub(crate) struct Args {
    /// The address to listen on, and the port: `127.0.0.1:8084`, `[::1]:8084`; or the port alone, on all addresses
    #[arg(long, value_name = "[HOST:]PORT")]
    listen: Option<String>,
    /// The port to listen on; 0: any that is free
    #[arg(long, conflicts_with = "listen")]
    port: Option<u16>,
    /// Keep states here, so that they outlive a restart
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "MILEPOST_CONFIG")]
    config: Option<PathBuf>,
    /// Any setting: ttl=60, max_jobs=1000, …
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How the log on stderr looks [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"])]
    log_format: Option<String>,
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
        if self.check {
            return ExitCode::Success;
        }
        log(&settings);
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return complain(format_args!("cannot start: {error}"), ExitCode::Failure);
            }
        };
        runtime.block_on(serve(settings.config))
    }

    fn settings(&self) -> Result<Settings, settings::SettingsError> {
        let mut flags = Vec::new();
        if let Some(listen) = &self.listen {
            flags.extend(settings::listen(listen)?);
        }
        if let Some(port) = self.port {
            flags.push(("port".to_owned(), port.to_string()));
        }
        if let Some(directory) = &self.data_dir {
            flags.push(("data_dir".to_owned(), directory.to_string_lossy().into_owned()));
        }
        if let Some(format) = &self.log_format {
            flags.push(("log_format".to_owned(), format.clone()));
        }
        for pair in &self.set {
            flags.push(settings::pair(pair)?);
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

fn log(settings: &Settings) {
    let filter = EnvFilter::builder().parse_lossy(&settings.log);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    // Only this binary sets one.
    let _ = if settings.log_as_json { builder.json().try_init() } else { builder.try_init() };
}

async fn serve(config: Config) -> ExitCode {
    let address = (config.host.clone(), config.port);
    let listener = match milepost_server::listen(address).await {
        Ok(listener) => listener,
        Err(error) => {
            return complain(
                format_args!("cannot listen on {}:{}: {error}", config.host, config.port),
                ExitCode::Failure,
            );
        }
    };
    let shutdown = match asked_to_stop() {
        Ok(shutdown) => shutdown,
        Err(error) => {
            return complain(format_args!("cannot catch signals: {error}"), ExitCode::Failure);
        }
    };
    match milepost_server::run(config, listener, shutdown).await {
        Ok(()) => ExitCode::Success,
        Err(error) => complain(error, ExitCode::Failure),
    }
}

/// Done on SIGTERM or SIGINT.
pub(crate) fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}
