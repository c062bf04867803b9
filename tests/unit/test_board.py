"""The board: disposable pictures; away, it reads as empty and is no error."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.status.board import BEATS, Board, _picture, _place


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_a_picture_lives_ten_beats(time: ManualClock) -> None:
    board = Board("", 0, 5)
    board.write("host:nc-1", {"load": 0.5})
    assert board.read(["host:nc-1", "host:nc-2"]) == {"host:nc-1": {"load": 0.5, "at": clock.now()}}
    time.sleep(5 * BEATS + 1)
    assert board.read(["host:nc-1"]) == {}
    assert board.is_alive()


def test_a_picture_keeps_the_time_it_says(time: ManualClock) -> None:
    board = Board("", 0, 5)
    board.write("a", {"at": 7.0})
    board.write("b", {"at": 0})
    assert board.read(["a"])["a"]["at"] == 7.0
    assert board.read(["b"])["b"]["at"] == clock.now()
    assert board.read([]) == {}
    board.clear()
    assert board.read(["a", "b"]) == {}


def test_what_was_read_is_a_copy() -> None:
    board = Board("", 0, 5)
    picture = {"list": [1]}
    board.write("a", picture)
    picture["list"].append(2)
    board.read(["a"])["a"]["list"].append(3)
    assert board.read(["a"])["a"]["list"] == [1]


@pytest.mark.parametrize("key", ["k" * 1000, "with blank", "日本", "line\nbreak", "\ud800", ""])
def test_any_key_has_a_place_memcached_takes(key: str) -> None:
    place = _place(key)
    assert len(place) <= 250
    assert place.isascii()
    assert " " not in place
    assert place.isprintable()
    assert place == _place(key) != _place(key + "x")
    assert _place("host:nc-00000001") == "edu:host:nc-00000001"


@pytest.mark.parametrize("value", [b"", b"{", b"\xff", b"7", b"null"])
def test_a_broken_value_is_no_picture(value: bytes) -> None:
    assert _picture(value) is None


@pytest.mark.live
def test_a_board_that_is_away_reads_as_empty() -> None:
    board = Board("127.0.0.1", _free_port(), 5)
    board.write("a", {"x": 1})
    assert board.read(["a"]) == {}
    board.clear()
    assert board.is_alive() is False


@pytest.fixture
def memcached() -> Iterator[int]:
    program = shutil.which("memcached")
    assert program, "memcached is not installed"
    port = _free_port()
    child = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "16", "-u", "nobody"])
    until = clock.monotonic() + 10
    board = Board("127.0.0.1", port, 5)
    while not board.is_alive() and clock.monotonic() < until:
        clock.sleep(0.02)
    yield port
    child.kill()
    child.wait()


@pytest.mark.live
def test_pictures_go_through_a_real_memcached_and_its_death_is_no_error(memcached: int) -> None:
    board = Board("127.0.0.1", memcached, 5)
    keys = ["host:nc-1", "k" * 1000, "with blank 日本"]
    for n, key in enumerate(keys):
        board.write(key, {"n": n, "zh": "运行中"})
    found = board.read([*keys, "missing"])
    assert {k: v["n"] for k, v in found.items()} == {k: n for n, k in enumerate(keys)}
    assert found[keys[0]]["zh"] == "运行中"
    board._client.set("edu:broken", b"{")  # type: ignore[union-attr]
    assert set(board.read(["broken", keys[0]])) == {keys[0]}
    board.write("too big", {"x": "y" * 2_000_000})
    assert board.read(["too big"]) == {}
    assert set(board.read(keys)) == set(keys)
    board.clear()
    assert board.read(keys) == {}
    assert board.is_alive()


@pytest.mark.live
def test_a_board_that_comes_back_is_used_again() -> None:
    program, port = shutil.which("memcached"), _free_port()
    assert program
    board = Board("127.0.0.1", port, 5)
    for _ in range(2):
        child = subprocess.Popen([program, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-m", "16", "-u", "nobody"])
        try:
            until = clock.monotonic() + 10
            while not board.is_alive() and clock.monotonic() < until:
                clock.sleep(0.02)
            board.write("a", {"x": 1})
            assert board.read(["a"])["a"]["x"] == 1
        finally:
            child.kill()
            child.wait()
        assert board.read(["a"]) == {}
