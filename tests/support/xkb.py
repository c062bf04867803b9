"""What a Linux guest makes of keys, by the library that its desktops use."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

_NUMBERS = {
    **{f"Key{letter}": first + n for first, row in ((16, "QWERTYUIOP"), (30, "ASDFGHJKL"), (44, "ZXCVBNM")) for n, letter in enumerate(row)},
    **{f"Digit{(n + 1) % 10}": 2 + n for n in range(10)},
    "Backquote": 41, "Minus": 12, "Equal": 13, "BracketLeft": 26, "BracketRight": 27, "Backslash": 43, "Semicolon": 39, "Quote": 40,
    "IntlBackslash": 86, "Comma": 51, "Period": 52, "Slash": 53, "IntlYen": 124, "IntlRo": 89, "Space": 57, "Enter": 28, "Tab": 15,
    "ShiftLeft": 42, "AltRight": 100,
}
"""The numbers of Linux for the keys that browsers name so."""
_COMPOSING, _COMPOSED, _CANCELLED = 1, 2, 3


class _Names(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_char_p) for name in ("rules", "model", "layout", "variant", "options"))


class Guest:
    """One with that layout. Raises OSError where the library is not installed."""

    def __init__(self, layout: str) -> None:
        self._lib = lib = ctypes.CDLL("libxkbcommon.so.0")
        pointer = ctypes.c_void_p
        for name in ("context_new", "keymap_new_from_names", "state_new", "compose_table_new_from_locale", "compose_state_new"):
            getattr(lib, f"xkb_{name}").restype = pointer
        context = pointer(lib.xkb_context_new(0))
        names = _Names(b"evdev", b"pc105", layout.encode(), None, None)
        keymap = pointer(lib.xkb_keymap_new_from_names(context, ctypes.byref(names), 0))
        self._state = pointer(lib.xkb_state_new(keymap))
        self._compose = pointer(lib.xkb_compose_state_new(pointer(lib.xkb_compose_table_new_from_locale(context, b"en_US.UTF-8", 0)), 0))

    def read(self, strokes: Iterable[tuple[int, str, bool]]) -> str:
        """The text that comes of (keysym, code, down)."""
        return "".join(self._key(_NUMBERS[code] + 8, down=down) for _, code, down in strokes)

    def held(self) -> bool:
        """Whether some key that changes others is down."""
        return bool(self._lib.xkb_state_serialize_mods(self._state, 1))

    def _key(self, number: int, *, down: bool) -> str:
        lib, said = self._lib, ctypes.create_string_buffer(64)
        if down:
            symbol = lib.xkb_state_key_get_one_sym(self._state, number)
            lib.xkb_compose_state_feed(self._compose, symbol)
            status = lib.xkb_compose_state_get_status(self._compose)
            if status == _COMPOSED:
                lib.xkb_compose_state_get_utf8(self._compose, said, len(said))
                lib.xkb_compose_state_reset(self._compose)
            elif status == _CANCELLED:
                lib.xkb_compose_state_reset(self._compose)
            elif status != _COMPOSING:
                lib.xkb_state_key_get_utf8(self._state, number, said, len(said))
        lib.xkb_state_update_key(self._state, number, 1 if down else 0)
        return said.value.decode().replace("\r", "\n")
