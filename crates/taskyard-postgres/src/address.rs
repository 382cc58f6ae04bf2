//! The address of a database: what people and other drivers write, made into what our driver takes.
//!
//! Accepts `postgres://`, `postgresql://` and SQLAlchemy's driver suffixes (`postgresql+asyncpg://`). Nothing that may
//! hold a password is ever repeated in an error. Encryption: local hosts go without unless asked; for any other host
//! the default is `verify-full`, because `prefer` would silently go on in clear text.

use std::net::IpAddr;
use std::time::Duration;

use taskyard_core::{Error, Result};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// How the connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// In clear text.
    None,
    /// Encrypted if the server can, without checking who it is.
    Prefer,
    /// Encrypted, without checking who the server is.
    Encrypted,
    /// Encrypted, with the server's certificate and name checked.
    Verified,
}

/// A parsed address.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub config: Config,
    pub protection: Protection,
    /// A file of certificates to trust instead of the public ones.
    pub root_certificates: Option<String>,
    /// For messages: without the password.
    pub shown: String,
}

const DRIVER_OPTIONS: [&str; 14] = [
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
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

impl Address {
    pub fn parse(url: &str, connect_timeout: Duration) -> Result<Self> {
        let invalid = |why: &str| Error::InvalidUrl(why.to_owned());
        let (scheme, rest) =
            url.trim().split_once("://").ok_or_else(|| invalid("it does not begin with postgresql://"))?;
        let (base, driver) = scheme.split_once('+').map_or((scheme, None), |(base, driver)| (base, Some(driver)));
        if !matches!(base.to_ascii_lowercase().as_str(), "postgres" | "postgresql") {
            return Err(invalid("it does not begin with postgresql://"));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut kept = Vec::new();
        let mut ssl = None;
        let mut root_certificates = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "sslmode" | "ssl" => ssl = Some(value.to_ascii_lowercase()),
                "sslrootcert" => root_certificates = Some(value.replace("%2F", "/").replace("%2f", "/")),
                name if DRIVER_OPTIONS.contains(&name) => kept.push(pair),
                // Other drivers' own parameters mean nothing here; in an address of ours they may be a mistake.
                _ if driver.is_some() => {}
                name if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    return Err(Error::InvalidUrl(format!("the parameter `{name}` is not supported")));
                }
                _ => {
                    return Err(invalid(
                        "its parameters cannot be read (is a `?` in the password not escaped as %3F?)",
                    ));
                }
            }
        }
        let mut text = format!("postgresql://{place}");
        if !kept.is_empty() {
            text.push('?');
            text.push_str(&kept.join("&"));
        }
        let mut config: Config = text.parse().map_err(|_| {
            invalid("it cannot be read (postgresql://user:password@host:5432/name; escape special characters as %XX)")
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("/var/run/postgresql");
        }
        if config.get_application_name().is_none() {
            config.application_name("taskyard");
        }
        config.connect_timeout(connect_timeout);
        config.keepalives_idle(Duration::from_secs(30));
        let local = is_local(&config);
        let protection = match ssl.as_deref() {
            Some("disable" | "false" | "0" | "off") => Protection::None,
            Some("allow" | "prefer") => Protection::Prefer,
            Some("require") => Protection::Encrypted,
            Some("verify-ca" | "verify-full" | "true" | "1" | "on") => Protection::Verified,
            Some(_) => return Err(invalid("sslmode is none of disable, prefer, require, verify-full")),
            None if local => Protection::None,
            None => Protection::Verified,
        };
        config.ssl_mode(match protection {
            Protection::None => SslMode::Disable,
            Protection::Prefer => SslMode::Prefer,
            Protection::Encrypted | Protection::Verified => SslMode::Require,
        });
        let shown = shown(&config);
        Ok(Self { config, protection, root_certificates, shown })
    }
}

fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

fn shown(config: &Config) -> String {
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(at, host)| {
            let port = config.get_ports().get(at).or_else(|| config.get_ports().first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        })
        .collect();
    let name = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgresql://{user}{}/{name}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(url, Duration::from_secs(5))
    }

    #[test]
    fn schemes_and_driver_suffixes_are_accepted_and_the_password_is_never_shown() {
        for url in [
            "postgres://app:s3cret@localhost:5433/shop",
            "postgresql://app:s3cret@localhost:5433/shop",
            "postgresql+asyncpg://app:s3cret@localhost:5433/shop?prepared_statement_cache_size=0",
            "postgresql+psycopg://app:s3cret@localhost:5433/shop",
        ] {
            let address = parse(url).unwrap();
            assert_eq!(address.shown, "postgresql://app@localhost:5433/shop");
            assert_eq!(address.protection, Protection::None);
        }
    }

    #[test]
    fn remote_hosts_are_verified_unless_told_otherwise() {
        let protection = |url: &str| parse(url).unwrap().protection;
        assert_eq!(protection("postgresql://a:b@db.example/shop"), Protection::Verified);
        assert_eq!(protection("postgresql://a:b@db.example/shop?sslmode=disable"), Protection::None);
        assert_eq!(protection("postgresql://a:b@db.example/shop?sslmode=require"), Protection::Encrypted);
        assert_eq!(protection("postgresql:///shop"), Protection::None);
    }

    #[test]
    fn what_cannot_be_read_says_so_without_the_password() {
        for url in ["mysql://a:s3cret@h/d", "s3cret", "postgresql://a:s3?cret@h/d", "postgresql://a:s3cret@h:port/d"] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, Error::InvalidUrl(_)), "{error}");
            assert!(!error.to_string().contains("cret"), "{error}");
        }
    }
}
