//! Settings that have an effect only beside another one. Whoever sets one without the other expects something that the server does not
//! do, so it refuses to start.

use super::{Config, ConfigError};

impl Config {
    /// Checks that each of the settings `given` has an effect.
    ///
    /// # Errors
    /// The first setting that has none, and why.
    pub(super) fn check_effects(&self, given: &toml::Table) -> Result<(), ConfigError> {
        for (names, has_effect, why) in self.effects() {
            if let Some(name) = names.iter().find(|name| given.contains_key(**name))
                && !has_effect
            {
                return Err(ConfigError::new(format!("{name} has no effect {why}")));
            }
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            let error = "proxy_protocol needs trusted_proxies: only they may connect";
            return Err(ConfigError::new(error.to_owned()));
        }
        Ok(())
    }

    /// Settings; whether they have an effect; and if not, why.
    fn effects(&self) -> [(&'static [&'static str], bool, &'static str); 9] {
        let uses_tokens = self.token_secret.is_some()
            || !self.token_keys.is_empty()
            || self.token_jwks_url.is_some();
        // The peers of a Unix socket have no address, unless a proxy names its clients.
        let has_addresses = self.unix_socket.is_none() || self.trusts_unix();
        [
            (
                &["max_jobs", "max_bytes"],
                self.redis_url.is_none(),
                "with redis_url: Redis keeps the states",
            ),
            (&["host", "port"], self.unix_socket.is_none(), "with unix_socket"),
            (&["unix_socket_mode"], self.unix_socket.is_some(), "without unix_socket"),
            (
                &["tls_cert", "tls_key"],
                self.unix_socket.is_none(),
                "with unix_socket: clients of a Unix socket are served without TLS",
            ),
            (&["hsts_max_age"], self.tls_cert.is_some(), "without tls_cert"),
            (
                &["client_address_header"],
                !self.trusted_proxies.is_empty(),
                "without trusted_proxies",
            ),
            (
                &[
                    "max_connections_per_subject",
                    "handshakes_per_subject",
                    "reports_per_subject",
                    "bytes_per_subject",
                    "jobs_per_subject",
                ],
                self.asks_for_credentials(),
                "without credentials: only they have subjects",
            ),
            (
                &["token_issuer", "token_audience", "token_leeway"],
                uses_tokens,
                "without token_secret, token_keys or token_jwks_url",
            ),
            (
                &[
                    "trusted_proxies",
                    "max_connections_per_address",
                    "handshakes_per_address",
                    "reports_per_address",
                    "bytes_per_address",
                    "jobs_per_address",
                ],
                has_addresses,
                "with unix_socket, unless trusted_proxies has \"unix\": its clients have no address",
            ),
        ]
    }

    fn trusts_unix(&self) -> bool {
        self.trusted_proxies.iter().any(|proxy| proxy == "unix")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        let table = text.replace("; ", "\n").parse().unwrap();
        Config::from_table(&table).err().map(|error| error.to_string())
    }

    #[test]
    fn a_setting_without_effect_is_refused_and_named() {
        for (text, with) in [
            ("max_jobs = 5; redis_url = \"redis://h\"", "max_jobs = 5"),
            ("max_bytes = 5_000_000; redis_url = \"redis://h\"", "max_bytes = 5_000_000"),
            ("host = \"::1\"; unix_socket = \"/s\"", "host = \"::1\""),
            ("port = 1; unix_socket = \"/s\"", "port = 1"),
            ("unix_socket_mode = \"0600\"", "unix_socket_mode = \"0600\"; unix_socket = \"/s\""),
            (
                "tls_cert = \"c\"; tls_key = \"k\"; unix_socket = \"/s\"",
                "tls_cert = \"c\"; tls_key = \"k\"",
            ),
            ("hsts_max_age = 60", "hsts_max_age = 60; tls_cert = \"c\"; tls_key = \"k\""),
            (
                "client_address_header = \"forwarded\"",
                "client_address_header = \"forwarded\"; trusted_proxies = [\"10.0.0.1\"]",
            ),
            (
                "reports_per_subject = 5",
                "reports_per_subject = 5; key = \"a key that is long enough\"",
            ),
            (
                "token_issuer = \"me\"; key = \"a key that is long enough\"",
                "token_issuer = \"me\"; token_jwks_url = \"https://h/keys\"",
            ),
            (
                "reports_per_address = 5; unix_socket = \"/s\"",
                "reports_per_address = 5; unix_socket = \"/s\"; trusted_proxies = [\"unix\"]",
            ),
            (
                "trusted_proxies = [\"10.0.0.1\"]; unix_socket = \"/s\"",
                "trusted_proxies = [\"::1\"]",
            ),
            ("proxy_protocol = true", "proxy_protocol = true; trusted_proxies = [\"::1\"]"),
        ] {
            let name = text.split(' ').next().unwrap();
            let error = refused(text).unwrap_or_else(|| panic!("{text} is accepted"));
            assert!(error.starts_with(name), "{text}: {error}");
            assert_eq!(refused(with), None, "{with}");
        }
    }

    #[test]
    fn each_setting_of_the_table_has_a_name_of_the_configuration() {
        for name in Config::default().effects().iter().flat_map(|(names, ..)| *names) {
            let table = [((*name).to_owned(), toml::Value::Table(toml::Table::new()))]
                .into_iter()
                .collect();
            let error = Config::from_table(&table).unwrap_err().to_string();
            assert!(!error.contains("unknown field"), "{error}");
        }
    }
}
