//! Translates the parameters of an address, as libpq, poolers and providers write them, into the driver's.
//!
//! Each parameter works, is refused with the correct spelling, or is refused as unknown. libpq counts
//! `tcp_user_timeout` in milliseconds and calls the number of probes `keepalives_count`; the driver counts in seconds
//! and calls it `keepalives_retries`.

use std::time::Duration;

use taskyard_core::{Error, Result};
use tokio_postgres::Config;

use super::{Protection, invalid};

/// Parameters that the driver itself reads.
const DRIVER: [&str; 15] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "channel_binding",
    "load_balance_hosts",
];

/// Treatment of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Passed to the driver under this name, with its value.
    Driver(&'static str),
    /// Passed to the driver with this value in place of the given one.
    Fixed(&'static str, &'static str),
    /// Handled by this crate; stored in [`Parameters`] if it has an effect.
    Ours,
    /// Unknown.
    Unknown,
}

/// The parameters that this crate handles itself.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    pub ssl: Option<String>,
    pub root_certificates: Option<String>,
    tcp_user_timeout: Option<Duration>,
    schema: Option<String>,
}

impl Parameters {
    /// Reads a parameter; `value` is already unescaped.
    ///
    /// # Errors
    /// `Error::InvalidUrl`, with the correct spelling, if the parameter or its value is not supported.
    pub fn read(&mut self, name: &str, value: &str) -> Result<Use> {
        let lower = value.to_ascii_lowercase();
        match (name, lower.as_str()) {
            ("sslmode" | "ssl", _) => self.ssl = Some(lower),
            ("sslrootcert", _) => self.root_certificates = Some(value.to_owned()),
            ("sslcert" | "sslkey" | "sslpassword", _) => {
                return Err(invalid(
                    "certificates of clients (sslcert, sslkey) are not supported: leave them out, and give a password",
                ));
            }
            ("keepalives_count", _) => return Ok(Use::Driver("keepalives_retries")),
            ("tcp_user_timeout", _) => {
                let millis: u64 = value.parse().map_err(|_| {
                    invalid("tcp_user_timeout is not a whole number of milliseconds such as 10000 (0 is the system's default)")
                })?;
                if (1..1_000).contains(&millis) {
                    return Err(invalid(&format!(
                        "tcp_user_timeout is in milliseconds: for {millis} s write {millis}000"
                    )));
                }
                self.tcp_user_timeout = Some(Duration::from_millis(millis));
            }
            ("target_session_attrs", "any") => return Ok(Use::Fixed("target_session_attrs", "any")),
            ("target_session_attrs", "read-write" | "primary") => {
                return Ok(Use::Fixed("target_session_attrs", "read-write"));
            }
            ("target_session_attrs", _) => {
                return Err(invalid(
                    "a queue needs write access: set target_session_attrs to read-write (or primary, or any)",
                ));
            }
            ("channel_binding", "disable" | "prefer" | "require") => return Ok(Use::Driver("channel_binding")),
            ("channel_binding", _) => return Err(invalid("channel_binding is not one of disable, prefer, require")),
            ("gssencmode", "disable" | "prefer") => {}
            ("gssencmode", _) => {
                return Err(invalid("GSSAPI is not supported: write sslmode=verify-full in place of gssencmode"));
            }
            // Session state that a pooler drops is never used, and polling replaces notifications.
            ("pgbouncer", "true" | "false" | "1" | "0" | "") => {}
            ("pgbouncer", _) => return Err(invalid("pgbouncer is neither true nor false")),
            ("schema", "") => return Err(invalid("schema is empty: name the schema of the views, as schema=public")),
            ("schema", _) => self.schema = Some(value.to_owned()),
            ("client_encoding", "utf8" | "utf-8" | "unicode" | "auto") => {}
            ("client_encoding", _) => return Err(invalid("text is sent in UTF-8: leave client_encoding out")),
            _ => {
                return Ok(DRIVER
                    .iter()
                    .find(|known| **known == name)
                    .map_or(Use::Unknown, |known| Use::Driver(known)));
            }
        }
        Ok(Use::Ours)
    }

    /// Sets the options that the driver does not read from its text.
    pub fn apply(&self, config: &mut Config) {
        // A lost host is noticed after about 10 s of silence, and 10 s after something was sent to it.
        match self.tcp_user_timeout.unwrap_or(Duration::from_secs(10)) {
            Duration::ZERO => {}
            timeout => drop(config.tcp_user_timeout(timeout)),
        }
        if let Some(schema) = &self.schema {
            let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
            let escaped: String = quoted
                .chars()
                .flat_map(|char| (char == '\\' || char.is_whitespace()).then_some('\\').into_iter().chain([char]))
                .collect();
            let given = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
            config.options(format!("{given}-c search_path={escaped}"));
        }
    }
}

/// Returns the error for an unknown parameter, which names it only if it looks like a name.
pub(super) fn unknown(name: &str) -> Error {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return Error::InvalidUrl(format!("the parameter `{name}` is not supported: leave it out"));
    }
    invalid("its parameters cannot be read (is a `?` in the password not escaped as %3F?)")
}

/// Refuses combinations of parameters that contradict each other.
pub(super) fn check(config: &Config, protection: Protection) -> Result<()> {
    if protection == Protection::None && config.get_channel_binding() == tokio_postgres::config::ChannelBinding::Require
    {
        return Err(invalid(
            "channel_binding=require needs an encrypted connection: write sslmode=verify-full as well",
        ));
    }
    Ok(())
}
