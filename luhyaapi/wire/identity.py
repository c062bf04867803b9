"""Key pairs and certificates: a role makes its own key; the CLC's authority signs it when the host is admitted."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from luhyaapi import clock
from luhyaapi.errors import Refused

_YEARS = 10


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Old content or new content, never a mix, also after a power cut; readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    half.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def own_key(folder: Path) -> Ed25519PrivateKey:
    """The key pair of this role, made at its first start, never leaving its folder."""
    file = folder / "key.pem"
    if file.exists():
        key = serialization.load_pem_private_key(file.read_bytes(), None)
        if isinstance(key, Ed25519PrivateKey):
            return key
        raise Refused("invalid", f"{file} is not an Ed25519 key")
    key = Ed25519PrivateKey.generate()
    write_atomic(file, private_pem(key))
    return key


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """A private key as PEM."""
    pem = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption())


def request(key: Ed25519PrivateKey, name: str) -> str:
    """A signing request that proves possession of ``key``, PEM."""
    csr = x509.CertificateSigningRequestBuilder().subject_name(_subject(name)).sign(key, None)
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def make_authority(key: Ed25519PrivateKey) -> str:
    """The certificate of a new authority, PEM."""
    name = _subject("eduCloud authority")
    return _sign(key, key.public_key(), name, name, authority=True)


def check_request(csr: str) -> Ed25519PublicKey:
    """The key of a signing request (PEM) that proves its possession. Raises Refused(invalid | forged)."""
    try:
        asked = x509.load_pem_x509_csr(csr.encode())
        key = asked.public_key()
        proved = asked.is_signature_valid
    except Exception as e:
        raise Refused("invalid", "The signing request cannot be read", type(e).__name__) from e
    if not proved or not isinstance(key, Ed25519PublicKey):
        raise Refused("forged", "The signing request is not signed by an Ed25519 key of its own")
    return key


def certify(authority_key: Ed25519PrivateKey, authority: str, csr: str, host: str) -> str:
    """A certificate that binds the request's key to a host id, PEM. Raises Refused(forged) for a bad request."""
    key = check_request(csr)
    issuer = x509.load_pem_x509_certificate(authority.encode()).subject
    return _sign(authority_key, key, _subject(host), issuer)


def public_key(certificate: str, authority: str | None = None) -> Ed25519PublicKey:
    """The key in a certificate; with ``authority`` only if that authority signed it. Raises Refused(forged)."""
    try:
        cert = x509.load_pem_x509_certificate(certificate.encode())
        if authority:
            cert.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
        key = cert.public_key()
    except Exception as e:
        raise Refused("forged", "The certificate is not valid", f"{type(e).__name__}: {e}") from e
    if not isinstance(key, Ed25519PublicKey):
        raise Refused("forged", "The certificate carries no Ed25519 key")
    return key


def bound_to(certificate: str) -> str:
    """The host id a certificate names. Raises Refused(forged)."""
    try:
        names = x509.load_pem_x509_certificate(certificate.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError as e:
        raise Refused("forged", "The certificate is not valid", str(e)) from e
    return str(names[0].value) if names else ""


def fingerprint(certificate: str) -> str:
    """sha256 of the certificate's DER bytes, hexadecimal."""
    cert = x509.load_pem_x509_certificate(certificate.encode())
    return hashlib.sha256(cert.public_bytes(serialization.Encoding.DER)).hexdigest()


@dataclass(frozen=True)
class Membership:
    """What a role holds once it was admitted.

    ``broker`` is the AMQP address with its own credentials, ``streams`` the boss's stream door as host:port.
    """

    host: str
    certificate: str
    authority: str
    boss: str
    boss_certificate: str
    broker: str
    streams: str = ""

    def save(self, folder: Path) -> None:
        """Keep it, certificate last: its presence means joined."""
        write_atomic(folder / "membership.json", json.dumps(self.__dict__).encode())
        write_atomic(folder / "certificate.pem", self.certificate.encode(), 0o644)

    @classmethod
    def load(cls, folder: Path) -> Membership | None:
        """What was kept, or None before joining."""
        file = folder / "membership.json"
        return cls(**json.loads(file.read_text())) if (folder / "certificate.pem").exists() else None


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _sign(
    key: Ed25519PrivateKey, subject_key: Ed25519PublicKey, subject: x509.Name, issuer: x509.Name, *, authority: bool = False
) -> str:
    now = clock.utc()
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .sign(key, None)
    )
    return cert.public_bytes(serialization.Encoding.PEM).decode()
