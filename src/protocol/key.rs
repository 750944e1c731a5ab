//! Owns the server's signing key: making it, reading and writing its text form, signing bytes. Must never print the
//! secret, and must never make randomness of its own: the seed is an argument.
//!
//! Specification: <https://spec.matrix.org/latest/appendices/#signing-details>

use std::fmt;

use base64::{Engine, alphabet, engine::DecodePaddingMode, engine::general_purpose};
use ed25519_dalek::Signer;
use ruma::{
    OwnedServerName, OwnedServerSigningKeyId, OwnedSigningKeyId, ServerName, SigningKeyId,
    serde::Base64,
    signatures::{KeyPair, Signature},
};

use sha2::{Digest as _, Sha256};

use crate::{errors::Malformed, policy::POLICY_KEY_ID};

/// Reads keys with and without padding, as the specification recommends, and writes them without. Bits beyond the last
/// byte are ignored, since the specification's own test key has some.
const BASE64: general_purpose::GeneralPurpose = general_purpose::GeneralPurpose::new(
    &alphabet::STANDARD,
    general_purpose::GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key with which one server signs events, requests and its own key list.
pub struct SigningKey {
    server: OwnedServerName,
    id: OwnedServerSigningKeyId,
    pair: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// Makes the key of `server` from a seed. `key_id` has the form `ed25519:name`.
    ///
    /// # Errors
    /// `Malformed` when the key id is not of that form.
    pub fn generate(server: &ServerName, key_id: &str, seed: [u8; 32]) -> Result<Self, Malformed> {
        let name = key_id
            .strip_prefix("ed25519:")
            .filter(|name| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            })
            .ok_or_else(|| {
                Malformed::format("a key id reads `ed25519:` and letters, digits or underscores")
            })?;
        let id = OwnedServerSigningKeyId::try_from(format!("ed25519:{name}"))
            .map_err(Malformed::format)?;
        Ok(Self {
            server: server.to_owned(),
            id,
            pair: ed25519_dalek::SigningKey::from_bytes(&seed),
        })
    }

    /// Reads the first key of a `signing.key` file, one line `ed25519 <name> <seed in base64>`: the form that Synapse
    /// writes, so that a server can move here with its key.
    ///
    /// # Errors
    /// `Malformed` when there is no such line, or the seed is not 32 bytes. The reason never quotes the file.
    pub fn from_text(server: &ServerName, text: &str) -> Result<Self, Malformed> {
        let line = text
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with('#'))
            .ok_or_else(|| Malformed::format("the signing key file has no key"))?;
        let mut words = line.split_ascii_whitespace();
        let (Some("ed25519"), Some(name), Some(seed), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Malformed::format(
                "a signing key line reads `ed25519 <name> <seed in base64>`",
            ));
        };
        let seed: [u8; 32] = BASE64
            .decode(seed)
            .ok()
            .and_then(|seed| seed.try_into().ok())
            .ok_or_else(|| {
                Malformed::format("the seed of the signing key is not 32 bytes in base64")
            })?;
        Self::generate(server, &format!("ed25519:{name}"), seed)
    }

    /// The key with which the server signs as the policy server of rooms. It follows from this one, so that there is nothing
    /// more to keep, and tells nothing of it.
    ///
    /// # Errors
    /// As [`SigningKey::generate`].
    pub fn for_policy(&self) -> Result<Self, Malformed> {
        let mut seed = Sha256::new();
        seed.update(b"Hearth policy server key\0");
        seed.update(self.pair.to_bytes());
        Self::generate(&self.server, POLICY_KEY_ID, seed.finalize().into())
    }

    /// The text form that [`SigningKey::from_text`] reads. It is the secret itself.
    pub fn to_text(&self) -> String {
        format!(
            "ed25519 {} {}\n",
            self.id.key_name(),
            BASE64.encode(self.pair.to_bytes())
        )
    }

    /// The server that signs with this key.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// The key id, for example `ed25519:a_x1Y2`.
    pub fn id(&self) -> &ruma::ServerSigningKeyId {
        &self.id
    }

    /// The public half, as published under `verify_keys`.
    pub fn verify_key(&self) -> Base64 {
        Base64::new(self.pair.verifying_key().to_bytes().to_vec())
    }

    /// The signature of arbitrary bytes, in unpadded base64. For JSON use [`crate::sign_json`].
    pub fn sign_bytes(&self, message: &[u8]) -> String {
        BASE64.encode(self.pair.sign(message).to_bytes())
    }
}

impl KeyPair for SigningKey {
    fn sign(&self, message: &[u8]) -> Signature {
        let id: OwnedSigningKeyId<ruma::AnyKeyName> =
            SigningKeyId::from_parts(self.id.algorithm(), self.id.key_name().as_str().into());
        Signature::new(id, self.pair.sign(message).to_bytes().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("server", &self.server)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ruma::server_name;

    use super::*;

    #[test]
    fn the_text_form_survives_a_round_trip() {
        let key =
            SigningKey::generate(server_name!("example.org"), "ed25519:a_1", [7; 32]).unwrap();
        let read = SigningKey::from_text(server_name!("example.org"), &key.to_text()).unwrap();
        assert_eq!(read.id(), key.id());
        assert_eq!(read.verify_key(), key.verify_key());
        assert_eq!(read.sign_bytes(b"hello"), key.sign_bytes(b"hello"));
    }

    #[test]
    fn a_key_file_of_synapse_is_read() {
        let text = "ed25519 a_RXGa YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";
        let key = SigningKey::from_text(server_name!("domain"), text).unwrap();
        assert_eq!(key.id().as_str(), "ed25519:a_RXGa");
        assert_eq!(
            key.verify_key().encode(),
            "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"
        );
        let padded = "# old\n\n ed25519 a_RXGa YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1= \n";
        assert_eq!(
            SigningKey::from_text(server_name!("domain"), padded)
                .unwrap()
                .verify_key(),
            key.verify_key()
        );
    }

    #[test]
    fn a_broken_key_file_is_refused_without_quoting_it() {
        let secret = "c2VjcmV0";
        for text in [
            "",
            "\n",
            "rsa a x",
            "ed25519 a",
            &format!("ed25519 a {secret}"),
            &format!("ed25519 a! {secret}"),
        ] {
            let error = SigningKey::from_text(server_name!("domain"), text).unwrap_err();
            assert!(!error.to_string().contains(secret));
        }
    }

    #[test]
    fn the_secret_is_not_in_the_debug_form() {
        let key = SigningKey::generate(server_name!("domain"), "ed25519:1", [7; 32]).unwrap();
        let shown = format!("{key:?}");
        assert!(!shown.contains(&BASE64.encode([7; 32])) && !shown.contains("7, 7"));
    }
}
