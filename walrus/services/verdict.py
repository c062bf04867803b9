"""How a file that cannot be accepted is spoken of: one sentence, always of the same form."""

from __future__ import annotations

from typing import BinaryIO

from luhyaapi.contracts.vocabulary import Part
from luhyaapi.errors import Refused

_AGAIN = "Copy the file again, and compare its size or sha256 with the original's."


def refused(why: str, part: Part = Part.DISK) -> Refused:
    """The error to raise; ``why`` is a sentence about "it", the file."""
    return Refused("image_format", f"The {part.value} file cannot be accepted", why)


def cut_off(why: str = "it is damaged or cut off") -> Refused:
    """The error to raise for a file of which something is missing: no other format mends that, the file itself does."""
    return Refused("image_format", "The disk file cannot be accepted", why, hint=_AGAIN)


def read(file: BinaryIO, at: int, length: int, size: int) -> bytes:
    """``length`` bytes at ``at`` of a file of ``size`` bytes, where its own header says that they are; refused when they are not."""
    if at + length > size:
        raise cut_off()
    file.seek(at)
    return file.read(length)
