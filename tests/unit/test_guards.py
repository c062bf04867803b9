"""Who is guarded on a node: every card that an order put here, before its guest runs and for as long as it is here."""

from __future__ import annotations

import pytest

from luhyaapi.contracts.specs import Blob, ImageRef, MachineSpec, Nic
from luhyaapi.contracts.vocabulary import DiskFormat, InstanceState, Part
from luhyaapi.errors import Failed
from nc.drivers.fake import FakeNetwork
from nc.services.guards import Guards
from nc.services.wanted import Wanted, WantedFiles

A, B = "ins-0000000a", "ins-0000000b"
BLOB = Blob(part=Part.KERNEL, sha256="0" * 64, index="0" * 64, size=6, format=DiskFormat.RAW)


def nic(number: int) -> Nic:
    return Nic(mac=f"02:00:0a:e7:00:{number:02x}", ip=f"10.231.0.{number}", subnet="10.231.0.0/24", gateway="10.231.0.1")


def wanted(instance: str, *nics: Nic, state: InstanceState = InstanceState.RUNNING) -> Wanted:
    image = ImageRef(image="img-00000001", version=1, blobs=(BLOB,))
    return Wanted(spec=MachineSpec(instance=instance, name="x", cpus=1, memory_mib=64, image=image, nics=nics), state=state)


@pytest.fixture
def network(tmp_path):
    return FakeNetwork(tmp_path / "fake")


@pytest.fixture
def files(tmp_path):
    return WantedFiles(tmp_path / "instances")


def test_one_that_comes_is_guarded_beside_those_that_were_here_before_this_process(network, files):
    files.write(wanted(A, nic(5)))
    Guards(network, files).stand(B, (nic(6),))
    assert network.guarded == {A: (nic(5),), B: (nic(6),)}


def test_one_that_goes_takes_its_guard_with_it_and_one_that_is_going_has_none(network, files):
    guards = Guards(network, files)
    guards.stand(A, (nic(5),))
    guards.stand(B, (nic(6),))
    guards.leave(A)
    guards.leave(A)
    assert network.guarded == {B: (nic(6),)}
    files.write(wanted(B, nic(6), state=InstanceState.DELETED))
    guards.renew()
    assert network.guarded == {}


def test_a_stopped_one_keeps_its_guard(network, files):
    files.write(wanted(A, nic(5), state=InstanceState.STOPPED))
    Guards(network, files).renew()
    assert network.guarded == {A: (nic(5),)}


def test_one_whose_guard_could_not_stand_is_not_among_them(network, files):
    guards = Guards(network, files)
    network.faults.fail_next("guard", "network")
    with pytest.raises(Failed):
        guards.stand(A, (nic(5),))
    guards.stand(B, (nic(6),))
    assert network.guarded == {B: (nic(6),)}
