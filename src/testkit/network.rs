//! A small internet of one process: names that lead to loopback ports, and a certificate authority that vouches for them.
//! Must never reach further than loopback.

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
};

use futures_util::future::BoxFuture;
use hearth_base::config::Config;
use hearth_federation::reach::{Names, NoName, Service};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client};

use crate::Failure;

/// Names and the authority that vouches for them. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Inside>);

struct Inside {
    authority: CertifiedIssuer<'static, KeyPair>,
    ports: Mutex<HashMap<String, u16>>,
}

impl Network {
    /// An internet without servers.
    ///
    /// # Errors
    /// If no certificate can be made.
    pub fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(Arc::new(Inside {
            authority,
            ports: Mutex::default(),
        })))
    }

    /// Lets the server `name` have a certificate, and trust this network alone.
    pub(crate) fn configure(
        &self,
        config: &mut Config,
        folder: &Path,
        name: &str,
    ) -> Result<(), Failure> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()])?;
        let certificate = params.signed_by(&key, &self.0.authority)?;
        let file = |name: &str, text: String| {
            let path = folder.join(name);
            fs::write(&path, text).map(|()| path)
        };
        config.server.name = name.try_into()?;
        config.listen.tls_certificate_file = Some(file("certificate.pem", certificate.pem())?);
        config.listen.tls_key_file = Some(file("key.pem", key.serialize_pem())?);
        config.federation.extra_ca_file = Some(file("ca.pem", self.0.authority.pem())?);
        config.federation.private_addresses = true;
        Ok(())
    }

    /// Says at which port the server is.
    pub(crate) fn announce(&self, name: &str, port: u16) {
        self.0.ports.lock().insert(name.to_owned(), port);
    }

    /// A client that trusts the network.
    #[allow(
        clippy::disallowed_methods,
        reason = "a test's client reaches the test's server only"
    )]
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let authority = Certificate::from_pem(self.0.authority.pem().as_bytes())?;
        Ok(Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .build()?)
    }
}

impl Names for Network {
    fn addresses(&self, host: &str) -> BoxFuture<'static, Result<Vec<IpAddr>, NoName>> {
        let known = self.0.ports.lock().contains_key(host);
        let host = host.to_owned();
        Box::pin(async move {
            match known {
                true => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
                false => Err(NoName(format!("there is no {host}"))),
            }
        })
    }

    fn services(&self, name: &str) -> BoxFuture<'static, Result<Vec<Service>, NoName>> {
        let host = name.strip_prefix("_matrix-fed._tcp.").unwrap_or_default();
        let service = self.0.ports.lock().get(host).map(|port| Service {
            priority: 10,
            weight: 1,
            target: host.to_owned(),
            port: *port,
        });
        Box::pin(async move { Ok(service.into_iter().collect()) })
    }
}
