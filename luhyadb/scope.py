"""Who may do what: the one place that decides. visible_to(account, rows) is the only door to rows that have an owner.

The rule is docs/permissions.md's. Somebody may do something with a resource because they may do everything here, because it is theirs, because
an access role of theirs covers the group it belongs to, or because it is shared with them or with a group they are in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Exists, F, Model, Q, QuerySet

from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import paths
from luhyadb.models import (
    Account,
    ApiToken,
    BrowserSession,
    ElasticAddress,
    Event,
    Forward,
    Grant,
    Group,
    GroupAbove,
    Host,
    Image,
    ImageVersion,
    Instance,
    Letter,
    Network,
    Permission,
    SecurityGroup,
    Share,
    Task,
    Upload,
    Workspace,
)

M = TypeVar("M", bound=Model)
NOUNS: dict[type[Model], str] = {
    Instance: "instance", Task: "task", Image: "image", Host: "host", ImageVersion: "image version", Upload: "upload",
    Account: "user", Workspace: "workspace", Letter: "dead letter", Network: "network", Group: "group",
    Forward: "forward", SecurityGroup: "security group", ElasticAddress: "public address",
    ApiToken: "token", BrowserSession: "session",
}
KINDS: dict[type[Model], Kind] = {Host: Kind.HOST, Image: Kind.IMAGE, Instance: Kind.INSTANCE, Account: Kind.ACCOUNT}
"""What belongs to a group, by the kind that rights are given over."""
_OWNED_BY = {
    Instance: "owner", Image: "owner", Task: "owner", Event: "owner", Workspace: "owner", SecurityGroup: "owner", Upload: "account", ElasticAddress: "owner",
    ApiToken: "account", BrowserSession: "account",
}
_LETS_READ = (Verb.READ, Verb.WRITE, Verb.EXECUTE, Verb.DELETE, Verb.FULL)
"""Who may do something with a resource sees it; who may make new ones sees none by that."""


def enough(verb: Verb) -> tuple[Verb, ...]:
    """The verbs that permit this one."""
    return _LETS_READ if verb is Verb.READ else (verb, Verb.FULL)


def reach(account: Account, kind: Kind, verb: Verb) -> QuerySet[GroupAbove, Any]:
    """The ids of the groups over which an account's access roles give it that verb: one subquery, whatever many roles there are."""
    given = {"kind": kind, "verb__in": enough(verb)}
    grants = Grant.objects.filter(account=account, **{f"role__permissions__{name}": value for name, value in given.items()})
    own = Permission.objects.filter(role=account.access_role_id, **given)
    return GroupAbove.objects.filter(Q(above__in=grants.values("group")) | (Q(above=account.group_id) & Exists(own))).values("group")


def belongs(account: Account) -> QuerySet[GroupAbove, Any]:
    """The ids of the groups an account is in: its own, and those above."""
    return GroupAbove.objects.filter(group=account.group_id).values("above")


def shared(account: Account, kind: Kind, verb: Verb) -> QuerySet[Share, Any]:
    """The ids of the resources of a kind that are shared with an account, or with a group it is in."""
    rows = Share.objects.filter(kind=kind, verb__in=enough(verb))
    return rows.filter(Q(account=account) | Q(group__in=belongs(account))).values("subject")


def _may(account: Account, model: type[Model], verb: Verb) -> Q:
    mine = Q(**{_OWNED_BY[model]: account}) if model in _OWNED_BY else Q(pk__in=[])
    if model is Account and verb is Verb.READ:
        mine = Q(pk=account.pk)
    if kind := KINDS.get(model):
        mine |= Q(group__in=reach(account, kind, verb))
        return mine if model is Account else mine | Q(pk__in=shared(account, kind, verb))
    if model is Group:
        return Q(pk__in=reach(account, Kind.ACCOUNT, verb)) | (Q(pk__in=belongs(account)) if verb is Verb.READ else Q(pk__in=[]))
    if model is Task:
        return mine | Q(subject__in=Instance.objects.filter(_may(account, Instance, verb)).values("pk"))
    if model is Forward:
        return Q(instance__in=Instance.objects.filter(_may(account, Instance, verb)).values("pk"))
    if model is Network and verb is Verb.READ:
        return Q(retired_at=0)
    return mine


def _is_there(model: type[Model]) -> Q:
    """What is gone is seen by nobody but administrators."""
    if model is Image:
        return Q(retired=False)
    return Q(retired_at=0) if model is ElasticAddress else Q()


def visible_to(account: Account, model: type[M], verb: Verb = Verb.READ) -> QuerySet[M]:
    """The rows with which an account may do that: an administrator all, others what the rule gives them."""
    rows: QuerySet[M] = model._default_manager.all()  # noqa: SLF001 - public by Django's documentation
    if not account.is_authenticated or not account.is_active:
        return rows.none()
    return rows if account.is_admin else rows.filter(_may(account, model, verb) & _is_there(model))


def one(account: Account, model: type[M], verb: Verb = Verb.READ, **by: Any) -> M:
    """The one row, if that may be done with it.

    Raises Refused(not_found): what may not be seen is not there; Refused(forbidden) with the reason for what is seen and may not be done.
    """
    row = visible_to(account, model).filter(**by).first()
    if row is None:
        asked = str(next(iter(by.values())))[:63]
        raise Refused("not_found", f"There is no {NOUNS.get(model, 'thing')} {asked!r}", "nothing you may see has that name or id")
    if verb is not Verb.READ and not visible_to(account, model, verb).filter(pk=row.pk).exists():
        raise Refused("forbidden", f"You may not {_DOING[verb]} this {NOUNS.get(model, 'thing')}", why_not(account, row, verb),
                      hint="Ask whoever manages its group.")
    return row


_DOING = {Verb.WRITE: "change", Verb.EXECUTE: "use", Verb.DELETE: "delete", Verb.CREATE: "make", Verb.FULL: "do everything with", Verb.READ: "see"}


@dataclass(frozen=True)
class Held:
    """The access roles of one account as they were read, by the path each was given at: what a page asks for each of its rows.

    It knows nothing of owners and shares, and is as old as the request.
    """

    by_path: Mapping[str, frozenset[tuple[Kind, Verb]]]
    is_all: bool = False

    def may(self, kind: Kind, verb: Verb, path: str) -> bool:
        """Whether one of them gives that over a resource of a group with that path."""
        if self.is_all:
            return True
        wanted = [(kind, each) for each in enough(verb)]
        found = ""
        for segment in ("", *paths.segments(path)):
            found = f"{found}.{segment}" if found else segment
            given = self.by_path.get(found)
            if given and any(each in given for each in wanted):
                return True
        return False


def held(account: Account) -> Held:
    """What an account's roles give it, read once."""
    found: dict[str, set[tuple[Kind, Verb]]] = {}
    given = Permission.objects.filter(role__grant__account=account).values_list("kind", "verb", "role__grant__group__path", "role__grant__account")
    own = Permission.objects.filter(role=account.access_role_id).values_list("kind", "verb")
    for kind, verb, path, whose in given:
        if whose == account.pk:
            found.setdefault(path, set()).add((Kind(kind), Verb(verb)))
    for kind, verb in own:
        found.setdefault(account.group.path, set()).add((Kind(kind), Verb(verb)))
    return Held({path: frozenset(each) for path, each in found.items()}, is_all=account.is_admin)


def require(account: Account, kind: Kind, verb: Verb, group: str) -> None:
    """Whether an account may do that with a kind in a group, by its id. Raises Refused(forbidden)."""
    if account.is_admin or reach(account, kind, verb).filter(group=group).exists():
        return
    path = Group.objects.filter(pk=group).values_list("path", flat=True).first() or "the whole cloud"
    raise Refused("forbidden", f"You may not {_DOING[verb]} {kind.en.lower()} in {path}", f"no access role of yours gives {verb} of {kind} there",
                  hint="Ask whoever manages that group.")


@dataclass(frozen=True)
class Reason:
    """Why something may be done: ``by`` is admin, owner, role or share; a role's ``name`` and the path it was given at; whom it is shared with."""

    by: str
    name: str = ""
    at: str = ""
    verb: str = ""


def reasons(account: Account, row: Model, verb: Verb) -> list[Reason]:
    """Every reason for which an account may do that with a resource; none: it may not."""
    if not account.is_active:
        return []
    found = [Reason("admin")] if account.is_admin else []
    model = type(row)
    if (model in _OWNED_BY and getattr(row, f"{_OWNED_BY[model]}_id") == account.pk) or (model is Account and verb is Verb.READ and row.pk == account.pk):
        found.append(Reason("owner"))
    if kind := KINDS.get(model):
        found += _by_roles(account, kind, verb, row.group_id)
        found += _by_shares(account, kind, verb, str(row.pk)) if model is not Account else []
    return found


def _by_roles(account: Account, kind: Kind, verb: Verb, group: str) -> list[Reason]:
    above = GroupAbove.objects.filter(group=group).values("above")
    rows = Permission.objects.filter(kind=kind, verb__in=enough(verb)).order_by("role", "verb")
    held = rows.filter(role__grant__account=account, role__grant__group__in=above).annotate(at=F("role__grant__group__path"))
    found = [Reason("role", each.role_id, each.at, each.verb) for each in held]
    if above.filter(above=account.group_id).exists():
        found += [Reason("role", each.role_id, account.group.path, each.verb) for each in rows.filter(role=account.access_role_id)]
    return found


def _by_shares(account: Account, kind: Kind, verb: Verb, subject: str) -> list[Reason]:
    rows = Share.objects.filter(kind=kind, subject=subject, verb__in=enough(verb))
    mine = rows.filter(Q(account=account) | Q(group__in=belongs(account))).select_related("group").order_by("pk")
    return [Reason("share", at=each.group.path if each.group else account.username, verb=each.verb) for each in mine]


def why_not(account: Account, row: Model, verb: Verb) -> str:
    """What an account may do with a resource it sees, in words."""
    may = [str(each) for each in (Verb.READ, Verb.WRITE, Verb.EXECUTE, Verb.DELETE) if reasons(account, row, each)]
    return f"you have {', '.join(may)} of it, and not {verb}" if may else f"nothing gives you {verb} of it"


def who(row: Host | Image | Instance, verb: Verb) -> QuerySet[Account]:
    """All who may do that with a resource, deleted accounts aside."""
    kind, over = KINDS[type(row)], GroupAbove.objects.filter(group=row.group_id).values("above")
    held = Grant.objects.filter(group__in=over, role__permissions__kind=kind, role__permissions__verb__in=enough(verb)).values("account")
    own = Permission.objects.filter(kind=kind, verb__in=enough(verb)).values("role")
    open_to = Share.objects.filter(kind=kind, subject=row.pk, verb__in=enough(verb))
    within = GroupAbove.objects.filter(above__in=open_to.filter(group__isnull=False).values("group")).values("group")
    may = Q(is_staff=True) | Q(group__in=over, access_role__in=own) | Q(pk__in=held) | Q(pk__in=open_to.filter(account__isnull=False).values("account"))
    if isinstance(row, (Image, Instance)):
        may |= Q(pk=row.owner_id)
    return Account.objects.filter(may | Q(group__in=within), is_active=True).order_by("username")


def able(account: Account) -> Mapping[Kind, frozenset[Verb]]:
    """What an account may do somewhere, by kind: what a page offers."""
    if account.is_admin:
        return dict.fromkeys(Kind, frozenset({Verb.FULL}))
    rows = Permission.objects.filter(Q(role=account.access_role_id) | Q(role__grant__account=account)).values_list("kind", "verb")
    found: dict[Kind, set[Verb]] = {}
    for kind, verb in rows:
        found.setdefault(Kind(kind), set()).add(Verb(verb))
    return {kind: frozenset(verbs) for kind, verbs in found.items()}


def require_admin(account: Account) -> None:
    """Raises Refused(forbidden) for anybody but an administrator."""
    if not account.is_admin:
        raise Refused("forbidden", "Only an administrator may do this")
