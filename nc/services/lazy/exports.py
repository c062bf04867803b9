"""Images that come while guests read them already: the sockets a disk on its way is read from until it is whole."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from luhyaapi.conf import Settings
from luhyaapi.contracts.specs import Blob
from luhyaapi.contracts.vocabulary import DiskFormat, Part
from luhyaapi.errors import Trouble
from luhyaapi.transfer.arrivals import Arrivals
from luhyaapi.transfer.base import Cancelled, Source, Trust
from luhyaapi.transfer.cache import BlobCache
from luhyaapi.transfer.demand import Demand
from luhyaapi.transfer.download import Patience
from nc.drivers.base import Account
from nc.services.lazy.door import Door, SilentDoor, SocketDoor
from nc.services.lazy.traces import Traces, learn


class Exports(Arrivals):
    """Disks on their way to this node and their doors; the notes lie in ``<state>/lazy``. What somebody pins comes.

    With ``inline`` no door answers.
    """

    patience = Patience(math.inf, math.inf, hopes=True)

    def __init__(
        self, settings: Settings, cache: BlobCache, trust: Callable[[str], Trust | None] = lambda _host: None, *, inline: bool = False,
    ) -> None:
        super().__init__(settings.host.state / "lazy", cache, trust, inline=inline)
        self._is_on = settings.hypervisor.lazy_start and not settings.hypervisor.uri.startswith("xen")
        self._doors: dict[str, tuple[str, Door]] = {}
        self.traces = Traces(self._folder)

    def may(self, blob: Blob) -> bool:
        """Whether a guest may start before that file is whole."""
        return self._is_on and blob.part is Part.DISK and blob.format is DiskFormat.RAW and blob.size > 0

    # ---- as arrivals

    def is_needed(self, sha256: str) -> bool:
        """See :class:`Arrivals`."""
        return bool(self._cache.pins().get(sha256))

    def is_usable(self, blob: Blob, demand: Demand) -> bool:  # noqa: ARG002 - a guest reads through the demand alone
        """See :class:`Arrivals`."""
        return demand.is_open

    def is_read(self, sha256: str) -> bool:
        """See :class:`Arrivals`."""
        return any(of == sha256 for of, _ in self._doors.values())

    def demand_for(self, blob: Blob) -> Demand:
        """See :class:`Arrivals`."""
        return Demand(blob.size, self.traces.of(blob.sha256))

    def sets_out(self, blob: Blob, neighbours: Sequence[Source], stopped: Cancelled) -> None:
        """See :class:`Arrivals`."""
        demand = self.demand(blob)
        if not self.is_inline and not demand.expects:
            threading.Thread(target=learn, args=(neighbours, demand.expect, stopped), name=f"trace-{blob.sha256[:8]}", daemon=True).start()

    def came(self, blob: Blob, demand: Demand) -> None:
        """See :class:`Arrivals`."""
        if demand.read:
            self.traces.keep(blob.sha256, demand.read)

    def failed(self, blob: Blob, error: Trouble) -> None:
        """It is tried again as long as it is needed: who gave it may have it again."""

    # ---- doors

    def open(self, instance: str, at: Path, blob: Blob, account: Account | None) -> Path:
        """The socket at which the guest's hypervisor reads the file, whole or not. Raises Failed(hypervisor)."""
        demand = self.demand(blob)
        if path := self._cache.path(blob.sha256):
            demand.whole(path)
        door = (SilentDoor if self.is_inline else SocketDoor)(at, account, demand)
        with self._lock:
            self._doors[instance] = blob.sha256, door
        return at

    def close(self, instance: str) -> None:
        """Nobody reads there any more."""
        with self._lock:
            sha256, door = self._doors.pop(instance, ("", None))
            if door and not self.is_read(sha256) and not self._note(sha256).exists():
                self._demands.pop(sha256, None)
        if door:
            door.close()

    def instances(self) -> list[str]:
        """Whose guests may be reading here."""
        with self._lock:
            return sorted(self._doors)
