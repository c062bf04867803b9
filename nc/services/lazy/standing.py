"""Guests that read their images here, and how each comes to stand on its own file."""

from __future__ import annotations

from luhyaapi import log
from luhyaapi.contracts.vocabulary import DiskFormat, DomainState, Part
from luhyaapi.errors import Trouble
from luhyaapi.transfer.cache import BlobCache
from nc.drivers.base import Hypervisor
from nc.services import belongings
from nc.services.lazy.exports import Exports
from nc.services.turns import Turns
from nc.services.wanted import WantedFiles

_log = log.get(__name__)


class Standing:
    """What there is to do with them beside orders, never while an order on the same instance has its turn."""

    def __init__(self, hypervisor: Hypervisor, cache: BlobCache, exports: Exports, wanted: WantedFiles, turns: Turns) -> None:
        self._hypervisor, self._cache, self._exports = hypervisor, cache, exports
        self._wanted, self._turns = wanted, turns
        self._assured: set[str] = set()
        self._is_resumed = False
        exports.on_whole = self.settle

    def resume(self) -> None:
        """What the last process of this node left: guests wait for their images. Again for those that could not be served."""
        if not self._is_resumed:
            left = [instance for instance in self._wanted.all() if not self._resume(instance)]
            self._is_resumed = not left

    def _resume(self, instance: str) -> bool:
        with self._turns.look(instance) as is_ours:
            try:
                at, wanted = belongings.export_of(self._wanted.folder(instance)), self._wanted.read(instance)
                blob = wanted.spec.image.blob(Part.DISK) if wanted else None
                if is_ours and blob and at.is_socket() and instance not in self._exports.instances():
                    self._exports.open(instance, at, blob, belongings.owner_of(at))
            except (Trouble, OSError) as e:
                _log.warning("guest waits for its image", instance=instance, why=str(e))
                return False
            return is_ours

    def forget(self, instance: str) -> None:
        """What was known of its last start says nothing of the next."""
        self._assured.discard(instance)

    def started(self, instance: str) -> None:
        """Its start went to its end in this process."""
        self._assured.add(instance)

    def settle(self) -> None:
        """Guests whose image is whole by now stand on its file; one that cannot goes on as it is, and is tried again."""
        for instance in self._exports.instances():
            with self._turns.look(instance) as is_ours:
                if is_ours:
                    try:
                        self._settle(instance)
                    except (Trouble, OSError) as e:
                        _log.warning("guest still reads its image through us", instance=instance, why=str(e))

    def _settle(self, instance: str) -> None:
        wanted = self._wanted.read(instance)
        blob = wanted.spec.image.blob(Part.DISK) if wanted else None
        if wanted is None or blob is None or self._hypervisor.inspect(instance).state is not DomainState.RUNNING:
            return
        if instance not in self._assured:
            # its start may have been cut off by the end of the last process
            self._hypervisor.start(instance)
            self._assured.add(instance)
        if path := self._cache.path(blob.sha256):
            belongings.image(path, self._hypervisor.account(wanted.spec))
            self._hypervisor.stand(instance, path, DiskFormat(blob.format))
            self._exports.close(instance)
