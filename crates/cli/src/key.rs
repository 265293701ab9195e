//! `milepost key`: the keys that a server lets in.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use milepost_access::{InvalidKeys, InvalidPattern, KeyRing, NewKey, Pattern, Permissions};
use milepost_protocol::{Timestamp, View};

use crate::exit::{ExitCode, complain, printed};

/// How long to wait for another process that changes the keys.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Add, list and revoke the keys of workers and operators.
///
/// A key is a secret with a name. Give the file to the server with `--set keys_file=FILE`. The server reads it again within a second of a
/// change, so a new key works, and a revoked key stops working, without a restart. Clients send the key that is in MILEPOST_TOKEN.
#[derive(Debug, clap::Args)]
#[expect(clippy::doc_markdown, reason = "these comments are the help in a terminal")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add a key and print its secret, which is stored only as a digest
    Add {
        /// The key's name: worker, prometheus, …
        name: String,
        #[command(flatten)]
        rights: Rights,
        #[command(flatten)]
        file: KeysFile,
    },
    /// List the keys, and what each allows
    List {
        #[command(flatten)]
        file: KeysFile,
    },
    /// Revoke a key
    Revoke {
        /// The key's name
        name: String,
        #[command(flatten)]
        file: KeysFile,
    },
}

/// What a key or a token allows.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Rights {
    /// Allow watching these jobs: an id, or the beginning of ids and *; also tag:TAG, parent:ID. May be given several times
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    watch: Vec<Pattern>,
    /// Allow reporting these jobs. May be given several times
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    report: Vec<Pattern>,
    /// Allow deleting, cancelling, pausing and resuming these jobs. May be given several times
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    control: Vec<Pattern>,
    /// Allow reading the metrics, the counts and the details of health
    #[arg(long)]
    operate: bool,
    /// Show only how far watched jobs are, without metadata, result, error, tags and log
    #[arg(long, requires = "watch")]
    public: bool,
    /// Allow everything
    #[arg(long, conflicts_with_all = ["watch", "report", "control", "operate", "public"])]
    all: bool,
}

fn pattern(text: &str) -> Result<Pattern, InvalidPattern> {
    Pattern::parse(text)
}

impl Rights {
    pub(crate) fn permissions(self) -> Permissions {
        if self.all {
            return Permissions::all();
        }
        let Self { watch, report, control, operate, public, all: _ } = self;
        let view = if public { View::Public } else { View::Full };
        Permissions { watch, report, control, view, operate }
    }
}

#[derive(Debug, clap::Args)]
struct KeysFile {
    /// The file of the keys
    #[arg(long, value_name = "FILE", env = "MILEPOST_KEYS_FILE")]
    file: PathBuf,
}

/// Why the keys cannot be read or changed.
#[derive(Debug)]
enum KeyError {
    Read(PathBuf, io::Error),
    Write(PathBuf, io::Error),
    Locked(PathBuf),
    Invalid(PathBuf, InvalidKeys),
    Refused(InvalidKeys),
    Unknown(String),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(file, error) => write!(f, "{} cannot be read: {error}", file.display()),
            Self::Write(file, error) => write!(f, "{} cannot be written: {error}", file.display()),
            Self::Locked(file) => {
                write!(f, "{} is being changed by another process", file.display())
            }
            Self::Invalid(file, error) => write!(f, "{}: {error}", file.display()),
            Self::Refused(error) => error.fmt(f),
            Self::Unknown(name) => write!(f, "there is no key {name:?}"),
        }
    }
}

impl std::error::Error for KeyError {}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Add { name, rights, file } => add(&file.file, &name, rights),
            Command::List { file } => list(&file.file),
            Command::Revoke { name, file } => revoke(&file.file, &name),
        };
        match done {
            Ok(text) => printed(io::stdout().write_all(text.as_bytes())),
            Err(error @ KeyError::Refused(_)) => complain(error, ExitCode::Usage),
            Err(error) => complain(error, ExitCode::Failure),
        }
    }
}

fn add(file: &Path, name: &str, rights: Rights) -> Result<String, KeyError> {
    let _lock = lock(file)?;
    let mut keys = if file.exists() { read(file)? } else { KeyRing::default() };
    let made = NewKey::generate(name, rights.permissions(), Timestamp::now().to_string());
    let made = made.map_err(KeyError::Refused)?;
    keys.add(made.key).map_err(KeyError::Refused)?;
    write(file, &keys)?;
    Ok(format!("{}\n", made.secret))
}

fn list(file: &Path) -> Result<String, KeyError> {
    let keys = read(file)?;
    let lines = keys.keys().iter().map(|key| {
        let allowed = &key.permissions;
        let lists =
            [("watch", &allowed.watch), ("report", &allowed.report), ("control", &allowed.control)];
        let lists = lists.into_iter().filter(|(_, patterns)| !patterns.is_empty()).map(
            |(name, patterns)| {
                let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
                format!("{name} {}", patterns.join(","))
            },
        );
        let operate = allowed.operate.then(|| "operate".to_owned());
        let view = (allowed.view == View::Public).then(|| "view public".to_owned());
        let rights: Vec<String> = lists.chain(operate).chain(view).collect();
        format!("{}\t{}\t{}\n", key.name, key.created, rights.join("; "))
    });
    Ok(lines.collect())
}

fn revoke(file: &Path, name: &str) -> Result<String, KeyError> {
    let _lock = lock(file)?;
    let mut keys = read(file)?;
    if !keys.revoke(name) {
        return Err(KeyError::Unknown(name.to_owned()));
    }
    write(file, &keys)?;
    Ok(String::new())
}

/// Until this is dropped, no other process changes the keys: two that did so at the same moment would each write what
/// they had read, and one change would be lost. The folder is locked, since the file is replaced.
fn lock(file: &Path) -> Result<File, KeyError> {
    let give_up = Instant::now() + LOCK_TIMEOUT;
    let failed = |error| KeyError::Write(file.to_owned(), error);
    let folder = File::open(folder_of(file)).map_err(failed)?;
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if Instant::now() >= give_up => {
                return Err(KeyError::Locked(file.to_owned()));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY),
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn read(file: &Path) -> Result<KeyRing, KeyError> {
    let text = fs::read_to_string(file).map_err(|error| KeyError::Read(file.to_owned(), error))?;
    KeyRing::parse(&text).map_err(|error| KeyError::Invalid(file.to_owned(), error))
}

/// Puts the file in the other's place, so that a server never reads half of it. Its owner alone may read a new one.
fn write(file: &Path, keys: &KeyRing) -> Result<(), KeyError> {
    let written = || {
        let mut new = tempfile::NamedTempFile::new_in(folder_of(file))?;
        new.write_all(
            b"# The keys of a Milepost server, without their secrets: milepost key --help\n\n",
        )?;
        new.write_all(keys.to_toml().as_bytes())?;
        if let Ok(before) = fs::metadata(file) {
            new.as_file().set_permissions(before.permissions())?;
        }
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)
    };
    written().map(drop).map_err(|error| KeyError::Write(file.to_owned(), error))
}
