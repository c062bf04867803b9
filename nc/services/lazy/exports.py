"""Images that come while guests read them already: what is on its way here, and the sockets it is read from until it is whole."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from luhyaapi import clock, log
from luhyaapi.conf import Settings
from luhyaapi.contracts.base import Model
from luhyaapi.contracts.specs import Blob, Neighbour
from luhyaapi.contracts.vocabulary import DiskFormat, Part
from luhyaapi.errors import Refused, Trouble, Unavailable, of
from luhyaapi.files import write_atomic
from luhyaapi.transfer import courier
from luhyaapi.transfer.base import Source, Trust
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.demand import Demand
from luhyaapi.transfer.download import Patience
from nc.drivers.base import Account
from nc.services.lazy.door import Door, SilentDoor, SocketDoor
from nc.services.lazy.traces import Traces, learn

_log = log.get(__name__)
_FOR_EVER, _AT_ONCE = Patience(math.inf, math.inf), Patience(0, 0)
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


class Exports:
    """Disks on their way to this node and their doors. ``on_whole`` is called, in any thread, when one is whole.

    What comes is noted in ``<state>/lazy`` before it is read, so that the next process of this node goes on with it. With
    ``inline`` nothing runs in threads: what is noted comes at the next :meth:`go_on`, and no door answers.
    """

    def __init__(self, settings: Settings, cache: BlobCache, trust: Trust | None = None, *, inline: bool = False) -> None:
        self._is_on = settings.hypervisor.lazy_start and not settings.hypervisor.uri.startswith("xen")
        self._folder = settings.host.state / "lazy"
        self._cache, self._trust, self._inline = cache, trust, inline
        self._lock = threading.Lock()
        self._demands: dict[str, Demand] = {}
        self._fills: dict[str, _Fill] = {}
        self.traces = Traces(self._folder)
        self._doors: dict[str, tuple[str, Door]] = {}
        self.on_whole: Callable[[], None] = lambda: None

    # ---- files on their way

    def may(self, blob: Blob) -> bool:
        """Whether a guest may start before that file is whole."""
        return self._is_on and blob.part is Part.DISK and blob.format is DiskFormat.RAW and blob.size > 0

    def bring(self, coming: Coming, cancelled: Callable[[], bool]) -> None:
        """Have the file come, as long as somebody pins it; returns when it can be read, or is here.

        Raises Unavailable(transfer) when nothing can be read for a minute, and what :func:`luhyaapi.transfer.courier.fetch` raises
        else; once it can be read, nothing more.
        """
        blob = coming.blob
        if self._cache.path(blob.sha256):
            return
        with self._lock:
            write_atomic(self._note(blob.sha256), coming.model_dump_json().encode())
        if self._inline:
            return
        fill, demand, until = self._begin(blob), self._demand(blob), clock.monotonic() + _OPEN_S
        while not demand.is_open and not fill.is_over:
            if cancelled():
                raise Refused("cancelled", "Fetching the image was cancelled")
            if clock.monotonic() > until:
                raise Unavailable("transfer", "The bytes did not arrive", f"nothing came in {_OPEN_S:.0f} s")
            clock.sleep(_LOOK_S)
        if fill.error and not demand.is_open:
            self._forget(blob.sha256)
            raise fill.error

    def comes(self, blob: Blob) -> bool:
        """Whether it is on its way."""
        return self._note(blob.sha256).exists()

    def go_on(self) -> None:
        """Bring on what is noted, also what failed; nobody's is forgotten."""
        for note in self._folder.glob("*.json"):
            coming = _read(note)
            if coming is None or not self._cache.pins().get(coming.blob.sha256):
                self._forget(note.stem)
            else:
                self._begin(coming.blob)

    def _begin(self, blob: Blob) -> _Fill:
        with self._lock:
            fill = self._fills.get(blob.sha256)
            if fill is not None and not fill.is_over:
                return fill
            fill = self._fills[blob.sha256] = _Fill()
        if self._inline:
            self._fill(blob, fill)
        else:
            threading.Thread(target=self._fill, args=(blob, fill), name=f"lazy-{blob.sha256[:8]}", daemon=True).start()
        return fill

    def _fill(self, blob: Blob, fill: _Fill) -> None:
        try:
            self._bring_whole(blob)
        except Exception as error:
            fill.error = of(error)
            _log.warning("image does not come", sha256=blob.sha256, why=str(error))
            return
        finally:
            fill.is_over = True
        self.on_whole()

    def _bring_whole(self, blob: Blob) -> None:
        demand = self._demand(blob)
        coming = _read(self._note(blob.sha256))
        if coming is None:
            raise Refused("not_found", "It is not known where the image comes from", blob.sha256[:12])
        neighbours = [self._near(near, blob) for near in coming.neighbours]
        unneeded = self._unneeded(blob.sha256)
        if not self._inline and not demand.expects:
            threading.Thread(target=learn, args=(neighbours, demand.expect, unneeded), name=f"trace-{blob.sha256[:8]}", daemon=True).start()
        path = courier.fetch(
            self._cache, blob, f"{coming.url}/blobs/{blob.sha256}", coming.ticket, cancelled=unneeded, trust=self._trust,
            patience=_AT_ONCE if self._inline else _FOR_EVER, demand=None if self._inline else demand,
            neighbours=neighbours,
        )
        if demand.read:
            self.traces.keep(blob.sha256, demand.read)
        demand.whole(path)
        self._forget(blob.sha256)
        _log.info("image is whole", sha256=blob.sha256, read_first=len(demand.read))

    def _near(self, near: Neighbour, blob: Blob) -> Source:
        trust = replace(self._trust, name=near.host) if self._trust else None
        return Source(f"{near.url}/blobs/{blob.sha256}", {"Authorization": f"Ticket {near.ticket}"}, trust)

    def _unneeded(self, sha256: str) -> Callable[[], bool]:
        asked_at, needed = clock.monotonic(), True

        def unneeded() -> bool:
            nonlocal asked_at, needed
            if clock.monotonic() - asked_at > _NEEDED_EVERY_S:
                asked_at, needed = clock.monotonic(), bool(self._cache.pins().get(sha256))
            return not needed

        return unneeded

    def _forget(self, sha256: str) -> None:
        """It comes no more."""
        with self._lock:
            self._note(sha256).unlink(missing_ok=True)
            if all(of != sha256 for of, _ in self._doors.values()):
                self._demands.pop(sha256, None)

    def _demand(self, blob: Blob) -> Demand:
        with self._lock:
            if blob.sha256 not in self._demands:
                self._demands[blob.sha256] = Demand(blob.size, self.traces.of(blob.sha256))
            return self._demands[blob.sha256]

    def _note(self, sha256: str) -> Path:
        return self._folder / f"{sha256}.json"

    # ---- doors

    def open(self, instance: str, at: Path, blob: Blob, account: Account | None) -> Path:
        """The socket at which the guest's hypervisor reads the file, whole or not. Raises Failed(hypervisor)."""
        demand = self._demand(blob)
        if path := self._cache.path(blob.sha256):
            demand.whole(path)
        door = (SilentDoor if self._inline else SocketDoor)(at, account, demand)
        with self._lock:
            self._doors[instance] = blob.sha256, door
        return at

    def close(self, instance: str) -> None:
        """Nobody reads there any more."""
        with self._lock:
            sha256, door = self._doors.pop(instance, ("", None))
            if door and all(of != sha256 for of, _ in self._doors.values()) and not self._note(sha256).exists():
                self._demands.pop(sha256, None)
        if door:
            door.close()

    def instances(self) -> list[str]:
        """Whose guests may be reading here."""
        with self._lock:
            return sorted(self._doors)


def _read(note: Path) -> Coming | None:
    try:
        return Coming.model_validate_json(note.read_text())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        _log.error("a note of what comes cannot be read", note=note.name, why=str(error)[:200])
        return None
