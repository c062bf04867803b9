"""Who may do what: the one place that decides. visible_to(account, rows) is the only door to rows that have an owner.

The rule is docs/permissions.md's. Somebody may do something with a resource because they may do everything here, because it is theirs, because
an access role of theirs covers the group it belongs to, or because it is shared with them or with a group they are in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import Exists, Model, Q, QuerySet, prefetch_related_objects

from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import paths
from luhyadb.models import (
    Account,
    AccountRequest,
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
    ApiToken: "token", BrowserSession: "session", AccountRequest: "request",
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
    elif model is AccountRequest:
        mine = Q(group__in=reach(account, Kind.ACCOUNT, Verb.CREATE))
    elif model is ApiToken:
        mine |= Q(account__is_service=True, account__group__in=reach(account, Kind.ACCOUNT, Verb.WRITE))
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
    granted = Grant.objects.filter(account=account, role__permissions__isnull=False)
    for kind, verb, path in granted.values_list("role__permissions__kind", "role__permissions__verb", "group__path"):
        found.setdefault(path, set()).add((Kind(kind), Verb(verb)))
    for kind, verb in Permission.objects.filter(role=account.access_role_id).values_list("kind", "verb"):
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
    return reasons_of([account], row, verb)[account.pk]


def reasons_of(accounts: Sequence[Account], row: Model, verb: Verb) -> dict[int, list[Reason]]:
    """The reasons of each of some accounts, by its number: five queries, however many accounts there are."""
    known, model = [each for each in accounts if each.is_active], type(row)
    found: dict[int, list[Reason]] = {each.pk: [] for each in accounts}
    for each in known:
        is_own = model in _OWNED_BY and getattr(row, f"{_OWNED_BY[model]}_id") == each.pk
        found[each.pk] += [Reason("admin")] if each.is_admin else []
        found[each.pk] += [Reason("owner")] if is_own or (model is Account and verb is Verb.READ and row.pk == each.pk) else []
    if kind := KINDS.get(model):
        _add_roles(found, known, kind, verb, row.group_id)
        if model is not Account:
            _add_shares(found, known, kind, verb, str(row.pk))
    return found


def _add_roles(found: dict[int, list[Reason]], accounts: list[Account], kind: Kind, verb: Verb, group: str) -> None:
    over = dict(GroupAbove.objects.filter(group=group).values_list("above", "above__path"))
    verbs: dict[str, list[str]] = {}
    for role, given in Permission.objects.filter(kind=kind, verb__in=enough(verb)).order_by("role", "verb").values_list("role", "verb"):
        verbs.setdefault(role, []).append(given)
    grants = Grant.objects.filter(account__in=accounts, group__in=list(over), role__in=list(verbs)).order_by("role", "group__path")
    held = [*grants.values_list("account", "role", "group"), *((each.pk, each.access_role_id, each.group_id) for each in accounts)]
    for account, role, at in held:
        if at in over:
            found[account] += [Reason("role", role, over[at], given) for given in verbs.get(role, ())]


def _add_shares(found: dict[int, list[Reason]], accounts: list[Account], kind: Kind, verb: Verb, subject: str) -> None:
    rows = list(Share.objects.filter(kind=kind, subject=subject, verb__in=enough(verb)).select_related("group").order_by("pk"))
    if not rows:
        return
    within: dict[str, set[str]] = {}
    for group, above in GroupAbove.objects.filter(group__in={each.group_id for each in accounts}).values_list("group", "above"):
        within.setdefault(group, set()).add(above)
    for each in accounts:
        mine = [row for row in rows if row.account_id == each.pk or row.group_id in within[each.group_id]]
        found[each.pk] += [Reason("share", at=row.group.path if row.group else each.username, verb=row.verb) for row in mine]


def verbs_on(account: Account, rows: Iterable[M]) -> dict[Any, frozenset[Verb]]:
    """What an account may do with each of some resources of one kind that it sees, by their ids: four queries, however many there are."""
    known = list(rows)
    prefetch_related_objects(known, "group")
    shares_of: dict[Any, set[Verb]] = {}
    roles, kind = held(account), KINDS.get(type(known[0])) if known else None
    if kind and not account.is_admin:
        open_to = Share.objects.filter(kind=kind, subject__in=[row.pk for row in known]).filter(Q(account=account) | Q(group__in=belongs(account)))
        for subject, verb in open_to.values_list("subject", "verb"):
            shares_of.setdefault(subject, set()).add(Verb(verb))
    found = {}
    for row in known:
        is_own = account.is_admin or (type(row) in _OWNED_BY and getattr(row, f"{_OWNED_BY[type(row)]}_id") == account.pk)
        given = shares_of.get(row.pk, set())
        found[row.pk] = frozenset(
            verb for verb in Verb if is_own or given.intersection(enough(verb)) or (kind and roles.may(kind, verb, row.group.path)))
    return found


def why_not(account: Account, row: Model, verb: Verb, *, of_another: bool = False) -> str:
    """What an account may do with a resource, in words to itself; ``of_another``: to somebody else."""
    may = [str(each) for each in (Verb.READ, Verb.WRITE, Verb.EXECUTE, Verb.DELETE) if reasons(account, row, each)]
    they, them = (f"{account.username} has", account.username) if of_another else ("you have", "you")
    return f"{they} {', '.join(may)} of it, and not {verb}" if may else f"nothing gives {them} {verb} of it"


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
