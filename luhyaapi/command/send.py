"""The one way down: compose an order, keep it with the state change, stamp and sign it when it is posted."""

from __future__ import annotations

from pydantic import Field

from luhyaapi import clock
from luhyaapi.contracts.base import Command, Envelope, Model
from luhyaapi.contracts.commands import COMMANDS
from luhyaapi.ids import command_id
from luhyaapi.wire import topology


class Order(Model):
    """An order not yet posted: everything of its envelope that does not depend on the moment of posting."""

    id: str
    task: str
    kind: str
    to: str
    subject: str
    body: str
    deadline: float
    gen: int = 0
    fence: int = 0
    v: int = Field(default=1)


def compose(  # noqa: PLR0913 - an order has these parts; all but two are keyword only
    command: Command, to: str, *, sender: str, task: str, step: str = "0", attempt: int = 0,
    deadline: float | None = None, gen: int = 0, fence: int = 0,
) -> Order:
    """The order that carries ``command``. Its id is computed, so that composing it again repeats it. Raises Bug(route)."""
    topology.check_route(sender, to, type(command))
    return Order(
        id=command_id(task, step, attempt), task=task, kind=command.kind, v=command.v, to=to, subject=command.subject,
        body=command.model_dump_json(), deadline=deadline or clock.now() + command.timeout_s, gen=gen, fence=fence,
    )


def stamp(order: Order, sender: str, patience_s: float) -> Envelope:
    """The envelope of an order posted now: it expires soon, the reconcilers say it again. Past its deadline it asks how it ended."""
    now = clock.now()
    expires_at = min(now + patience_s, order.deadline) if now < order.deadline else now + patience_s
    return Envelope(**order.model_dump(), sender=sender, issued_at=now, expires_at=expires_at)


def command_of(order: Order) -> Command:
    """The command an order carries."""
    return COMMANDS[order.kind].model_validate_json(order.body)
