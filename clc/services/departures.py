"""Deleting an account with a choice for what they own: given to another person, or deleted with it. The only writer of Departure.

With everything means: nobody signs in any more at once, what is theirs is ended by the tasks that end it for anybody, and the account goes when
the last is gone. Each round goes on with whatever can be ended by then, so a host that is silent holds up its own instances alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db.models import Model

from clc.services import belongings, events, images, instances, people, uploads, workspaces
from luhyaapi import clock, log
from luhyaapi.contracts.vocabulary import InstanceState, Verb
from luhyaapi.errors import Refused, Trouble
from luhyadb import memory, scope
from luhyadb.models import Account, Departure

_AT_ONCE = 50
"""Instances that one round ends: a school leaves in some rounds, and others' orders go down between them."""
_log = log.get(__name__)


def give(by: Account, username: str, to: str, *, override_limits: bool = False) -> Account:
    """Delete an account; all that is theirs is ``to``'s from now on, in the group it belongs to. The new owner.

    Raises Refused(not_found | forbidden | state | invalid), Refused(quota) unless an administrator says ``override_limits``.
    """
    if override_limits:
        scope.require_admin(by)
    with memory.atomic():
        account = people.to_end(by, username, "delete")
        owner = _receiver(by, to, account)
        if not override_limits:
            belongings.check_limits(account, owner)
        given = _counted(account)
        belongings.give(account, owner)
        Departure.objects.filter(account=account).delete()
        people.close(account, by, given_to=owner.username, given=given)
    return owner


def _counted(account: Account) -> dict[str, int]:
    return {pile.kind: pile.count for pile in belongings.of(account)}


def _receiver(by: Account, to: str, account: Account) -> Account:
    try:
        found = people.find(by, to)
    except Refused as e:
        raise Refused(e.code, e.what, e.why, hint=e.hint, field="give_to") from e
    owner = Account.objects.select_for_update().get(pk=found.pk)
    if owner.pk == account.pk:
        raise Refused("invalid", "Nobody inherits from themselves", owner.username, field="give_to")
    if not owner.is_active:
        raise Refused("invalid", f"{owner.username} cannot be given anything", "the account is deactivated or about to be deleted", field="give_to")
    return owner


def begin(by: Account, username: str) -> bool:
    """Delete an account with everything it owns; whether it is gone already.

    Raises as :func:`people.delete`, and Refused(state) while others use an image of theirs.
    """
    with memory.atomic():
        account = people.to_end(by, username, "delete")
        if needed := belongings.needed_by_others(account):
            raise Refused("state", f"Others use images of {account.username}", ", ".join(needed[:belongings.NAMED_AT_MOST]),
                          hint="Give everything to somebody else, or have those machines deleted first.")
        _, is_new = Departure.objects.get_or_create(account=account, defaults={"by": by, "was_active": account.is_active, "asked_at": clock.now()})
        if is_new:
            people.suspend(account)
            events.record("user", str(account.pk), "deletion with everything asked for", owner=account, name=account.username, actor=by,
                          owned=_counted(account))
    return not _goes_on(account.pk)


def cancel(by: Account, username: str) -> Account:
    """Keep the account and what is left of it. Raises Refused(not_found | forbidden), Refused(state) where nothing is being deleted."""
    with memory.atomic():
        account = people.find(by, username, Verb.DELETE)
        row = Departure.objects.select_for_update().filter(account=account).first()
        if row is None:
            raise Refused("state", f"{account.username} is not being deleted")
        was_active = row.was_active
        Departure.objects.filter(pk=row.pk).delete()
        people.resume(account, active=was_active)
        events.record("user", str(account.pk), "deletion with everything cancelled", owner=account, name=account.username, actor=by)
    return account


def of(account: Account) -> Departure | None:
    """How an account is on its way out, if it is."""
    return Departure.objects.filter(account=account).select_related("by").first()


def tend() -> int:
    """A round of all that go; how many still do."""
    return sum(_goes_on(pk) for pk in list(Departure.objects.values_list("pk", flat=True)))


def _goes_on(pk: Any) -> bool:
    with memory.atomic():
        row = Departure.objects.select_for_update().select_related("account", "by").filter(pk=pk).first()
        if row is None:
            return False
        account = row.account
        troubles = [
            *_each(belongings.open_workspaces(account).select_related("instance", "version", "base__image")[:_AT_ONCE], workspaces.end),
            *_each(belongings.live_instances(account).exclude(wanted=InstanceState.DELETED).exclude(workspace__in=belongings.open_workspaces(account))[:_AT_ONCE],
                   instances.end),
        ]
        uploads.end_all(account)
        left = sum(pile.count for pile in belongings.of(account) if pile.kind in ("instances", "workspaces"))
        if not left:
            troubles += _each(belongings.live_images(account), lambda image: images.end(image, row.by))
            left = belongings.live_images(account).count()
        if left:
            Departure.objects.filter(pk=pk).update(trouble=troubles[0].wire() if troubles else None)
            return True
        Departure.objects.filter(pk=pk).delete()
        people.close(account, row.by, with_everything=True)
    return False


def _each(rows: Iterable[Model], end: Callable[[Any], object]) -> list[Trouble]:
    """End each; why some cannot be ended now, which holds up nothing else."""
    troubles = []
    for row in rows:
        try:
            with memory.atomic():
                end(row)
        except Trouble as error:
            _log.warning("what an account owns cannot be ended now", subject=row.pk, why=str(error))
            troubles.append(error)
    return troubles
