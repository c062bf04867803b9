"""Disks on their way into the cluster's cache for instances that run meanwhile; nodes are given what came."""

from __future__ import annotations

from collections.abc import Iterable

from luhyaapi import ids
from luhyaapi.contracts.specs import Blob, ImageRef
from luhyaapi.contracts.vocabulary import DiskFormat, Part
from luhyaapi.transfer.arrivals import Arrivals
from luhyaapi.transfer.demand import Demand


class ClusterArrivals(Arrivals):
    """What comes is pinned by the instances it comes for: as long as one of them has a place it comes, and when it is whole nobody pins it."""

    def may(self, blob: Blob) -> bool:
        """Whether nodes may be sent for that file before it is whole."""
        return blob.part is Part.DISK and blob.format is DiskFormat.RAW and blob.size > 0

    def want(self, image: ImageRef, instance: str) -> None:
        """It will be brought for that instance."""
        for blob in filter(self.may, image.blobs):
            if self._cache.path(blob.sha256) is None:
                self._cache.pin(blob.sha256, instance)

    def let_go(self, instance: str) -> None:
        """That instance needs nothing any more."""
        for sha256, owners in self._cache.pins().items():
            if instance in owners:
                self._cache.unpin(sha256, instance)

    def go_on(self) -> None:
        """See :class:`Arrivals`; and what a death left pinned is so no more."""
        for sha256, owners in self._cache.pins().items():
            if self._cache.path(sha256):
                self._unpin(sha256, owners)
        super().go_on()

    # ---- as arrivals

    def is_needed(self, sha256: str) -> bool:
        """See :class:`Arrivals`."""
        return bool(self._cache.pins().get(sha256))

    def came(self, blob: Blob, demand: Demand) -> None:  # noqa: ARG002 - nobody reads it here
        """See :class:`Arrivals`."""
        self._unpin(blob.sha256, self._cache.pins().get(blob.sha256, ()))

    def _unpin(self, sha256: str, owners: Iterable[str]) -> None:
        for owner in owners:
            if ids.is_id(owner, "ins"):
                self._cache.unpin(sha256, owner)
