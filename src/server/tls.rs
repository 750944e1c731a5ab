//! Certificates: read from PEM files, and read again without a restart. Must never log a key.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use hearth_base::config::Listen;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::{TlsAcceptor, rustls};

use crate::Error;

/// The certificate in use. New connections take up a new one.
#[derive(Clone)]
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<RwLock<TlsAcceptor>>,
}

impl Tls {
    /// Reads the files that `listen` names; `None` if it names none. Blocks.
    pub(crate) fn load(listen: &Listen) -> Result<Option<Self>, Error> {
        let (Some(certificate), Some(key)) = (&listen.tls_certificate_file, &listen.tls_key_file)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            certificate: certificate.clone(),
            key: key.clone(),
            current: Arc::new(RwLock::new(acceptor(certificate, key)?)),
        }))
    }

    /// Reads the files again. On an error the certificate in use stays. Blocks.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let fresh = acceptor(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// What new connections use.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }
}

/// The certificates in a PEM file, at least one. Blocks.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(file, e.to_string()))?;
    if found.is_empty() {
        let why = "holds no certificate: it should begin with -----BEGIN CERTIFICATE-----";
        return Err(wrong(file, why.to_owned()));
    }
    Ok(found)
}

fn wrong(file: &Path, why: String) -> Error {
    Error::refused(format!("{}: {why}", file.display()))
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong(key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut settings = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, private)
        })
        .map_err(|e| wrong(certificate, e.to_string()))?;
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(settings)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// Of nobody; made for this test.
    const CERTIFICATE: &str = include_str!("tls/test_certificate.pem");
    const KEY: &str = include_str!("tls/test_key.pem");

    #[test]
    fn a_certificate_is_read_again_and_a_bad_one_is_not_taken() {
        let folder = TempDir::new().unwrap();
        let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
        let listen = Listen {
            tls_certificate_file: Some(certificate.clone()),
            tls_key_file: Some(key.clone()),
            ..Listen::default()
        };
        let missing = Tls::load(&listen).err().unwrap().to_string();
        assert!(missing.contains("c.pem"), "{missing}");
        fs::write(&certificate, CERTIFICATE).unwrap();
        fs::write(&key, KEY).unwrap();
        let tls = Tls::load(&listen).unwrap().unwrap();
        tls.reload().unwrap();
        fs::write(&certificate, "nothing of the kind").unwrap();
        let refused = tls.reload().unwrap_err().to_string();
        assert!(refused.contains("holds no certificate"), "{refused}");
        assert!(Tls::load(&Listen::default()).unwrap().is_none());
    }
}
