"""Orders wait beside the row that wants them, and go out in order, whoever is away."""

from __future__ import annotations

import pytest
from django.db import transaction

from luhyaapi import clock
from luhyaapi.clock import ManualClock
from luhyaapi.contracts.base import Envelope
from luhyaapi.contracts.commands import AccessSet, DomainStop, HostRefresh, InstanceStop, TaskCancel
from luhyaapi.errors import Bug, Refused, Unavailable
from luhyadb import memory, outbox
from luhyadb.models import Outbox

pytestmark = [pytest.mark.django_db(databases=["default", "cc"]), pytest.mark.usefixtures("time")]
CLC, CC, CC2, TASK = "clc-00000001", "cc-00000001", "cc-00000002", "tsk-00000001"


class Broker:
    """What was posted; ``away`` answers nothing, ``missing`` are receivers without a queue."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Envelope, bool]] = []
        self.away = False
        self.missing: set[str] = set()
        self.full: set[str] = set()

    def __call__(self, to: str, envelope: Envelope, control: bool) -> None:
        if self.away:
            raise Unavailable("broker_down", "The broker does not answer")
        if to in self.full:
            raise Unavailable("busy", "A queue is full")
        if to in self.missing:
            raise Refused("not_found", f"Nobody reads the queue of {to}")
        self.got.append((to, envelope, control))

    def steps(self) -> list[tuple[str, str]]:
        return [(to, e.id.split("#")[1]) for to, e, _ in self.got]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def publisher(broker: Broker) -> outbox.Publisher:
    return outbox.Publisher(CLC, 30, broker)


STOP = InstanceStop(instance="ins-00000001")


def _send(step: str, to: str = CC, **kw: object) -> None:
    outbox.send(STOP, to, sender=CLC, task=TASK, step=step, **kw)  # type: ignore[arg-type]


def _word(instance: int, number: int, to: str = CC) -> None:
    outbox.send(AccessSet(instance=f"ins-{instance:08x}", number=number), to, sender=CLC, task=TASK, step=f"{instance}w{number}", whole=True)


def test_of_words_that_wait_the_newest_goes_out(broker: Broker, publisher: outbox.Publisher) -> None:
    for number in (1, 2, 3):
        for instance in (1, 2):
            _word(instance, number)
    _word(1, 9, CC2)
    publisher.step()
    assert broker.steps() == [(CC, "1w3.0"), (CC, "2w3.0"), (CC2, "1w9.0")]


def test_no_word_passes_an_order_that_may_need_the_one_before(broker: Broker, publisher: outbox.Publisher) -> None:
    _word(1, 1)
    _send("stop")
    for number in (2, 3):
        _word(1, number)
    publisher.step()
    assert broker.steps() == [(CC, "1w1.0"), (CC, "stop.0"), (CC, "1w3.0")]


def test_orders_go_out_in_order_and_are_gone(broker: Broker, publisher: outbox.Publisher) -> None:
    for step in "123":
        _send(step)
    assert outbox.waiting() == 3
    assert outbox.is_waiting(f"{TASK}#2.0")
    assert publisher.step() == 3
    assert broker.steps() == [(CC, "1.0"), (CC, "2.0"), (CC, "3.0")]
    assert (outbox.waiting(), outbox.is_waiting(f"{TASK}#2.0"), publisher.step()) == (0, False, 0)
    _, envelope, control = broker.got[0]
    assert (envelope.sender, envelope.to, envelope.issued_at, control) == (CLC, CC, clock.now(), False)


def test_an_order_is_stamped_when_it_goes_out(broker: Broker, publisher: outbox.Publisher, time: ManualClock) -> None:
    _send("1")
    time.sleep(100)
    publisher.step()
    assert broker.got[0][1].issued_at == clock.now()
    assert broker.got[0][1].deadline == clock.now() - 100 + STOP.timeout_s


def test_what_overtakes_is_marked(broker: Broker, publisher: outbox.Publisher) -> None:
    outbox.send(TaskCancel(target=TASK), CC, sender=CLC, task=TASK, step="cancel")
    publisher.step()
    assert broker.got[0][2] is True


def test_a_broker_that_is_away_leaves_everything_in_order(broker: Broker, publisher: outbox.Publisher) -> None:
    for step in "12":
        _send(step)
    broker.away = True
    assert (publisher.step(), publisher.step()) == (0, 0)
    assert [(r.attempts, bool(r.why)) for r in Outbox.objects.order_by("id")] == [(2, True), (0, False)]
    broker.away = False
    assert publisher.step() == 2
    assert broker.steps() == [(CC, "1.0"), (CC, "2.0")]


def test_a_receiver_without_a_queue_holds_up_only_itself(broker: Broker, publisher: outbox.Publisher) -> None:
    broker.missing = {CC}
    _send("1")
    _send("2", CC2)
    _send("3")
    assert publisher.step() == 1
    broker.missing = set()
    assert publisher.step() == 2
    assert broker.steps() == [(CC2, "2.0"), (CC, "1.0"), (CC, "3.0")]


def test_an_order_nobody_can_receive_is_dropped_at_its_deadline(broker: Broker, publisher: outbox.Publisher, time: ManualClock) -> None:
    broker.missing = {CC}
    _send("1")
    publisher.step()
    time.sleep(STOP.timeout_s + 1)
    publisher.step()
    assert outbox.waiting() == 0


def test_a_change_that_fails_takes_its_order_along(broker: Broker, publisher: outbox.Publisher) -> None:
    def change() -> None:
        with memory.atomic():
            _send("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    assert (publisher.step(), broker.got) == (0, [])


def test_the_publisher_is_woken_after_the_commit_only(django_capture_on_commit_callbacks: object) -> None:
    woken: list[int] = []
    outbox.on_new(lambda: woken.append(1))
    try:
        with django_capture_on_commit_callbacks(execute=True), transaction.atomic():  # type: ignore[operator]
            _send("1")
            assert woken == []
        assert woken == [1]
    finally:
        outbox._wake.pop()


def test_an_order_the_receiver_does_not_know_is_refused_and_not_kept() -> None:
    with pytest.raises(Refused) as e:
        _send("1", speaks={"host/refresh": 1})
    assert e.value.code == "unsupported"
    _send("2", speaks={"instance/stop": 1})
    _send("3", speaks={})
    assert outbox.waiting() == 2


def test_an_order_without_a_route_is_not_kept() -> None:
    with pytest.raises(Bug):
        outbox.send(DomainStop(instance="ins-00000001"), "nc-00000001", sender=CLC, task=TASK)
    assert outbox.waiting() == 0


def test_saying_an_order_again_repeats_its_id(broker: Broker, publisher: outbox.Publisher) -> None:
    order = outbox.send(HostRefresh(host=CC), CC, sender=CLC, task=TASK)
    outbox.put(order)
    publisher.step()
    assert len({e.id for _, e, _ in broker.got}) == 1
    assert len(broker.got) == 2


def test_each_boss_has_an_outbox_of_its_own(broker: Broker, publisher: outbox.Publisher) -> None:
    with memory.of("cc"):
        outbox.send(DomainStop(instance="ins-00000001"), "nc-00000001", sender=CC, task=TASK)
        assert outbox.waiting() == 1
    assert outbox.waiting() == 0
    assert publisher.step() == 0


def test_a_long_reason_fits_its_column(broker: Broker) -> None:
    def post(_to: str, _envelope: Envelope, _control: bool) -> None:
        raise Refused("not_found", "x" * 1000)

    _send("1")
    outbox.Publisher(CLC, 30, post).step()
    assert len(Outbox.objects.get().why) == 200


def test_a_full_queue_holds_up_its_own_receiver_only(broker: Broker, publisher: outbox.Publisher) -> None:
    broker.full.add(CC)
    for step in ("1", "2"):
        _send(step)
        _send(step, CC2)
    assert publisher.step() == 2
    assert broker.steps() == [(CC2, "1.0"), (CC2, "2.0")]
    broker.full.clear()
    assert publisher.step() == 2
    assert broker.steps()[2:] == [(CC, "1.0"), (CC, "2.0")]
