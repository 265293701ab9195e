//! The bounds of settings, and which of them exclude each other.

use std::path::Path;

use super::{Config, ConfigError};
use crate::limits::TrustedProxies;
use crate::memory::Budget;

/// With less, the shares would be too small to be useful.
const MIN_MEMORY: usize = 64 << 20;

const DAY: f64 = 86_400.0;

impl Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.redis_url.is_some() && self.data_dir.is_some() {
            let error =
                "data_dir is for the embedded broker; with redis_url, Redis keeps the states";
            return Err(ConfigError::new(error.to_owned()));
        }
        for (key, path) in self.paths() {
            if path.as_os_str().is_empty() {
                return Err(ConfigError::new(format!("{key} is empty; it must be a path")));
            }
        }
        self.check_times()?;
        self.check_sizes()?;
        self.check_rates()?;
        TrustedProxies::parse(&self.trusted_proxies, self.client_address_header)?;
        self.check_access()
    }

    fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let paths = [
            ("data_dir", &self.data_dir),
            ("unix_socket", &self.unix_socket),
            ("keys_file", &self.keys_file),
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
        ];
        paths.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)))
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let times = [
            ("ttl", self.ttl, 1.0, 30.0 * DAY),
            ("ttl_after_end", self.ttl_after_end, 1.0, 30.0 * DAY),
            ("ping_interval", self.ping_interval, 0.25, 3_600.0),
            ("header_timeout", self.header_timeout, 0.1, 3_600.0),
            ("body_timeout", self.body_timeout, 0.1, 3_600.0),
            ("stall_timeout", self.stall_timeout, 1.0, DAY),
            ("linger", self.linger, 0.0, 3_600.0),
            ("drain_period", self.drain_period, 0.0, 600.0),
            ("grace_period", self.grace_period, 0.0, 3_600.0),
            ("token_leeway", self.token_leeway, 0.0, 300.0),
            ("hsts_max_age", self.hsts_max_age, 0.0, 730.0 * DAY),
        ];
        for (key, value, min, max) in times {
            if !(min..=max).contains(&value) {
                let error = format!("{key} is {value}; it must be {min} to {max} seconds");
                return Err(ConfigError::new(error));
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("max_jobs", self.max_jobs, 1),
            ("memory_limit", self.memory_limit.unwrap_or(MIN_MEMORY), MIN_MEMORY),
            ("max_bytes", self.max_bytes.unwrap_or(1 << 20), 1 << 20),
            ("max_update_bytes", self.max_update_bytes, 1_024),
            ("max_batch_bytes", self.max_batch_bytes, 1_024),
            ("max_batch_lines", self.max_batch_lines, 1),
            ("max_connections", self.max_connections.unwrap_or(1), 1),
            ("max_connections_per_address", self.max_connections_per_address.unwrap_or(1), 1),
            ("max_connections_per_subject", self.max_connections_per_subject, 1),
            ("max_subscriptions", self.max_subscriptions, 1),
        ];
        for (key, value, min) in sizes {
            if value < min {
                return Err(ConfigError::new(format!(
                    "{key} is {value}; it must be at least {min}"
                )));
            }
        }
        if self.max_update_bytes > 16 << 20 {
            return Err(ConfigError::new("max_update_bytes must be at most 16777216".to_owned()));
        }
        if let (Some(memory_limit), Some(max_bytes)) = (self.memory_limit, self.max_bytes)
            && max_bytes > Budget::states_of(memory_limit)
        {
            let states = Budget::states_of(memory_limit);
            let error = format!(
                "max_bytes is {max_bytes}; of memory_limit, states may use three eighths: {states}"
            );
            return Err(ConfigError::new(error));
        }
        Ok(())
    }

    fn check_rates(&self) -> Result<(), ConfigError> {
        let rates = [
            ("handshakes_per_address", self.handshakes_per_address),
            ("reports_per_address", self.reports_per_address),
            ("bytes_per_address", self.bytes_per_address),
            ("jobs_per_address", self.jobs_per_address),
            ("handshakes_per_subject", self.handshakes_per_subject),
            ("reports_per_subject", self.reports_per_subject),
            ("bytes_per_subject", self.bytes_per_subject),
            ("jobs_per_subject", self.jobs_per_subject),
        ];
        for (key, rate) in rates {
            if rate.is_some_and(|rate| rate != 0.0 && !(0.1..=1e12).contains(&rate)) {
                let error = format!("{key} must be 0, for no limit, or 0.1 to 1e12 a second");
                return Err(ConfigError::new(error));
            }
        }
        Ok(())
    }
}
