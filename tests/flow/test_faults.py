"""Every message of every flow dropped, doubled, late and overtaken: it heals by itself and the task ends done."""

import pytest

from tests.support.flow_faults import FAULTS, Storm, Suffering
from tests.support.walks import sampled

ENDS = {"run": "running", "stop": "stopped", "start": "running", "reboot": "running", "delete": "deleted"}
LONG_S = 300


def _calm(cloud, verb, ident=""):
    """An instance after a flow where nothing went wrong, and the messages that took."""
    storm = Storm(cloud)
    one, task = cloud.ask(verb, ident)
    calm = storm.watch(Suffering(), task, one)
    cloud.p.settle()
    assert cloud.task(task) == ("done", None)
    return one, calm.seen


def _walk(cloud, verb, messages, ready=(), faults=FAULTS, *, cold=False):
    """Each message suffers each fault, each at an instance of its own, all of them at once; those instances.

    Progress may be lost without harm, which is tried once. ``cold``: one after the other, and each fetches its image.
    """
    wanted = sampled((f, at) for f in faults for at, message in enumerate(messages) if f == "drop" or " progress " not in message)
    ready = ready or [""] * len(wanted)
    assert len(ready) >= len(wanted)
    storm = Storm(cloud)
    cases = []
    for (fault, at), before in zip(wanted, ready, strict=False):
        if cold:
            cloud.p.settle()
            cloud.cold()
        one, task = cloud.ask(verb, before)
        cases.append((one, task, storm.watch(Suffering(fault, at), task, one)))
    cloud.p.settle()
    storm.pass_time(LONG_S)
    met = 0
    for one, task, case in cases:
        met += case.at < len(case.seen)
        told = f"{case.fault} of message {case.at}: {case.seen[case.at:case.at + 1]}"
        assert cloud.task(task) == ("done", None), told
        assert cloud.state(one) == ENDS[verb], told
    assert met >= 0.8 * len(cases), "nearly every one has had its fault"
    cloud.rest()
    return [one for one, _, _ in cases]


@pytest.mark.walk
@pytest.mark.parametrize("image", ["cold", "warm"])
def test_each_message_of_run_and_delete(cloud, image):
    if image == "warm":
        cloud.warm()
    one, running = _calm(cloud, "run")
    _, deleting = _calm(cloud, "delete", one)
    assert len(running) > 8
    assert len(deleting) > 6
    _walk(cloud, "delete", deleting, _walk(cloud, "run", running, cold=image == "cold"))


@pytest.mark.walk
def test_each_message_of_reboot_stop_and_start(cloud):
    cloud.warm()
    one, _ = _calm(cloud, "run")
    _, rebooting = _calm(cloud, "reboot", one)
    _, stopping = _calm(cloud, "stop", one)
    _, starting = _calm(cloud, "start", one)
    ready = [cloud.ask()[0] for _ in sampled(range(max(2 * len(rebooting), 4 * len(stopping)) + 3))]
    cloud.p.settle()
    _walk(cloud, "reboot", rebooting, ready, ("drop", "late"))
    stopped = _walk(cloud, "stop", stopping, ready)
    _walk(cloud, "start", starting, stopped, ("drop",))


def test_each_message_of_publishing_an_image(cloud):
    storm = Storm(cloud)
    task = cloud.upload("calm")
    calm = storm.watch(Suffering(), task.pk)
    cloud.p.settle()
    cases = []
    for fault in FAULTS:
        for at in range(len(calm.seen)):
            task = cloud.upload(f"{fault}-{at}")
            cases.append((task, storm.watch(Suffering(fault, at), task.pk)))
    cloud.p.settle()
    storm.pass_time(LONG_S)
    for task, case in cases:
        assert cloud.task(task.pk) == ("done", None), f"{case.fault} of {case.seen[case.at]}"
        assert task.subject_name in {i.name for i in _images()}
    cloud.rest()


def _images():
    from luhyadb.models import Image

    return Image.objects.filter(versions__state="published")


def test_two_orders_on_one_instance_that_overtake_each_other(cloud):
    one = cloud.do()
    storm = Storm(cloud)
    _, stop = cloud.ask("stop", one)
    storm.watch(Suffering("late", 0), stop)
    cloud.p.settle()
    _, delete = cloud.ask("delete", one)
    cloud.p.settle()
    storm.pass_time(LONG_S)
    assert cloud.task(delete) == ("done", None)
    assert cloud.task(stop)[0] in {"cancelled", "done", "failed"}
    assert cloud.state(one) == "deleted"
    cloud.rest()


@pytest.mark.walk
def test_a_storm_without_a_pattern(cloud):
    """Every fifth message of anybody is lost, every seventh comes twice, for two minutes; ten minutes later all agree."""
    count = 0

    def rain(_direction, _host, message):
        nonlocal count
        count += 1
        return [] if count % 5 == 0 else [message, message] if count % 7 == 0 else [message]

    ready = [cloud.ask()[0] for _ in range(4)]
    cloud.p.settle()
    cloud.tap(rain)
    tasks = [cloud.ask()[1] for _ in range(4)]
    for one, verb in zip(ready, ("stop", "reboot", "delete", "delete"), strict=True):
        tasks.append(cloud.ask(verb, one)[1])
    cloud.p.settle()
    cloud.p.pass_time(120)
    cloud.tap(lambda _d, _h, message: [message])
    cloud.p.pass_time(120)
    cloud.long(630)
    assert {cloud.task(t) for t in tasks} == {("done", None)}
    cloud.rest()


@pytest.mark.walk
@pytest.mark.parametrize("boss", ["clc", "cc"])
@pytest.mark.parametrize("verb", ["run", "stop", "delete"])
def test_a_broker_that_lost_all_it_held_after_each_round(cloud, boss, verb):
    """What was confirmed to its sender is gone with the broker's data."""
    me = cloud.p.houses[boss].agent.me
    lost = []
    for n in range(40):
        one = "" if verb == "run" else cloud.do()
        one, task = cloud.ask(verb, one)
        moved = all(cloud.p.step() for _ in range(n))
        lost.append(cloud.wire.lose(me))
        cloud.until_rest()
        assert cloud.task(task) == ("done", None), n
        assert cloud.state(one) == ENDS[verb], n
        cloud.rest()
        if not moved:
            break
    assert any(lost), "it held something at some round"
