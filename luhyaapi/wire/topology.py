"""ROUTES: who may command whom; and the names of queues and exchanges, versioned because a queue's type never changes."""

from __future__ import annotations

from luhyaapi.contracts.base import Command
from luhyaapi.contracts.vocabulary import Role
from luhyaapi.errors import Bug
from luhyaapi.ids import role_of

ROUTES = frozenset({(Role.CLC, Role.WALRUS), (Role.CLC, Role.CC), (Role.CC, Role.NC), (Role.CC, Role.SC)})
CONTROL = frozenset({"task/cancel", "host/refresh", "stream/open"})
VERSION = "v1"


def boss_of(role: Role) -> Role | None:
    """The one role above, or None for the root."""
    return next((boss for boss, child in ROUTES if child is role), None)


def check_route(sender: str, to: str, command: type[Command]) -> None:
    """Raises Bug when ``sender`` may not command ``to``, or the command is not for that role."""
    try:
        pair = (Role(role_of(sender)), Role(role_of(to)))
    except ValueError as e:
        raise Bug(f"No route from {sender} to {to}", str(e)) from e
    if sender != to and pair not in ROUTES:
        raise Bug(f"No route from {sender} to {to}", "commands go down the tree, one step at a time")
    receivers = command.to if isinstance(command.to, tuple) else (command.to,)
    if pair[1] not in receivers:
        raise Bug(f"{command.kind} is not for a {pair[1]}", f"it is for {', '.join(receivers)}")


def is_control(kind: str) -> bool:
    """Whether a command kind overtakes: it must reach a busy host too."""
    return kind in CONTROL


def command_queue(host: str, *, control: bool = False) -> str:
    """The queue a host reads its orders from."""
    return f"{'ctl' if control else 'cmd'}.{host}.{VERSION}"


def seat(host: str) -> str:
    """The queue without messages that one alone may read: whoever does is that host."""
    return f"seat.{host}.{VERSION}"


def out_exchange(host: str) -> str:
    """The exchange only that host may write to: the broker itself proves the sender."""
    return f"out.{host}.{VERSION}"


def host_of_exchange(exchange: str) -> str:
    """The host behind an exchange's name."""
    return exchange.removeprefix("out.").removesuffix(f".{VERSION}")


def report_queue(boss: str) -> str:
    """The queue a boss reads its children's reports from."""
    return f"rep.{boss}.{VERSION}"


def dead_queue(boss: str) -> str:
    """Where messages end that nobody could read."""
    return f"dead.{boss}.{VERSION}"
