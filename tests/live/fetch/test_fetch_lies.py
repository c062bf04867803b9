"""Answers that lie, drown us, or do not end."""

import socket

import pytest

from luhyaapi.errors import Failed, Trouble, Unavailable
from tests.support.fetching import TAG, refused
from tests.support.small_http import HOME

pytestmark = pytest.mark.live


@pytest.mark.parametrize("head", [
    [b"X: " + b"a" * 70_000 + b"\r\n"], [b"X%d: y\r\n" % n for n in range(400)], [b"X: y\r\n"] * 10_000, [b"HTTP/1.1 100 Continue\r\n\r\n"] * 10_000,
])
def test_a_head_is_bounded(serve, get, head):
    server = serve(lambda asked: asked.say((b"" if b"100" in head[0] else b"HTTP/1.1 200 OK\r\n") + b"".join(head) + b"\r\n"))
    assert "head is too long" in refused("invalid", get, server.url())


def test_an_ftp_greeting_is_bounded(get, ftp):
    ftp.replies = {"USER": "331-hello\r\n" * 1000 + "331 x"}
    assert "head is too long" in refused("invalid", get, ftp.url("/pub/disk.img"))


def test_an_endless_body_ends(serve, get):
    def endless(asked):
        asked.head()
        for _ in range(10_000):
            asked.say(bytes(100_000))
    refused("quota", get, serve(endless).url(), largest_bytes=5_000_000)


def test_what_is_announced_too_large_is_not_begun(serve, get):
    server = serve(lambda asked: asked.head(content_length=10**15))
    assert "announced" in refused("quota", get, server.url())


@pytest.mark.parametrize("head", [
    {"status": 206, "content_length": 5}, {"status": 206, "content_length": 5, "content_range": "bytes 0-4/5"},
    {"status": 206, "content_length": 5, "content_range": "bytes 7-11/12"},
])
def test_a_part_that_nobody_asked_for_is_not_taken(serve, get, head):
    def part(asked):
        asked.head(**head)
        asked.say(b"12345")
    refused("digest", get, serve(part).url(), Failed)


@pytest.mark.parametrize("range_", ["bytes 0-99/1000", "bytes 501-999/1000", "bytes 500-4/5", "bytes 500-1000/1001", "words", "bytes 500-999/*"])
def test_ranges_that_lie_are_found_out(serve, get, range_):
    def lie(asked):
        if asked.start:
            asked.head(206, content_length=500, content_range=range_, **TAG)
        else:
            asked.head(content_length=1000, **TAG)
        asked.say(bytes(500))
    refused("digest", get, serve(lie).url(), Failed)


def test_an_encoding_nobody_asked_for_is_not_taken(serve, get):
    server = serve(lambda asked: asked.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
    refused("invalid", get, server.url())


@pytest.mark.parametrize(("status", "code"), [
    (404, "not_found"), (410, "not_found"), (401, "forbidden"), (403, "forbidden"), (204, "invalid"), (304, "invalid"), (302, "invalid"), (418, "invalid"),
])
def test_a_refusal_is_final(serve, get, status, code):
    def no(asked):
        asked.head(status)
        asked.say(b"" if status in (204, 304) else b'{"code": "bug", "what": "lies"}')
    server = serve(no)
    assert "lies" not in refused(code, get, server.url())
    assert len(server.asked) == 1


@pytest.mark.parametrize("answer", [b"", b"hello\r\n\r\n", b"\x00" * 50, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", b"HTTP/1.1 503 x\r\n\r\n"])
def test_what_may_be_better_later_is_asked_for_five_times(serve, get, answer):
    server = serve(lambda asked: asked.say(answer))
    with pytest.raises(Trouble) as e:
        get(server.url())
    assert e.value.code in ("transfer", "invalid")
    assert len(server.asked) == (5 if e.value.code == "transfer" else 1)


def test_nobody_there_is_unavailable(get):
    with socket.create_server((HOME, 0)) as gone:
        port = gone.getsockname()[1]
    refused("transfer", get, f"http://{HOME}:{port}/", Unavailable)
    assert "nobody knows" in refused("transfer", get, "http://mirror.example/", Unavailable, resolve=lambda _h, _p: [])
