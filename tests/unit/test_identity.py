"""Keys, certificates and joining: a certificate binds one key to one host id below one authority."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import files
from luhyaapi.errors import Refused
from luhyaapi.wire import identity, joining
from luhyaapi.wire.identity import Membership

ROOT, MINE, BOSS = (Ed25519PrivateKey.generate() for _ in range(3))
AUTHORITY = identity.make_authority(ROOT)
OTHER_ROOT = Ed25519PrivateKey.generate()
OTHER = identity.make_authority(OTHER_ROOT)
TOKEN = f"secret.{identity.fingerprint(AUTHORITY)}"


def _certificate(key: Ed25519PrivateKey, host: str, root: Ed25519PrivateKey = ROOT, authority: str = AUTHORITY) -> str:
    return identity.certify(root, authority, identity.request(key, "any name"), host)


GRANTED = Membership("nc-00000001", _certificate(MINE, "nc-00000001"), AUTHORITY, "cc-00000001", _certificate(BOSS, "cc-00000001"), "amqp:")


def _same(one: object, two: Ed25519PrivateKey) -> bool:
    return one.public_bytes_raw() == two.public_key().public_bytes_raw()  # type: ignore[attr-defined]


def test_a_certificate_binds_the_asking_key_to_the_given_id() -> None:
    certificate = _certificate(MINE, "nc-00000001")
    assert _same(identity.public_key(certificate, AUTHORITY), MINE)
    assert identity.bound_to(certificate) == "nc-00000001"


def test_another_authority_is_refused() -> None:
    for certificate in (_certificate(MINE, "nc-00000001", OTHER_ROOT, OTHER), _certificate(MINE, "nc-00000001", OTHER_ROOT, AUTHORITY)):
        with pytest.raises(Refused) as e:
            identity.public_key(certificate, AUTHORITY)
        assert e.value.code == "forged"


def test_a_host_cannot_sign_another_host() -> None:
    """A member's certificate is no authority's."""
    member = _certificate(MINE, "nc-00000001")
    below = identity.certify(MINE, member, identity.request(BOSS, "x"), "nc-00000002")
    with pytest.raises(Refused):
        identity.public_key(below, AUTHORITY)
    assert not x509.load_pem_x509_certificate(member.encode()).extensions.get_extension_for_class(x509.BasicConstraints).value.ca


@pytest.mark.parametrize("text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(text: str) -> None:
    for read in (identity.public_key, identity.bound_to):
        with pytest.raises(Refused) as e:
            read(text)
        assert e.value.code == "forged"


def test_a_request_must_be_signed_by_an_ed25519_key_of_its_own() -> None:
    with pytest.raises(Refused) as e:
        identity.certify(ROOT, AUTHORITY, "nonsense", "nc-00000001")
    assert e.value.code == "invalid"
    curve = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(curve, hashes.SHA256())
    with pytest.raises(Refused) as e:
        identity.certify(ROOT, AUTHORITY, csr.public_bytes(serialization.Encoding.PEM).decode(), "nc-00000001")
    assert e.value.code == "forged"
    der = bytearray(x509.load_pem_x509_csr(identity.request(MINE, "x").encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(Refused) as e:
        identity.certify(ROOT, AUTHORITY, broken, "nc-00000001")
    assert e.value.code == "forged"


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = identity.own_key(tmp_path / "identity")
    assert _same(identity.own_key(tmp_path / "identity").public_key(), first)
    file = tmp_path / "identity" / "key.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(f.name for f in file.parent.iterdir()) == ["key.pem"]


def test_writing_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "a"
    files.write_atomic(file, b"old")
    file.with_name("a.part").write_bytes(b"half of a crash")
    files.write_atomic(file, b"new", 0o644)
    assert file.read_bytes() == b"new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


def test_membership_counts_when_the_certificate_is_there(tmp_path: Path) -> None:
    assert Membership.load(tmp_path) is None
    GRANTED.save(tmp_path)
    assert Membership.load(tmp_path) == GRANTED
    assert stat.S_IMODE((tmp_path / "membership.json").stat().st_mode) == 0o600
    (tmp_path / "certificate.pem").unlink()
    assert Membership.load(tmp_path) is None


# ---- the join check


def test_what_fits_is_taken() -> None:
    joining._check(GRANTED, TOKEN, MINE)
    joining._check(GRANTED, "", MINE)


@pytest.mark.parametrize("granted", [
    replace(GRANTED, authority=OTHER),
    replace(GRANTED, authority=OTHER, certificate=_certificate(MINE, "nc-00000001", OTHER_ROOT, OTHER),
            boss_certificate=_certificate(BOSS, "cc-00000001", OTHER_ROOT, OTHER)),
    replace(GRANTED, certificate=_certificate(BOSS, "nc-00000001")),
    replace(GRANTED, certificate=_certificate(MINE, "nc-00000001", OTHER_ROOT, OTHER)),
    replace(GRANTED, boss_certificate=_certificate(BOSS, "cc-00000001", OTHER_ROOT, OTHER)),
    replace(GRANTED, boss_certificate=_certificate(BOSS, "nc-00000009")),
    replace(GRANTED, boss="cc-00000002"),
    replace(GRANTED, host="nc-00000002"),
    replace(GRANTED, boss_certificate=""),
], ids=[
    "authority swapped", "everything swapped", "another key", "own by another authority", "boss by another authority",
    "another member as boss", "another boss", "another id", "no boss certificate",
])
def test_what_somebody_in_between_swapped_is_refused(granted: Membership) -> None:
    with pytest.raises(Refused) as e:
        joining._check(granted, TOKEN, MINE)
    assert e.value.code == "forged"


@pytest.mark.parametrize("token", ["secret.", "secret." + "0" * 64, "secret", "." + identity.fingerprint(OTHER)], ids=["none", "zeros", "no dot", "another"])
def test_the_token_names_the_authority(token: str) -> None:
    with pytest.raises(Refused) as e:
        joining._check(GRANTED, token, MINE)
    assert e.value.code == "forged"


def test_a_derived_secret_is_the_keys_and_the_purposes(tmp_path):
    key, other = identity.own_key(tmp_path / "a"), identity.own_key(tmp_path / "b")
    one = identity.derived(key, "broker", "nc-00000001", "r1")
    assert one == identity.derived(key, "broker", "nc-00000001", "r1")
    assert len(one) == 43
    assert len({one, identity.derived(other, "broker", "nc-00000001", "r1"), identity.derived(key, "broker", "nc-00000001r", "1")}) == 3
