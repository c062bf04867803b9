"""Fetching by https: the other side proves its name, to the system's authorities and one that the rules name."""

import datetime as dt
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.x509.oid import NameOID

from luhyaapi.errors import Failed
from tests.support.fetching import SHA256, at_home, decent, refused, to

pytestmark = pytest.mark.live


def certificate(key, name, issuer=None, signer=None):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if issuer:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return made.sign(signer or key, hashes.SHA256())


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """(file of an authority, settings of a server it certified as mirror.example)."""
    folder = tmp_path_factory.mktemp("authority")
    ours, theirs = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    root = certificate(ours, "An authority")
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(root.public_bytes(pem))
    (folder / "key.pem").write_bytes(theirs.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    (folder / "cert.pem").write_bytes(certificate(theirs, "mirror.example", root, ours).public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "ca.pem", context


def test_https_proves_its_name(serve, get, authority):
    file, tls = authority
    server = serve(decent, tls=tls)
    assert get(server.url(host="mirror.example"), at_home, authority=file).sha256 == SHA256
    assert "prove" in refused("forbidden", get, server.url(host="other.example"), resolve=at_home, authority=file)
    assert "prove" in refused("forbidden", get, server.url(host="mirror.example"), resolve=at_home)
    assert len(server.asked) == 1


def test_https_without_any_authority_says_what_is_missing(serve, get, authority, tmp_path):
    server = serve(decent, tls=authority[1])
    assert "ca-certificates" in refused("missing", get, server.url(host="mirror.example"), Failed, resolve=at_home, authority=tmp_path / "x")


def test_https_does_not_lead_to_http(serve, get, authority):
    plain = serve(decent)
    server = serve(to(plain.url()), tls=authority[1])
    assert "from https to http" in refused("invalid", get, server.url(host="mirror.example"), resolve=at_home, authority=authority[0])
    assert not plain.asked
