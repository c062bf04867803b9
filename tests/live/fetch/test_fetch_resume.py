"""After a cut it goes on where it was: no byte comes twice, and none of another file."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from luhyaapi.errors import Unavailable
from tests.support.fetching import CONTENT, SHA256, TAG, decent, refused, to

pytestmark = pytest.mark.live
ROOT = Path(__file__).resolve().parents[3]


class Cutting:
    """Cuts after so many bytes, once each; ``sent``: (from, to) of each answer."""

    def __init__(self, cuts, **headers):
        self.cuts, self.headers, self.sent, self.content = list(cuts), headers, [], CONTENT

    def __call__(self, asked):
        start = asked.start if asked.headers.get("if-range") in self.headers.values() else 0
        end = self.cuts.pop(0) if self.cuts else len(self.content)
        self.sent.append((start, end))
        more = {"content_range": f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"} if start else {}
        asked.head(206 if start else 200, content_length=len(self.content) - start, **more, **self.headers)
        asked.say(self.content[start:end])


MODIFIED = {"last_modified": "Sat, 01 Jun 2024 12:00:00 GMT", "date": "Sun, 02 Jun 2024 12:00:00 GMT"}
OFFSETS = [1, 65_535, 65_536, 1024 * 1024 - 1, 1024 * 1024, 1024 * 1024 + 1, 1_200_000, len(CONTENT) - 1]


@pytest.mark.parametrize("headers", [TAG, MODIFIED], ids=["etag", "modified"])
@pytest.mark.parametrize("offset", OFFSETS)
def test_after_a_cut_no_byte_comes_twice(serve, get, offset, headers):
    cutting = Cutting([offset], **headers)
    server = serve(cutting)
    assert get(server.url()).sha256 == SHA256
    assert cutting.sent == [(0, offset), (offset, len(CONTENT))]
    assert server.asked[1].headers["if-range"] in headers.values()


def test_after_many_cuts_no_byte_comes_twice(serve, get):
    cutting = Cutting(OFFSETS[:4], **TAG)
    assert get(serve(cutting).url()).sha256 == SHA256
    assert cutting.sent == list(zip([0, *OFFSETS[:4]], [*OFFSETS[:4], len(CONTENT)], strict=True))


def test_ftp_goes_on_too(get, ftp):
    ftp.cuts = [1, 65_536, 1024 * 1024]
    assert get(ftp.url("/pub/disk.img")).sha256 == SHA256
    ends = [1, 65_537, 65_537 + 1024 * 1024, len(CONTENT)]
    assert ftp.sent == list(zip([0, *ends], ends, strict=False))


@pytest.mark.parametrize("headers", [{}, {"etag": 'W/"v1"'}, {"last_modified": MODIFIED["date"], "date": MODIFIED["date"]}])
def test_without_a_proof_it_begins_anew(serve, get, headers):
    cutting = Cutting([500_000], **headers)
    server = serve(cutting)
    assert get(server.url()).sha256 == SHA256
    assert cutting.sent == [(0, 500_000), (0, len(CONTENT))]
    assert "range" not in server.asked[1].headers


def test_a_file_that_changed_meanwhile_is_fetched_anew(serve, get):
    cutting = Cutting([500_000], **TAG)
    other = b"!" + CONTENT[1:]

    def answer(asked):
        if cutting.sent:
            asked.give(other, etag='"v2"')
        else:
            cutting(asked)
    get(serve(answer).url())
    assert get.target.read_bytes() == other


def test_a_side_that_ignores_if_range_is_found_out(serve, get):
    other = b"!" + CONTENT[1:]

    def answer(asked):
        if asked.start:
            asked.head(206, content_length=5, content_range=f"bytes {asked.start}-{len(CONTENT) - 1}/{len(CONTENT)}", etag='"v2"')
            asked.say(b"wrong")
        elif len(server.asked) == 1:
            asked.head(content_length=len(CONTENT), **TAG)
            asked.say(CONTENT[:500_000])
        else:
            asked.give(other, etag='"v2"')
    server = serve(answer)
    get(server.url())
    assert get.target.read_bytes() == other


def test_fewer_bytes_than_we_have_begin_anew(serve, get):
    def answer(asked):
        if asked.start:
            asked.head(416, content_range="bytes */3")
        elif len(server.asked) == 1:
            asked.head(content_length=1000, **TAG)
            asked.say(bytes(500))
        else:
            asked.give(b"abc", etag='"v2"')
    server = serve(answer)
    assert get(server.url()).size == 3


@pytest.mark.parametrize("change", ["stamp", "size", "no rest"])
def test_an_ftp_file_that_changed_is_fetched_anew(get, ftp, change):
    def changed():
        ftp.after = lambda: None
        if change == "stamp":
            ftp.stamp = "20250102030405"
        elif change == "size":
            ftp.files["/pub/disk.img"] = b"abc"
        else:
            ftp.replies["REST"] = "502 no"
    ftp.cuts, ftp.after = [500_000], changed
    get(ftp.url("/pub/disk.img"))
    assert get.target.read_bytes() == ftp.files["/pub/disk.img"]
    assert ftp.sent[-1][0] == 0


def test_a_range_is_asked_only_of_the_place_the_bytes_came_from(serve, get):
    """Two mirrors may use the same ETag for different files."""
    mirrors = [serve(Cutting([500_000], **TAG)), serve(decent)]

    def take_turns(asked):
        to(mirrors[len(door.asked) - 1].url("/f"))(asked)
    door = serve(take_turns)
    assert get(door.url()).sha256 == SHA256
    assert all("range" not in asked.headers for asked in (*door.asked, *mirrors[1].asked))


def test_the_next_call_goes_on_where_the_last_one_gave_up(serve, get):
    cutting = Cutting([500_000] * 5, **TAG)
    server = serve(cutting)
    refused("transfer", get, server.url("/f?sig=1"), Unavailable)
    cutting.sent.clear()
    assert get(server.url("/f?sig=2")).sha256 == SHA256
    assert cutting.sent == [(500_000, len(CONTENT))]


def test_the_next_call_can_be_cancelled_while_it_reads_the_half_file(serve, get):
    server = serve(Cutting([500_000] * 5, **TAG))
    refused("transfer", get, server.url(), Unavailable)
    refused("cancelled", get, server.url(), cancelled=lambda: True)


DIES = """
import ipaddress, sys
from pathlib import Path
from luhyaapi.transfer.fetch import half
from luhyaapi.transfer.fetch.fetcher import fetch_url
from luhyaapi.transfer.fetch.rules import Rules
half._NOTED_EACH = 65_536
fetch_url(sys.argv[1], Path(sys.argv[2]), rules=Rules(10**8, allowed=(ipaddress.ip_network("127.0.0.0/8"),)))
"""


def test_after_a_kill_it_goes_on_behind_what_is_on_the_disk(serve, get):
    sent, killed = [], threading.Event()

    def answer(asked):
        sent.append(asked.start)
        if len(sent) == 1:
            asked.head(content_length=len(CONTENT), **TAG)
            asked.say(CONTENT[:-9])
            killed.wait(20)
        else:
            asked.give(CONTENT, **TAG)
    server = serve(answer)
    note = get.target.with_name("target.part.note")
    child = subprocess.Popen([sys.executable, "-c", DIES, server.url(), get.target], cwd=ROOT)
    try:
        until = time.monotonic() + 20
        while not (note.exists() and json.loads(note.read_text())["position"] > 600_000) and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
        killed.set()
    noted = json.loads(note.read_text())["position"]
    assert get(server.url()).sha256 == SHA256
    assert sent == [0, noted]
    assert noted > 600_000
