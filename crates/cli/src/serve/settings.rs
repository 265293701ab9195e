//! Where the server's settings come from: defaults < file < environment < flags. Each one is checked under the name
//! by which it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use milepost_server::{Config, ConfigError};
use toml::{Table, Value};

/// What `milepost serve` runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) log_as_json: bool,
    /// Which events are logged, as tracing's filters have it: `info`, `milepost_server=debug`.
    pub(crate) log: String,
    /// What was given, by name; all else has its default.
    given: BTreeMap<String, Value>,
}

impl Settings {
    /// The names of the settings that were given other values there.
    pub(crate) fn changed(&self, new: &Self) -> Vec<String> {
        let names = self.given.keys().chain(new.given.keys()).collect::<BTreeSet<_>>();
        names
            .into_iter()
            .filter(|name| self.given.get(*name) != new.given.get(*name))
            .cloned()
            .collect()
    }

    /// Takes over the log's filter.
    pub(crate) fn set_log(&mut self, new: &Self) {
        self.log.clone_from(&new.log);
        match new.given.get("log") {
            Some(log) => self.given.insert("log".to_owned(), log.clone()),
            None => self.given.remove("log"),
        };
    }
}

/// A setting that refuses the start.
#[derive(Debug)]
pub(crate) enum SettingsError {
    File {
        path: PathBuf,
        source: io::Error,
    },
    Syntax {
        path: PathBuf,
        line: usize,
        problem: String,
    },
    NotText {
        variable: OsString,
    },
    Unknown {
        given_as: String,
    },
    Bad {
        given_as: String,
        problem: String,
    },
    /// Two flags or variables set the same.
    Twice {
        given_as: String,
    },
    NoPair {
        flag: String,
    },
    Listen {
        value: String,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } if source.kind() == io::ErrorKind::InvalidData => {
                write!(f, "{}: it is not UTF-8", path.display())
            }
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Syntax { path, line, problem } => {
                write!(f, "{}:{line}: {problem}", path.display())
            }
            Self::NotText { variable } => write!(f, "{}: not UTF-8", variable.to_string_lossy()),
            Self::Unknown { given_as } => write!(f, "{given_as}: there is no such setting"),
            Self::Bad { given_as, problem } if problem.starts_with("is ") => {
                write!(f, "{given_as} {problem}")
            }
            Self::Bad { given_as, problem } => write!(f, "{given_as}: {problem}"),
            Self::Twice { given_as } => {
                write!(f, "{given_as}: this setting is given more than once")
            }
            Self::NoPair { flag } => write!(f, "--set {flag}: it must be NAME=VALUE"),
            Self::Listen { value } => {
                write!(f, "--listen {value}: it must be PORT, HOST:PORT or unix:PATH")
            }
        }
    }
}

impl std::error::Error for SettingsError {}

/// Variables that begin with `MILEPOST_` and are for other programs: reporters, watchers, the Python package's command.
const OTHERS: [&str; 8] = [
    "MILEPOST_URL",
    "MILEPOST_CONFIG",
    "MILEPOST_TOKEN",
    "MILEPOST_JOB",
    "MILEPOST_ATTEMPT",
    "MILEPOST_PARENT",
    "MILEPOST_RUN",
    "MILEPOST_AUTO",
];

/// Whether Kubernetes sets the variable in every container beside a service called `milepost`. Its `MILEPOST_PORT` is
/// `tcp://10.0.0.1:8084`, and no port.
fn is_of_kubernetes(name: &str, value: &OsString) -> bool {
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    name.starts_with("MILEPOST_SERVICE_")
        || name.starts_with("MILEPOST_PORT_")
        || (name == "MILEPOST_PORT" && is_url)
}

/// Collects settings; later sources override earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Source {
    given: BTreeMap<String, Given>,
}

/// Where a setting was given. Those that come later override earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    File,
    /// `HOST`, `PORT` and `REDIS_URL`, which a platform may set for all programs.
    ShortVariable,
    Variable,
    Flag,
}

#[derive(Debug)]
struct Given {
    value: Value,
    origin: Origin,
}

/// A setting on the command line.
#[derive(Debug)]
pub(crate) struct Flag {
    /// What its errors name: `--port`, `--set ttl`.
    given_as: String,
    name: String,
    value: String,
}

impl Flag {
    /// The flag that has the setting's own name.
    pub(crate) fn of(name: &str, value: impl Into<String>) -> Self {
        let given_as = format!("--{}", name.replace('_', "-"));
        Self { given_as, name: name.to_owned(), value: value.into() }
    }

    /// `--set NAME=VALUE`.
    pub(crate) fn set(flag: &str) -> Result<Self, SettingsError> {
        let pair = flag.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair.ok_or_else(|| SettingsError::NoPair { flag: flag.to_owned() })?;
        let given_as = format!("--set {name}");
        Ok(Self { given_as, name: name.to_owned(), value: value.to_owned() })
    }
}

impl Source {
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SettingsError::File { path: path.to_owned(), source })?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
            SettingsError::Syntax {
                path: path.to_owned(),
                line,
                problem: error.message().replace('\n', " "),
            }
        })?;
        for (name, value) in table {
            let given = Given { value, origin: Origin::File };
            self.give(&name, given, format!("{}: {name}", path.display()))?;
        }
        Ok(())
    }

    pub(crate) fn environment(
        &mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), SettingsError> {
        let mut ours = Vec::new();
        for (variable, value) in variables {
            let name = variable.to_string_lossy();
            let setting = match name.as_ref() {
                // As for reporters, empty counts as not set.
                "REDIS_URL" if value.is_empty() => continue,
                "HOST" | "PORT" | "REDIS_URL" => name.to_lowercase(),
                other if OTHERS.contains(&other) || is_of_kubernetes(other, &value) => continue,
                other => match other.strip_prefix("MILEPOST_") {
                    Some(setting) => setting.to_lowercase(),
                    None => continue,
                },
            };
            let Some(value) = value.to_str() else {
                return Err(SettingsError::NotText { variable });
            };
            ours.push((name.into_owned(), setting, value.to_owned()));
        }
        let origin = |name: &str| {
            if name.starts_with("MILEPOST_") { Origin::Variable } else { Origin::ShortVariable }
        };
        ours.sort_by_key(|(name, ..)| origin(name));
        for (name, setting, value) in ours {
            self.give_text(&setting, &value, origin(&name), name)?;
        }
        Ok(())
    }

    pub(crate) fn flags(&mut self, flags: Vec<Flag>) -> Result<(), SettingsError> {
        for Flag { given_as, name, value } in flags {
            self.give_text(&name, &value, Origin::Flag, given_as)?;
        }
        Ok(())
    }

    pub(crate) fn settings(mut self) -> Result<Settings, SettingsError> {
        self.choose_listener();
        let mut given: BTreeMap<_, _> =
            self.given.into_iter().map(|(name, given)| (name, given.value)).collect();
        let all = given.clone();
        let mut own = |name: &str| given.remove(name);
        let log_as_json = own("log_format").is_some_and(|v| v.as_str() == Some("json"));
        let log = own("log")
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_else(|| "info".to_owned());
        let table = Table::from_iter(given);
        // Each was checked by itself; what is left are settings that do not go together.
        let config = Config::from_table(&table).map_err(|error| SettingsError::Bad {
            given_as: "configuration".to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Settings { config, log_as_json, log, given: all })
    }

    /// A Unix socket overrides an address that was given earlier, and the other way round.
    fn choose_listener(&mut self) {
        let Some(socket) = self.given.get("unix_socket").map(|given| given.origin) else { return };
        let address = |name| self.given.get(name).map(|given: &Given| given.origin);
        let address = address("host").max(address("port"));
        if address > Some(socket) {
            self.given.remove("unix_socket");
            self.given.remove("unix_socket_mode");
        } else {
            // If both come from the same place, `Config` refuses them.
            for name in ["host", "port"] {
                self.given.retain(|given, at| given != name || at.origin >= socket);
            }
        }
    }

    /// The value of a text, in the first form that is valid for the setting: a number, true or false, a list with
    /// commas, or the text itself.
    fn give_text(
        &mut self,
        name: &str,
        text: &str,
        origin: Origin,
        given_as: String,
    ) -> Result<(), SettingsError> {
        let number = text.parse().map(Value::Integer).or_else(|_| text.parse().map(Value::Float));
        let truth = text.parse().map(Value::Boolean);
        let list = Value::Array(text.split(',').map(|part| part.trim().into()).collect());
        let readings = [number.ok(), truth.ok(), Some(text.into()), Some(list)];
        let mut readings = readings.into_iter().flatten();
        let fits = |value: &Value| check(name, value).is_ok();
        let is_of_its_type =
            |value: &Value| !matches!(check(name, value), Err(Problem::WrongType(_)));
        let value = readings.clone().find(fits).or_else(|| readings.clone().find(is_of_its_type));
        match value.or_else(|| readings.next()) {
            Some(value) => self.give(name, Given { value, origin }, given_as),
            None => Ok(()),
        }
    }

    fn give(&mut self, name: &str, given: Given, given_as: String) -> Result<(), SettingsError> {
        match check(name, &given.value) {
            Ok(()) => {
                let origin = given.origin;
                let before = self.given.insert(name.to_owned(), given);
                match before.filter(|before| before.origin == origin) {
                    Some(_) => Err(SettingsError::Twice { given_as }),
                    None => Ok(()),
                }
            }
            Err(Problem::Unknown) => Err(SettingsError::Unknown { given_as }),
            Err(Problem::Bad(problem) | Problem::WrongType(problem)) => {
                // It is named as it was given.
                let unnamed = problem.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
                let unnamed = unnamed.filter(|rest| rest.starts_with("is ")).map(str::to_owned);
                Err(SettingsError::Bad { given_as, problem: unnamed.unwrap_or(problem) })
            }
        }
    }
}

enum Problem {
    Unknown,
    Bad(String),
    /// The value is a text where the setting is a number, or the like.
    WrongType(String),
}

/// Checks one setting as if all others had their defaults.
fn check(name: &str, value: &Value) -> Result<(), Problem> {
    match name {
        "log_format" if matches!(value.as_str(), Some("text" | "json")) => return Ok(()),
        "log_format" => return Err(Problem::Bad("it must be text or json".to_owned())),
        "log" => {
            let filter = value.as_str().map(tracing_subscriber::EnvFilter::try_new);
            return match filter {
                // It would log nothing.
                Some(Ok(_)) if value.as_str() == Some("") => {
                    Err(Problem::Bad("it must be a level, or off".to_owned()))
                }
                Some(Ok(_)) => Ok(()),
                Some(Err(error)) => Err(Problem::Bad(error.to_string())),
                None => Err(Problem::Bad("it must be text".to_owned())),
            };
        }
        _ => {}
    }
    Config::check_setting(name, value.clone()).map_err(|error: ConfigError| {
        let text = error.to_string();
        if text.contains("unknown field") {
            Problem::Unknown
        } else if error.is_wrong_type() {
            Problem::WrongType(text)
        } else {
            Problem::Bad(text)
        }
    })
}

/// `--listen [HOST:]PORT` or `--listen unix:PATH`.
pub(crate) fn listen(value: &str) -> Result<Vec<Flag>, SettingsError> {
    let bad = || SettingsError::Listen { value: value.to_owned() };
    if let Some(path) = value.strip_prefix("unix:") {
        let path = Some(path).filter(|path| !path.is_empty()).ok_or_else(bad)?;
        return Ok(vec![Flag::of("unix_socket", path)]);
    }
    let (host, port) = match value.parse::<SocketAddr>() {
        Ok(address) => (Some(address.ip().to_string()), address.port()),
        Err(_) => match value.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !host.contains(':') => {
                (Some(host.to_owned()), port.parse().map_err(|_| bad())?)
            }
            Some(_) => return Err(bad()),
            None => (None, value.parse().map_err(|_| bad())?),
        },
    };
    let host = host.map(|host| Flag::of("host", host));
    Ok(host.into_iter().chain([Flag::of("port", port.to_string())]).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn settings(
        file: &str,
        environment: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Settings, String> {
        let mut toml = tempfile::NamedTempFile::new().unwrap();
        toml.write_all(file.as_bytes()).unwrap();
        let path = toml.path().to_owned();
        let mut source = Source::default();
        let result = (|| {
            source.file(&path)?;
            source.environment(environment.iter().map(|(k, v)| (k.into(), v.into())))?;
            source.flags(flags.iter().map(|(name, value)| Flag::of(name, *value)).collect())?;
            source.settings()
        })();
        result.map_err(|error| error.to_string().replace(&*path.to_string_lossy(), "FILE"))
    }

    #[test]
    fn later_sources_override_earlier_ones() {
        let port =
            |file, environment, flags| settings(file, environment, flags).unwrap().config.port;
        assert_eq!(port("", &[], &[]), 8084);
        assert_eq!(port("port = 1", &[], &[]), 1);
        assert_eq!(port("port = 1", &[("PORT", "2")], &[]), 2);
        assert_eq!(port("port = 1", &[("MILEPOST_PORT", "3"), ("PORT", "2")], &[]), 3);
        assert_eq!(port("port = 1", &[("MILEPOST_PORT", "3")], &[("port", "4")]), 4);
        let all = settings(
            "host = \"::1\"",
            &[("MILEPOST_TTL", "60"), ("MILEPOST_CORS_ORIGINS", "http://a, http://b")],
            &[("data_dir", "/x"), ("log_format", "json")],
        )
        .unwrap();
        assert_eq!((all.config.host(), all.config.ttl), ("::1", 60.0));
        assert_eq!(all.config.cors_origins.unwrap(), ["http://a", "http://b"]);
        assert_eq!(all.config.data_dir.as_deref(), Some(Path::new("/x")));
        assert!(all.log_as_json && all.log == "info");
    }

    #[test]
    fn what_is_wrong_is_named_as_it_was_given() {
        let error = |file, environment: &[(&str, &str)], flags: &[(&str, &str)]| {
            settings(file, environment, flags).unwrap_err()
        };
        assert_eq!(error("colour = 1", &[], &[]), "FILE: colour: there is no such setting");
        for (file, problem) in [
            ("port = \"x\"", "FILE: port is \"x\"; it must be a whole number from 0 to 65535"),
            ("max_jobs = -1", "FILE: max_jobs is -1; it must be a whole number, 0 or more"),
            ("shards = 0", "FILE: shards is 0; it must be a whole number, 1 or more"),
            ("ping_interval = true", "FILE: ping_interval is true; it must be a number"),
            ("insecure = [1]", "FILE: insecure is a list; it must be true or false"),
            ("hosts = 5", "FILE: hosts is 5; it must be a list of texts"),
            ("hosts = [5]", "FILE: hosts is 5; it must be text"),
            ("key = 1234567890123456789", "FILE: key: it must be text, in quotes"),
            ("token_secret = [\"a secret\"]", "FILE: token_secret: it must be text, in quotes"),
            ("data_dir = 5", "FILE: data_dir is 5; it must be text"),
            (
                "metrics_address = \"x\"",
                "FILE: metrics_address is not an address; it must be like 127.0.0.1:9184",
            ),
            (
                "client_address_header = \"x\"",
                "FILE: client_address_header is \"x\"; it must be x-forwarded-for or forwarded",
            ),
        ] {
            assert_eq!(error(file, &[], &[]), problem);
        }
        assert!(error("\nport = = 1", &[], &[]).starts_with("FILE:2: "));
        assert_eq!(
            error("", &[("MILEPOST_COLOUR", "1")], &[]),
            "MILEPOST_COLOUR: there is no such setting"
        );
        assert!(error("", &[("PORT", "seventy")], &[]).starts_with("PORT is \"seventy\"; "));
        assert!(error("", &[("PORT", "70000")], &[]).starts_with("PORT is 70000; "));
        assert!(
            error("", &[("MILEPOST_TTL", "0")], &[]).starts_with("MILEPOST_TTL is 0; it must be ")
        );
        assert!(error("", &[], &[("max_jobs", "-1")]).starts_with("--max-jobs is -1; "));
        // A text may be a list, and what is wrong is then in the list.
        let proxy = error("", &[("MILEPOST_TRUSTED_PROXIES", "1.2.3")], &[]);
        assert!(proxy.contains("\"1.2.3\"") && !proxy.contains("list"), "{proxy}");
        let set =
            Flag::set("max_jobs=x").map(|flag| (flag.given_as, flag.name, flag.value)).unwrap();
        assert_eq!(set, ("--set max_jobs".into(), "max_jobs".into(), "x".into()));
        assert!(
            error("", &[("MILEPOST_LOG_FORMAT", "xml")], &[]).starts_with("MILEPOST_LOG_FORMAT: ")
        );
    }

    #[test]
    fn a_unix_socket_and_an_address_override_each_other() {
        let listens = |file, environment: &[(&str, &str)], flags: &[(&str, &str)]| {
            let config = settings(file, environment, flags)?.config;
            Ok::<_, String>(config.unix_socket.is_some())
        };
        let socket = [("unix_socket", "/s")];
        // An image and a platform set these for any program.
        let platform = [("HOST", "0.0.0.0"), ("PORT", "80")];
        assert_eq!(listens("", &platform, &socket), Ok(true));
        assert_eq!(listens("unix_socket = \"/s\"", &[], &[("port", "80")]), Ok(false));
        let both = [("HOST", "0.0.0.0"), ("MILEPOST_UNIX_SOCKET", "/s")];
        assert_eq!(listens("port = 80", &both, &[]), Ok(true));
        let error = listens("unix_socket = \"/s\"\nport = 80", &[], &[]).unwrap_err();
        assert!(error.contains("port has no effect with unix_socket"), "{error}");
    }

    #[test]
    fn a_setting_is_given_once_in_each_place() {
        let error = settings("", &[], &[("ttl", "60"), ("ttl", "70")]).unwrap_err();
        assert_eq!(error, "--ttl: this setting is given more than once");
        let error =
            settings("", &[("MILEPOST_TTL", "60"), ("MILEPOST_ttl", "70")], &[]).unwrap_err();
        assert!(error.contains("this setting is given more than once"), "{error}");
        assert!(settings("ttl = 50", &[("MILEPOST_TTL", "60")], &[("ttl", "70")]).is_ok());
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        assert!(
            settings(
                "",
                &[
                    ("MILEPOST_URL", "http://x"),
                    ("MILEPOST_TOKEN", "secret"),
                    ("PATH", "/bin"),
                    ("MILEPOST_CONFIG", "x"),
                    ("MILEPOST_JOB", "nightly"),
                    ("MILEPOST_ATTEMPT", "2"),
                    ("MILEPOST_RUN", "nightly"),
                    ("MILEPOST_AUTO", "1"),
                    ("MILEPOST_SERVICE_HOST", "10.0.0.1"),
                    ("MILEPOST_PORT", "tcp://10.0.0.1:8084"),
                    ("MILEPOST_PORT_8084_TCP_ADDR", "10.0.0.1"),
                ],
                &[]
            )
            .is_ok()
        );
    }

    #[test]
    fn addresses() {
        let of = |value| {
            listen(value).map(|flags| flags.into_iter().map(|it| it.value).collect::<Vec<_>>()).ok()
        };
        let some = |values: &[&str]| Some(values.iter().map(|v| (*v).to_owned()).collect());
        assert_eq!(of("9000"), some(&["9000"]));
        assert_eq!(of("localhost:9000"), some(&["localhost", "9000"]));
        assert_eq!(of("[::1]:9000"), some(&["::1", "9000"]));
        assert_eq!(of("127.0.0.1:0"), some(&["127.0.0.1", "0"]));
        assert_eq!(of("unix:/run/milepost.sock"), some(&["/run/milepost.sock"]));
        for bad in ["", "x", ":9000", "::1:9000", "a:b", "1:70000", "unix:"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
