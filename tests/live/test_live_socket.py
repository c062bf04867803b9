"""A real server, a real websocket, a node that dials by the wire's own code: bytes, speed, ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from luhyaapi.errors import Refused
from luhyaapi.wire import stream

pytestmark = pytest.mark.live

_SEED = """
import json, os, django
django.setup()
from django.conf import settings
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth import SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY
from clc.services.sessions import SessionStore
from clc.services import own
from luhyaapi import clock
from luhyadb.models import *
own.make(settings.EDUCLOUD.host.state)
def person(name, **kw):
    a = Account(username=name, **kw); a.set_unusable_password(); a.save()
    s = SessionStore(); s[SESSION_KEY] = str(a.pk); s[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    s[HASH_SESSION_KEY] = a.get_session_auth_hash(); s.save()
    return a, s.session_key
ann, ann_key = person("ann"); bob, bob_key = person("bob")
img = Image.objects.create(id="img-00000001", name="tiny", owner=ann, created_at=1)
ver = ImageVersion.objects.create(image=img, version=1, state="published", created_at=1)
Host.objects.create(id="cc-00000001", role="cc", name="cc", state="up")
Instance.objects.create(id="ins-00000001", name="one", live_name="one", owner=ann, image=ver, cpus=1, memory_mib=64, state="running",
    cluster="cc-00000001", node="nc-00000001", created_at=1, changed_at=1)
from clc.services import screens
looks = [screens.open_look(ann, "ins-00000001") for _ in range(9)]
print(json.dumps({"cookie": settings.SESSION_COOKIE_NAME, "ann": ann_key, "bob": bob_key, "looks": [[l.ticket, l.stream] for l in looks]}))
"""
_LAST_STREAM = """
import json, django
django.setup()
from luhyadb.models import Outbox
from luhyaapi.command.send import Order
print(json.dumps(json.loads(Order.model_validate_json(Outbox.objects.order_by("-id").first().order).body)))
"""


def _free() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Served:
    def __init__(self, folder):
        (folder / "static").mkdir()
        self.http, self.door = _free(), _free()
        self.env = {
            **os.environ, "DJANGO_SETTINGS_MODULE": "deploy.settings", "EDUCLOUD_HOST__STATE": str(folder),
            "EDUCLOUD_HOST__STREAM_PORT": str(self.door), "EDUCLOUD_CONSOLE__PORT": str(self.http), "EDUCLOUD_BOARD__PORT": "0",
        }
        self.facts = self.script(_SEED)
        self.looks = iter(self.facts["looks"])
        code = (
            "import uvicorn; uvicorn.Server(uvicorn.Config('deploy.asgi:application', '127.0.0.1', "
            f"{self.http}, ws='websockets-sansio', ws_per_message_deflate=False, lifespan='on', log_level='warning', "
            "timeout_graceful_shutdown=2)).run()"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code], env=self.env)
        self._wait()

    def script(self, text):
        done = subprocess.run([sys.executable, "-c", text], env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def _wait(self):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            try:
                return socket.create_connection(("127.0.0.1", self.http), 1).close()
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.1)
        raise AssertionError("the server did not come up")

    def cookie(self, who):
        return f"{self.facts['cookie']}={self.facts[who]}"

    def ws(self, ticket, who="ann", origin=None):
        return connect(
            f"ws://127.0.0.1:{self.http}/live/screen/{ticket}", origin=origin or f"http://127.0.0.1:{self.http}",
            additional_headers={"Cookie": self.cookie(who)} if who else {}, subprotocols=["binary"],
            compression=None, max_size=None,
        )

    def dial(self, secret):
        return stream.dial(stream.Dialling(("127.0.0.1", self.door)), secret, "cc-00000001")

    def get(self, path, who="ann"):
        asked = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", headers={"Cookie": self.cookie(who)})
        return urllib.request.urlopen(asked, timeout=30)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    it = Served(tmp_path_factory.mktemp("clc"))
    yield it
    it.process.terminate()
    assert it.process.wait(10) is not None


def _echo(sock):
    with sock:
        while data := sock.recv(65536):
            sock.sendall(data)


def _joined(served):
    ticket, secret = next(served.looks)
    with_node = []
    dial = threading.Thread(target=lambda: with_node.append(served.dial(secret)))
    dial.start()
    ws = served.ws(ticket)
    dial.join(10)
    return ws, with_node[0], ticket, secret


def test_bytes_go_both_ways_and_fast(served):
    ws, node, _, _ = _joined(served)
    threading.Thread(target=_echo, args=(node,), daemon=True).start()
    with ws:
        assert ws.subprotocol == "binary"
        times = []
        for n in range(200):
            began = time.perf_counter()
            ws.send(f"{n:016d}".encode())
            assert ws.recv(5) == f"{n:016d}".encode()
            times.append(time.perf_counter() - began)
        total, piece, got = 32 * 1024 * 1024, os.urandom(64 * 1024), 0
        # The client's library reads nothing while it writes, so no more may be on its way than the sockets hold.
        window = threading.Semaphore(4)

        def send():
            for _ in range(total // len(piece)):
                assert window.acquire(timeout=20)
                ws.send(piece)

        began = time.perf_counter()
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        while got < total:
            before, got = got, got + len(ws.recv(20))
            for _ in range(got // len(piece) - before // len(piece)):
                window.release()
        rate = total / 1e6 / (time.perf_counter() - began)
        sender.join(20)
    print(f"\nround trip median {statistics.median(times) * 1e6:.0f} us, p99 {sorted(times)[197] * 1e6:.0f} us; {rate:.0f} MB/s echo")
    assert statistics.median(times) < 0.05
    assert rate > 5


def test_a_ticket_and_a_secret_are_good_once(served):
    ws, node, ticket, secret = _joined(served)
    with ws, node:
        with pytest.raises(Refused):
            served.dial(secret)
        with served.ws(ticket) as second, pytest.raises(ConnectionClosed) as closed:
            second.recv(5)
        assert closed.value.rcvd.code == 4403
        node.sendall(b"RFB 003.008\n")
        assert ws.recv(5) == b"RFB 003.008\n"


def test_the_end_of_the_node_ends_the_socket(served):
    ws, node, _, _ = _joined(served)
    node.sendall(b"bye")
    node.close()
    with ws:
        assert ws.recv(5) == b"bye"
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(5)
    assert closed.value.rcvd.code == 1000


def test_the_end_of_the_browser_ends_the_dial(served):
    ws, node, _, _ = _joined(served)
    with ws:
        pass
    node.settimeout(5)
    assert node.recv(10) == b""
    node.close()


def test_strangers_are_refused(served):
    ticket, _ = next(served.looks)
    with served.ws(ticket, who="bob") as ws, pytest.raises(ConnectionClosed) as closed:
        ws.recv(5)
    assert closed.value.rcvd.code == 4403
    with served.ws(ticket, who=None) as ws, pytest.raises(ConnectionClosed) as closed:
        ws.recv(5)
    assert closed.value.rcvd.code == 4401
    with pytest.raises(Exception, match="403"):
        served.ws(ticket, origin="http://evil.example")
    with pytest.raises(Refused):
        served.dial("x" * 32)


def test_what_the_node_says_why_not_is_the_reason_of_the_end(served):
    ticket, secret = next(served.looks)
    with served.ws(ticket) as ws:
        error = Refused("state", "This machine has a serial console after its next start", "it was started before there were any")
        stream.refuse(stream.Dialling(("127.0.0.1", served.door)), secret, "cc-00000001", error)
        with pytest.raises(ConnectionClosed) as closed:
            ws.recv(5)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
        4403, "This machine has a serial console after its next start\nit was started before there were any")


def test_garbage_at_the_door_is_hung_up(served):
    for line in (b"GET / HTTP/1.1\r\n\r\n", b"{}\n", b"x" * 4096 + b"\n", b'{"stream": 5, "v": 1}\n', b"[" * 1000 + b"\n"):
        with socket.create_connection(("127.0.0.1", served.door), 5) as sock:
            sock.sendall(line)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(10) == b""


def test_the_console_log_comes_as_text(served):
    answers = []

    def ask():
        with served.get("/api/v1/instances/ins-00000001/log/") as answer:
            answers.append((answer.headers, answer.read()))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.7)
    order = served.script(_LAST_STREAM)
    assert order["channel"] == "log"
    with served.dial(order["stream"]) as node:
        node.sendall("boot\0ing… ä\n".encode())
    asking.join(10)
    headers, text = answers[0]
    assert text == "booting… ä\n".encode()
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.get("/api/v1/instances/ins-00000001/log/", who="bob")
    assert refused.value.code == 404
    assert json.load(refused.value)["code"] == "not_found"


def test_events_come_over_a_real_connection(served):
    with served.get("/api/v1/events?after=0") as answer:
        seen = b""
        while b"screen opened" not in seen:
            seen += answer.read1(65536)
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert b"event: message\n" in seen


def test_the_page_of_the_log_shows_it_too(served):
    pages = []

    def ask():
        with served.get("/instances/ins-00000001/?tab=log") as answer:
            pages.append(answer.read().decode())

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(1)
    order = served.script(_LAST_STREAM)
    assert order["channel"] == "log"
    with served.dial(order["stream"]) as node:
        node.sendall(b"Linux <version> 6.1\n")
    asking.join(15)
    assert "Linux &lt;version&gt; 6.1" in pages[0]
