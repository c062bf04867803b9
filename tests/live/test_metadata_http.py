"""The little server of guests against odd, slow and greedy clients, on this host's loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from luhyaapi import clock
from nc.drivers import metadata_http
from nc.drivers.metadata_base import Answer, Question
from nc.drivers.metadata_http import HEAD_AT_MOST, PER_GUEST, MetadataHttp

pytestmark = pytest.mark.live
BIG = "x" * (64 * 1024)


def _told(bridge: str, ip: str, question: Question) -> Answer:
    return Answer(200, BIG if question.path == "/big" else f"{bridge} {ip} {question.method} {question.path} {dict(question.headers)}", headers={"X-Odd": "1"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(metadata_http, "WITHIN_S", 0.5)
    http = MetadataHttp(_told)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    number = int(listening.getsockname()[1])
    http.open("br", listening)
    yield number
    http.stop()
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection(("127.0.0.1", number), 1).recv(1)


def say(port: int, *pieces: bytes) -> tuple[int, str]:
    """Status and text of what is answered; 0: nothing was."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        told = b""
        try:
            for piece in pieces:
                client.sendall(piece)
                clock.sleep(0.05)
            while got := client.recv(65536):
                told += got
        except ConnectionResetError:
            pass
    head, _, text = told.decode().partition("\r\n\r\n")
    return int(head.split(" ")[1]) if head else 0, text


def test_a_request_is_answered_as_it_was_asked(port: int) -> None:
    status, text = say(port, b"GET /a/b?c=d HTT", b"P/1.1\r\nHost: x\r\nX-Y:  z \r\n\r\n")
    assert (status, text) == (200, "br 127.0.0.1 GET /a/b {'host': 'x', 'x-y': 'z'}")
    assert say(port, b"HEAD / HTTP/1.0\r\n\r\n") == (200, "")
    assert say(port, b"PUT /t HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc")[0] == 200
    assert say(port, b"GET /big HTTP/1.1\r\n\r\n") == (200, BIG)


@pytest.mark.parametrize("request_", [
    b"GET /\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n", b"GET http://x/ HTTP/1.1\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"GET / HTTP/1.1\r\nA : b\r\n\r\n", b"GET / HTTP/1.1\r\n b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: b\r\na: c\r\n\r\n", b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nContent-Length: 99999\r\n\r\n", b"GET / HTTP/1.1\r\nA: b\nc: d\r\n\r\n", b"\r\n\r\n", b"\x16\x03\x01\r\n\r\n",
])
def test_what_is_no_request_is_refused(port: int, request_: bytes) -> None:
    assert say(port, request_) == (400, "")


def test_nothing_is_read_without_end(port: int) -> None:
    assert say(port, b"GET / HTTP/1.1\r\nA: " + b"x" * (2 * HEAD_AT_MOST) + b"\r\n\r\n")[0] in (0, 431)
    assert say(port, b"GET / HTTP/1.1\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(5000)))[0] in (0, 431)


@pytest.mark.parametrize("request_", [b"", b"GET / HTTP/1.1\r\n", b"PUT / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab"])
def test_who_is_too_slow_is_let_go(port: int, request_: bytes) -> None:
    began = clock.monotonic()
    assert say(port, request_) == (0, "")
    assert clock.monotonic() - began < 5


def test_one_guest_has_few_connections_and_gets_them_back(port: int) -> None:
    open_ = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(PER_GUEST)]
    clock.sleep(0.1)
    assert say(port, b"GET / HTTP/1.1\r\n\r\n") == (0, "")
    for each in open_:
        each.close()
    deadline = clock.monotonic() + 5
    while say(port, b"GET / HTTP/1.1\r\n\r\n")[0] != 200:
        assert clock.monotonic() < deadline


def test_who_does_not_take_its_answer_holds_up_nobody(port: int) -> None:
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        lazy.connect(("127.0.0.1", port))
        lazy.sendall(b"GET /big HTTP/1.1\r\n\r\n")
        assert say(port, b"GET / HTTP/1.1\r\n\r\n")[0] == 200
