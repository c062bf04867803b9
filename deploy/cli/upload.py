"""Bringing the files of an image into the cloud: stated honestly, in pieces, resumed after a cut."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.cli import api, output
from luhyaapi import clock
from luhyaapi.errors import Failed, Refused, Trouble

if TYPE_CHECKING:
    from deploy.cli.session import Session

CHUNK = 8 * 1024 * 1024
_BOOT_RECORD_BYTES = 0x8006
PAUSES_S = (0.2, 1.0, 3.0, 5.0)
TAKEN = "taken are qcow2, raw, vmdk, vdi, vhdx, vhd and ova, each also packed with gz, bz2, xz or zst"
_KNOWN = (b"KDMV", b"# Disk DescriptorFile", b"vhdxfile", b"conectix", b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"BZh")
_VDI_AT, _VDI, _TAR_AT = 64, b"\x7f\x10\xda\xbe", 257
_NAMED = frozenset({".vmdk", ".vdi", ".vhdx", ".vhd", ".ova", ".gz", ".bz2", ".xz", ".zst"})
_FOREIGN = {b"PK\x03\x04": "zip archive", b"7z\xbc\xaf\x27\x1c": "7z archive", b"Rar!": "rar archive"}
_AGAIN = frozenset({"busy", "interrupted", "transfer", "host_silent", "state", "conflict"})

Seen = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Source:
    """One local file of an image. ``size`` in bytes; ``mtime_ns`` tells whether it changed meanwhile."""

    part: str
    file: Path
    format: str
    size: int
    mtime_ns: int

    def wire(self) -> dict[str, Any]:
        """Its entry in the request."""
        return {"part": self.part, "size_bytes": self.size, "format": self.format}

    def unchanged(self) -> None:
        """Raises Failed(digest) when the file is not what it was."""
        now = self.file.stat()
        if (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns):
            raise Failed("digest", f"{self.file} changed while it was read", hint="Wait until nobody writes to it, then upload it again.")


def disk_format(file: Path, stated: str = "") -> str:
    """What to state: ``raw`` or ``qcow2`` as ``stated`` or as name and first bytes agree, else nothing: the cloud finds it out.

    Raises Refused(image_format) before a byte is sent for what the cloud would refuse.
    """
    with file.open("rb") as source:
        head = source.read(_BOOT_RECORD_BYTES)
    foreign = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), "")
    if foreign:
        raise Refused("image_format", f"{file} is a {foreign}", TAKEN)
    ending = file.suffix.lower()
    found = _found(head)
    claimed = stated or {".raw": "raw", ".qcow2": "qcow2"}.get(ending, "")
    if (found != "other" and claimed not in {"", found}) or (found == "raw" and ending in _NAMED) or (found == "other" and claimed == "raw"):
        raise Refused("image_format", f"{file} is not what it is said to be", "its name or --format and its first bytes do not agree",
                      hint="Leave --format away, or rename it.")
    if found != "raw" or stated:
        return stated
    if not claimed and not _boots(head):
        raise Refused("image_format", f"{file} does not look like a disk", "it is of no known format, and nothing in it boots",
                      hint="If it is a raw disk all the same, say --format raw.")
    return "raw"


def _found(head: bytes) -> str:
    """``qcow2``, ``raw`` for what no first bytes tell of, ``other`` for another format and for what is packed."""
    if head.startswith(b"QFI\xfb"):
        return "qcow2"
    is_other = head.startswith(_KNOWN) or head[_TAR_AT : _TAR_AT + 5] == b"ustar" or head[_VDI_AT : _VDI_AT + 4] == _VDI
    return "other" if is_other else "raw"


def _boots(head: bytes) -> bool:
    """Whether a raw disk begins as one that boots: a boot record (also that of a GPT), or a CD's volume."""
    return head[510:512] == b"\x55\xaa" or head[0x8001:0x8006] == b"CD001"


def source(part: str, file: Path, stated: str = "") -> Source:
    """A checked local file. Raises Refused(invalid) or Refused(image_format) before anything is sent."""
    size = api.readable(file, part)
    kind = disk_format(file, stated) if part == "disk" else "raw"
    return Source(part, file, kind, size, file.stat().st_mtime_ns)


def digest(file: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


class _Hasher:
    """Hashes a file once, front to back, however often its pieces are sent again."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._sum = hashlib.sha256()
        self._at = 0

    def piece(self, offset: int) -> bytes:
        """The piece at ``offset``; everything up to its end is in the sum afterwards. Raises Failed(digest)."""
        with self._source.file.open("rb") as content:
            content.seek(self._at)
            while self._at < offset:
                self._take(content.read(min(CHUNK, offset - self._at)))
            content.seek(offset)
            data = content.read(min(CHUNK, self._source.size - offset))
        if not data:
            self._source.unchanged()
            raise Failed("digest", f"{self._source.file} ended early", f"at byte {offset}")
        if offset + len(data) > self._at:
            self._take(data[self._at - offset :])
        return data

    def _take(self, data: bytes) -> None:
        if not data:
            raise Failed("digest", f"{self._source.file} ended early", f"at byte {self._at}")
        self._sum.update(data)
        self._at += len(data)

    def hexdigest(self) -> str:
        """The sum of the whole file."""
        with self._source.file.open("rb") as content:
            content.seek(self._at)
            while self._at < self._source.size:
                self._take(content.read(min(CHUNK, self._source.size - self._at)))
        self._source.unchanged()
        return self._sum.hexdigest()


class Upload:
    """One upload under way. ``seen`` is told (part, bytes arrived, bytes in all)."""

    def __init__(self, session: Session, state: Mapping[str, Any], sources: list[Source], seen: Seen) -> None:
        self._api = session.api
        self.id = str(state["id"])
        self._sources = sources
        self._seen = seen
        self._arrived = self._read(state)

    @staticmethod
    def _read(state: Mapping[str, Any]) -> dict[str, int]:
        return {str(p["part"]): int(p.get("received_bytes") or 0) for p in state["parts"]}

    def send(self) -> list[dict[str, Any]]:
        """Send what has not arrived; what to say in ``complete``. Raises the last Trouble when cuts do not end."""
        parts = []
        for each in self._sources:
            hasher = _Hasher(each)
            self._send_part(each, hasher)
            parts.append({"part": each.part, "sha256": hasher.hexdigest(), "size_bytes": each.size})
        return parts

    def _send_part(self, each: Source, hasher: _Hasher) -> None:
        where = api.path("uploads", self.id, each.part)
        at, failures = self._arrived.get(each.part, 0), 0
        while at < each.size:
            data = hasher.piece(at)
            try:
                answer = self._api.put(where, data, offset=at)
                reached = int(answer["received_bytes"])
            except Trouble as e:
                if e.code not in _AGAIN or failures >= len(PAUSES_S):
                    raise
                clock.sleep(PAUSES_S[failures])
                reached = self._ask(each.part, at)
                failures += 1
            failures = 0 if reached > at else failures + (reached == at and failures == 0)
            if reached > each.size or failures > len(PAUSES_S):
                raise Failed("transfer", "The upload does not advance", f"{each.part}: {reached} of {each.size} bytes")
            at = reached
            self._seen(each.part, at, each.size)

    def _ask(self, part: str, otherwise: int) -> int:
        """How much has arrived; a cloud that is still away leaves it as it was."""
        try:
            return self._read(self._api.get(api.path("uploads", self.id))).get(part, 0)
        except api.Unreachable:
            return otherwise


def bring(session: Session, order: dict[str, Any], sources: list[Source], *, resume: str = "") -> dict[str, Any]:
    """Create (or take up again) an upload, send everything, complete it; the task that checks it.

    Raises what the server says; after a cut that does not end, its hint names how to take the upload up again.
    """
    if resume:
        state = session.api.get(api.path("uploads", resume))
        _fits(state, sources)
    else:
        state = session.api.post(api.path("uploads"), order | {"parts": [s.wire() for s in sources]})
    again = f"Take it up again: the same command with --resume {state['id']}; or give it up with --abandon {state['id']}."
    try:
        with output.Bars() as bars:
            upload = Upload(session, state, sources, lambda part, at, size: bars.show(f"upload {part}", at, size))
            parts = upload.send()
        task: dict[str, Any] = session.api.post(api.path("uploads", upload.id, "complete"), {"parts": parts})
    except KeyboardInterrupt:
        output.note(f"Stopped. {again}")
        raise
    except api.Unreachable as e:
        e.params["hint"] = again
        raise
    return task


def give_up(session: Session, upload: str) -> None:
    """Have nothing of an upload kept; once the cloud is at work on it, its task is cancelled and tells how it ends."""
    where = api.path("uploads", upload)
    answer = session.api.delete(where) or {"id": upload, "state": "abandoned"}
    if session.json:
        output.document(answer)
    elif str(answer["id"]).startswith("tsk-"):
        output.note(f"The upload {upload} is complete already; its task {answer['id']} is {answer['state']}.")
    else:
        output.note(f"The upload {upload} is given up; nothing of it is kept.")


def _fits(state: Mapping[str, Any], sources: list[Source]) -> None:
    expected = {str(p["part"]): int(p["size_bytes"]) for p in state["parts"]}
    if expected != {s.part: s.size for s in sources}:
        raise Refused(
            "invalid", f"The upload {state['id']} is about other files", "parts or sizes differ",
            hint="Name the same files, or upload anew without --resume.",
        )
