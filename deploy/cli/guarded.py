"""A guest's output for somebody's own terminal: what draws passes, what steers the terminal or asks it something does not."""

from __future__ import annotations

import codecs
import re

_CONTROLS = frozenset("\a\b\t\n\v\f\r\x0e\x0f")
_AFTER_ESCAPE = frozenset("78DEMHc=>")
_STRINGS = frozenset("]PX^_")
_CHARSETS = frozenset("()*+")
_SEQUENCE = re.compile(r"([<=>?]?)([0-9;:]*)([ -/]*)([@-~])")
_LONGEST = 64
_FINALS = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefghlmrsu")
_MODES = frozenset({1, 3, 5, 6, 7, 12, 25, 45, 47, 66, 1000, 1002, 1003, 1005, 1006, 1015, 1047, 1048, 1049, 2004, 2026})
_USUAL = frozenset({7, 25, 12})
"""Modes a terminal has on by itself, or that show nothing of a guest."""


class Guarded:
    """UTF-8 in pieces of any size. What is not UTF-8 shows as such; no title, clipboard, link, print or question passes."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._state = self._plain
        self._held = ""
        self._on: set[int] = set()
        self._is_bare = True

    def feed(self, data: bytes) -> bytes:
        """What of it may be shown."""
        return "".join(map(self._step, self._decoder.decode(data))).encode()

    def restore(self) -> bytes:
        """What leaves the terminal as a shell expects it: modes the guest changed are changed back."""
        if self._is_bare:
            return b""
        changed = "".join(f"\x1b[?{mode}l" for mode in sorted(self._on - _USUAL))
        return f"\x1b[!p{changed}\x1b[?25h\x1b[0m\x0f".encode()

    def _step(self, sign: str) -> str:
        if sign == "\x1b":
            # also in the middle of something: what began is dropped, as terminals do
            if self._state != self._string:
                self._state = self._escape
            else:
                self._state = self._string_escape
            return ""
        if sign in "\x18\x1a":
            self._state = self._plain
            return ""
        return self._state(sign)

    def _plain(self, sign: str) -> str:
        # beside the ASCII controls the ones above them, which many terminals take for ESC and a letter
        return sign if sign in _CONTROLS or not (sign < " " or "\x7f" <= sign <= "\x9f") else ""

    def _escape(self, sign: str) -> str:
        self._is_bare = False
        if sign == "[":
            self._state, self._held = self._sequence, ""
        elif sign in _STRINGS:
            self._state = self._string
        elif sign in _CHARSETS:
            self._state, self._held = self._charset, sign
        elif " " <= sign <= "/":
            self._state = self._dropped
        else:
            self._state = self._plain
            return f"\x1b{sign}" if sign in _AFTER_ESCAPE else ""
        return ""

    def _charset(self, sign: str) -> str:
        self._state = self._plain
        return f"\x1b{self._held}{sign}" if sign in "0AB" else ""

    def _dropped(self, sign: str) -> str:
        self._state = self._dropped if " " <= sign <= "/" else self._plain
        return ""

    def _string(self, sign: str) -> str:
        if sign == "\a":
            self._state = self._plain
        return ""

    def _string_escape(self, sign: str) -> str:
        if sign == "\\":
            self._state = self._plain
            return ""
        return self._escape(sign)

    def _sequence(self, sign: str) -> str:
        if sign < " ":
            return self._plain(sign)
        self._held += sign
        if "@" <= sign <= "~" or len(self._held) > _LONGEST or sign > "~":
            self._state = self._plain
            return self._judged(self._held)
        return ""

    def _judged(self, text: str) -> str:
        found = _SEQUENCE.fullmatch(text)
        if not found:
            return ""
        prefix, numbers, between, final = found.groups()
        if prefix == "?" and not between and final in "hl":
            return self._modes(numbers, final)
        if (prefix, between) == ("", "") and final in _FINALS:
            return f"\x1b[{text}"
        passes = (prefix, between, final) in {("?", "", "J"), ("?", "", "K"), ("", "!", "p"), ("", " ", "q")}
        return f"\x1b[{text}" if passes else ""

    def _modes(self, numbers: str, final: str) -> str:
        wanted = [int(n) for n in numbers.split(";") if n and n.isdigit() and len(n) < 6 and int(n) in _MODES]
        (self._on.update if final == "h" else self._on.difference_update)(wanted)
        return f"\x1b[?{';'.join(map(str, wanted))}{final}" if wanted else ""
