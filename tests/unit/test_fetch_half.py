"""What lies beside the target while a fetch is unfinished, and when it is gone on with."""

import contextlib
import errno
import hashlib
import json
import os

import pytest

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.errors import Failed, Refused, Unavailable
from luhyaapi.transfer.asking import Span
from luhyaapi.transfer.fetch import half as half_module
from luhyaapi.transfer.fetch.answers import Pages, Replies
from luhyaapi.transfer.fetch.fetcher import discard
from luhyaapi.transfer.fetch.half import Half, Version

CONTENT = os.urandom(70_000) + bytes(200_000)
VERSION = Version("p", '"1"', len(CONTENT))


def nothing():
    pass


def left(target):
    return sorted(each.name for each in target.parent.iterdir())


def kept(target, position=100_000, version=VERSION):
    """What a cut at that position left."""
    with contextlib.suppress(Unavailable), Half(target, 10**6) as half:
        half.open(nothing)
        half.begin(Span(0, version.total), version)
        half.take(CONTENT[:position])
        raise Unavailable("transfer", "cut")


def position_after(target):
    half = Half(target, 10**6)
    half.open(nothing)
    half._close()
    return half.position


@pytest.fixture
def target(tmp_path):
    return tmp_path / "disk"


def test_what_was_kept_is_gone_on_with(target):
    kept(target)
    assert left(target) == ["disk.part", "disk.part.note"]
    with Half(target, 10**6) as half:
        half.open(nothing)
        assert left(target) == ["disk.part", "disk.part.note"]
        assert (half.position, half.version) == (100_000, VERSION)
        half.begin(Span(100_000, len(CONTENT)), VERSION)
        half.take(CONTENT[100_000:])
        assert half.finish() == hashlib.sha256(CONTENT).hexdigest()
    assert left(target) == ["disk"]
    assert target.read_bytes() == CONTENT
    assert target.stat().st_blocks * 512 < 150_000, "zeros are holes"


def test_what_a_crash_left_is_gone_on_with_from_the_last_note(target, monkeypatch):
    """What came after the note is fetched again: nobody knows how much of it is on the disk."""
    monkeypatch.setattr(half_module, "_NOTED_EACH", 60_000)
    half = Half(target, 10**6)
    half.open(nothing)
    half.begin(Span(0, len(CONTENT)), VERSION)
    for start in range(0, 120_000, 20_000):
        half.take(CONTENT[start:start + 20_000])
    assert json.loads(target.with_name("disk.part.note").read_text())["position"] == 120_000
    half.take(CONTENT[120_000:150_000])
    half._digest.close()
    assert (position_after(target), target.with_name("disk.part").stat().st_size) == (120_000, 120_000)
    assert position_after(target) == 120_000


def test_a_slow_side_costs_a_crash_little_too(target):
    hand = clock.use(ManualClock(1))
    try:
        half = Half(target, 10**6)
        half.open(nothing)
        half.begin(Span(0, len(CONTENT)), VERSION)
        half.take(CONTENT[:10])
        assert left(target) == ["disk.part"]
        clock.sleep(3)
        half.take(CONTENT[10:20])
    finally:
        clock.use(hand)
    assert position_after(target) == 20


def test_a_note_never_speaks_of_bytes_that_changed(target):
    """It is gone before the file begins anew, and a draft that a death left goes with it."""
    kept(target)
    target.with_name("disk.part.draft").write_text("half")
    half = Half(target, 10**6)
    half.open(nothing)
    half.begin(Span(0, 30), Version("p", '"2"', 30))
    assert left(target) == ["disk.part"]
    half.take(bytes(30))
    half.finish()
    assert left(target) == ["disk"]


def test_who_stops_while_it_is_read_again_leaves_it(target):
    kept(target)

    def stops():
        raise Unavailable("interrupted", "The role is stopping")

    with pytest.raises(Unavailable), Half(target, 10**6) as half:
        half.open(stops)
    assert position_after(target) == 100_000


@pytest.mark.parametrize("harm", ["flipped", "short", "gone", "note", "kinds", "words", "larger"])
def test_what_was_damaged_is_not(target, harm):
    kept(target)
    part, note = target.with_name("disk.part"), target.with_name("disk.part.note")
    if harm == "flipped":
        part.write_bytes(b"!" + part.read_bytes()[1:])
    elif harm == "short":
        os.truncate(part, 99_999)
    elif harm == "gone":
        part.unlink()
    else:
        said = json.loads(note.read_text())
        said = {"note": 5, "kinds": said | {"position": "100000"}, "words": said | {"more": 1}, "larger": said | {"position": 10**7}}[harm]
        note.write_text(json.dumps(said))
    assert position_after(target) == 0


def test_what_cannot_be_proved_to_go_on_is_not_kept(target):
    kept(target, version=Version("p", "", -1))
    assert left(target) == []


def test_another_error_leaves_nothing(target):
    kept(target)
    with pytest.raises(Refused), Half(target, 10**6):
        raise Refused("invalid", "no")
    assert left(target) == []


def test_an_unfinished_fetch_can_be_discarded(target):
    kept(target)
    discard(target)
    assert left(target) == []


def test_a_half_file_that_cannot_be_kept_is_dropped(target, monkeypatch):
    def full(_fd):
        raise OSError(errno.ENOSPC, "No space left on device")
    half = Half(target, 10**6)
    half.open(nothing)
    half.begin(Span(0, -1), VERSION)
    half.take(b"x")
    cut = Unavailable("transfer", "cut")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        half.__exit__(type(cut), cut, None)
    assert left(target) == []


@pytest.mark.parametrize(("span", "version", "code"), [
    (Span(5, len(CONTENT)), VERSION, "digest"), (Span(100_000, 7), Version("p", '"1"', 7), "digest"),
    (Span(0, 2 * 10**6), Version("p", "", 2 * 10**6), "quota"),
])
def test_other_bytes_than_asked_for_are_not_taken(target, span, version, code):
    kept(target)
    half = Half(target, 10**6)
    half.open(nothing)
    with pytest.raises((Failed, Refused)) as e:
        half.begin(span, version)
    half.drop()
    assert e.value.code == code


def test_more_than_announced_and_more_than_allowed_are_not_taken(target):
    for total, code in ((10, "digest"), (-1, "quota")):
        half = Half(target, 100)
        half.open(nothing)
        half.begin(Span(0, total), Version("p", "", total))
        with pytest.raises((Failed, Refused)) as e:
            half.take(bytes(101 if total < 0 else 11))
        half.drop()
        assert e.value.code == code


DATE, MINUTE, OLD = "Sat, 01 Jun 2024 12:00:59 GMT", "Sat, 01 Jun 2024 11:59:59 GMT", "Sat, 01 Jun 2024 12:00:00 GMT"


@pytest.mark.parametrize(("lines", "validator"), [
    (['ETag: "a-1"'], '"a-1"'), (['ETag: W/"a"'], ""), (['ETag: "a'], ""), (["ETag: a"], ""), (['ETag: "' + "a" * 300 + '"'], ""),
    ([f"Last-Modified: {MINUTE}", f"Date: {DATE}"], MINUTE), ([f"Last-Modified: {OLD}", f"Date: {DATE}"], ""), ([f"Last-Modified: {OLD}"], ""),
    (["Last-Modified: yesterday", f"Date: {DATE}"], ""), (["Last-Modified: Xxx, 99 Xxx 2024 99:99:99 GMT", f"Date: {DATE}"], ""),
    (['ETag: W/"a"', f"Last-Modified: {MINUTE}", f"Date: {DATE}"], MINUTE),
])
def test_what_proves_that_a_file_is_the_same(lines, validator):
    answer = Pages(0)
    for line in ("HTTP/1.1 200 OK", *lines):
        assert answer.line(line.encode() + b"\r\n")
    assert answer.validator == validator


@pytest.mark.parametrize(("code", "family", "name"), [
    ("425", Unavailable, "transfer"), ("530", Refused, "forbidden"), ("550", Refused, "not_found"), ("553", Refused, "not_found"),
])
def test_what_an_ftp_server_means(code, family, name):
    replies = Replies(0)
    replies.line(code.encode() + b" so\r\n")
    assert isinstance(replies.refusal(), family)
    assert replies.refusal().code == name
