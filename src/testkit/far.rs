//! Another server, to speak with: one node over RocksDB. What two servers need to trust each other is made anew each time. Must
//! never reach further than loopback.

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
pub struct Trust {
    folder: PathBuf,
}

impl Trust {
    /// An authority, and one certificate for everybody at 127.0.0.1, in `folder`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn make(folder: &Path) -> Result<Self, Failure> {
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
    pub fn name(&self, node: &mut Command, port: u16) {
        node.env("HEARTH__SERVER__NAME", format!("127.0.0.1:{port}"))
            .env(
                "HEARTH__FEDERATION__EXTRA_CA_FILE",
                self.folder.join("ca.pem"),
            )
            .env("HEARTH__FEDERATION__PRIVATE_ADDRESSES", "true");
    }

    /// Has `node` take what other servers send to `port`.
    pub fn listen(&self, node: &mut Command, port: u16) {
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
pub struct Far {
    hearth: PathBuf,
    place: PathBuf,
    port: u16,
    named: u16,
    process: Option<Process>,
}

impl Far {
    /// Starts the program `hearth` as it, in a place of its own in `folder`, without waiting for it.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn start(hearth: &Path, trust: &Trust, folder: &Folder) -> Result<Self, Failure> {
        let mut far = Self {
            hearth: hearth.to_owned(),
            place: folder.path().join("far"),
            port: free_port()?,
            named: free_port()?,
            process: None,
        };
        fs::create_dir(&far.place)?;
        far.run(trust, folder)?;
        Ok(far)
    }

    /// Starts it again, without waiting for it.
    ///
    /// # Errors
    /// If there is no such program.
    pub fn run(&mut self, trust: &Trust, folder: &Folder) -> Result<(), Failure> {
        let mut node = Command::new(&self.hearth);
        trust.name(&mut node, self.named);
        trust.listen(&mut node, self.named);
        node.arg("serve")
            .current_dir(&self.place)
            .env(
                "HEARTH__LISTEN__ADDRESSES",
                format!("[\"127.0.0.1:{}\"]", self.port),
            )
            // Nothing happens to it, so it need not wait for the disk.
            .env("HEARTH__STORE__DURABILITY", "relaxed")
            .env("HEARTH__REGISTRATION__MODE", "open")
            .env("HEARTH__LIMITS__RATE_LIMIT", "false");
        self.process = Some(folder.spawn(node, "far.log")?);
        Ok(())
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// If it ended by itself.
    pub async fn stop(&mut self) -> Result<(), Failure> {
        if let Some(process) = self.process.take() {
            process.signal("TERM")?;
            process.ended().await?;
        }
        Ok(())
    }

    /// Where its clients find it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}", self.named)
    }

    /// The file of its signing key.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.place.join("data/signing.key")
    }
}
