"""Makes a certificate authority for one run, and a certificate for loopback that it vouches for.

Owns: nothing else. Runs in Synapse's Python, whose packages make certificates: certificates.py FOLDER
"""

import datetime
import ipaddress
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ONE_DAY = datetime.timedelta(days=1)


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def begun(subject, issuer, key):
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named(issuer))
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - ONE_DAY).not_valid_after(now + ONE_DAY)


def main(folder):
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = begun("peers", "peers", authority_key)
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    authority = authority.sign(authority_key, hashes.SHA256())
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = begun("localhost", "peers", key)
    certificate = certificate.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = certificate.sign(authority_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(pem, form, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(private)
    (folder / "both.pem").write_bytes(certificate.public_bytes(pem) + private)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
