"""A host that comes back before its boss: the accelerator is opened, and the roles go on asking."""

import dataclasses
import json
import os

import pytest

from deploy.host import enclose, join
from deploy.host.plan import Ports
from deploy.host.profiles import FULL
from luhyaapi.errors import Failed
from luhyaapi.wire.http import Door
from tests.support.granted import a_plan, elsewhere

pytestmark = pytest.mark.live


class Running:
    """A supervisor whose programs run; who asked for libvirt's number is noted."""

    def __init__(self) -> None:
        self.asked = 0

    def states(self) -> dict[str, str]:
        return {"nc": "RUNNING", "libvirtd": "RUNNING"}

    def pid(self, program: str) -> int:
        self.asked += program == "libvirtd"
        return os.getpid()


@pytest.fixture
def node(tmp_path):
    """``make(reasons)``: the plan of a node whose door gives them."""
    doors = []

    def make(*reasons: str):
        door = Door("nc", "127.0.0.1", 0, [], lambda: reasons).start()
        doors.append(door)
        plan = elsewhere(a_plan(tmp_path), "https://10.0.0.1:8603")
        choices = dataclasses.replace(plan.choices, listen="127.0.0.1")
        return dataclasses.replace(plan, profile=FULL, choices=choices, ports=Ports(door.port - 5))

    yield make
    for door in doors:
        door.stop()


def test_a_node_whose_boss_is_away_ends_well_with_the_accelerator_opened(node):
    plan = node("not connected to the CC: no route to host")
    assert plan.ports["nc_door"] - plan.ports.base == 5
    plan.accelerator_verdict.parent.mkdir()
    plan.accelerator_verdict.write_text(json.dumps({"key": {"boot": enclose.boot_id()}, "accelerator": "kvm", "why": "tried"}))
    running = Running()
    assert join._until_ready(plan, running, "nc", patience_s=0.6) == "not connected to the CC: no route to host"
    assert running.asked, "libvirt was looked at while the boss was away"


def test_a_node_that_cannot_work_is_not_up(node):
    with pytest.raises(Failed, match="nc is not up") as e:
        join._until_ready(node("not connected to the CC: x", "libvirt does not answer"), Running(), "nc", patience_s=0)
    assert "libvirt does not answer" in e.value.why
    assert join._until_ready(node(), Running(), "nc") == ""
