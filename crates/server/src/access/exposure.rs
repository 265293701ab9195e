//! Which machines can reach a server without credentials.

use std::net::IpAddr;

use crate::config::Config;
use crate::config_error::ConfigError;

impl Config {
    /// Where to listen: an address, or a name that is looked up. By default, only this machine reaches a server without
    /// credentials.
    pub fn host(&self) -> &str {
        let default = if self.asks_for_credentials() { "0.0.0.0" } else { "127.0.0.1" };
        self.host.as_deref().unwrap_or(default)
    }

    /// Whether the server may listen at that address.
    ///
    /// # Errors
    /// If other machines could reach it there, and it has no credentials.
    pub fn check_exposure(&self, address: IpAddr) -> Result<(), ConfigError> {
        if self.insecure || self.asks_for_credentials() || address.to_canonical().is_loopback() {
            return Ok(());
        }
        Err(ConfigError::new(format!(
            "everybody who reaches {address} could watch, report and delete every job: set a key with MILEPOST_KEY, listen \
             on 127.0.0.1, or accept the risk with --insecure"
        )))
    }

    /// The same for the setting `host`, as far as that is possible before the name is resolved.
    ///
    /// # Errors
    /// As of [`check_exposure`](Self::check_exposure).
    pub fn check_host(&self) -> Result<(), ConfigError> {
        self.host().parse().map_or(Ok(()), |address| self.check_exposure(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_reaches_a_server_without_credentials() {
        let refused = |host: &str, insecure| {
            let config = Config { host: Some(host.to_owned()), insecure, ..Config::default() };
            config.check_host().is_err()
        };
        for host in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost"] {
            assert!(!refused(host, false), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.168.1.2", "::ffff:10.0.0.1"] {
            assert!(refused(host, false), "{host}");
            assert!(!refused(host, true), "{host}");
        }
        assert!(Config::default().check_host().is_ok());
    }
}
