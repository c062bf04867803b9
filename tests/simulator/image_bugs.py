"""Deliberate bugs of images: of their store, of the way to it, and of those who make versions."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clc.services import images, workspaces
from luhyaapi import clock
from luhyaapi.contracts.specs import Blob
from luhyaapi.transfer import frames
from luhyaapi.transfer.blocks import BLOCK, index_of
from nc.services import disks
from tests.simulator.bugs import Patch, bug
from walrus.drivers.local import LocalStore
from walrus.services.blockstore import BlockStore
from walrus.services.drafts import Drafts
from walrus.services.manifests import Manifest

VERSIONS = ("prepare", "space_start", "edit", "submit", "upload_disk", "retire", "roll_back")


@bug("a file is in the store before its blocks are", 1, ("crash_bytes", "crash_at"), ("upload_disk", "upload_disk", "run_disk"), 2)
def _manifest_first() -> list[Patch]:
    real = BlockStore.add

    def add(self: Any, file: Path, sha256: str, **more: Any) -> Any:
        if not self.has(sha256):
            index = index_of(file)
            self._put_index(index)
            self._publish(Manifest(sha256, index.size, index.name, BLOCK, clock.now()))
            before, self.has = self.has, lambda _sha256: False
            try:
                return real(self, file, sha256, **more)
            finally:
                self.has = before
        return real(self, file, sha256, **more)

    return [(BlockStore, "add", add)]


@bug("what is in the store is not on its disk", 1, ("outage",), VERSIONS)
def _objects_not_synced() -> list[Patch]:
    def adopt(self: Any, fd: int, file: Path, place: Path) -> None:
        os.fchmod(fd, 0o640)
        self._make(place.parent)
        file.rename(place)

    return [(LocalStore, "_adopt", adopt)]


@bug("collecting knows nothing of what is coming", 122, ("delay", "cut", "crash", "drop"), VERSIONS, 2)
def _drafts_collected() -> list[Patch]:
    real = BlockStore.reserve

    def reserve(self: Any, owner: str, index: Any) -> Any:
        lacking = real(self, owner, index)
        self._reserved.pop(owner)
        self._is_loose = True  # else it is seldom collected meanwhile
        return lacking

    return [(BlockStore, "reserve", reserve)]


@bug("a block is taken for what it says it is", 0, ("bytes_flip",), VERSIONS, 2)
def _blocks_believed() -> list[Patch]:
    def believed(expected: Sequence[bytes], found: Sequence[memoryview]) -> list[tuple[bytes, memoryview]]:
        return list(zip(expected, found, strict=True))

    return [(frames, "_verified", believed)]


@bug("a submit from an old version hides a newer one, and nobody is told", 2, (), VERSIONS, 2)
def _stale_submit() -> list[Patch]:
    return [(workspaces, "_check_newest", lambda _space: None)]


@bug("a workspace that is over keeps its instance", 0, (), ("prepare", "space_start", "edit", "submit", "abandon"))
def _workspace_stays() -> list[Patch]:
    return [(workspaces, "_clear", lambda _space: None)]


@bug("a draft that became a version stays", 0, (), VERSIONS)
def _draft_stays() -> list[Patch]:
    return [(Drafts, "abandon", lambda _self, _draft: None)]


@bug("a version that goes takes the files of others with it", 2, (), ("upload_disk", "roll_back", "roll_back", "retire", "retire"), 2)
def _shared_files_go() -> list[Patch]:
    real = images.forget

    def forget(blobs: Sequence[Blob], image: str) -> None:
        manager, images.ImageVersion = images.ImageVersion, _Nobody
        try:
            real(blobs, image)
        finally:
            images.ImageVersion = manager

    return [(images, "forget", forget)]


class _Nobody:
    """No version needs anything."""

    class objects:  # noqa: N801 - as Django calls it
        """What is asked of them."""

        @staticmethod
        def filter(**_conditions: Any) -> tuple[()]:
            """None."""
            return ()


@bug("a guest's disk is not on the disk of its node", 1, ("host_power", "outage"), ("prepare", "space_start", "edit", "submit", "run_disk", "run_disk"))
def _overlay_not_synced() -> list[Patch]:
    return [(disks, "sync_file", lambda _file: None)]


__all__ = ["VERSIONS"]
