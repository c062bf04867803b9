"""Looks at screens, serial consoles, logs, and lines to ports: one-time tickets, bound to an account and an instance: the only writer of ScreenTicket."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from clc.services import events
from clc.services.own import own
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import StreamOpen
from luhyaapi.contracts.vocabulary import InstanceState, Verb
from luhyaapi.errors import Refused
from luhyadb import memory, outbox, scope
from luhyadb.models import Account, Instance, ScreenTicket

LIFE_S = 60.0


@dataclass(frozen=True)
class Look:
    """A permission to look once. ``ticket`` goes into the address of the websocket, ``stream`` down to the node."""

    ticket: str
    stream: str
    expires_at: float


def hashed(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def open_look(account: Account, ident: str, channel: str = "screen", port: int = 0) -> Look:
    """Have the node dial its screen (or ``serial``, ``log``, or for ``tunnel`` its TCP ``port``) outward. Raises Refused(not_found | state)."""
    with memory.atomic():
        row = scope.one(account, Instance, Verb.EXECUTE, pk=ident)
        if not row.node:
            raise Refused("state", f"{row.name} is on no node", f"it is {row.state}")
        if channel != "log" and row.state not in (InstanceState.RUNNING, InstanceState.STARTING, InstanceState.STOPPING):
            raise _not_now(row, channel)
        look = Look(ids.secret(), ids.secret(), clock.now() + LIFE_S)
        ScreenTicket.objects.filter(expires_at__lt=clock.now() - LIFE_S).delete()
        ScreenTicket.objects.create(
            ticket=hashed(look.ticket), stream=hashed(look.stream), account=account, instance=row, channel=channel,
            expires_at=look.expires_at,
        )
        outbox.send(StreamOpen(instance=row.id, channel=channel, port=port, stream=look.stream), row.cluster, sender=own().id,
                    task=ids.new("tsk"), step=channel)
        what = f"tunnel to port {port} opened" if port else f"{channel} opened"
        events.record("instance", row.id, what, owner_id=row.owner_id, actor=account)
    return look


def check(account: Account, ident: str) -> None:
    """Whether an open line to an instance may go on. Raises Refused(forbidden)."""
    if not scope.visible_to(account, Instance, Verb.EXECUTE).filter(pk=ident).exists():
        raise Refused("forbidden", "You may not use this instance any more", "a right to it was taken back")


def _not_now(row: Instance, channel: str) -> Refused:
    why, hint = f"it is {row.state}", "Start it first."
    if channel == "serial":
        return Refused("state", f"{row.name} has no serial console now", why, hint=hint)
    if channel == "tunnel":
        return Refused("state", f"{row.name} cannot be reached now", why, hint=hint)
    return Refused("state", f"{row.name} shows no screen", why, hint=hint)


def redeem(ticket: str, account: Account) -> ScreenTicket:
    """Use a ticket, once, by the account it was given to. Raises Refused(forbidden)."""
    mine = ScreenTicket.objects.filter(ticket=hashed(ticket), account=account, used=False, expires_at__gt=clock.now())
    if not mine.update(used=True):
        raise Refused("forbidden", "This ticket is not valid", "it was used, is too old, or belongs to somebody else")
    return ScreenTicket.objects.get(ticket=hashed(ticket))


def forget(account: Account) -> None:
    """No ticket of an account can be used any more."""
    ScreenTicket.objects.filter(account=account).delete()
