"""Streams dialled outward over real loopback sockets: node, cluster, cloud; and what is refused."""

import contextlib
import json
import os
import socket
import threading
import time

import pytest

from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire import stream as module
from luhyaapi.wire.stream import Dialling, Exchange, UnixSocket, bridge, dial, pump

pytestmark = pytest.mark.live


class Boss:
    """The last hop: takes dials and keeps the far ends for the test, as the cloud's live process would."""

    def __init__(self, idle_s=60):
        self.ends = {}
        self.heard = []
        self.exchange = Exchange("127.0.0.1", 0, self.on_dial, idle_s=idle_s).start()
        self.address = ("127.0.0.1", self.exchange.port)

    def on_dial(self, stream, host):
        near, far = socket.socketpair()
        self.ends[stream] = far
        self.heard.append((stream, host))
        far.settimeout(5)
        return near


@pytest.fixture
def boss():
    boss = Boss()
    yield boss
    boss.exchange.stop()
    for end in boss.ends.values():
        end.close()


@pytest.fixture
def middle(boss):
    exchange = Exchange("127.0.0.1", 0, lambda s, _h: dial(Dialling(boss.address), s, "cc-00000001")).start()
    yield exchange
    exchange.stop()


@pytest.fixture
def echo():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock:
                    sock.sendall(b"RFB 003.008\n")
                    while data := sock.recv(65536):
                        sock.sendall(data)
    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def read(sock, count):
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def test_a_screen_from_node_to_cloud(boss, middle, echo):
    boss.exchange.expect("s1", 10)
    middle.expect("s1", 10)
    running = bridge(echo, Dialling(("127.0.0.1", middle.port)), "s1", "nc-00000001")
    end = boss.ends["s1"]
    assert boss.heard == [("s1", "cc-00000001")]
    assert read(end, 12) == b"RFB 003.008\n"
    data = os.urandom(3_000_000)
    threading.Thread(target=end.sendall, args=(data,), daemon=True).start()
    assert read(end, len(data)) == data
    end.shutdown(socket.SHUT_WR)
    assert end.recv(1) == b""
    assert running.wait(5)
    assert running.moved.back == len(data)
    assert running.moved.there == len(data) + 12


def test_a_screen_behind_a_socket_file(boss, tmp_path):
    # deeper than a socket's path may be long: it is dialled all the same
    folder = tmp_path / ("x" * 60) / ("y" * 60)
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{handle}/vnc")
        listener.listen()
        boss.exchange.expect("s1", 10)
        running = bridge(UnixSocket(folder / "vnc"), Dialling(boss.address), "s1", "nc-00000001")
        screen, _ = listener.accept()
        with screen:
            screen.sendall(b"RFB 003.008\n")
            assert read(boss.ends["s1"], 12) == b"RFB 003.008\n"
            boss.ends["s1"].sendall(b"RFB 003.008\n")
            assert read(screen, 12) == b"RFB 003.008\n"
        boss.ends["s1"].close()
        assert running.wait(5)
    os.close(handle)


def test_only_a_socket_somebody_listens_on_is_dialled(boss, tmp_path):
    boss.exchange.expect("s1", 10)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "real"))
        listener.listen()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        (tmp_path / "file").write_text("")
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(tmp_path / "left"))
        for name in ("link", "file", "left", "missing"):
            with pytest.raises(Refused) as e:
                bridge(UnixSocket(tmp_path / name), Dialling(boss.address), "s1", "nc-00000001")
            assert e.value.code == "not_found"
    assert boss.heard == []


def test_a_log_is_sent_and_ends(boss, tmp_path):
    (tmp_path / "log").write_bytes(b"line\n" * 100_000)
    boss.exchange.expect("s1", 10)
    bridge(tmp_path / "log", Dialling(boss.address), "s1", "nc-00000001")
    end = boss.ends["s1"]
    assert read(end, 10**7) == b"line\n" * 100_000


def test_a_log_is_followed_until_the_reader_goes(boss, tmp_path):
    (tmp_path / "log").write_bytes(b"one\n")
    boss.exchange.expect("s1", 10)
    running = bridge(tmp_path / "log", Dialling(boss.address), "s1", "nc-00000001", follow=True)
    end = boss.ends["s1"]
    assert read(end, 4) == b"one\n"
    with (tmp_path / "log").open("ab") as file:
        file.write(b"two\n")
    assert read(end, 4) == b"two\n"
    end.close()
    assert running.wait(5)


def test_a_secret_is_good_once(boss):
    boss.exchange.expect("s1", 10)
    dial(Dialling(boss.address), "s1", "nc-00000001").close()
    with pytest.raises(Refused):
        dial(Dialling(boss.address), "s1", "nc-00000001")


def test_unknown_and_expired_secrets_are_refused(boss):
    boss.exchange.expect("old", -1)
    for secret in ("old", "unknown", ""):
        with pytest.raises(Refused) as e:
            dial(Dialling(boss.address), secret, "nc-00000001")
        assert e.value.code == "forbidden"
    assert boss.heard == []


def test_when_the_way_up_fails_the_child_hears_it(middle):
    middle.expect("s1", 10)
    with pytest.raises(Refused):
        dial(Dialling(("127.0.0.1", middle.port)), "s1", "nc-00000001")


def test_a_node_with_nothing_to_offer_is_heard_at_the_top(boss, tmp_path):
    told = []
    boss.exchange._on_refused = lambda stream, error: told.append((stream, error))
    up = Dialling(boss.address)
    middle = Exchange("127.0.0.1", 0, lambda s, _h: dial(up, s, "cc-00000001"),
                      on_refused=lambda s, error: module.refuse(up, s, "cc-00000001", error)).start()
    for stream in ("s1", "s2"):
        boss.exchange.expect(stream, 10)
        middle.expect(stream, 10)
    try:
        door = Dialling(("127.0.0.1", middle.port))
        with pytest.raises(Refused):
            bridge(tmp_path / "missing", door, "s1", "nc-00000001")
        module.refuse(door, "s2", "nc-00000001", Refused("state", "没" * 2000, "y" * 9000, hint="Start it first."))
        until = time.monotonic() + 5
        while len(told) < 2 and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        middle.stop()
    found = dict(told)
    assert (found["s1"].code, found["s1"].what) == ("not_found", "There is no such log")
    assert found["s2"].what.startswith("没没没")
    assert found["s2"].params["hint"] == "Start it first."
    assert boss.ends == {}
    # it was announced once, and is used up
    with pytest.raises(Refused):
        dial(up, "s1", "cc-00000001")


def test_a_refusal_nobody_takes_is_no_trouble():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    module.refuse(Dialling(("127.0.0.1", port)), "s1", "nc-00000001", Refused("state", "Nothing"))


@pytest.mark.parametrize("error", ["no form", {"code": "made-up"}, {"what": "x"}, {"code": ["state"]}, 5])
def test_a_strange_error_in_a_hello_is_none(error):
    assert module.error_of({"error": error}) is None


def test_nobody_there():
    with pytest.raises(Unavailable) as e:
        dial(Dialling(("127.0.0.1", 9)), "s1", "nc-00000001", 1)
    assert e.value.code == "host_silent"


def test_a_boss_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(Unavailable):
        dial(Dialling(mute.getsockname()), "s1", "nc-00000001", 0.3)


def test_what_is_not_there_cannot_be_bridged(boss, tmp_path):
    boss.exchange.expect("s1", 10)
    for local in (9, tmp_path / "missing"):
        with pytest.raises(Refused) as e:
            bridge(local, Dialling(boss.address), "s1", "nc-00000001")
        assert e.value.code == "not_found"
    assert boss.heard == []


@pytest.mark.parametrize("hello", [
    b"GET / HTTP/1.1\r\n\r\n", b"\n", b"[]\n", b"{\n", b"x" * 2000, b"\xff\xff\n", b"[" * 1000 + b"\n",
    json.dumps({"stream": "s1", "host": "nc-1", "v": 2}).encode() + b"\n", json.dumps({"stream": 1, "host": "nc-1", "v": 1}).encode() + b"\n",
    json.dumps({"stream": "s1", "v": 1}).encode() + b"\n", json.dumps({"stream": "s1", "host": "h", "v": 1}).encode() + b"\nmore", b"",
])
def test_a_bad_hello_is_closed_and_uses_nothing_up(boss, hello):
    boss.exchange.expect("s1", 10)
    with socket.create_connection(boss.address, timeout=5) as sock:
        sock.sendall(hello)
        if not hello:
            sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(10) == b""
    dial(Dialling(boss.address), "s1", "nc-00000001").close()


def test_a_slow_hello_is_closed(boss, monkeypatch):
    monkeypatch.setattr(module.read_hello, "__defaults__", (0.3,))
    with socket.create_connection(boss.address, timeout=5) as sock:
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 400:
                sock.sendall(b" ")
                time.sleep(0.05)
                sent += 1
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(10) == b""
        assert sent < 400


def test_too_many_silent_dials_do_not_lock_others_out_for_long(boss, monkeypatch):
    monkeypatch.setattr(module.read_hello, "__defaults__", (0.5,))
    silent = [socket.create_connection(boss.address) for _ in range(60)]
    boss.exchange.expect("s1", 10)
    until = time.monotonic() + 5
    while True:
        try:
            dial(Dialling(boss.address), "s1", "nc-00000001").close()
            break
        except (Refused, Unavailable):
            assert time.monotonic() < until
            time.sleep(0.1)
    for sock in silent:
        sock.close()


def test_a_silent_stream_ends(monkeypatch):
    monkeypatch.setattr(module, "_LOOK_S", 0.05)
    boss = Boss(idle_s=0.2)
    boss.exchange.expect("s1", 10)
    with dial(Dialling(boss.address), "s1", "nc-00000001") as sock:
        sock.settimeout(5)
        assert sock.recv(1) == b""
    boss.exchange.stop()


def test_a_slow_reader_slows_its_writer_and_takes_no_memory():
    (a, b), (c, d) = socket.socketpair(), socket.socketpair()
    stop = threading.Event()
    thread = threading.Thread(target=pump, args=(b, c), kwargs={"stop": stop})
    thread.start()
    a.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 50_000_000:
            sent += a.send(bytes(65536))
            time.sleep(0.0005)
    assert sent < 5_000_000
    d.settimeout(5)
    assert len(read(d, sent)) == sent
    a.shutdown(socket.SHUT_WR)
    assert d.recv(1) == b""
    d.sendall(b"still")
    a.settimeout(5)
    assert read(a, 5) == b"still"
    d.close()
    thread.join(5)
    assert not thread.is_alive()
    a.close()


def test_stopping_the_door_ends_running_streams(boss):
    boss.exchange.expect("s1", 10)
    sock = dial(Dialling(boss.address), "s1", "nc-00000001")
    boss.exchange.stop()
    sock.settimeout(5)
    assert sock.recv(1) == b""
    sock.close()
