"""A broker that is away for five minutes: what was accepted before and meanwhile is done once, guests do not notice."""

import pytest

pytestmark = pytest.mark.walk

AWAY_S = 300


def _starts(cloud, one):
    """How often its guest began, as it wrote down itself."""
    return cloud.role(cloud.node(one)).domains.log(one).read_text("utf-8").count(f"{one} starts")


@pytest.mark.parametrize("boss", ["clc", "cc"])
@pytest.mark.parametrize("asked_s", [0, 20])
def test_every_accepted_order_is_done_once(cloud, boss, asked_s):
    stands, stops, reboots, goes, starts = (cloud.do() for _ in range(5))
    cloud.do("stop", starts)
    begun = {one: _starts(cloud, one) for one in (stands, stops, reboots, starts)}
    me = cloud.p.houses[boss].agent.me
    cloud.wire.leave(me)
    cloud.p.pass_time(asked_s)
    taken = [cloud.ask("stop", stops), cloud.ask("delete", goes), cloud.ask("start", starts), cloud.ask()]
    is_up = cloud.state(reboots) == "running"
    if is_up:  # of a node that nothing was heard of for a while it is not known
        taken.insert(0, cloud.ask("reboot", reboots))
    cloud.p.pass_time(AWAY_S - asked_s)
    assert stands in cloud.domains()
    cloud.wire.come_back(me)
    cloud.until_rest()
    assert {cloud.task(task) for _, task in taken} == {("done", None)}
    new = taken[-1][0]
    assert [cloud.state(one) for one in (stands, stops, reboots, goes, starts, new)] == ["running", "stopped", "running", "deleted", "running", "running"]
    more = {one: _starts(cloud, one) - begun.get(one, 0) for one in (stands, stops, reboots, starts, new)}
    assert more == {stands: 0, stops: 0, reboots: int(is_up), starts: 1, new: 1}
    cloud.rest()
