"""A role's door over real loopback sockets: routes, ranges, uploads, fetching through a cutting wire, bad clients."""

import contextlib
import hashlib
import http.client
import json
import multiprocessing
import random
import socket
import threading
import time

import pytest
from blake3 import blake3

from luhyaapi.contracts.specs import Blob
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer.blocks import BLOCK, Index
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.courier import fetch
from luhyaapi.transfer.download import Patience
from luhyaapi.wire import http as http_module
from luhyaapi.wire.blobs import blob_routes, block_routes, upload_routes
from luhyaapi.wire.http import Door, json_route
from tests.support import image_store
from walrus.services.library import Library

pytestmark = pytest.mark.live
MIB = 1024 * 1024
CONTENT = random.Random(3).randbytes(3 * MIB + 11)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
INDEX = Index(len(CONTENT), b"".join(blake3(CONTENT[at : at + BLOCK]).digest() for at in range(0, len(CONTENT), BLOCK)))
BLOB = Blob(part="disk", sha256=SHA256, index=INDEX.name, size=len(CONTENT))
TICKET = {"Authorization": "Ticket good"}


def authorize(ticket, subject, action):
    if ticket != "good":
        raise Refused("expired" if ticket == "old" else "forged", "The ticket is not good")
    assert action in ("get", "put")
    assert subject


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("walrus")


@pytest.fixture(scope="module")
def store(folder):
    kept = image_store.opened(folder / "store")
    (folder / "content").write_bytes(CONTENT)
    assert kept.add(folder / "content", SHA256).index.name == BLOB.index
    return kept


@pytest.fixture(scope="module")
def reasons():
    return []


@pytest.fixture(scope="module")
def door(store, folder, reasons):
    library = Library(folder, store, largest_mib=100)

    def crash(_value, _request):
        raise ZeroDivisionError("secret detail")
    door = Door("walrus", "127.0.0.1", 0, [
        *blob_routes("walrus", store, authorize), *block_routes("walrus", store, authorize), *upload_routes("walrus", library, authorize),
        json_route(r"/walrus/api/1\.0/echo/", lambda value, _request: {"got": value}), json_route("/crash", crash),
    ], lambda: reasons).start()
    yield door
    door.stop()


def ask(door, method, path, body=None, headers=TICKET):
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def url(door):
    return f"http://127.0.0.1:{door.port}/walrus/api/1.0/blobs/{SHA256}"


PATH = f"/walrus/api/1.0/blobs/{SHA256}"


def test_health_readiness_and_metrics(door, reasons):
    assert ask(door, "GET", "/healthz")[0] == 200
    assert ask(door, "GET", "/readyz")[0] == 200
    reasons.append("the broker does not answer")
    status, _, body = ask(door, "GET", "/readyz")
    assert (status, json.loads(body)["reasons"]) == (503, reasons)
    reasons.clear()
    assert b"educloud_http_answers" in ask(door, "GET", "/metrics")[2]


def test_a_whole_blob_and_its_head(door):
    status, headers, body = ask(door, "GET", PATH)
    assert (status, body) == (200, CONTENT)
    assert headers["ETag"] == f'"{SHA256}"'
    assert headers["Accept-Ranges"] == "bytes"
    status, headers, body = ask(door, "HEAD", PATH)
    assert (status, headers["Content-Length"], body) == (200, str(len(CONTENT)), b"")


@pytest.mark.parametrize(("asked", "status", "start", "end"), [
    ("bytes=0-0", 206, 0, 1), ("bytes=5-", 206, 5, None), ("bytes=-7", 206, -7, None), ("bytes=10-99999999999", 206, 10, None),
    ("bytes=5-4", 200, 0, None), ("bytes=0-1,5-6", 200, 0, None), ("lines=0-1", 200, 0, None), ("bytes=-", 200, 0, None),
    ("bytes=99999999-", 416, 0, 0), ("bytes=-0", 416, 0, 0), ("bytes=" + "9" * 40 + "-", 200, 0, None),
])
def test_ranges(door, asked, status, start, end):
    got, headers, body = ask(door, "GET", PATH, headers={**TICKET, "Range": asked})
    assert got == status
    assert body == (b"" if status == 416 else CONTENT[start:end])
    if status == 206:
        first = start % len(CONTENT)
        assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(CONTENT)}"


@pytest.mark.parametrize(("headers", "status", "code"), [
    ({}, 401, "unauthenticated"), ({"Authorization": "Bearer good"}, 401, "unauthenticated"),
    ({"Authorization": "Ticket"}, 401, "unauthenticated"), ({"Authorization": "Ticket bad"}, 403, "forged"),
    ({"Authorization": "Ticket old"}, 409, "expired"),
])
def test_without_a_good_ticket_nothing_comes(door, headers, status, code):
    got, answered, body = ask(door, "GET", PATH, headers=headers)
    assert (got, json.loads(body)["code"]) == (status, code)
    assert answered["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("path", [
    "/walrus/api/1.0/blobs/../../../../etc/passwd", "/walrus/api/1.0/blobs/%2e%2e%2fetc%2fpasswd", "/walrus/api/1.0/blobs/",
    "/walrus/api/1.0/blobs/" + "a" * 63, "/walrus/api/1.0/blobs/" + "A" * 64, "/walrus/api/1.0/blobs/" + "a" * 64 + "%0a",
    "/walrus/api/1.0/blobs/" + "a" * 64 + "%00", "/nc/api/1.0/blobs/" + "a" * 64, "/walrus/api/1.0/blobs/" + "a" * 64,
    "/walrus/api/1x0/blobs/" + SHA256,
])
def test_other_addresses_are_not_found(door, path):
    status, _, body = ask(door, "GET", path)
    assert (status, json.loads(body)["code"]) == (404, "not_found")


def test_json_in_and_out(door):
    status, _, body = ask(door, "POST", "/walrus/api/1.0/echo/", '{"a": "你"}'.encode())
    assert (status, json.loads(body)) == (200, {"got": {"a": "你"}})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 60_000])
def test_what_is_no_json_is_refused(door, body):
    status, _, answer = ask(door, "POST", "/walrus/api/1.0/echo/", body)
    assert (status, json.loads(answer)["code"]) == (422, "invalid")


def test_a_fault_of_ours_tells_no_detail(door):
    status, _, body = ask(door, "POST", "/crash", b"1")
    assert (status, json.loads(body)["code"]) == (500, "bug")
    assert b"secret" not in body


def raw(door, data, end=True):
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as sock:
        sock.sendall(data)
        if end:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                answer += piece
    return answer


@pytest.mark.parametrize(("headers", "status"), [
    ("Content-Length: 70000", b"422"), ("Content-Length: 99999999999999", b"413"), ("Content-Length: -5", b"4"),
    ("Content-Length: 5, 5", b"4"), ("Transfer-Encoding: chunked", b"4"), ("X: " + "y" * 20_000, b"413"),
])
def test_lying_and_huge_lengths_end_the_connection(door, headers, status):
    answer = raw(door, f"POST /walrus/api/1.0/echo/ HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode(), end=False)
    assert answer.split(b" ")[1].startswith(status)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_that_stops_early_is_no_request(door):
    answer = raw(door, b"POST /walrus/api/1.0/echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123")
    assert b" 503 " in answer


def test_a_connection_serves_again_after_a_refusal(door):
    connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=5)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("POST", "/nowhere", b"x" * 1000)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 404


def put(door, upload, part, offset, data):
    status, _, body = ask(door, "PUT", f"/walrus/api/1.0/uploads/{upload}/{part}?offset={offset}", data)
    return status, json.loads(body)


def test_an_upload_in_pieces(door):
    parts = json.dumps({"parts": [{"part": "disk", "size": 10}]})
    assert ask(door, "POST", "/walrus/api/1.0/uploads/up-1", parts)[0] == 200
    assert put(door, "up-1", "disk", 0, b"01234") == (200, {"received": 5})
    assert put(door, "up-1", "disk", 0, b"01234") == (200, {"received": 5})
    assert put(door, "up-1", "disk", 7, b"789")[0] == 409
    assert put(door, "up-1", "disk", 5, b"56789toomuch")[0] == 422
    assert put(door, "up-1", "disk", "x", b"5")[0] == 422
    assert put(door, "up-1", "..", 0, b"5")[0] == 404
    assert json.loads(ask(door, "GET", "/walrus/api/1.0/uploads/up-1")[2]) == {"received": {"disk": 5}}
    assert ask(door, "DELETE", "/walrus/api/1.0/uploads/up-1")[0] == 200
    assert ask(door, "GET", "/walrus/api/1.0/uploads/up-1")[0] == 404


@pytest.mark.parametrize("parts", ["[]", "{}", '{"parts": [1]}', '{"parts": [{"part": "disk", "size": true}]}', '{"parts": [{"part": 1, "size": 1}]}'])
def test_an_upload_badly_described(door, parts):
    assert ask(door, "POST", "/walrus/api/1.0/uploads/up-1", parts)[0] == 422


def test_a_piece_that_breaks_off_leaves_its_beginning(door):
    ask(door, "POST", "/walrus/api/1.0/uploads/up-2", json.dumps({"parts": [{"part": "disk", "size": 10}]}))
    raw(door, b"PUT /walrus/api/1.0/uploads/up-2/disk?offset=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Ticket good\r\n"
        b"Content-Length: 10\r\n\r\n0123")
    assert json.loads(ask(door, "GET", "/walrus/api/1.0/uploads/up-2")[2]) == {"received": {"disk": 4}}


def test_fetching_from_a_door(door, tmp_path):
    cache = BlobCache(tmp_path / "nc", 1000, 0)
    assert fetch(cache, BLOB, url(door), "good").read_bytes() == CONTENT


@pytest.mark.parametrize(("ticket", "code"), [("bad", "forged"), ("old", "expired")])
def test_fetching_with_a_bad_ticket(door, tmp_path, ticket, code):
    with pytest.raises(Refused) as e:
        fetch(BlobCache(tmp_path / "nc", 1000, 0), BLOB, url(door), ticket)
    assert e.value.code == code


def test_fetching_another_size_than_announced(door, tmp_path):
    with pytest.raises(Failed) as e:
        fetch(BlobCache(tmp_path / "nc", 1000, 0), BLOB.model_copy(update={"size": 5}), url(door), "good")
    assert e.value.code == "digest"


class CuttingWire:
    """A wire to a door that breaks after every so many bytes towards the client."""

    def __init__(self, target, after):
        self.target, self.after = target, after
        self.connections = 0
        self.hang = threading.Event()
        self.hang.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.pass_on, args=(near,), daemon=True).start()

    def pass_on(self, near):
        with near, socket.create_connection(("127.0.0.1", self.target)) as far, contextlib.suppress(OSError):
            threading.Thread(target=self.ask_on, args=(near, far), daemon=True).start()
            left = self.after
            while left > 0 and (data := far.recv(min(65536, left))):
                near.sendall(data)
                left -= len(data)
            self.hang.wait(10)
            for each in (near, far):
                each.shutdown(socket.SHUT_RDWR)  # closing alone does not wake who reads it

    def ask_on(self, near, far):
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)


def test_fetching_over_a_wire_that_keeps_breaking(door, tmp_path):
    wire = CuttingWire(door.port, MIB)
    started = time.monotonic()
    path = fetch(BlobCache(tmp_path / "nc", 1000, 0), BLOB, url(door).replace(str(door.port), str(wire.port)), "good")
    wire.listener.close()
    assert path.read_bytes() == CONTENT
    assert wire.connections == 4
    assert time.monotonic() - started < 20


def test_a_door_that_comes_back_is_found_again(store, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cache, results = BlobCache(tmp_path / "nc", 1000, 0), []
    at = f"http://127.0.0.1:{port}{PATH}"
    waiting = threading.Thread(target=lambda: results.append(fetch(cache, BLOB, at, "good", patience=Patience(20, 15))))
    waiting.start()
    time.sleep(0.5)
    door = Door("walrus", "127.0.0.1", port, block_routes("walrus", store, authorize), lambda: ()).start()
    waiting.join(15)
    door.stop()
    assert results == [cache.path(SHA256)]


def test_a_taken_port_is_told(door):
    with pytest.raises(Unavailable) as e:
        Door("walrus", "127.0.0.1", door.port, [], lambda: ()).start()
    assert e.value.code == "busy"


def drip(door, data, step):
    """Send ``data`` one byte per ``step`` seconds; seconds until the door has enough."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as sock, contextlib.suppress(OSError):
        for byte in data:
            sock.sendall(bytes([byte]))
            time.sleep(step)
    return time.monotonic() - started


POST = b"POST /walrus/api/1.0/echo/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"


@pytest.mark.parametrize(("limit", "data"), [
    ("_HEADERS_WITHIN_S", b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 1000), ("_IN_STEP_S", POST + b"1" * 900),
])
def test_sending_one_byte_at_a_time_does_not_hold_a_thread(door, monkeypatch, limit, data):
    monkeypatch.setattr(http_module, limit, 0.2)
    assert drip(door, data, 0.005) < 4.5
    assert ask(door, "GET", "/healthz")[0] == 200


def test_taking_one_byte_at_a_time_does_not_hold_a_thread(store, monkeypatch, tmp_path):
    monkeypatch.setattr(http_module, "_OUT_STEP_S", 0.2)
    monkeypatch.setattr(http_module, "_LOOK_S", 0.1)
    with (tmp_path / "large").open("wb") as large:
        large.truncate(64 * MIB)
    store.add(tmp_path / "large", "a" * 64)
    door = Door("walrus", "127.0.0.1", 0, blob_routes("walrus", store, authorize), lambda: ()).start()
    with socket.create_connection(("127.0.0.1", door.port), timeout=5) as sock:
        sock.sendall(f"GET {PATH.replace(SHA256, 'a' * 64)} HTTP/1.1\r\nHost: x\r\nAuthorization: Ticket good\r\n\r\n".encode())
        time.sleep(1)
        came = 0
        with contextlib.suppress(ConnectionResetError):
            while data := sock.recv(MIB):
                came += len(data)
    door.stop()
    assert 0 < came < 64 * MIB


def _fetch_and_hang(folder, at):
    fetch(BlobCache(folder, 1000, 0), BLOB, at, "good")


def test_after_kill_9_in_the_middle_it_goes_on(door, tmp_path):
    wire = CuttingWire(door.port, MIB + 5000)
    wire.hang.clear()
    at = url(door).replace(str(door.port), str(wire.port))
    child = multiprocessing.get_context("fork").Process(target=_fetch_and_hang, args=(tmp_path / "nc", at))
    child.start()
    cache = BlobCache(tmp_path / "nc", 1000, 0)
    part, until = cache.part(SHA256), time.monotonic() + 5
    while not (part.exists() and part.stat().st_size >= MIB):
        assert time.monotonic() < until
        time.sleep(0.02)
    child.kill()
    child.join(5)
    assert cache.path(SHA256) is None
    wire.hang.set()
    wire.listener.close()
    told = []
    assert fetch(cache, BLOB, url(door), "good", on_progress=lambda done, _total: told.append(done)).read_bytes() == CONTENT
    assert sorted(p.name for p in (cache.folder / "parts").iterdir()) == []
