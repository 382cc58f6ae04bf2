//! Parses the address of a database into the driver's configuration.
//!
//! Accepts `postgres://`, `postgresql://`, SQLAlchemy's driver suffixes (`postgresql+asyncpg://`) and libpq's keyword
//! form (`host=… dbname=…`, `address/keywords.rs`). Errors never repeat anything that may hold a password: only the
//! parts that were parsed as user, host, port and name are shown. Local hosts are not encrypted unless requested; for
//! any other host the default is `verify-full`, because `prefer` would silently continue in clear text.

mod keywords;
mod parameters;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use taskyard_core::libpq::is_keywords;
use taskyard_core::redact::{credentials_at, password_at};
use taskyard_core::{Error, Result};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use self::parameters::{Parameters, Use};

/// Encryption and verification of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Clear text.
    None,
    /// Encrypted if the server supports it; the server is not verified.
    Prefer,
    /// Encrypted; the server is not verified.
    Encrypted,
    /// Encrypted; the server's certificate is verified, but not its name.
    Certified,
    /// Encrypted; the server's certificate and name are verified.
    Verified,
}

/// Source of the trusted root certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    /// The system's root certificates.
    System,
    /// The certificates in this file.
    File(String),
}

/// A parsed address.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub config: Config,
    pub protection: Protection,
    /// Root certificates to trust.
    pub roots: Roots,
    /// The address for messages, without the password.
    pub shown: String,
    /// Whether the role, the database or the server makes transactions read-only by default; recorded when the store is
    /// opened.
    pub reads_by_default: Arc<AtomicBool>,
}

const UNREADABLE: &str =
    "it cannot be read (postgresql://user:password@host:5432/name; escape special characters as %XX)";

impl Address {
    pub fn parse(address: &str, connect_timeout: Duration) -> Result<Self> {
        let address = address.trim();
        let written = if is_keywords(address) { of_keywords(address)? } else { of_url(address)? };
        let mut config: Config = written.text.parse().map_err(|_| invalid(UNREADABLE))?;
        check_parts(&config)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("/var/run/postgresql");
        }
        if config.get_application_name().is_none() {
            config.application_name("taskyard");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(connect_timeout);
        }
        written.parameters.apply(&mut config);
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(Duration::from_secs(2));
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(3);
        }
        if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
            config.keepalives_idle(Duration::from_secs(5));
        }
        let (ssl, roots) = (written.parameters.ssl.as_deref(), written.parameters.root_certificates.clone());
        let (protection, roots) = protection(&config, ssl, roots)?;
        parameters::check(&config, protection)?;
        config.ssl_mode(match protection {
            Protection::None => SslMode::Disable,
            Protection::Prefer => SslMode::Prefer,
            Protection::Encrypted | Protection::Certified | Protection::Verified => SslMode::Require,
        });
        let shown = shown(&config);
        Ok(Self { config, protection, roots, shown, reads_by_default: Arc::default() })
    }

    /// Returns the address of the same database on connections whose transactions are read committed by default.
    pub fn reading_committed(&self) -> Self {
        let mut address = self.clone();
        let given = self.config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        address.config.options(format!("{given}-c default_transaction_isolation=read\\ committed"));
        address
    }
}

/// Refuses parts that cannot be names: such an address was probably meant differently, and the part may contain a
/// password that would then be shown.
fn check_parts(config: &Config) -> Result<()> {
    let is_name = |text: &str| {
        let lower = text.to_ascii_lowercase();
        !lower.contains("://")
            && !lower.contains(';')
            && password_at(text).is_none()
            && credentials_at(text).is_none()
            && !lower.contains(char::is_control)
    };
    let is_host = |host: &Host| match host {
        Host::Tcp(name) => name.chars().all(|letter| letter.is_alphanumeric() || ".-_:%[]".contains(letter)),
        Host::Unix(path) => is_name(&path.to_string_lossy()),
    };
    let names = [config.get_user(), config.get_dbname()];
    if config.get_hosts().iter().all(is_host) && names.into_iter().flatten().all(is_name) {
        return Ok(());
    }
    Err(invalid(
        "its host, user or name contains a character that is not allowed there (escape special characters as %XX)",
    ))
}

fn invalid(why: &str) -> Error {
    Error::InvalidUrl(why.to_owned())
}

/// An address split into the part for the driver and the parameters that the driver does not support.
#[derive(Default)]
struct Written {
    /// Text for the driver.
    text: String,
    parameters: Parameters,
}

fn of_keywords(address: &str) -> Result<Written> {
    let mut written = Written::default();
    let mut kept = Vec::new();
    let unreadable = || invalid("it cannot be read (host=… port=5432 dbname=… user=… password='…')");
    for (name, value) in keywords::pairs(address).ok_or_else(unreadable)? {
        match written.parameters.read(&name, &value)? {
            Use::Driver(name) => kept.push(keywords::written(name, &value)),
            Use::Fixed(name, value) => kept.push(keywords::written(name, value)),
            Use::Ours => {}
            Use::Unknown => return Err(parameters::unknown(&name)),
        }
    }
    written.text = kept.join(" ");
    Ok(written)
}

fn of_url(address: &str) -> Result<Written> {
    let scheme = || invalid("it does not begin with postgresql://");
    let (base, rest) = address.split_once("://").ok_or_else(scheme)?;
    let (base, driver) = base.split_once('+').map_or((base, None), |(base, driver)| (base, Some(driver)));
    if !matches!(base.to_ascii_lowercase().as_str(), "postgres" | "postgresql") {
        return Err(scheme());
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.matches('@').count() > 1 {
        return Err(invalid("it has more than one `@`: write those in the user, the password or the name as %40"));
    }
    let mut written = Written::default();
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match written.parameters.read(name, &decoded(value)?)? {
            Use::Driver(name) => kept.push(format!("{name}={value}")),
            Use::Fixed(name, value) => kept.push(format!("{name}={value}")),
            Use::Ours => {}
            // Parameters of other drivers have no meaning here; in an address without a driver suffix an unknown one
            // may be a mistake.
            Use::Unknown if driver.is_some() => {}
            Use::Unknown => return Err(parameters::unknown(name)),
        }
    }
    written.text = format!("postgresql://{place}");
    if !kept.is_empty() {
        written.text.push('?');
        written.text.push_str(&kept.join("&"));
    }
    Ok(written)
}

/// Decodes the %XX escapes of a text.
fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        bytes.push(match byte {
            b'%' => digit()
                .zip(digit())
                .map(|(high, low)| (high * 16 + low) as u8)
                .ok_or_else(|| invalid("a `%` in its parameters is not followed by two hexadecimal digits"))?,
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| invalid("its parameters are not UTF-8"))
}

/// Determines the protection of the connection from `sslmode` and `sslrootcert` as libpq does: `require` verifies
/// certificates, too, if `sslrootcert` names them.
fn protection(config: &Config, ssl: Option<&str>, roots: Option<String>) -> Result<(Protection, Roots)> {
    let by_name = matches!(ssl, None | Some("verify-full" | "true" | "1" | "on"));
    let roots = match roots.filter(|roots| !roots.is_empty()) {
        Some(roots) if roots == "system" && !by_name => {
            return Err(invalid("sslrootcert=system needs sslmode=verify-full"));
        }
        Some(roots) if roots == "system" => Some(Roots::System),
        Some(file) => Some(Roots::File(file)),
        None => None,
    };
    let protection = match (ssl, &roots) {
        (Some("disable" | "false" | "0" | "off"), _) => Protection::None,
        (Some("allow" | "prefer"), _) => Protection::Prefer,
        (Some("require"), Some(_)) | (Some("verify-ca"), _) => Protection::Certified,
        (Some("require"), None) | (Some("no-verify"), _) => Protection::Encrypted,
        (Some("verify-full" | "true" | "1" | "on"), _) => Protection::Verified,
        (Some(_), _) => {
            return Err(invalid("sslmode is not one of disable, prefer, require, no-verify, verify-ca, verify-full"));
        }
        (None, None) if is_local(config) => Protection::None,
        // There is no TLS over a local socket; for any other connection, naming certificates requests it.
        (None, Some(_)) if is_socket(config) => Protection::None,
        (None, _) => Protection::Verified,
    };
    Ok((protection, roots.unwrap_or(Roots::System)))
}

fn is_socket(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) && config.get_hostaddrs().is_empty()
}

/// Returns an address for messages: its parsed parts without the password, or `None` if it cannot be parsed.
#[must_use]
pub fn shown_address(address: &str) -> Option<String> {
    Address::parse(address, Duration::from_secs(5)).ok().map(|address| address.shown)
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
        assert_eq!(protection("host=db.example dbname=shop"), Protection::Verified);
        assert_eq!(protection("postgresql:///shop"), Protection::None);
    }

    #[test]
    fn named_certificates_are_checked() {
        let protection = |url: &str| parse(url).map(|address| (address.protection, address.roots));
        let file = || Roots::File("/a b/ca.pem".into());
        let remote = "postgresql://a@db.example/shop?sslrootcert=%2Fa%20b%2Fca.pem";
        assert_eq!(protection(remote), Ok((Protection::Verified, file())));
        assert_eq!(protection(&format!("{remote}&sslmode=require")), Ok((Protection::Certified, file())));
        assert_eq!(protection(&format!("{remote}&sslmode=verify-ca")), Ok((Protection::Certified, file())));
        assert_eq!(protection(&format!("{remote}&sslmode=verify-full")), Ok((Protection::Verified, file())));
        let keywords = "host=db.example sslmode=require sslrootcert='/a b/ca.pem'";
        assert_eq!(protection(keywords), Ok((Protection::Certified, file())));
        let here = "postgresql://a@localhost/shop?sslrootcert=/a b/ca.pem";
        assert_eq!(protection(here), Ok((Protection::Verified, file())), "naming them asks for it");
        let system = "postgresql://a@db.example/shop?sslrootcert=system";
        assert_eq!(protection(system), Ok((Protection::Verified, Roots::System)));
        assert!(protection(&format!("{system}&sslmode=require")).is_err());
        assert!(protection("postgresql://h/d?sslmode=sure").is_err() && protection("host=h sslrootcert=%").is_ok());
    }

    #[test]
    fn only_the_parsed_parts_are_shown() {
        for (address, shown) in [
            ("postgresql://u:s3/cret@h/d", "postgresql://u@h:5432/d"),
            ("postgresql://u:s3:cret@h/d?application_name=x", "postgresql://u@h:5432/d"),
            ("postgresql://h/d?user=u&password=s3cret", "postgresql://u@h:5432/d"),
            ("host=h port=5433 dbname=d user=u password='s3 cret'", "postgresql://u@h:5433/d"),
            ("password=s3cret dbname=d host=/tmp user=u", "postgresql://u@/tmp:5432/d"),
        ] {
            assert_eq!(shown_address(address).as_deref(), Some(shown));
            let debug = format!("{:?}", parse(address).unwrap());
            assert!(!debug.contains("cret"), "{debug}");
        }
        for address in [
            "postgresql://u:s3@cret@h/d",
            "host=h;password=s3cret pass",
            "host=h;password=s3cret",
            "host=h Password=s3cret",
            "dbname=postgresql://u:s3cret@h/d",
            "postgresql://h;password=s3cret/d",
            "user=u;password=s3cret host=h",
            "dbname=u:s3cret@h/d host=h",
            "user=u:s3cret@h host=h",
            "host=/tmp/u:s3cret@h",
            "postgresql://h/d?dbname=u%3As3cret%40h",
            "postgresql://h/u%3As3cret%40h",
        ] {
            assert_eq!(shown_address(address), None, "{address}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_so_without_the_password() {
        for url in [
            "mysql://a:s3cret@h/d",
            "s3cret",
            "postgresql://a:s3?cret@h/d",
            "postgresql://a:s3cret@h:port/d",
            "postgresql://a:s3@cret@h/d",
            "postgresql:/a:s3cret@h/d",
            "host=h password='s3cret",
            "host=h password=s3 cret",
            "host=h passwort=s3cret",
            "Host=h;Password=s3cret",
            "postgresql://h/d?password=s3cret&sslrootcert=%cret",
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, Error::InvalidUrl(_)), "{error}");
            assert!(!error.to_string().contains("cret"), "{error}");
        }
    }

    #[test]
    fn a_host_that_is_gone_is_noticed_soon_unless_told_otherwise() {
        let config = parse("postgresql://a:b@db.example/shop").unwrap().config;
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(10)));
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(5));
        let given = "postgresql://a:b@db.example/shop?keepalives_idle=60&keepalives_count=9&tcp_user_timeout=90500&connect_timeout=7";
        let config = parse(given).unwrap().config;
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_millis(90_500)), "libpq counts milliseconds");
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(60));
        assert_eq!(config.get_keepalives_retries(), Some(9));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
        let config = parse("host=db.example tcp_user_timeout=0").unwrap().config;
        assert_eq!(config.get_tcp_user_timeout(), None);
    }

    #[test]
    fn parameters_of_libpq_and_of_providers_work() {
        let of_provider = "postgresql://a:b@db.example/shop?sslmode=require&channel_binding=require&pgbouncer=true\
                           &gssencmode=prefer&target_session_attrs=primary&client_encoding=utf8";
        let address = parse(of_provider).unwrap();
        assert_eq!(address.protection, Protection::Encrypted);
        assert_eq!(address.config.get_channel_binding(), tokio_postgres::config::ChannelBinding::Require);
        let writes = tokio_postgres::config::TargetSessionAttrs::ReadWrite;
        assert_eq!(address.config.get_target_session_attrs(), writes);
        let unchecked = parse("postgresql://a:b@db.example/shop?sslmode=no-verify&sslrootcert=/ca.pem").unwrap();
        assert_eq!(unchecked.protection, Protection::Encrypted);
        let schema = parse("postgresql://h/d?schema=my%20own&options=-cwork_mem%3D4MB").unwrap();
        assert_eq!(schema.config.get_options(), Some("-cwork_mem=4MB -c search_path=\"my\\ own\""));
    }

    #[test]
    fn what_cannot_work_says_what_to_write() {
        for (parameter, part) in [
            ("target_session_attrs=standby", "read-write"),
            ("gssencmode=require", "sslmode=verify-full"),
            ("channel_binding=require&sslmode=disable", "sslmode=verify-full"),
            ("channel_binding=sure", "disable, prefer, require"),
            ("sslcert=a.pem", "password"),
            ("tcp_user_timeout=10s", "milliseconds"),
            ("tcp_user_timeout=90", "write 90000"),
            ("pgbouncer=maybe", "true nor false"),
            ("schema=", "schema=public"),
            ("client_encoding=latin1", "leave client_encoding out"),
            ("sslmode=sure", "no-verify"),
            ("connection_limit=5", "`connection_limit` is not supported: leave it out"),
        ] {
            let error = parse(&format!("postgresql://h/d?{parameter}")).unwrap_err().to_string();
            assert!(error.contains(part), "{parameter}: {error}");
            let keywords = format!("host=h {}", parameter.replace('&', " "));
            assert!(parse(&keywords).unwrap_err().to_string().contains(part), "{keywords}");
        }
        assert!(parse("postgresql+asyncpg://h/d?prepared_statement_cache_size=0").is_ok());
        assert!(parse("postgresql+psycopg://h/d?gssencmode=require").is_err(), "known ones count with every driver");
    }
}
