"""First boots without a network, from the ask to the card of the guest."""

from __future__ import annotations

import pytest

from clc.services import instances
from luhyaapi.errors import Refused
from luhyadb.models import Instance

pytestmark = pytest.mark.walk


def _row(cloud, one):
    return Instance.objects.get(pk=one)


def _driver(cloud, one):
    return cloud.p.hypervisor(cloud.node(one))


def test_it_is_offline_until_its_guest_says_so_and_stays_connected(cloud):
    one = cloud.do(first_boot_offline=True)
    assert (cloud.state(one), _row(cloud, one).offline, _driver(cloud, one).is_connected(one)) == ("running", True, False)
    cloud.role(cloud.node(one)).domains._first_boot_done(one)
    cloud.p.settle()
    assert (cloud.state(one), _row(cloud, one).offline, _driver(cloud, one).is_connected(one)) == ("running", False, True)
    cloud.do("stop", one)
    cloud.do("start", one)
    assert not _row(cloud, one).offline
    cloud.rest()


def test_by_order_it_is_connected_before_also_when_its_node_fails_at_first(cloud):
    one = cloud.do(first_boot_offline=True)
    _driver(cloud, one).faults.always["connect"] = "hypervisor"
    _, task = cloud.ask("connect", one)
    cloud.p.settle()
    assert cloud.task(task)[0] == "failed"
    row = _row(cloud, one)
    assert (row.state, row.error["code"]) == ("running", "hypervisor")
    _driver(cloud, one).faults.always.clear()
    cloud.do("connect", one)
    assert (cloud.state(one), _row(cloud, one).offline, _row(cloud, one).error) == ("running", False, None)
    assert _driver(cloud, one).is_connected(one)
    cloud.rest()


def test_what_does_not_run_cannot_be_connected(cloud):
    one = cloud.do(first_boot_offline=True)
    cloud.do("stop", one)
    assert not _row(cloud, one).offline
    with pytest.raises(Refused) as e:
        instances.connect(cloud.user, one)
    assert e.value.code == "state"


def test_on_a_new_system_disk_it_is_offline_again(cloud):
    one = cloud.do(first_boot_offline=True)
    cloud.do("connect", one)
    cloud.do("reboot", one)
    assert not _row(cloud, one).offline
    two = cloud.do(first_boot_offline=True, persistence="transient")
    cloud.do("connect", two)
    cloud.do("stop", two)
    cloud.do("start", two)
    assert _row(cloud, two).offline


@pytest.mark.parametrize("point", ["cc", "nc1"])
def test_a_crash_while_it_is_connected_connects_it_later(cloud, point):
    cloud.drain("nc2")
    one = cloud.do(first_boot_offline=True)
    _, task = cloud.ask("connect", one)
    for _ in range(3):
        cloud.p.step()
    cloud.crash(point)
    cloud.until_rest()
    assert cloud.task(task)[0] == "done"
    assert (_row(cloud, one).offline, _driver(cloud, one).is_connected(one)) == (False, True)
    cloud.rest()
