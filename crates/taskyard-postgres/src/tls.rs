//! Encryption of connections, with rustls.
//!
//! `verify-full` (the default for hosts that are not local) checks the certificate against the system's roots or the
//! file named by `sslrootcert`, and its name against the host; `verify-ca` does not check the name. `require` encrypts
//! and checks nothing, unless `sslrootcert` names a file: then it is `verify-ca`, as in libpq. The same applies to
//! `prefer` where it encrypts.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use taskyard_core::{Error, Result};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::address::{Address, Protection, Roots};

/// Returns a connector for encrypted connections to this address.
pub(crate) fn connector(address: &Address) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Connection(format!("TLS cannot be set up: {error}")))?;
    let unusable = |error: &dyn std::fmt::Display| Error::Connection(format!("TLS cannot be set up: {error}"));
    let config = match (address.protection, &address.roots) {
        (Protection::Verified, _) => builder.with_root_certificates(roots(address)?).with_no_client_auth(),
        (Protection::Certified, _) | (Protection::Prefer, Roots::File(_)) => {
            let roots = Arc::new(roots(address)?);
            let whole = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| unusable(&error))?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Nameless(whole))).with_no_client_auth()
        }
        (Protection::None | Protection::Prefer | Protection::Encrypted, _) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider))).with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn roots(address: &Address) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    if let Roots::File(path) = &address.roots {
        let file = |why: String| Error::File { path: path.clone(), why, lost: false };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| file(error.to_string()))? {
            let certificate = certificate.map_err(|error| file(error.to_string()))?;
            store.add(certificate).map_err(|error| file(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(file("there is no certificate in it".into()));
        }
    } else {
        // A certificate that cannot be read is skipped; if none is left, no server is trusted.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    Ok(store)
}

/// Checks who signed the certificate but not its name, for `verify-ca`.
#[derive(Debug)]
struct Nameless(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is checked last: an error about it means that everything else was valid.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            checked => checked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Encrypts without verifying the peer: only for an explicit `sslmode=require` or `prefer`.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
