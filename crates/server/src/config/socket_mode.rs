use std::fmt;

use serde::Deserialize;

use super::ConfigError;

/// The permissions of a Unix socket: `"0660"`.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub struct SocketMode(pub(crate) u32);

impl SocketMode {
    /// As the system has them.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for SocketMode {
    /// As the setting has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl TryFrom<toml::Value> for SocketMode {
    type Error = ConfigError;

    /// A number counts as its digits: in the environment, `0660` looks like one.
    fn try_from(value: toml::Value) -> Result<Self, ConfigError> {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
        mode.map(Self).ok_or_else(|| {
            ConfigError::new(format!(
                "unix_socket_mode is {text}; it takes an octal mode such as \"0660\""
            ))
        })
    }
}
