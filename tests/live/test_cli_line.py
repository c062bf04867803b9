"""The client's line to a guest: real websockets and a real terminal against a small cloud that echoes."""

import asyncio
import contextlib
import json
import os
import pty
import queue
import select
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from websockets.asyncio.server import serve as asyncio_serve
from websockets.sync.server import serve

from deploy.cli import line
from luhyaapi.errors import CODES

pytestmark = pytest.mark.live


class Cloud:
    """An API that gives tickets and a websocket that does as ``act`` says; the client takes both for one address."""

    def __init__(self):
        self.asked, self.headers = [], []
        self.act = self.echo
        cloud = self

        class Api(BaseHTTPRequestHandler):
            def do_POST(self):
                cloud.asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                body = json.dumps({"url": f"http://evil.example:1/live/serial/{'t' * 32}"}).encode()
                self.send_response(201)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.api = ThreadingHTTPServer(("127.0.0.1", 0), Api)
        self.socket = serve(self.met, "127.0.0.1", 0, subprotocols=["binary"], compression=None)
        for server in (self.api, self.socket):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    def met(self, ws):
        self.headers.append((ws.request.path, ws.request.headers["Authorization"]))
        self.act(ws)

    def echo(self, ws):
        ws.send(b"\x1b]0;stolen\x07welcome\r\n")
        for piece in ws:
            ws.send(piece.upper())

    def call(self, *words, **more):
        code = (
            "import sys; from deploy.cli import line; from deploy.cli.main import main; from deploy.cli.session import Session; "
            f"line.address = lambda base, where, to=line.address: to('http://127.0.0.1:{self.socket.socket.getsockname()[1]}', where); "
            "sys.exit(main(sys.argv[1:], Session()))"
        )
        env = {**os.environ, "EDUCLOUD_URL": f"http://127.0.0.1:{self.api.server_port}", "EDUCLOUD_TOKEN": "secret"}
        return subprocess.Popen([sys.executable, "-c", code, *words], env=env, **more)


@pytest.fixture
def cloud():
    made = Cloud()
    yield made
    made.socket.shutdown()
    made.api.shutdown()


def piped(cloud, typed=b""):
    call = cloud.call("instance", "console", "ins-00000001", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = call.communicate(typed, timeout=60)
    return call.returncode, out, err.decode()


def test_pipes_get_what_was_said_as_it_is(cloud):
    assert piped(cloud, b"hello\r") == (0, b"\x1b]0;stolen\x07welcome\r\nHELLO\r", "")
    assert cloud.asked == [("/api/v1/instances/ins-00000001/serial/", {})]
    assert cloud.headers == [(f"/live/serial/{'t' * 32}", "Bearer secret")]


@pytest.mark.parametrize(("code", "reason", "exit_code", "words"), [
    (1000, "The screen ended", 0, ""), (4403, "This machine has a serial console after its next start\nwhy not", 5, "why not"),
    (4401, "Sign in first", 4, "Sign in first"), (4408, "The node did not answer", CODES["host_silent"].exit, "did not answer"),
    (1011, "", CODES["interrupted"].exit, "was cut"),
])
def test_an_end_says_why(cloud, code, reason, exit_code, words):
    cloud.act = lambda ws: ws.close(code, reason)
    got, _, err = piped(cloud)
    assert (got, words in err) == (exit_code, True), err


def test_it_has_no_json(cloud):
    call = cloud.call("--json", "instance", "console", "ins-00000001", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert call.wait(60) == 2
    assert cloud.asked == []


def test_a_terminal_is_raw_guarded_and_left_by_its_key(cloud):
    master, slave = pty.openpty()
    before = subprocess.run(["stty", "-a"], stdin=slave, capture_output=True, check=True).stdout
    call = cloud.call("instance", "console", "ins-00000001", stdin=slave, stdout=slave, stderr=subprocess.PIPE)
    seen = b""

    def until(text):
        nonlocal seen
        end = time.monotonic() + 60
        while text not in seen and time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                seen += os.read(master, 4096)
        assert text in seen, seen

    until(b"welcome")
    os.write(master, b"a\x03b")
    until(b"A\x03B".replace(b"\x03", b""))
    assert call.poll() is None
    os.write(master, b"\x1d")
    assert call.wait(20) == 0
    assert b"stolen" not in seen
    assert "Ctrl-] ends it" in call.stderr.read().decode()
    assert subprocess.run(["stty", "-a"], stdin=slave, capture_output=True, check=True).stdout == before
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(("base", "where", "found"), [
    ("http://cloud.test:8600", "/live/serial/x", "ws://cloud.test:8600/live/serial/x"),
    ("https://cloud.test", "/live/serial/x", "wss://cloud.test/live/serial/x"),
    ("https://cloud.test/under", "/live/serial/x", "wss://cloud.test/under/live/serial/x"),
    ("https://cloud.test", "ws://evil.example/live/serial/x?y#z", "wss://cloud.test/live/serial/x"),
])
def test_the_line_goes_to_the_cloud_that_was_chosen(base, where, found):
    assert line.address(base, where) == found


@pytest.fixture
def secured(tmp_path):
    """The address of an echo over TLS, and what trusts it."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run([
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=line",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
    ], check=True, capture_output=True)
    proves = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    proves.load_cert_chain(certificate, key)
    loop, at = asyncio.new_event_loop(), queue.SimpleQueue()

    async def echo(ws):
        async for piece in ws:
            await ws.send(piece)

    async def served():
        async with asyncio_serve(echo, "127.0.0.1", 0, ssl=proves) as server:
            at.put(server.sockets[0].getsockname()[1])
            await ended.wait()

    ended = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(served(),))
    thread.start()
    yield f"wss://127.0.0.1:{at.get(timeout=10)}/", ssl.create_default_context(cafile=str(certificate))
    loop.call_soon_threadsafe(ended.set)
    thread.join()
    loop.close()


def test_every_one_of_many_opens_over_tls(secured):
    """The library's client of two threads hung in some of a hundred."""
    address, trust = secured

    def spoken(n):
        with contextlib.closing(line.Line()) as one:
            one.open(address, ssl=trust, open_timeout=20)
            one.send(str(n))
            return one.recv(20)

    with ThreadPoolExecutor(8) as beside:
        assert list(beside.map(spoken, range(400))) == [str(n) for n in range(400)]


def test_a_line_waits_as_long_as_it_was_told(secured):
    address, trust = secured
    with contextlib.closing(line.Line()) as one:
        one.open(address, ssl=trust)
        with pytest.raises(TimeoutError):
            one.recv(0.05)
        one.send(b"late")
        assert one.recv(20) == b"late", "what comes after that is not lost"


def test_a_line_that_is_not_let_in_is_closed_all_the_same():
    with contextlib.closing(line.Line()) as one, pytest.raises(ConnectionRefusedError):
        one.open("ws://127.0.0.1:1/")
