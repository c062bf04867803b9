"""A guest's output on somebody's terminal: what draws passes whole, what steers or asks does not, in pieces of any size."""

import itertools

import pytest

from deploy.cli.guarded import Guarded

DRAWS = [
    "login: ", "grüße 你好 ├──┤", "\x1b[1;31mred\x1b[0m", "\x1b[2J\x1b[H", "\x1b[10;1Hx\x1b[K", "\x1b7\x1b8", "\x1b(0lqk\x1b(B", "\x1b[?1049h", "\x1b[?25l",
    "\x1b[38;5;200mx", "\x1b[48:2::1:2:3mx", "a\tb\r\n\b", "\x1bM", "\x1b[!p", "\x1b[2 q", "\x1b[5;20r", "\x1b[3@",
]
DOES_MORE = [
    ("\x1b]0;title\x07x", "x"), ("\x1b]2;title\x1b\\x", "x"), ("\x1b]52;c;aGk=\x07x", "x"), ("\x1b]8;;http://evil/\x1b\\link\x1b]8;;\x1b\\", "link"),
    ("\x1bP$qm\x1b\\x", "x"), ("\x1b_G...\x1b\\x", "x"), ("\x1b^x\x1b\\y", "y"), ("\x1bXx\x1b\\y", "y"), ("\x1b[6n", ""), ("\x1b[c", ""), ("\x1b[>c", ""),
    ("\x1b[?6n", ""), ("\x1b[5i", ""), ("\x1b[21t", ""), ("\x1b[?25$p", ""), ("\x1bZ", ""), ("\x05", ""), ("\x9b6n", "6n"), ("\x9d0;title\x07", "0;title\x07"),
    ("\x1b[>4;1mx", "x"), ("\x1b[?1004hx", "x"), ("\x1b[?25;1004lx", "\x1b[?25lx"), ("\x7f", ""), ("\x1b#8x", "x"), ("\x1b%Gx", "x"), ("\x1b[12\x18x", "x"),
    ("\x1b]0;never ends\x1b[31mred", "\x1b[31mred"),
    ("\x1b[1" + ";1" * 50 + "mx", ";1" * 18 + "mx"), ("\x1b[12\x1b[1mx", "\x1b[1mx"), ("\x1b[1\r2mx", "\r\x1b[12mx"),
    ("\x1b[>0q", ""), ("\x1b[=c", ""), ("\x1b(%x", "x"),
]


@pytest.mark.parametrize("text", DRAWS)
def test_what_draws_passes_as_it_is(text):
    assert Guarded().feed(text.encode()).decode() == text


@pytest.mark.parametrize(("text", "shown"), DOES_MORE)
def test_what_does_more_does_not(text, shown):
    assert Guarded().feed(text.encode()).decode() == shown


@pytest.mark.parametrize(("text", "shown"), [*DOES_MORE, *((t, t) for t in DRAWS)])
def test_byte_by_byte_is_the_same(text, shown):
    guard = Guarded()
    assert b"".join(guard.feed(bytes([each])) for each in text.encode()).decode() == shown


def test_no_bytes_break_it():
    guard = Guarded()
    threes = itertools.product((0x1b, 0x9d, 0xc2, 0x41), range(256), (0x5b, 0x5d, 0x9c, 0xff))
    shown = b"".join(guard.feed(bytes(three)) for three in threes)
    for bad in ("\x1b]", "\x1bP", "\x90", "\x9b", "\x9d", "\x05"):
        assert bad not in shown.decode()


def test_a_terminal_is_left_as_it_was():
    guard = Guarded()
    guard.feed(b"nothing but text\r\n")
    assert guard.restore() == b""
    guard.feed(b"\x1b[?1049h\x1b[?1000;25l\x1b[?1002h\x1b[?7h\x1b[?1002l")
    assert guard.restore() == b"\x1b[!p\x1b[?1049l\x1b[?25h\x1b[0m\x0f"
