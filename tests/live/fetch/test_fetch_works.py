"""Fetching from decent servers: http, ftp, redirects, credentials, time."""

import errno
import os
import threading
import time

import pytest

from luhyaapi.errors import Failed, Unavailable
from tests.support.fetching import CONTENT, SHA256, TAG, decent, refused, to
from tests.support.small_http import HOME

pytestmark = pytest.mark.live


def test_a_file_arrives_with_its_holes(serve, get):
    told = []
    server = serve(decent)
    fetched = get(server.url("/pub/disk.img?sig=1"), on_progress=lambda *at: told.append(at))
    assert (fetched.size, fetched.sha256) == (len(CONTENT), SHA256)
    assert (fetched.name, fetched.final_url) == ("disk.img", server.url("/pub/disk.img"))
    assert get.target.stat().st_blocks * 512 < len(CONTENT) - 150_000
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert not {"cookie", "authorization", "referer", "te", "range"} & set(server.asked[0].headers)
    assert server.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(("head", "body", "content"), [
    ("Content-Length: 0", b"", b""),
    ("X: y", b"to the end", b"to the end"),
    ("Transfer-Encoding: chunked", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
    ("Content-Encoding: gzip\r\nContent-Length: 5", b"\x1f\x8b...", b"\x1f\x8b..."),
    ("Content-Length: 3", b"abcand more", b"abc"),
])
def test_bytes_are_taken_as_they_come(serve, get, head, body, content):
    server = serve(lambda asked: asked.say(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head.encode() + b"\r\n\r\n" + body))
    get(server.url())
    assert get.target.read_bytes() == content


def test_redirects_are_followed_and_the_name_is_the_last_ones(serve, get):
    answers = {"/1": to("/2", 301), "/2": to("3?x", 307), "/3?x": lambda a: a.give(b"x", content_disposition='a; filename="../n.iso"')}
    server = serve(lambda asked: answers[asked.path](asked))
    fetched = get(server.url("/1"), redirects=2)
    assert (fetched.name, fetched.final_url) == ("n.iso", server.url("/3"))
    assert "redirects more than 1" in refused("invalid", get, server.url("/1"), redirects=1)


def test_credentials_are_sent_to_their_origin_alone(serve, get, ftp):
    other = serve(decent)
    server = serve(lambda asked: to("/b")(asked) if asked.path == "/a" else to(other.url())(asked))
    fetched = get(server.url("/a", credentials="ada:s%40cret@"))
    assert [("authorization" in a.headers) for a in (*server.asked, *other.asked)] == [True, True, False]
    assert "cret" not in fetched.final_url
    ftp.users["ada"] = "s@cret"
    assert get(ftp.url("/pub/disk.img", "ada:s%40cret@")).sha256 == SHA256
    assert "cret" not in refused("forbidden", get, ftp.url("/pub/disk.img", "ada:secret@"))


def test_secrets_are_neither_logged_nor_told(serve, get, caplog, capfd):
    caplog.set_level("DEBUG")
    server = serve(lambda asked: asked.head(503))
    said = refused("transfer", get, server.url("/private?sig=private", credentials="private:private@"), Unavailable)
    out = capfd.readouterr()
    text = said + caplog.text + out.out + out.err
    assert HOME in text
    assert "private" not in text


@pytest.mark.parametrize("old", [False, True])
def test_ftp(get, ftp, old):
    if old:
        ftp.replies = {"EPSV": "502 no", "MDTM": "502 no", "SIZE": "502 no"}
    fetched = get(ftp.url("/pub/disk.img"))
    assert (fetched.sha256, fetched.name, fetched.final_url) == (SHA256, "disk.img", ftp.url("/pub/disk.img"))
    assert get(ftp.url("/pub/empty")).size == 0
    refused("not_found", get, ftp.url("/pub/other"))
    refused("not_found", get, ftp.url("/nowhere/x"))


def test_no_faster_than_the_rate(serve, get):
    server = serve(lambda asked: asked.give(CONTENT[:300_000]))
    begun = time.monotonic()
    get(server.url(), rate=300_000)
    assert time.monotonic() - begun > 0.5


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_side_that_drips_is_cut_off(serve, get, where):
    def drip(asked):
        if len(server.asked) > 1:
            asked.give(CONTENT[:9], **TAG)
            return
        asked.head(content_length=len(CONTENT), **TAG) if where == "body" else asked.say(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(100):
            asked.say(b"x")
            time.sleep(0.02)
    server = serve(drip)
    if where == "body":
        server.answer = lambda asked: drip(asked) if len(server.asked) == 1 else asked.give(CONTENT[:9], etag='"v2"')
    get(server.url(), idle_s=0.5)
    assert len(server.asked) >= 2


def test_time_ends_it_and_leaves_nothing(serve, get):
    def silent(asked):
        asked.head(content_length=len(CONTENT), **TAG)
        asked.say(CONTENT[:100_000])
        over.wait(10)
    over = threading.Event()
    server = serve(silent)
    assert "0.5 s" in refused("timeout", get, server.url(), Failed, total_s=0.5)
    over.set()


def test_it_can_be_cancelled(serve, get):
    over, stop = threading.Event(), threading.Event()

    def silent(asked):
        asked.head(content_length=len(CONTENT), **TAG)
        asked.say(CONTENT[:100_000])
        stop.set()
        over.wait(10)
    server = serve(silent)
    begun = time.monotonic()
    refused("cancelled", get, server.url(), cancelled=stop.is_set)
    assert time.monotonic() - begun < 9
    over.set()


def test_an_error_of_the_caller_comes_through_and_leaves_nothing(serve, get):
    def broken(*_at):
        raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        get(serve(decent).url(), on_progress=broken)


def test_a_full_disk_leaves_nothing(serve, get, monkeypatch):
    def full(*_a):
        raise OSError(errno.ENOSPC, "No space left on device")
    server = serve(decent)
    monkeypatch.setattr(os, "pwrite", full)
    refused("disk_full", get, server.url(), Failed)
