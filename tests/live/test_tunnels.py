"""Lines to ports of guests over real sockets: only into a guest's own network, counted, ended with the lease."""

import contextlib
import socket
import threading
import time

import pytest

from cc.services import tunnels
from cc.services.tunnels import Tunnels, dial
from luhyaapi.conf import Network
from luhyaapi.contracts.specs import Nic
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire.stream import Dialling, Exchange

pytestmark = pytest.mark.live
ONE, TWO = "ins-00000001", "ins-00000002"
NIC = Nic(mac="52:54:00:00:00:01", ip="127.0.0.1")


@pytest.fixture
def guest():
    """A server that says hello and echoes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(sock,), daemon=True).start()

    def echo(sock):
        with sock, contextlib.suppress(ConnectionError):
            sock.sendall(b"hello\n")
            while data := sock.recv(65536):
                sock.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


class Boss:
    def __init__(self):
        self.ends, self.refused = {}, {}
        self.exchange = Exchange("127.0.0.1", 0, self.on_dial, on_refused=self.refused.__setitem__).start()
        self.dialling = Dialling(("127.0.0.1", self.exchange.port))

    def on_dial(self, stream, _host):
        near, far = socket.socketpair()
        far.settimeout(5)
        self.ends[stream] = far
        return near

    def end(self, stream):
        self.exchange.expect(stream, 10)
        return (self.dialling, stream, "cc-00000001")

    def soon(self, stream):
        return soon(lambda: self.ends.get(stream) or self.refused.get(stream))


def soon(true, within_s=5):
    until = time.monotonic() + within_s
    while not (answer := true()) and time.monotonic() < until:
        time.sleep(0.01)
    return answer


@pytest.fixture
def boss():
    made = Boss()
    yield made
    made.exchange.stop()


@pytest.fixture
def here(monkeypatch):
    """Loopback is the guests' network."""
    monkeypatch.setattr(tunnels, "bridge_of", lambda _bridge, _segment: "lo")
    return Tunnels(Network())


def test_bytes_go_both_ways_and_the_end_gives_the_place_back(here, boss, guest, monkeypatch):
    monkeypatch.setattr(tunnels, "OF_ONE_AT_MOST", 1)
    here.open(NIC, ONE, guest, boss.end("s1"))
    end = boss.soon("s1")
    assert end.recv(6) == b"hello\n"
    end.sendall(b"x" * 100_000)
    got = b""
    while len(got) < 100_000:
        got += end.recv(65536)
    with pytest.raises(Refused) as e:
        here.open(NIC, ONE, guest, boss.end("s2"))
    assert e.value.code == "quota"
    here.open(NIC, TWO, guest, boss.end("s3"))
    end.close()
    assert soon(lambda: [t.instance for t in here._open] == [TWO])
    here.open(NIC, ONE, guest, boss.end("s4"))
    assert boss.soon("s4").recv(6) == b"hello\n"


def test_in_all_there_are_not_too_many(here, boss, guest, monkeypatch):
    monkeypatch.setattr(tunnels, "AT_MOST", 1)
    here.open(NIC, ONE, guest, boss.end("s1"))
    with pytest.raises(Refused) as e:
        here.open(NIC, TWO, guest, boss.end("s2"))
    assert e.value.code == "quota"


def test_why_nothing_comes_is_told_above(here, boss):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    here.open(NIC, ONE, port, boss.end("s1"))
    told = boss.soon("s1")
    assert (told.code, told.what) == ("not_found", f"Nothing listens at port {port} of the instance")
    assert soon(lambda: not here._open)


def test_a_stream_nobody_waits_for_gives_its_place_back(here, boss, guest):
    here.open(NIC, ONE, guest, (boss.dialling, "never-announced", "cc-00000001"))
    assert soon(lambda: not here._open)
    assert boss.refused == {}


def test_what_is_lent_no_more_is_cut(here, boss, guest):
    for stream, instance in (("s1", ONE), ("s2", TWO)):
        here.open(NIC, instance, guest, boss.end(stream))
        assert boss.soon(stream).recv(6) == b"hello\n"
    here.keep_only({(TWO, NIC.ip), (ONE, "127.0.0.9")})
    assert boss.ends["s1"].recv(1) == b""
    boss.ends["s2"].sendall(b"x")
    assert boss.ends["s2"].recv(1) == b"x"


def test_only_the_guests_network_is_dialled(guest):
    with pytest.raises(Unavailable) as e:
        dial("no-such-bridge", "127.0.0.1", guest)
    assert e.value.code == "host_silent"
    # such an address on this host, and not in that network
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        with pytest.raises((Refused, Unavailable)):
            dial(others[0], "127.0.0.1", guest, 1)
