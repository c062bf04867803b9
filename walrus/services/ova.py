"""An appliance (ova): a tar of plain files, of which exactly one is a disk. Names in it are compared, never used as paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from luhyaapi.transfer.base import CHUNK
from walrus.services import formats
from walrus.services.unpacking import Reader
from walrus.services.verdict import cut_off, refused

_BLOCK = 512
_FILES_AT_MOST = 64
_DESCRIPTION_AT_MOST = 1024 * 1024
_TAR = (b"ustar\x0000", b"ustar  \0")
_PLAIN = (b"0", b"\0")
_KINDS = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"5": "a folder", b"6": "a pipe",
}
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,100}")
_DESCRIPTION = ".ovf"


@dataclass(frozen=True)
class _Member:
    name: str
    size: int


def is_ova(head: bytes) -> bool:
    """Whether a file that begins with ``head`` (512 bytes) is a tar."""
    return head[257:265] in _TAR and _sums_up(head)


def disk(reader: Reader) -> Iterator[bytes]:
    """The bytes of the one disk in it; only when the iterator came to its end, it is certain that there is no other.

    Raises Refused(image_format).
    """
    contents = _Contents()
    for member in _members(reader):
        contents.add(member)
        if member.name.lower().endswith(_DESCRIPTION):
            contents.describe(_text(reader, member))
        elif member.name == contents.named or formats.is_disk(reader.peek(min(_BLOCK, member.size))):
            contents.found(member)
            yield from _content(reader, member.size)
        else:
            for _ in _content(reader, member.size):
                pass
        if any(reader.exactly(-member.size % _BLOCK)):
            raise refused("the ova is damaged")
    while data := reader.read(CHUNK):
        if any(data):
            raise refused("something follows the end of the ova")
    contents.check()


class _Contents:
    """What was seen so far; ``named``: the disk that the description names, None before it came."""

    def __init__(self) -> None:
        self.named: str | None = None
        self._seen: set[str] = set()
        self._disk = ""

    def add(self, member: _Member) -> None:
        if member.name in self._seen:
            raise refused(f"{_quoted(member.name)} is in the ova twice")
        if len(self._seen) >= _FILES_AT_MOST:
            raise refused("the ova holds too many files")
        self._seen.add(member.name)

    def describe(self, text: bytes) -> None:
        if self.named is not None:
            raise refused("the ova has several descriptions (ovf)")
        self.named = _named(text)

    def found(self, member: _Member) -> None:
        if self._disk:
            raise refused("the ova holds several disks; an image has one: export the machine with one disk")
        self._disk = member.name

    def check(self) -> None:
        if not self._disk:
            raise refused("the ova holds no disk")
        if self.named is not None and self._disk != self.named:
            raise refused(f"the ova describes the disk {_quoted(self.named)} and holds {_quoted(self._disk)}")


def _members(reader: Reader) -> Iterator[_Member]:
    """Its files, until the block of zeros that ends it; whoever asks for the next has read the one before, padding too."""
    while any(head := reader.exactly(_BLOCK)):
        if head[257:265] not in _TAR or not _sums_up(head):
            raise cut_off("the ova is damaged or cut off")
        name = head[:100].partition(b"\0")[0].decode("utf-8", "replace")
        kind = head[156:157]
        if kind not in _PLAIN:
            raise refused(f"{_quoted(name)} in the ova is {_KINDS.get(kind, 'of an unknown kind')}; an ova holds plain files only")
        has_folder = head[257:265] == _TAR[0] and head[345] != 0
        if has_folder or name in (".", "..") or not _NAME.fullmatch(name):
            raise refused(f"{_quoted(name)} in the ova is no plain file name; an ova has no folders")
        yield _Member(name, _number(head[124:136]))


def _content(reader: Reader, size: int) -> Iterator[bytes]:
    left = size
    while left:
        data = reader.read(min(left, CHUNK))
        if not data:
            raise cut_off("the ova is cut off")
        left -= len(data)
        yield data


def _text(reader: Reader, member: _Member) -> bytes:
    if member.size > _DESCRIPTION_AT_MOST:
        raise refused("the description in the ova (ovf) is too large")
    return reader.exactly(member.size)


def _named(text: bytes) -> str:
    """The file of the one disk that a description names; empty when it names none."""
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or text[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise refused("the description in the ova (ovf) is not plain")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without entities it cannot grow
    except (ET.ParseError, ValueError, LookupError) as e:
        raise refused("the description in the ova (ovf) cannot be read") from e
    files = {_attribute(e, "id"): _attribute(e, "href") for e in root.iter() if _tag(e) == "File"}
    disks = [_attribute(e, "fileRef") for e in root.iter() if _tag(e) == "Disk" and _attribute(e, "fileRef")]
    if len(disks) > 1:
        raise refused(f"the ova describes {len(disks)} disks; an image has one: export the machine with one disk")
    if disks and not files.get(disks[0]):
        raise refused("the description in the ova (ovf) names a disk that is no file of it")
    return files[disks[0]] if disks else ""


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _attribute(element: ET.Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _sums_up(head: bytes) -> bool:
    said = head[148:156].strip(b" \0")
    return _is_octal(said) and int(said, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:_BLOCK])


def _number(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    said = field.strip(b" \0")
    if not _is_octal(said):
        raise refused("the ova is damaged")
    return int(said, 8)


def _is_octal(said: bytes) -> bool:
    return bool(re.fullmatch(rb"[0-7]{1,12}", said))


def _quoted(name: str) -> str:
    return repr(name[:60])
