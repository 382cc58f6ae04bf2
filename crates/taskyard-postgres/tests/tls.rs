//! Encrypted connections: only to the host that the certificate names.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use taskyard_core::{Error, Store as _};
use taskyard_postgres::{Options, PostgresStore};
use taskyard_testkit::postgres::Cluster;

/// Creates a certificate authority.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Enables TLS on the cluster, with a certificate for these names.
fn certify(cluster: &Cluster, authority: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
    // Written by the database's server itself, in its own directory, because it must be the owner.
    for (file, text) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let lines = text.trim().replace("\r\n", "\n");
        cluster.psql(&format!(
            "COPY (SELECT unnest(string_to_array('{lines}', chr(10)))) TO PROGRAM 'cat > {file} && chmod 600 {file}'"
        ));
    }
    cluster.psql("ALTER SYSTEM SET ssl = on");
    cluster.stop_immediate();
    cluster.start_again();
}

async fn connect(url: &str) -> Result<bool, Error> {
    let store = PostgresStore::connect(url, Options::default()).await?;
    let rows = store.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", 1).await?;
    store.close().await;
    Ok(rows.rows[0][0].get() == "true")
}

/// Returns the number of statements that the connection for additions has prepared after some of them.
async fn prepared(url: &str) -> String {
    let store = PostgresStore::connect(url, Options::default()).await.unwrap();
    store.migrate().await.unwrap();
    for _ in 0..20 {
        store.add(&[taskyard_testkit::factory::task()]).await.unwrap();
    }
    let rows = store.query("SELECT count(*) FROM pg_prepared_statements", 1).await.unwrap();
    store.close().await;
    rows.rows[0][0].get().to_owned()
}

/// Whether a connection is direct is known although its cancel key is only sent after a TLS handshake.
#[tokio::test]
async fn encrypted_connections_prepare_as_others_do() {
    let cluster = Cluster::start();
    certify(&cluster, &authority(), &["127.0.0.1"]);
    for mode in ["disable", "prefer", "require"] {
        let url = format!("{}?sslmode={mode}", cluster.create_database());
        assert_ne!(prepared(&url).await, "0", "{mode}");
    }
}

#[tokio::test]
async fn certificates_are_checked_unless_the_address_says_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, authority: &CertifiedIssuer<'static, KeyPair>| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, authority.pem()).unwrap();
        path
    };
    let (ours, theirs) = (authority(), authority());
    let (our_file, their_file) = (file("ours.pem", &ours), file("theirs.pem", &theirs));
    let cluster = Cluster::start();
    certify(&cluster, &ours, &["127.0.0.1"]);
    let url = |parameters: &str| format!("{}?{parameters}", cluster.url("postgres"));
    let verified = |file: &PathBuf| url(&format!("sslmode=verify-full&sslrootcert={}", file.display()));

    assert!(connect(&verified(&our_file)).await.unwrap(), "encrypted, and known");
    for (parameters, encrypted) in [("sslmode=require", true), ("sslmode=prefer", true), ("sslmode=disable", false)] {
        assert_eq!(connect(&url(parameters)).await.unwrap(), encrypted, "{parameters}");
    }
    let unknown = connect(&verified(&their_file)).await.unwrap_err();
    assert!(
        matches!(&unknown, Error::Connection(why) if why.contains("certificate") && why.contains("sslrootcert=FILE")),
        "{unknown}"
    );
    // The system's authorities do not verify it either.
    let unknown = connect(&url("sslmode=verify-full")).await.unwrap_err();
    assert!(matches!(&unknown, Error::Connection(why) if why.contains("certificate")), "{unknown}");
    let missing = connect(&verified(&directory.path().join("missing.pem"))).await.unwrap_err();
    assert!(matches!(&missing, Error::File { path, .. } if path.contains("missing.pem")), "{missing}");

    // Named certificates are checked by every mode that encrypts, as in libpq.
    let by = |mode: &str, file: &PathBuf| url(&format!("sslmode={mode}&sslrootcert={}", file.display()));
    for mode in ["prefer", "require", "verify-ca"] {
        assert!(connect(&by(mode, &our_file)).await.unwrap(), "{mode}");
        let unknown = connect(&by(mode, &their_file)).await.unwrap_err();
        assert!(matches!(&unknown, Error::Connection(why) if why.contains("certificate")), "{mode}: {unknown}");
        let missing = connect(&by(mode, &directory.path().join("missing.pem"))).await.unwrap_err();
        assert!(matches!(&missing, Error::File { .. }), "{mode}: {missing}");
    }
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(connect(&by("require", &empty)).await.unwrap_err(), Error::File { .. }));
    let keywords = |file: &PathBuf| {
        format!(
            "host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=require sslrootcert='{}'",
            cluster.port(),
            file.display()
        )
    };
    assert!(connect(&keywords(&our_file)).await.unwrap());
    assert!(connect(&keywords(&their_file)).await.is_err());

    // The right authority, but another name: only `verify-full` checks it.
    certify(&cluster, &ours, &["db.example.org"]);
    let other = connect(&verified(&our_file)).await.unwrap_err();
    assert!(matches!(&other, Error::Connection(why) if why.contains("certificate")), "{other}");
    for mode in ["require", "verify-ca"] {
        assert!(connect(&by(mode, &our_file)).await.unwrap(), "{mode}");
        assert!(connect(&by(mode, &their_file)).await.is_err(), "{mode}");
    }
}
