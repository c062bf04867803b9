"""Orders are written with the row that wants them and posted after commit, in order per receiver."""

from __future__ import annotations

from collections.abc import Callable

from luhyaapi import clock, log
from luhyaapi.command.send import Order, compose, stamp
from luhyaapi.contracts.base import Command, Envelope
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire import topology
from luhyadb import memory
from luhyadb.models import Outbox

_log = log.get(__name__)
_wake: list[Callable[[], None]] = []
Post = Callable[[str, Envelope, bool], None]


def on_new(wake: Callable[[], None]) -> None:
    """Have a publisher of this process told when an order was committed."""
    _wake.append(wake)


def send(  # noqa: PLR0913 - an order has these parts; all but two are keyword only
    command: Command, to: str, *, sender: str, task: str, step: str = "0", attempt: int = 0,
    deadline: float | None = None, gen: int = 0, fence: int = 0, speaks: dict[str, int] | None = None, whole: bool = False,
) -> Order:
    """Keep an order in the open transaction; it is posted after commit.

    ``speaks`` is what the receiver said it understands. ``whole``: it says all there is to say on its subject, so those on it that wait
    are never posted, unless an order of another kind waits behind them that may need them. Raises Bug(route), Refused(unsupported).
    """
    if speaks and command.kind not in speaks:
        raise Refused("unsupported", f"{to} does not know {command.kind}", "its software is older")
    order = compose(command, to, sender=sender, task=task, step=step, attempt=attempt, deadline=deadline, gen=gen, fence=fence)
    if whole:
        kin = order.subject.partition(":")[0]
        other = Outbox.objects.filter(to=to).exclude(subject__startswith=kin).order_by("-id").values_list("id", flat=True).first() or 0
        Outbox.objects.filter(to=to, subject=order.subject, id__gt=other).delete()
    put(order)
    return order


def put(order: Order) -> None:
    """Post an order, or post it again under the same id: its receiver does it once."""
    Outbox.objects.create(
        order=order.model_dump_json(), command=order.id, to=order.to, subject=order.subject, at=clock.now(),
    )
    memory.on_commit(_tell)


def is_waiting(command: str) -> bool:
    """Whether an order was not posted yet."""
    return Outbox.objects.filter(command=command).exists()


def _tell() -> None:
    for wake in _wake:
        wake()


class Publisher:
    """Posts what waits, in order per receiver; a receiver whose queue is missing does not hold up the others."""

    def __init__(self, sender: str, patience_s: float, post: Post) -> None:
        self._sender = sender
        self._patience_s = patience_s
        self._post = post

    def step(self) -> int:
        """Post everything that waits now; how many. A broker that is away leaves all of it waiting."""
        posted = 0
        stuck: set[str] = set()
        while row := Outbox.objects.exclude(to__in=stuck).order_by("id").first():
            order = Order.model_validate_json(row.order)
            try:
                self._post(row.to, stamp(order, self._sender, self._patience_s), topology.is_control(order.kind))
            except (Refused, Unavailable) as e:
                if e.code == "broker_down":
                    self._note(row, str(e))
                    return posted
                stuck.add(row.to)
                self._note(row, str(e))
                if clock.now() > order.deadline:
                    row.delete()
                    _log.warning("order dropped at its deadline", cmd=order.id, to=row.to, why=str(e))
                continue
            row.delete()
            posted += 1
        return posted

    @staticmethod
    def _note(row: Outbox, why: str) -> None:
        Outbox.objects.filter(pk=row.pk).update(attempts=row.attempts + 1, why=why[:200])


def waiting() -> int:
    """Orders not posted yet."""
    return Outbox.objects.count()
