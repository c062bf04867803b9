"""Who is guarded on a node: every guest that an order put here, before it runs and for as long as it is here; and its cluster's word."""

from __future__ import annotations

import pytest

from luhyaapi.contracts.commands import SegmentsSet
from luhyaapi.contracts.specs import Allow, Blob, ImageRef, MachineSpec, Nic, NodeAllow, NodeForward, SegmentSpan
from luhyaapi.contracts.vocabulary import Allowed, DiskFormat, InstanceState, Part, Protocol
from luhyaapi.errors import Failed
from nc.drivers.fake import FakeNetwork
from nc.services.guards import Guards
from nc.services.wanted import Wanted, WantedFiles

A, B = "ins-0000000a", "ins-0000000b"
BLOB = Blob(part=Part.KERNEL, sha256="0" * 64, index="0" * 64, size=6, format=DiskFormat.RAW)
SPAN = SegmentSpan(segment=7, vni=7, local="192.0.2.1", peers=("192.0.2.2",))
WORD = SegmentsSet(
    number=5, segments=(SPAN,), forwards=(NodeForward(instance=A, protocol=Protocol.TCP, port=20000, guest_port=22),),
    allow=(NodeAllow(instance=A, allow=(Allow(protocol=Allowed.ICMP),)),),
)


def nic(number: int) -> Nic:
    return Nic(mac=f"02:00:0a:e7:00:{number:02x}", ip=f"10.231.0.{number}", subnet="10.231.0.0/24", gateway="10.231.0.1")


def spec(instance: str, *nics: Nic) -> MachineSpec:
    return MachineSpec(instance=instance, name="x", cpus=1, memory_mib=64, image=ImageRef(image="img-00000001", version=1, blobs=(BLOB,)), nics=nics)


@pytest.fixture
def network(tmp_path):
    return FakeNetwork(tmp_path / "fake")


@pytest.fixture
def files(tmp_path):
    return WantedFiles(tmp_path / "instances")


@pytest.fixture
def anew(network, files, tmp_path):
    """The guards of a process that just began."""
    return lambda: Guards(network, files, tmp_path / "edge.json")


def guarded(network):
    return {instance: guest.nics for instance, guest in network.edge.guests.items()}


def test_one_that_comes_is_guarded_beside_those_that_were_here_before_this_process(network, files, anew):
    files.write(Wanted(spec=spec(A, nic(5)), state=InstanceState.RUNNING))
    anew().stand(spec(B, nic(6)))
    assert guarded(network) == {A: (nic(5),), B: (nic(6),)}


def test_one_that_goes_takes_its_guard_with_it_and_one_that_is_going_has_none(network, files, anew):
    guards = anew()
    guards.stand(spec(A, nic(5)))
    guards.stand(spec(B, nic(6)))
    for _ in range(2):
        guards.leave(A)
        assert guarded(network) == {B: (nic(6),)}
    files.write(Wanted(spec=spec(B, nic(6)), state=InstanceState.DELETED))
    guards.renew()
    assert guarded(network) == {}


def test_a_stopped_one_keeps_its_guard(network, files, anew):
    files.write(Wanted(spec=spec(A, nic(5)), state=InstanceState.STOPPED))
    anew().renew()
    assert guarded(network) == {A: (nic(5),)}


def test_one_whose_guard_could_not_stand_or_leave_is_as_before(network, anew):
    guards = anew()
    network.faults.fail_next("guard", "network")
    with pytest.raises(Failed):
        guards.stand(spec(A, nic(5)))
    guards.stand(spec(B, nic(6)))
    assert guarded(network) == {B: (nic(6),)}
    network.faults.fail_next("guard", "network")
    with pytest.raises(Failed):
        guards.leave(B)
    guards.leave(B)
    assert guarded(network) == {}


def test_the_word_of_the_cluster_is_carried_out_and_remembered(network, anew):
    anew().hear(WORD)
    assert network.spans == (SPAN,)
    assert (network.edge.forwards, network.edge.allow) == (WORD.forwards, {A: WORD.allow[0].allow})
    network.spans = ()
    again = anew()
    assert again.word == WORD
    again.renew()
    assert (network.spans, network.edge.forwards) == ((SPAN,), WORD.forwards)


def test_an_older_word_changes_nothing_and_one_that_could_not_be_carried_out_was_not_heard(network, anew):
    guards = anew()
    guards.hear(WORD)
    guards.hear(SegmentsSet(number=5))
    assert guards.word == WORD
    network.faults.fail_next("guard", "network")
    with pytest.raises(Failed):
        guards.hear(SegmentsSet(number=6))
    assert guards.word == WORD
    guards.hear(SegmentsSet(number=6))
    assert (network.spans, network.edge.forwards, anew().word) == ((), (), SegmentsSet(number=6))


def test_a_word_that_cannot_be_read_is_as_none(network, anew, tmp_path):
    for text in ("{", "[]"):
        (tmp_path / "edge.json").write_text(text)
        assert anew().word is None
