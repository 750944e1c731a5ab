//! Another server, to which the cluster sends: one node over RocksDB, which nothing happens to. What the two need to trust each
//! other is made anew for each seed. Must never reach further than loopback.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    Failure,
    folder::{Folder, Process, free_port},
};

/// What servers on loopback show each other.
pub(crate) struct Trust {
    folder: PathBuf,
}

impl Trust {
    /// An authority, and one certificate for everybody at 127.0.0.1.
    pub(crate) fn make(folder: &Path) -> Result<Self, Failure> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        let certificate = params.signed_by(&key, &authority)?;
        fs::write(folder.join("ca.pem"), authority.pem())?;
        fs::write(folder.join("certificate.pem"), certificate.pem())?;
        fs::write(folder.join("key.pem"), key.serialize_pem())?;
        let folder = folder.to_owned();
        Ok(Self { folder })
    }

    /// Lets `node` speak with other servers in the name of 127.0.0.1 and `port`.
    pub(crate) fn name(&self, node: &mut Command, port: u16) {
        node.env("HEARTH__SERVER__NAME", format!("127.0.0.1:{port}"))
            .env(
                "HEARTH__FEDERATION__EXTRA_CA_FILE",
                self.folder.join("ca.pem"),
            )
            .env("HEARTH__FEDERATION__PRIVATE_ADDRESSES", "true");
    }

    /// Has `node` take what other servers send to `port`.
    pub(crate) fn listen(&self, node: &mut Command, port: u16) {
        let address = format!("[\"127.0.0.1:{port}\"]");
        node.env("HEARTH__LISTEN__HTTPS_ADDRESSES", address)
            .env(
                "HEARTH__LISTEN__TLS_CERTIFICATE_FILE",
                self.folder.join("certificate.pem"),
            )
            .env("HEARTH__LISTEN__TLS_KEY_FILE", self.folder.join("key.pem"));
    }
}

/// The other server.
pub(crate) struct Far {
    port: u16,
    _process: Process,
}

impl Far {
    /// Starts it, without waiting for it.
    pub(crate) fn start(hearth: &Path, trust: &Trust, folder: &Folder) -> Result<Self, Failure> {
        let (port, named) = (free_port()?, free_port()?);
        let place = folder.path().join("far");
        fs::create_dir(&place)?;
        let mut node = Command::new(hearth);
        trust.name(&mut node, named);
        trust.listen(&mut node, named);
        node.arg("serve")
            .current_dir(&place)
            .env(
                "HEARTH__LISTEN__ADDRESSES",
                format!("[\"127.0.0.1:{port}\"]"),
            )
            // Nothing happens to it, so it need not wait for the disk.
            .env("HEARTH__STORE__DURABILITY", "relaxed")
            .env("HEARTH__REGISTRATION__MODE", "open")
            .env("HEARTH__LIMITS__RATE_LIMIT", "false");
        let process = folder.spawn(node, "far.log")?;
        Ok(Self {
            port,
            _process: process,
        })
    }

    /// Where its clients find it.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}
