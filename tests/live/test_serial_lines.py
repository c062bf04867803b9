"""Serial consoles on a node: who looks hears all of it once, whoever types is heard, and a guest's end is everybody's."""

import contextlib
import socket
import threading
import time

import pytest

from luhyaapi.errors import Refused
from nc.services import serial
from nc.services.serial import Serials

pytestmark = pytest.mark.live
ONE = "ins-00000001"


class Guest:
    """What a hypervisor does with a serial port: to whoever is connected, then into the log."""

    def __init__(self, folder):
        self.at, self.log = folder / "sock", folder / "console.log"
        self.log.write_bytes(b"")
        self.heard, self.line, self.looked_at = b"", None, 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.at))
        self.listener.listen(1)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                self.line, _ = self.listener.accept()
                self.looked_at += 1
                while typed := self.line.recv(100):
                    self.heard += typed
                self.line = None

    def say(self, text):
        if self.line:
            self.line.sendall(text)
        with self.log.open("ab") as log:
            log.write(text)

    def end(self):
        self.listener.close()
        if self.line:
            self.line.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def guest(tmp_path):
    made = Guest(tmp_path)
    yield made
    made.end()


@pytest.fixture
def look(guest):
    serials, open_ = Serials(), []

    def join():
        end = serials.join(ONE, guest.at, guest.log)
        end.settimeout(5)
        open_.append(end)
        return end

    yield join
    for end in open_:
        end.close()


def read(end, until):
    heard = b""
    while until not in heard:
        piece = end.recv(65536)
        assert piece, heard
        heard += piece
    return heard


def soon(true, within_s=5):
    until = time.monotonic() + within_s
    while not (answer := true()) and time.monotonic() < until:
        time.sleep(0.01)
    return answer


def test_what_was_said_before_comes_first_and_nothing_twice(guest, look):
    guest.say(b"before\r\n")
    end = look()
    assert read(end, b"before\r\n") == b"before\r\n"
    assert soon(lambda: guest.line)
    for number in range(200):
        guest.say(b"%d\r\n" % number)
    assert read(end, b"199\r\n") == b"".join(b"%d\r\n" % n for n in range(200))


def test_all_who_look_see_the_same_and_type_at_the_same(guest, look):
    ends = [look() for _ in range(3)]
    assert soon(lambda: guest.line)
    guest.say(b"login: ")
    assert [read(end, b"login: ") for end in ends] == [b"login: "] * 3
    ends[0].sendall(b"root")
    assert soon(lambda: guest.heard == b"root")
    ends[2].sendall(b"\r")
    assert soon(lambda: guest.heard == b"root\r")
    assert guest.looked_at == 1
    ends[0].close()
    guest.say(b"# ")
    assert read(ends[1], b"# ") == b"# "


def test_the_last_words_come_before_the_end(guest, look):
    ends = [look(), look()]
    assert soon(lambda: guest.line)
    guest.say(b"x" * 300_000 + b"Power down\r\n")
    guest.end()
    assert all(read(end, b"down\r\n").endswith(b"Power down\r\n") for end in ends)
    for end in ends:
        with contextlib.suppress(ConnectionResetError):
            assert end.recv(1) == b""


def test_nobody_looks_and_the_line_is_let_go_for_the_next(guest, look):
    look().close()
    assert soon(lambda: guest.looked_at == 1 and guest.line is None)
    guest.say(b"unseen\r\n")
    assert read(look(), b"unseen") == b"unseen\r\n"
    assert soon(lambda: guest.looked_at == 2)


def test_what_is_typed_just_before_leaving_is_typed(guest, look):
    end, other = look(), look()
    end.sendall(b"reboot\r")
    end.close()
    assert soon(lambda: guest.heard == b"reboot\r")
    guest.say(b"bye")
    assert read(other, b"bye")


def test_of_a_long_log_the_end_from_a_line_on(guest, look):
    guest.log.write_bytes(b"".join(b"line %06d\r\n" % n for n in range(50_000)))
    heard = read(look(), b"line 049999\r\n")
    assert heard.startswith(b"line ")
    assert serial.TAIL_BYTES - 100 < len(heard) <= serial.TAIL_BYTES


def test_a_log_that_is_trimmed_goes_on_at_its_end(guest, look):
    guest.say(b"long ago\r\n" * 10_000)
    end = look()
    read(end, b"ago\r\n")
    time.sleep(0.5)
    with contextlib.suppress(BlockingIOError):
        end.setblocking(False)
        while end.recv(65536):
            pass
    end.settimeout(5)
    guest.log.write_bytes(b"long ago\r\n")
    time.sleep(0.4)
    guest.say(b"now\r\n")
    assert read(end, b"now\r\n") == b"now\r\n"


def test_a_slow_viewer_holds_nobody_up(guest, look):
    slow, quick = look(), look()
    assert soon(lambda: guest.line)
    for _ in range(40):
        guest.say(b"y" * 100_000)
    guest.say(b"end")
    assert len(read(quick, b"end")) == 4_000_003
    assert len(read(slow, b"end")) == 4_000_003


def test_who_is_one_too_many_is_told_so(guest, look, monkeypatch):
    monkeypatch.setattr(serial, "VIEWERS_AT_MOST", 2)
    first = look()
    look()
    with pytest.raises(Refused) as e:
        look()
    assert e.value.code == "quota"
    first.close()
    assert soon(lambda: joined(look))


def joined(look):
    try:
        return look()
    except Refused:
        return None


def test_a_guest_without_a_log_says_so(guest, look):
    guest.log.unlink()
    with pytest.raises(Refused, match="no console log"):
        look()


def test_nobody_listens(tmp_path):
    (tmp_path / "console.log").write_bytes(b"")
    with pytest.raises(Refused) as e:
        Serials().join(ONE, tmp_path / "sock", tmp_path / "console.log")
    assert e.value.code == "not_found"
