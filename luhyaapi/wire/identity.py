"""Key pairs and certificates: a role makes its own keys; the CLC's authority signs them when the host is admitted.

Two kinds: an Ed25519 pair signs orders and reports, and a P-256 pair (browsers know no Ed25519) speaks TLS at the doors
of roles that other hosts reach. The broker holds a copy of the second and never sees the first.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from luhyaapi import clock, ids
from luhyaapi.errors import Refused
from luhyaapi.files import write_atomic

_YEARS = 10
AUTHORITY_FILE, TLS_KEY_FILE, TLS_FILE = "authority.pem", "tls-key.pem", "tls.pem"
Signer = Ed25519PrivateKey | EllipticCurvePrivateKey


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


def derived(key: Ed25519PrivateKey, *purpose: str) -> str:
    """A secret only who holds ``key`` can tell, the same for the same purpose each time: 43 signs of URL-safe base64."""
    made = HKDF(hashes.SHA256(), 32, None, "\0".join(purpose).encode()).derive(key.private_bytes_raw())
    return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def tls_key(file: Path) -> EllipticCurvePrivateKey:
    """A P-256 key pair, made at its first use. Raises Refused(invalid) for a file that holds something else."""
    if not file.exists():
        write_atomic(file, private_pem(generate_private_key(SECP256R1())))
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, EllipticCurvePrivateKey):
        raise Refused("invalid", f"{file} is not a P-256 key")
    return key


def private_pem(key: Signer) -> bytes:
    """A private key as PEM."""
    pem = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, pem, serialization.NoEncryption())


def request(key: Signer, name: str) -> str:
    """A signing request that proves possession of ``key``, PEM."""
    csr = x509.CertificateSigningRequestBuilder().subject_name(_subject(name)).sign(key, _hash(key))
    return csr.public_bytes(serialization.Encoding.PEM).decode()


def make_authority(key: Signer) -> str:
    """The certificate of a new authority, PEM."""
    name = _subject("eduCloud authority")
    return _sign(key, key.public_key(), name, name, authority=True)


def check_request(csr: str) -> Ed25519PublicKey:
    """The key of a signing request (PEM) that proves its possession. Raises Refused(invalid | forged)."""
    key = _proved_key(csr)
    if not isinstance(key, Ed25519PublicKey):
        raise Refused("forged", "The signing request is not signed by an Ed25519 key of its own")
    return key


def check_tls_request(csr: str) -> EllipticCurvePublicKey:
    """The same for the key that speaks TLS."""
    key = _proved_key(csr)
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise Refused("forged", "The signing request for TLS is not signed by a P-256 key of its own")
    return key


def _proved_key(csr: str) -> object:
    try:
        asked = x509.load_pem_x509_csr(csr.encode())
        key = asked.public_key()
        proved = asked.is_signature_valid
    except Exception as e:
        raise Refused("invalid", "The signing request cannot be read", type(e).__name__) from e
    if not proved:
        raise Refused("forged", "The signing request is not signed by the key it names")
    return key


def certify(authority_key: Signer, authority: str, csr: str, host: str) -> str:
    """A certificate that binds the request's key to a host id, PEM. Raises Refused(forged) for a bad request."""
    key = check_request(csr)
    issuer = x509.load_pem_x509_certificate(authority.encode()).subject
    return _sign(authority_key, key, _subject(host), issuer)


def certify_tls(authority_key: Signer, authority: str, csr: str, host: str, names: Iterable[str] = ()) -> str:
    """A certificate for a host's doors, PEM: for its id, its role (see :func:`role_name`), and further names or addresses.

    Only the CLC has further ones: it is the one a browser asks for by them. Raises Refused(forged) for a bad request.
    """
    key = check_tls_request(csr)
    issuer = x509.load_pem_x509_certificate(authority.encode()).subject
    return _sign(authority_key, key, _subject(host), issuer, (host, role_name(ids.role_of(host)), *names))


def role_name(role: str) -> str:
    """The name every host of a role has in its TLS certificate: what one asks for who does not know the host yet."""
    return f"{role}.educloud"


def names_in(certificate: str) -> set[str]:
    """The names and addresses a TLS certificate is for."""
    found = x509.load_pem_x509_certificate(certificate.encode()).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*found.get_values_for_type(x509.DNSName), *(str(a) for a in found.get_values_for_type(x509.IPAddress))}


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
    """sha256 of the certificate's DER bytes, hexadecimal. Raises Refused(forged) for what is no certificate."""
    try:
        cert = x509.load_pem_x509_certificate(certificate.encode())
    except ValueError as e:
        raise Refused("forged", "The certificate is not valid", str(e)) from e
    return hashlib.sha256(cert.public_bytes(serialization.Encoding.DER)).hexdigest()


@dataclass(frozen=True)
class Membership:
    """What a role holds once it was admitted.

    ``broker`` is the AMQP address with its own credentials, ``streams`` the boss's stream door as host:port. ``tls`` is
    the certificate of our own doors, empty where no other host reaches them. ``broker_name``: whom the boss's broker
    must prove to be; empty on one host, where nothing leaves the machine and nobody speaks TLS.
    """

    host: str
    certificate: str
    authority: str
    boss: str
    boss_certificate: str
    broker: str
    streams: str = ""
    tls: str = ""
    broker_name: str = ""

    @property
    def secured(self) -> bool:
        """Whether what goes to the boss is spoken by TLS."""
        return bool(self.broker_name)

    def save(self, folder: Path) -> None:
        """Keep it, certificate last: its presence means joined."""
        write_atomic(folder / "membership.json", json.dumps(self.__dict__).encode())
        write_atomic(folder / AUTHORITY_FILE, self.authority.encode(), 0o644)
        if self.tls:
            write_atomic(folder / TLS_FILE, self.tls.encode(), 0o644)
        write_atomic(folder / "certificate.pem", self.certificate.encode(), 0o644)

    @classmethod
    def load(cls, folder: Path) -> Membership | None:
        """What was kept, or None before joining."""
        file = folder / "membership.json"
        return cls(**json.loads(file.read_text())) if (folder / "certificate.pem").exists() else None


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _sign(
    key: Signer, subject_key: Ed25519PublicKey | EllipticCurvePublicKey, subject: x509.Name, issuer: x509.Name,
    names: tuple[str, ...] = (), *, authority: bool = False,
) -> str:
    now = clock.utc()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .add_extension(_usage(authority=authority), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in dict.fromkeys(names)]), critical=False)
    return builder.sign(key, _hash(key)).public_bytes(serialization.Encoding.PEM).decode()


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _hash(key: Signer) -> hashes.SHA256 | None:
    return None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
