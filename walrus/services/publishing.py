"""From a file that was sent to one that may be kept: proved to be the announced one, looked into, a disk made raw."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from luhyaapi.contracts.specs import UploadPart
from luhyaapi.contracts.vocabulary import Part
from luhyaapi.errors import Failed, Refused
from luhyaapi.transfer.base import CHUNK, Cancelled, Progress
from walrus.services import inspection
from walrus.services.conversion import to_raw

Tell = Callable[[str, int, int], object]
"""Called with what is being done (check, convert, store), bytes done and bytes to do."""


@dataclass(frozen=True)
class Ready:
    """A file to be kept: where it is, its sha256; ``sent`` is the sha256 of what was sent for it, ``was`` that file's formats."""

    announced: UploadPart
    path: Path
    sha256: str
    sent: str
    was: tuple[str, ...]

    @property
    def virtual_size(self) -> int:
        """Bytes of the disk; 0 for kernels and initrds."""
        return self.path.stat().st_size if self.announced.part is Part.DISK else 0


def make_ready(file: Path, announced: UploadPart, raw: Path, *, largest_mib: int, cancelled: Cancelled, tell: Tell) -> Ready:
    """Look into a complete file; a disk becomes raw in ``raw``.

    Raises Failed(digest) when it is not the announced one, Refused(image_format) with the reason as one sentence,
    Refused(cancelled), Failed(disk_full), and Failed(missing) or Failed(program) when nothing can be enclosed here.
    """
    sent = sha256_of(file, cancelled, partial(tell, "check"))
    part = announced.part
    if announced.sha256 and sent != announced.sha256:
        raise Failed("digest", f"The {part.value} file is not the announced one", f"its sha256 is {sent}, not {announced.sha256}")
    if part is not Part.DISK:
        inspection.inspect_boot_file(file, part, announced.format)
        return Ready(announced, file, sent, sent, ())
    converted = to_raw(
        file, raw, declared=announced.format, largest_mib=largest_mib, cancelled=cancelled, on_progress=partial(tell, "convert"),
    )
    is_same = converted.was == ("raw",)
    return Ready(announced, raw, sent if is_same else sha256_of(raw, cancelled, partial(tell, "check")), sent, converted.was)


def sha256_of(file: Path, cancelled: Cancelled, on_progress: Progress) -> str:
    """The sha256 of a file, in hexadecimal digits. Raises Refused(cancelled)."""
    found, done, size = hashlib.sha256(), 0, file.stat().st_size
    with file.open("rb") as opened:
        while data := opened.read(CHUNK):
            found.update(data)
            done += len(data)
            if cancelled():
                raise Refused("cancelled", "Checking the image was cancelled")
            on_progress(done, size)
    return found.hexdigest()
