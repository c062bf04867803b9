"""The S3 object store when its server does not do what it should: away, frozen, full, strange, lying."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from luhyaapi.errors import Failed, Refused, Trouble, Unavailable
from tests.support.odd_s3 import Answer, OddS3, odd_s3
from tests.support.private_swift import ACCESS_KEY, SECRET_KEY, PrivateSwift, private_swift
from walrus.drivers.base import PIECE
from walrus.drivers.s3 import S3Store

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
PACK = 64 * MIB
DIES = """
import os, sys
from pathlib import Path
from luhyaapi import points
from walrus.drivers.s3 import S3Store
store = S3Store(*sys.argv[1:5])
points.use(lambda name: name == sys.argv[6] and os._exit(9))
store.put_file("packs/1", Path(sys.argv[5]))
"""


@pytest.fixture(scope="module")
def swift() -> Iterator[PrivateSwift]:
    with private_swift() as swift:
        yield swift


@pytest.fixture
def odd() -> Iterator[OddS3]:
    with odd_s3() as odd:
        yield odd


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    file = tmp_path / "pack"
    with file.open("wb") as out:
        for n in range(PACK // MIB):
            out.write(bytes([n]) * MIB)
    return file


def opened(server: PrivateSwift | OddS3, bucket: str = "objects", patience_s: float = 30.0, **over: str) -> S3Store:
    return S3Store(server.endpoint, bucket, **{"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, **over}, patience_s=patience_s)


def raises(kind: type[Trouble], code: str, call: Callable[..., object], *args: object) -> str:
    with pytest.raises(kind) as caught:
        call(*args)
    assert caught.value.code == code
    assert SECRET_KEY not in str(caught.value)
    return caught.value.why


def test_a_missing_bucket_is_made(swift: PrivateSwift) -> None:
    opened(swift, "not-there-yet").put("a", b"1")
    assert opened(swift, "not-there-yet").get("a") == b"1"


def test_what_others_keep_in_the_bucket_is_not_ours(swift: PrivateSwift) -> None:
    opened(swift, "shared", prefix="theirs").put("a", b"1")
    store = opened(swift, "shared", prefix="ours")
    swift.mention("shared", ["ours/README", "ours/a_b"])
    store.put("a", b"2")
    assert list(store.names("")) == ["a"]
    assert list(opened(swift, "shared").names("")) == ["ours/a", "theirs/a"]


@pytest.mark.parametrize("over", [{"secret_key": "wrong"}, {"access_key": "school:nobody"}, {"access_key": "school:stranger"}])
def test_wrong_keys_are_refused(swift: PrivateSwift, over: dict[str, str]) -> None:
    opened(swift)
    raises(Refused, "forbidden", lambda: opened(swift, **over))


def test_a_full_server_says_so(swift: PrivateSwift, pack: Path) -> None:
    store = opened(swift, "small")
    store.put("a", b"1")
    swift.quota("small", MIB)
    raises(Failed, "disk_full", store.put_file, "a", pack)
    assert (store.get("a"), pack.stat().st_size) == (b"1", PACK)


def test_the_server_dies_while_it_is_sent_a_file(swift: PrivateSwift, pack: Path) -> None:
    store = opened(swift, "sent")
    store.put("packs/1", b"old")
    before, ended = swift.received(), threading.Event()

    def kill() -> None:
        while swift.received() < before + 8 * MIB and not ended.is_set():
            time.sleep(0.001)
        swift.stop()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        raises(Unavailable, "interrupted", store.put_file, "packs/1", pack)
    finally:
        ended.set()
        killer.join()
        swift.start()
    assert (store.get("packs/1"), pack.stat().st_size) == (b"old", PACK)
    store.put_file("packs/1", pack)
    assert (store.size("packs/1"), pack.exists()) == (PACK, False)


def test_the_server_dies_while_it_is_read(swift: PrivateSwift, pack: Path) -> None:
    store, got = opened(swift, "read"), hashlib.sha256()
    wanted = hashlib.sha256(pack.read_bytes()).digest()
    store.put_file("packs/1", pack)
    position = 0
    pieces = store.read("packs/1", 0, PACK)
    got.update(first := next(pieces))
    position += len(first)
    swift.stop()

    def rest() -> None:
        nonlocal position
        for piece in pieces:
            got.update(piece)
            position += len(piece)

    try:
        raises(Unavailable, "interrupted", rest)
        assert PIECE <= position < PACK
        raises(Unavailable, "interrupted", store.get, "packs/1")
        raises(Unavailable, "interrupted", opened, swift)
    finally:
        swift.start()
    for piece in store.read("packs/1", position, PACK):
        got.update(piece)
    assert got.digest() == wanted


def test_a_silent_server_is_not_waited_for_long(swift: PrivateSwift) -> None:
    store = opened(swift, "silent", patience_s=0.5)
    swift.freeze()
    began = time.monotonic()
    try:
        for call in (lambda: store.size("a"), lambda: store.put("a", b"1"), lambda: list(store.names(""))):
            raises(Unavailable, "interrupted", call)
    finally:
        swift.thaw()
    assert time.monotonic() - began < 3 * 3 * 2.5


@pytest.mark.parametrize(("at", "kept"), [("object: before send", []), ("object: after send", ["packs/1"])])
def test_a_death_while_a_file_is_sent(swift: PrivateSwift, tmp_path: Path, at: str, kept: list[str]) -> None:
    bucket = at.removeprefix("object: ").replace(" ", "-")
    (source := tmp_path / "source").write_bytes(os.urandom(MIB))
    argv = [sys.executable, "-c", DIES, swift.endpoint, bucket, ACCESS_KEY, SECRET_KEY, source, at]
    done = subprocess.run(argv, cwd=ROOT, timeout=60, check=False, capture_output=True)
    assert done.returncode == 9, done.stderr
    store = opened(swift, bucket)
    assert (list(store.names("")), source.exists()) == (kept, True)
    store.put_file("packs/1", source)
    assert store.size("packs/1") == MIB


@pytest.mark.parametrize(("status", "code", "kind", "means"), [
    (507, "InsufficientStorage", Failed, "disk_full"), (507, "XMinioStorageFull", Failed, "disk_full"),
    (403, "QuotaExceeded", Failed, "disk_full"), (403, "RequestTimeTooSkewed", Refused, "forbidden"), (401, "", Refused, "forbidden"),
    (503, "SlowDown", Unavailable, "interrupted"), (500, "InternalError", Unavailable, "interrupted"),
    (404, "NoSuchBucket", Unavailable, "interrupted"), (409, "OperationAborted", Unavailable, "interrupted"),
    (400, "BadDigest", Failed, "digest"), (400, "InvalidRequest", Failed, "program"), (501, "NotImplemented", Failed, "program"),
])
def test_what_the_server_says(odd: OddS3, status: int, code: str, kind: type[Trouble], means: str) -> None:
    store = opened(odd)
    odd.answers["PUT"] = Answer(status, code)
    assert f"a: {status} {code}" in raises(kind, means, store.put, "a", b"1")


def test_trouble_of_the_server_is_tried_three_times(odd: OddS3) -> None:
    store = opened(odd)
    odd.asked.clear()
    odd.answers["GET"] = Answer(500, "InternalError")
    raises(Unavailable, "interrupted", store.get, "a")
    assert odd.asked == ["GET"] * 3


def test_a_bucket_that_went_is_no_object_that_went(odd: OddS3) -> None:
    store = opened(odd)
    odd.answers["HEAD"] = Answer(404)
    assert raises(Unavailable, "interrupted", store.size, "a") == "objects"


def test_deleting_what_is_not_there_is_harmless_where_a_server_minds(odd: OddS3) -> None:
    store = opened(odd)
    odd.answers["DELETE"] = Answer(404, "NoSuchKey")
    store.delete("a")
    assert odd.asked[-1] == "DELETE"


def test_a_bucket_another_process_made_first_is_ours(odd: OddS3) -> None:
    odd.answers = {"HEAD": Answer(404), "PUT": Answer(409, "BucketAlreadyOwnedByYou")}
    opened(odd)
    odd.answers["PUT"] = Answer(409, "BucketAlreadyExists")
    raises(Failed, "program", lambda: opened(odd, region="cn-north-1"))


def test_other_bytes_than_were_sent_are_not_kept(odd: OddS3, tmp_path: Path) -> None:
    (source := tmp_path / "source").write_bytes(b"1")
    store = opened(odd)
    odd.answers["PUT"] = Answer(headers={"ETag": f'"{"0" * 32}"'})
    raises(Failed, "digest", store.put_file, "a", source)
    assert (odd.asked[-1], source.read_bytes()) == ("DELETE", b"1")


@pytest.mark.parametrize("headers", [
    {"ETag": f'"{"0" * 32}"', "x-amz-server-side-encryption": "aws:kms"}, {"ETag": '"opaque"'}, {}, {"ETag": f'"{"c4ca4238a0b923820dcc509a6f75849b"}"'},
])
def test_only_a_promised_checksum_is_looked_at(odd: OddS3, headers: dict[str, str]) -> None:
    store = opened(odd)
    odd.answers["PUT"] = Answer(headers=headers)
    store.put("a", b"1")
    assert odd.asked[-1] == "PUT"


def test_a_torn_answer_is_no_object(odd: OddS3) -> None:
    store = opened(odd)
    odd.answers["GET"] = Answer(body=b"half", headers={"Content-Length": "8"}, cut=True)
    raises(Unavailable, "interrupted", store.get, "a")


def test_the_whole_instead_of_a_part_is_not_taken(odd: OddS3) -> None:
    store = opened(odd)
    odd.answers["GET"] = Answer(body=b"whole")
    raises(Failed, "program", store.get, "a", 2, 3)
    assert store.get("a") == b"whole"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of 127.0.0.1, its own authority; and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "store")]), dt.datetime.now(dt.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(hours=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
    files = tmp_path / "store.pem", tmp_path / "store.key"
    files[0].write_bytes(made.sign(key, SHA256()).public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def test_over_tls_only_the_named_authority_is_believed(certificate: tuple[Path, Path]) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    with odd_s3(tls) as odd:
        odd.answers["GET"] = Answer(body=b"1")
        assert S3Store(odd.endpoint, "objects", ACCESS_KEY, SECRET_KEY, ca_file=certificate[0]).get("a") == b"1"
        odd.asked.clear()
        assert "certificate verify failed" in raises(Unavailable, "interrupted", opened, odd)
        assert odd.asked == []


def test_something_else_than_s3_is_no_store(odd: OddS3) -> None:
    store = opened(odd)
    odd.answers["GET"] = Answer(body=b"<html>Welcome", headers={"Content-Type": "text/html"})
    raises(Unavailable, "interrupted", lambda: list(store.names("")))
