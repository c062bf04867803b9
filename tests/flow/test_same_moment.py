"""Two things in the same moment: what was read before a transaction is read again in it."""

import pytest

from clc.services import admission, hosts, instances, tasks
from luhyaapi import clock, points
from luhyaapi.errors import Refused
from luhyadb.models import Host, Instance, Task, Turn

pytestmark = pytest.mark.walk


@pytest.fixture
def before_a_write():
    """Have something happen once, just before the next transaction begins."""
    def at(name):
        if name == "database: before write" and waiting:
            waiting.pop()()

    waiting = []
    real = points.use(at)
    yield waiting.append
    points.use(real)


def _quiet(cloud, name):
    host = cloud.p.known[name][0].host
    Host.objects.filter(pk=host).update(last_heard=1)
    return host


def test_a_host_removed_while_it_is_called_silent_stays_removed(cloud, before_a_write):
    """Else its cluster is told to let it in again."""
    host = _quiet(cloud, "nc2")
    before_a_write(lambda: hosts.remove(cloud.admin, host))
    assert hosts.silence({}, 60, clock.now() - 600) == []
    assert Host.objects.get(pk=host).state == "retired"


def test_a_host_removed_while_it_is_heard_again_stays_removed(cloud, before_a_write):
    host = _quiet(cloud, "nc2")
    assert host in hosts.silence({}, 60, clock.now() - 600)
    before_a_write(lambda: hosts.remove(cloud.admin, host))
    hosts.awake({host: clock.now()}, 60)
    assert Host.objects.get(pk=host).state == "retired"


def test_a_task_cancelled_while_it_is_put_back_into_the_queue_is_cancelled(cloud):
    one, task = cloud.ask()
    seen = Task.objects.get(pk=task)
    tasks.cancel(cloud.user, task)
    assert cloud.task(task)[0] == "cancelling"
    assert tasks.wait(seen, clock.now() + 60, "no room") is False
    assert (seen.state, cloud.task(task)[0]) == ("cancelling", "cancelling")
    cloud.until_rest()
    assert cloud.state(one) == "deleted"


def test_a_run_that_cannot_be_handed_down_ends_and_holds_up_nobody(cloud):
    Host.objects.filter(role="walrus").update(state="silent")
    (bad, bad_task), (good, good_task) = cloud.ask(), cloud.ask()
    assert Turn.objects.filter(handed_at=0).count() == 2
    Instance.objects.filter(pk=bad).update(task="tsk-00000000")
    Host.objects.filter(role="walrus").update(state="up")
    assert admission.admit() == 1
    assert cloud.task(bad_task) == ("failed", "state")
    cloud.until_rest()
    assert cloud.task(good_task) == ("done", None)
    assert cloud.state(good) == "running"
    with pytest.raises(Refused):
        instances.start(cloud.user, good)
