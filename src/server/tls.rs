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

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Error> {
    let wrong = |file: &Path, why: String| Error::refused(format!("{}: {why}", file.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(certificate, e.to_string()))?;
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
