"""TLS between hosts: everybody proves who they are before anything is said, and a secured stream is a stream like any other."""

import contextlib
import hashlib
import socket
import threading
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from luhyaapi import clock, conf
from luhyaapi.conf import Settings
from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.transfer.base import Trust
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.download import Patience
from luhyaapi.transfer.giver import CacheGiver
from luhyaapi.wire import identity, joining, stream, tls
from luhyaapi.wire.blobs import block_routes
from luhyaapi.wire.http import Door, json_answer, json_route, route

pytestmark = pytest.mark.live
CC, CLC, NC = "cc-0000000c", "clc-0000000a", "nc-00000001"
CONTENT = bytes(range(256)) * 4096


class House:
    """An authority, and the folders of hosts it certified."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = generate_private_key(SECP256R1())
        self.authority = identity.make_authority(self.key)

    def member(self, host: str, boss: str = "", **more: str) -> Path:
        """The identity folder of a host that joined."""
        folder = self.folder / host / "identity"
        own = identity.own_key(folder)
        spoken = identity.request(identity.tls_key(folder / identity.TLS_KEY_FILE), host)
        identity.Membership(
            host, identity.certify(self.key, self.authority, identity.request(own, host), host), self.authority, boss, "", "",
            tls=identity.certify_tls(self.key, self.authority, spoken, host), **more,
        ).save(folder)
        return folder


@pytest.fixture
def house(tmp_path):
    return House(tmp_path / "ours")


@pytest.fixture
def strangers(tmp_path):
    return House(tmp_path / "theirs")


def served(folder: Path, *routes, role="cc"):
    return Door(role, "127.0.0.1", 0, list(routes), lambda: (), tls.serving(folder)).start()


def asked(door: Door, trusted: Trust, path: str = "/healthz") -> httpx.Response:
    with tls.http(trusted) as client:
        return client.get(f"https://127.0.0.1:{door.port}{path}", extensions=tls.asking(trusted), timeout=5)


@pytest.mark.parametrize("name", [CC, "cc.educloud"])
def test_a_door_proves_its_host_and_its_role(house, name):
    door = served(house.member(CC))
    try:
        assert asked(door, tls.trust(house.member(NC), name)).json()["status"] == "ok"
    finally:
        door.stop()


@pytest.mark.parametrize("name", ["cc-0000000d", "clc.educloud", "127.0.0.1", "educloud"])
def test_a_door_of_another_host_is_left_before_a_word(house, name):
    door = served(house.member(CC))
    try:
        with pytest.raises(httpx.ConnectError):
            asked(door, tls.trust(house.member(NC), name))
    finally:
        door.stop()


def test_a_door_of_another_cloud_is_left(house, strangers):
    door = served(strangers.member(CC))
    try:
        with pytest.raises(httpx.ConnectError):
            asked(door, tls.trust(house.member(NC), CC))
    finally:
        door.stop()


def test_silent_and_plain_peers_delay_nobody(house):
    door = served(house.member(CC))
    trusted = tls.trust(house.member(NC), CC)
    mute = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(3)]
    try:
        with socket.create_connection(("127.0.0.1", door.port), timeout=5) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            began = clock.monotonic()
            assert asked(door, trusted).status_code == 200
            assert clock.monotonic() - began < 5
            assert b"healthz" not in plain.recv(1000)
    finally:
        for sock in mute:
            sock.close()
        door.stop()


def test_bytes_come_only_from_whom_they_should(house, strangers, tmp_path):
    store = BlobCache(tmp_path / "store", 1000, 0)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    part = store.part(sha256)
    part.write_bytes(CONTENT)
    store.adopt(part, sha256)
    blob = Blob(sha256=sha256, index=store.index(sha256).name, size=len(CONTENT), part="disk")
    door = served(house.member(CC), *block_routes("cc", CacheGiver(store), lambda *_: None))
    cache = BlobCache(tmp_path / "cache", 1000, 0)
    url = f"https://127.0.0.1:{door.port}/cc/api/1.0/blobs/{blob.sha256}"
    try:
        for wrong in (None, tls.trust(house.member(NC), "walrus.educloud"), tls.trust(strangers.member(NC), CC)):
            with pytest.raises(Unavailable):
                fetch(cache, blob, url, "t", patience=Patience(0.3, 0.3), trust=wrong)
        assert fetch(cache, blob, url, "t", trust=tls.trust(house.member(NC), CC)).read_bytes() == CONTENT
    finally:
        door.stop()


# ---- streams


class Echo:
    """A browser's side that sends back what it gets, in capitals, until the other side ends."""

    def __call__(self, _stream: str, _host: str) -> socket.socket:
        near, far = socket.socketpair()

        def run() -> None:
            with far, contextlib.suppress(OSError):
                while data := far.recv(65536):
                    far.sendall(data.upper())
                far.sendall(b"BYE")

        threading.Thread(target=run, daemon=True).start()
        return near


@pytest.fixture
def exchange(house):
    made = stream.Exchange("127.0.0.1", 0, Echo(), serving=tls.serving(house.member(CC))).start()
    yield made
    made.stop()


def to(exchange, folder: Path, boss: str = CC) -> stream.Dialling:
    return stream.Dialling(("127.0.0.1", exchange.port), tls.trust(folder, boss))


def test_a_secured_stream_carries_much_both_ways_and_ends_one_way_at_a_time(house, exchange):
    exchange.expect("s1", 10)
    sock = stream.dial(to(exchange, house.member(NC)), "s1", NC)
    sent = b"abcdefgh" * 200_000
    got = bytearray()

    def read() -> None:
        while data := sock.recv(65536):
            got.extend(data)

    reader = threading.Thread(target=read)
    reader.start()
    sock.sendall(sent)
    sock.shutdown(socket.SHUT_WR)
    reader.join(20)
    assert bytes(got) == sent.upper() + b"BYE"
    sock.close()


def test_a_stream_is_not_told_to_a_stranger(house, strangers, exchange):
    exchange.expect("s1", 10)
    for folder, boss in ((house.member(NC), "cc-0000000d"), (strangers.member(NC), CC)):
        with pytest.raises(Unavailable) as e:
            stream.dial(to(exchange, folder, boss), "s1", NC)
        assert e.value.code == "host_silent"
    stream.dial(to(exchange, house.member(NC)), "s1", NC).close()


def test_a_plain_dial_at_a_secured_door_is_dropped_and_the_next_is_served(house, exchange):
    exchange.expect("s1", 10)
    with pytest.raises((Unavailable, Refused)):
        stream.dial(stream.Dialling(("127.0.0.1", exchange.port)), "s1", NC, timeout_s=3)
    stream.dial(to(exchange, house.member(NC)), "s1", NC).close()


# ---- joining


class Boss:
    """A CC's joining door that grants what the house says."""

    def __init__(self, house: House, shows: House | None = None) -> None:
        self.house, self.asked = house, []
        folder = house.member(CC)
        self.door = served(
            folder,
            route("GET", "/cc/api/1.0/authority/?", lambda _r: json_answer({"authority": (shows or house).authority})),
            route("GET", "/cc/api/1.0/join/[A-Za-z0-9_-]+/?", self._fetch),
            json_route("/cc/api/1.0/join/?", self._ask),
        )

    def _ask(self, form, _request):
        self.asked.append(form)
        return {"state": "new"}

    def _fetch(self, _request):
        if not self.asked:
            raise Refused("not_found", "There is no such request to join")
        house = self.house
        own = house.member(CC)
        return json_answer({
            "host": NC, "certificate": identity.certify(house.key, house.authority, self.asked[0]["csr"], NC),
            "authority": house.authority, "boss": CC, "boss_certificate": (own / "certificate.pem").read_text(),
            "broker": "amqps://x", "broker_name": CC, "streams": "127.0.0.1:1",
        })


def settings(tmp_path: Path, boss: Boss, token: str) -> Settings:
    file = tmp_path / "token"
    file.write_text(token)
    return conf.load(
        host={"role": "nc", "name": "n1", "state": tmp_path / "nc"},
        boss={"door": f"https://127.0.0.1:{boss.door.port}", "token_file": file},
    )


def test_joining_over_tls(house, tmp_path):
    boss = Boss(house)
    try:
        got = joining.membership(settings(tmp_path, boss, f"ejt.secret.{identity.fingerprint(house.authority)}"))
        assert got.secured
        assert (got.host, got.boss) == (NC, CC)
        assert (tmp_path / "nc/identity/authority.pem").read_text() == house.authority
        assert boss.asked[0]["token"].startswith("ejt.")
    finally:
        boss.door.stop()


@pytest.mark.parametrize("lies", [False, True])
def test_the_token_is_not_told_to_whom_it_does_not_name(house, strangers, tmp_path, lies):
    """Whoever stands in between may show its own authority, or ours without being certified by it."""
    boss = Boss(strangers, shows=house if lies else None)
    told = settings(tmp_path, boss, f"ejt.secret.{identity.fingerprint(house.authority)}")
    tries = iter([False, True])
    try:
        with pytest.raises((Refused, Unavailable)) as e:
            joining.membership(told, lambda: next(tries, True))
        assert e.value.code in ("forged", "interrupted")
        assert boss.asked == []
    finally:
        boss.door.stop()


def test_without_a_token_the_first_authority_is_believed(house, tmp_path):
    boss = Boss(house)
    try:
        assert joining.membership(settings(tmp_path, boss, "")).host == NC
    finally:
        boss.door.stop()


def test_a_key_of_another_kind_is_refused(tmp_path):
    csr = identity.request(Ed25519PrivateKey.generate(), "x")
    with pytest.raises(Refused):
        identity.check_tls_request(csr)
    with pytest.raises(Refused):
        identity.check_request(identity.request(generate_private_key(SECP256R1()), "x"))
    (tmp_path / "key").write_bytes(identity.private_pem(Ed25519PrivateKey.generate()))
    with pytest.raises(Refused):
        identity.tls_key(tmp_path / "key")
