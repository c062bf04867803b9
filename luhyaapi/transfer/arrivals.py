"""Files on their way to this host that may be used before they are whole: noted first, so that they come whatever dies."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from luhyaapi import clock, log
from luhyaapi.contracts.base import Model
from luhyaapi.contracts.specs import Blob, Neighbour
from luhyaapi.errors import Refused, Trouble, Unavailable, of
from luhyaapi.files import write_atomic
from luhyaapi.transfer import courier, growing
from luhyaapi.transfer.base import Cancelled, Source, Trust
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.demand import Demand
from luhyaapi.transfer.download import Patience

_log = log.get(__name__)
_AT_ONCE = Patience(0, 0)
_OPEN_S = 60.0
_LOOK_S = 0.05
_NEEDED_EVERY_S = 1.0


class Coming(Model):
    """A file on its way: which, from where, opened by what; and who else may have some of it."""

    blob: Blob
    url: str
    ticket: str
    neighbours: tuple[Neighbour, ...] = ()


@dataclass
class _Fill:
    """One file on its way, while this process brings it."""

    error: Trouble | None = None
    is_over: bool = False


class Arrivals:
    """What comes into ``cache``. It is noted in ``folder`` before anything of it is used: the next process of this host goes on with it.

    ``trust(host)``: whom a boss ("") or a neighbour must prove to be. With ``inline`` nothing runs in threads: what is noted comes at the
    next :meth:`go_on`. Those who come after say what is needed and in which order it comes.
    """

    patience = Patience(math.inf, math.inf)

    def __init__(self, folder: Path, cache: BlobCache, trust: Callable[[str], Trust | None] = lambda _host: None, *, inline: bool = False) -> None:
        self._folder, self._cache, self._trust = folder, cache, trust
        self.is_inline = inline
        self._lock = threading.Lock()
        self._demands: dict[str, Demand] = {}
        self._fills: dict[str, _Fill] = {}
        self.on_whole: Callable[[], None] = lambda: None
        """Called, in any thread, when one is whole."""

    # ---- what heirs say

    def is_needed(self, sha256: str) -> bool:
        """Whether it shall come at all: as long as it is noted."""
        return self.comes(sha256)

    def is_usable(self, blob: Blob, demand: Demand) -> bool:  # noqa: ARG002 - for heirs
        """Whether what came of it can be used; here, passed on, whoever brings it."""
        return growing.of(self._cache.folder, blob.sha256) is not None or self._cache.path(blob.sha256) is not None

    def is_read(self, sha256: str) -> bool:
        """Whether somebody reads it here."""
        return not sha256

    def demand_for(self, blob: Blob) -> Demand:
        """The order in which its blocks shall come."""
        return Demand(blob.size, rests=False)

    def sets_out(self, blob: Blob, neighbours: Sequence[Source], stopped: Cancelled) -> None:
        """It begins to come. In the thread that brings it; must not wait."""

    def came(self, blob: Blob, demand: Demand) -> None:
        """It is whole, and has its name; it is still noted."""

    def failed(self, blob: Blob, error: Trouble) -> None:
        """It does not come now. Unless it may come later it is forgotten: who needs it orders it anew, and is told why."""
        if not isinstance(error, Unavailable):
            self.forget(blob.sha256)

    # ---- what comes

    def comes(self, sha256: str) -> bool:
        """Whether it is on its way."""
        return self._note(sha256).exists()

    def bring(self, coming: Coming, cancelled: Cancelled) -> None:
        """Have the file come, as long as it is needed; returns when it can be read, or is here.

        Raises Unavailable(transfer) when nothing can be read for a minute, and what :func:`luhyaapi.transfer.courier.fetch` raises
        else; once it can be read, nothing more.
        """
        blob = coming.blob
        if self._cache.path(blob.sha256):
            return
        with self._lock:
            write_atomic(self._note(blob.sha256), coming.model_dump_json().encode())
        if self.is_inline:
            return
        demand, fill, until = self.demand(blob), self._begin(blob), clock.monotonic() + _OPEN_S
        while not self.is_usable(blob, demand) and not fill.is_over:
            if cancelled():
                raise Refused("cancelled", "Fetching the image was cancelled")
            if clock.monotonic() > until and growing.of(self._cache.folder, blob.sha256) is None:
                raise Unavailable("transfer", "The bytes did not arrive", f"nothing came in {_OPEN_S:.0f} s")
            clock.sleep(_LOOK_S)
        if fill.error and not self.is_usable(blob, demand):
            self.forget(blob.sha256)
            raise fill.error

    def go_on(self) -> None:
        """Bring on what is noted, also what failed; what is not needed is forgotten."""
        with self._lock:
            self._fills = {sha256: fill for sha256, fill in self._fills.items() if not fill.is_over}
        for note in self._folder.glob("*.json"):
            coming = _read(note)
            if coming is None or not self.is_needed(coming.blob.sha256):
                self.forget(note.stem)
            else:
                self._begin(coming.blob)

    def forget(self, sha256: str) -> None:
        """It comes no more."""
        with self._lock:
            self._note(sha256).unlink(missing_ok=True)
            if not self.is_read(sha256):
                self._demands.pop(sha256, None)

    def demand(self, blob: Blob) -> Demand:
        """Through which it is read while it comes."""
        with self._lock:
            if blob.sha256 not in self._demands:
                self._demands[blob.sha256] = self.demand_for(blob)
            return self._demands[blob.sha256]

    def _begin(self, blob: Blob) -> _Fill:
        with self._lock:
            fill = self._fills.get(blob.sha256)
            if fill is not None and not fill.is_over:
                if coming := _read(self._note(blob.sha256)):
                    courier.offer(self._cache, blob, self._source(coming), self._neighbours(coming))
                return fill
            fill = self._fills[blob.sha256] = _Fill()
        if self.is_inline:
            self._fill(blob, fill)
        else:
            threading.Thread(target=self._fill, args=(blob, fill), name=f"lazy-{blob.sha256[:8]}", daemon=True).start()
        return fill

    def _fill(self, blob: Blob, fill: _Fill) -> None:
        try:
            while (coming := _read(self._note(blob.sha256))) and not self._comes_whole(coming, fill):
                pass
        finally:
            fill.is_over = True
        if fill.error is None:
            self.on_whole()

    def _comes_whole(self, coming: Coming, fill: _Fill) -> bool:
        """Bring it; false when that failed and it was ordered from elsewhere meanwhile."""
        try:
            self._bring_whole(coming)
        except Exception as error:
            trouble = of(error)
            if not isinstance(trouble, Unavailable) and _read(self._note(coming.blob.sha256)) not in (None, coming):
                return False
            fill.error = trouble
            _log.warning("image does not come", sha256=coming.blob.sha256, why=str(error))
            self.failed(coming.blob, trouble)
        return True

    def _source(self, coming: Coming) -> Source:
        return Source(f"{coming.url}/blobs/{coming.blob.sha256}", {"Authorization": f"Ticket {coming.ticket}"}, self._trust(""))

    def _neighbours(self, coming: Coming) -> list[Source]:
        sha256 = coming.blob.sha256
        return [Source(f"{near.url}/blobs/{sha256}", {"Authorization": f"Ticket {near.ticket}"}, self._trust(near.host)) for near in coming.neighbours]

    def _bring_whole(self, coming: Coming) -> None:
        blob = coming.blob
        demand, neighbours, unneeded = self.demand(blob), self._neighbours(coming), self._unneeded(blob.sha256)
        self.sets_out(blob, neighbours, unneeded)
        path = courier.fetch(
            self._cache, blob, f"{coming.url}/blobs/{blob.sha256}", coming.ticket, cancelled=unneeded, trust=self._trust(""),
            patience=_AT_ONCE if self.is_inline else self.patience, demand=None if self.is_inline else demand, neighbours=neighbours,
        )
        self.came(blob, demand)
        demand.whole(path)
        self.forget(blob.sha256)
        _log.info("image is whole", sha256=blob.sha256, read_first=len(demand.read))

    def _unneeded(self, sha256: str) -> Cancelled:
        asked_at, needed = clock.monotonic(), True

        def unneeded() -> bool:
            nonlocal asked_at, needed
            if clock.monotonic() - asked_at > _NEEDED_EVERY_S:
                asked_at, needed = clock.monotonic(), self.is_needed(sha256)
            return not needed

        return unneeded

    def _note(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"


def _read(note: Path) -> Coming | None:
    try:
        return Coming.model_validate_json(note.read_text())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        _log.error("a note of what comes cannot be read", note=note.name, why=str(error)[:200])
        return None
