"""A certificate for one run: made by the process that starts the aggregator, trusted by whom it hands the file, gone with the run.

It is its own authority, so a client that trusts it trusts this aggregator and nothing else.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ..platform.aggregator.config import TlsFiles

LASTS = datetime.timedelta(days=400)
CLOCKS_APART = datetime.timedelta(days=1)


def make_certificate(host: str, *, public: Path, private: Path) -> TlsFiles:
    """Write a certificate for the address `host` into the folder `public`, and its key, for this user only, into `private`.

    Args:
        host: an IP address; clients that dial another one refuse the certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stillhouse simulation")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCKS_APART)
        .not_valid_after(now + LASTS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = TlsFiles(public / "certificate.pem", private / "certificate.key")
    files.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    kept = os.open(files.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(kept, "wb") as out:
        out.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return files
