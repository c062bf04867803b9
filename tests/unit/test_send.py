"""Orders: computed ids, stamped when posted, readable again."""

from __future__ import annotations

import pytest

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.command.send import Order, command_of, compose, stamp
from luhyaapi.contracts.commands import DomainStop, InstanceReboot, InstanceStop, TaskCancel
from luhyaapi.errors import Bug

pytestmark = pytest.mark.usefixtures("time")

CC, NC, TASK = "cc-00000001", "nc-00000001", "tsk-00000001"
STOP = DomainStop(instance="ins-00000001")


def test_composing_again_repeats_the_id(time: ManualClock) -> None:
    first = compose(STOP, NC, sender=CC, task=TASK, step="stop")
    time.sleep(100)
    assert compose(STOP, NC, sender=CC, task=TASK, step="stop").id == first.id == f"{TASK}#stop.0"
    assert compose(STOP, NC, sender=CC, task=TASK, step="stop", attempt=1).id != first.id


def test_an_order_holds_its_command_and_deadline() -> None:
    order = compose(STOP, NC, sender=CC, task=TASK, gen=3, fence=4)
    assert command_of(order) == STOP
    assert (order.subject, order.gen, order.fence) == ("ins-00000001", 3, 4)
    assert order.deadline == clock.now() + STOP.timeout_s
    assert compose(STOP, NC, sender=CC, task=TASK, deadline=7.0).deadline == 7.0
    assert Order.model_validate_json(order.model_dump_json()) == order


@pytest.mark.parametrize("kind", [DomainStop, InstanceStop, InstanceReboot])
def test_an_order_that_gives_grace_has_its_time_beside_that(kind: type[DomainStop | InstanceStop | InstanceReboot]) -> None:
    for grace_s in (0, 30, 600):
        assert kind(instance="ins-00000001", grace_s=grace_s).timeout_s == kind.timeout_s + grace_s
    sender, to = (CC, NC) if kind is DomainStop else ("clc-00000001", CC)
    order = compose(kind(instance="ins-00000001", grace_s=600), to, sender=sender, task=TASK)
    assert order.deadline == clock.now() + 600 + kind.timeout_s


def test_a_stamp_ends_the_message_soon_and_the_intention_later(time: ManualClock) -> None:
    order = compose(STOP, NC, sender=CC, task=TASK)
    one = stamp(order, CC, 30)
    assert (one.sender, one.issued_at, one.expires_at) == (CC, clock.now(), clock.now() + 30)
    assert one.deadline == order.deadline
    time.sleep(STOP.timeout_s - 10)
    late = stamp(order, CC, 30)
    assert late.id == one.id
    assert late.expires_at == order.deadline
    time.sleep(60)
    assert stamp(order, CC, 30).expires_at == clock.now() + 30


@pytest.mark.parametrize(("sender", "to"), [("nc-00000001", "cc-00000001"), ("clc-00000001", "nc-00000001"), ("cc-00000001", "cc-00000002")])
def test_there_is_no_way_around_the_tree(sender: str, to: str) -> None:
    with pytest.raises(Bug):
        compose(STOP, to, sender=sender, task=TASK)


def test_a_cancel_is_about_nothing_and_takes_no_turn() -> None:
    assert compose(TaskCancel(target=TASK), NC, sender=CC, task=TASK, step="cancel").subject == ""
