"""Certificates of clients."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Certificate = tuple[ssl.SSLContext, Path]
"""The TLS context of a server, and the file of its certificate authority."""

PASSWORD = b"a-password-that-nobody-knows"
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Files:
    """The paths of certificate files. `both` contains the certificate and its key.

    `locked` contains an encrypted key.
    """

    certificate: Path
    key: Path
    both: Path
    locked: Path

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.both)
        return context


def write_client(
    folder: Path, begins: timedelta = -HOUR, ends: timedelta = HOUR, host: str = "a.test"
) -> Files:
    """Write a self-signed certificate for a client or a server.

    `begins` and `ends` are the limits of its validity, relative to now.
    """
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a caller")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = Files(*(folder / f"{name}.pem" for name in ("certificate", "key", "both", "locked")))
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    plain = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    files.certificate.write_bytes(chain)
    files.key.write_bytes(plain)
    files.both.write_bytes(plain + chain)
    files.locked.write_bytes(
        key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(PASSWORD))
    )
    return files
