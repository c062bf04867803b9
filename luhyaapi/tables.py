"""Tables that people make in spreadsheets, as text."""

from __future__ import annotations

from luhyaapi.errors import Refused

_ENCODINGS = ("utf-8-sig", "gb18030")
"""What spreadsheets write; the second takes almost anything, so it comes last."""


def decoded(data: bytes) -> str:
    """The text of a CSV file. Raises Refused(invalid)."""
    for encoding in _ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise Refused("invalid", "The table cannot be read", "it is neither UTF-8 nor GB 18030", hint="Save it as CSV in UTF-8.", field="table")
