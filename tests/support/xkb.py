"""What a Linux guest makes of keys, by the library that its desktops use."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

_CODES = ["Backquote", "Digit1", "Digit2", "Digit3", "Digit4", "Digit5", "Digit6", "Digit7", "Digit8", "Digit9", "Digit0", "Minus", "Equal", "KeyQ", "KeyW", "KeyE", "KeyR", "KeyT", "KeyY", "KeyU", "KeyI", "KeyO", "KeyP", "BracketLeft", "BracketRight", "Backslash", "KeyA", "KeyS", "KeyD", "KeyF", "KeyG", "KeyH", "KeyJ", "KeyK", "KeyL", "Semicolon", "Quote", "IntlBackslash", "KeyZ", "KeyX", "KeyC", "KeyV", "KeyB", "KeyN", "KeyM", "Comma", "Period", "Slash", "IntlYen", "IntlRo", "Space", "Enter", "Tab", "ShiftLeft", "AltRight"]
_NUMBERS = dict(zip(_CODES, [41, *range(2, 14), *range(16, 28), 43, *range(30, 41), 86, *range(44, 54), 124, 89, 57, 28, 15, 42, 100], strict=True))
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
