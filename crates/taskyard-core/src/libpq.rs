//! Recognises libpq's keyword form of an address: `host=db.example dbname=shop`. The PostgreSQL store parses it.

/// Keywords known to libpq, in lower case.
const KNOWN: [&str; 31] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "requirepeer",
    "service",
    "ssl",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Returns whether an address has the keyword form: a known keyword followed by an equals sign.
#[must_use]
pub fn is_keywords(address: &str) -> bool {
    let name = address.trim_start().split(|letter: char| letter == '=' || letter.is_whitespace()).next();
    let name = name.unwrap_or_default();
    let behind = address.trim_start()[name.len()..].trim_start();
    behind.starts_with('=') && KNOWN.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_told_from_paths() {
        for address in ["host=h", " dbname = shop user=a", "Password=x;Host=h", "sslmode=require"] {
            assert!(is_keywords(address), "{address}");
        }
        for address in ["queue.db", "a=b.db", "./host=h", "postgresql://h/d?user=u", "host", "hosts=1"] {
            assert!(!is_keywords(address), "{address}");
        }
    }
}
