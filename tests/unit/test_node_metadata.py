"""When a node has its guests told of themselves: before they run, after it was away, and no longer than they are there."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import pytest

from luhyaapi import conf
from luhyaapi.conf import bridge_of
from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import Part
from luhyaapi.role import Job
from luhyaapi.transfer.cache import BlobCache
from nc.drivers import METADATA
from nc.drivers.base import tap_name
from nc.drivers.fake import FakeHypervisor, FakeNetwork
from nc.drivers.metadata_base import MetadataDoor, Question, Told
from nc.drivers.metadata_fake import FakeMetadata
from nc.services.domains import Domains, Hands
from nc.services.metadata import Metadata
from tests.unit.test_domains import JOB

KERNEL = b"kernel"


class Node:
    """A process of a node, over what earlier ones left in ``state``."""

    def __init__(self, state: Path) -> None:
        settings = conf.Settings(host={"state": state})
        cache = BlobCache(state / "cache", 1024, 0)
        digest = hashlib.sha256(KERNEL).hexdigest()
        if cache.path(digest) is None:
            (state / "cache" / "parts" / "kernel").write_bytes(KERNEL)
            cache.adopt(state / "cache" / "parts" / "kernel", digest)
        blob = Blob(part=Part.KERNEL, sha256=digest, index=digest, size=len(KERNEL))
        self.image = ImageRef(image="img-00000001", version=1, blobs=(blob,))
        self.doors: list[FakeMetadata] = []

        def door(told: Told) -> MetadataDoor:
            made = METADATA["fake"](settings, told)
            assert isinstance(made, FakeMetadata)
            self.doors.append(made)
            return made

        metadata = Metadata(door, partial(bridge_of, "edubr0"), "cc-00000001")
        hands = Hands(FakeHypervisor(state / "fake"), FakeNetwork(state / "fake"), cache, metadata)
        self.domains = Domains(settings, hands, "nc-00000001", lambda _facts: None)

    def spec(self, number: int) -> MachineSpec:
        nic = Nic(mac=f"52:54:00:00:00:0{number}", ip=f"10.0.0.1{number}")
        return MachineSpec(instance=f"ins-0000000{number}", name=f"guest-{number}", cpus=1, memory_mib=96, image=self.image, nics=(nic,))

    def start(self, number: int, job: Job = JOB) -> None:
        self.domains.start(job, self.spec(number), number, 1)

    def told(self) -> list[int]:
        """The guests that are told of themselves."""
        return [n for n in range(1, 4) if self._name(n) == f"guest-{n}"]

    def _name(self, number: int) -> str:
        spec = self.spec(number)
        tap = tap_name(spec.instance, spec.nics[0].mac)
        answer = self.doors[0].ask(tap, spec.nics[0].ip, Question("GET", "/latest/meta-data/hostname"))
        return answer.text if answer else ""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_guest_is_told_from_its_start_to_its_end(node: Node) -> None:
    assert node.told() == []
    node.start(1)
    node.start(2)
    assert node.told() == [1, 2]
    node.domains.delete("ins-00000001", 9, 1)
    assert node.told() == [2]


def test_a_new_process_forgets_nobody(node: Node, tmp_path: Path) -> None:
    node.start(1)
    node.start(2)
    after = Node(tmp_path)
    after.start(3)
    assert after.told() == [1, 2, 3], "an order may come before the first comparison"
    again = Node(tmp_path)
    again.domains.reconcile(set())
    assert again.told() == [1, 2, 3]


def test_what_was_taken_away_comes_back(node: Node) -> None:
    node.start(1)
    node.doors[0].serve(())
    assert node.told() == []
    node.domains.reconcile(set())
    assert node.told() == [1]
