"""visible_to(account, rows): the only door to rows that have an owner."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, Q, QuerySet

from luhyaapi.errors import Refused
from luhyadb.models import (
    Account,
    ApiToken,
    BrowserSession,
    ElasticAddress,
    Event,
    Forward,
    Host,
    Image,
    ImageVersion,
    Instance,
    Letter,
    Network,
    SecurityGroup,
    Task,
    Upload,
    Workspace,
)

M = TypeVar("M", bound=Model)
NOUNS: dict[type[Model], str] = {
    Instance: "instance", Task: "task", Image: "image", Host: "host", ImageVersion: "image version", Upload: "upload",
    Account: "user", Workspace: "workspace", Letter: "dead letter", Network: "network",
    Forward: "forward", SecurityGroup: "security group", ElasticAddress: "public address",
    ApiToken: "token", BrowserSession: "session",
}


_OWNED_BY = {
    Instance: "owner", Task: "owner", Event: "owner", Workspace: "owner", SecurityGroup: "owner", Forward: "instance__owner", Upload: "account",
    ApiToken: "account", BrowserSession: "account",
}


def _mine(account: Account, model: type[Model]) -> Q:
    if model in _OWNED_BY:
        return Q(**{_OWNED_BY[model]: account})
    if model is Image:
        return Q(retired=False)
    if model is Network:
        return Q(retired_at=0)
    if model is ElasticAddress:
        return Q(owner=account, retired_at=0)
    return Q(pk__in=[])


def visible_to(account: Account, model: type[M]) -> QuerySet[M]:
    """The rows an account may see: an administrator all, others their own and the published images."""
    rows: QuerySet[M] = model._default_manager.all()  # noqa: SLF001 - public by Django's documentation
    if not account.is_authenticated or not account.is_active:
        return rows.none()
    return rows if account.is_admin else rows.filter(_mine(account, model))


def one(account: Account, model: type[M], **by: Any) -> M:
    """The one visible row, or Refused(not_found): what may not be seen is not there."""
    row = visible_to(account, model).filter(**by).first()
    if row is None:
        asked = str(next(iter(by.values())))[:63]
        raise Refused("not_found", f"There is no {NOUNS.get(model, 'thing')} {asked!r}", "nothing you may see has that name or id")
    return row


def require_admin(account: Account) -> None:
    """Raises Refused(forbidden) for anybody but an administrator."""
    if not account.is_admin:
        raise Refused("forbidden", "Only an administrator may do this")
