"""Certificates for a private server: an authority of its own that signs nothing else."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

from mapadmin.core.files import write_atomic

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, KeyUsage, Name, SubjectAlternativeName

HOST = "127.0.0.1"
AUTHORITY = "ca.pem"
SERVER_CERTIFICATE = "server-cert.pem"
SERVER_KEY = "server-key.pem"


def make_certificates(folder: Path) -> None:
    """Write ca.pem, server-cert.pem and server-key.pem (0600) for 127.0.0.1, ::1 and localhost.

    The authority's own key is thrown away: nobody can make another certificate that clients of this
    one would trust. Valid for ten years from yesterday (clocks differ).
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address(HOST)),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
    )
    authority = _certificate(authority_key, authority_key, names=None)
    certificate = _certificate(server_key, authority_key, names=names)
    key = server_key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()
    write_atomic(folder / SERVER_KEY, key, mode=0o600)
    write_atomic(folder / SERVER_CERTIFICATE, certificate.public_bytes(Encoding.PEM).decode())
    write_atomic(folder / AUTHORITY, authority.public_bytes(Encoding.PEM).decode())


def _certificate(
    key: EllipticCurvePrivateKey,
    signer: EllipticCurvePrivateKey,
    *,
    names: SubjectAlternativeName | None,
) -> Certificate:
    """A server's certificate for these names, or with no names the authority's own."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    is_authority = names is None
    issuer = _subject("authority")
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    # The key identifiers and usages are what Python's strict verification (3.13) insists on.
    builder = (
        x509.CertificateBuilder()
        .subject_name(issuer if is_authority else _subject("server"))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(yesterday)
        .not_valid_after(yesterday + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_key_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _subject(part: str) -> Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"mapadmin sandbox {part}")])


def _key_usage(is_authority: bool) -> KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
