"""When machines end, on their pages and on those of groups; budgets of hours beside the limits."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext

from clc.services import budgets, endings, expiry, expiry_rules, groups, instances, people, quotas, spans
from clc.web.page import Form, go, page
from clc.web.pages.limits import whole
from clc.web.pages.rights import NEEDS
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import Budgeted, InstanceState, Kind, Verb
from luhyadb import scope
from luhyadb.models import Account, Group, Instance


def ending(row: Instance) -> dict[str, Any]:
    """When a machine ends, for its own page: its end, that of a budget, and how long its owner may have it."""
    end = expiry.of([row.pk]).get(row.pk)
    spent = [each for each in budgets.binding(row.owner, row.group_id) if each.budget.spent_at] if row.state != InstanceState.DELETED else []
    grace = min((budgets.grace_over(each.budget) for each in spent), default=0)
    rule = expiry_rules.binding(row.group_id)
    return {"ending": {
        "at": end.expires_at if end else 0, "is_over": bool(end and end.expires_at <= clock.now()), "is_soon": bool(end and end.warn_at <= clock.now()),
        "deleted_at": end.ended_at + rule.delete_after_s if end and end.ended_at and rule.delete_after_s else 0,
        "longest": spans.shown(rule.longest_s) if rule.longest_s else "", "spent": [{"of": each.of, "set_by": each.budget.set_by} for each in spent],
        "ends_running_at": grace if row.state not in (InstanceState.STOPPED, InstanceState.FAILED) else 0,
    }}


@page("instances/<str:ident>/expiry/set/", "instance_expiry", under="instances", methods=("POST",), back="instance")
def move(request: HttpRequest, ident: str) -> HttpResponse:
    """Another end, or none."""
    row = expiry.put(request.user, instances.resolve(request.user, ident).pk, Form.of(request).values.get("expires", ""))
    messages.success(request, gettext("The end of %(name)s is moved") % {"name": row.name})
    return go(request, reverse("instance", args=[row.pk]))


def card(request: HttpRequest, *, group: Group | None = None, account: Account | None = None) -> dict[str, Any]:
    """Budgets of a group or of a person, and of a group the rule of its machines' ends."""
    known = budgets.known(request.user, **({"user": account.username} if account else {"group": group.pk if group else ""}))
    rows = [{"counted": Budgeted(each.budget.counted), "hours": int(each.budget.hours), "used": each.used, "left": each.left, "since": each.budget.from_at,
             "until": each.budget.to_at, "set_by": each.budget.set_by, "spent": each.is_spent, "ends_running_at": budgets.grace_over(each.budget),
             "is_current": each.budget.from_at <= clock.now() < each.budget.to_at} for each in known]
    at = reverse("person_budget", args=[account.username]) if account else reverse("group_budget", args=[group.pk if group else ""])
    shown: dict[str, Any] = {"budget": {"rows": rows, "words": list(Budgeted), "at": at}}
    if group is None:
        return shown
    own, bound = expiry_rules.own(group), expiry_rules.binding(group.pk)
    names = [name.removesuffix("_s") for name in expiry_rules.NAMES]
    rule = [{"name": name, "own": _shown(own, name), "bound": _shown(bound, name)} for name in names]
    may_end = request.user.is_admin or scope.reach(request.user, Kind.INSTANCE, Verb.WRITE).filter(group=group).exists()
    return shown | {"ends": {"rule": rule, "set_by": own.set_by if own else "", "may_end": may_end}}


def _shown(of: object, name: str) -> str:
    value = getattr(of, f"{name}_s", None)
    return "" if value is None else spans.shown(value)


def _budget(request: HttpRequest, **whose: str) -> None:
    values = Form.of(request).values
    hours = None if "lift" in values else whole(values.get("hours", ""), "hours")
    budgets.put(request.user, values.get("budgeted", ""), hours, values.get("since", ""), values.get("until", ""), **whose)
    messages.success(request, gettext("The budget is set") if hours is not None else gettext("The budget is lifted"))


_FIELDS = {"counted": "budgeted", "from": "since", "to": "until"}


@page("groups/<str:ident>/budget/", "group_budget", needs=NEEDS, under="groups", methods=("POST",), back="group", fields=_FIELDS)
def of_group(request: HttpRequest, ident: str) -> HttpResponse:
    """Set a budget of a group, or lift it."""
    row = groups.resolve(request.user, ident)
    _budget(request, group=row.pk)
    return go(request, reverse("group", args=[row.pk]))


@page("people/of/<str:ident>/budget/", "person_budget", needs=NEEDS, under="people", methods=("POST",), back="person", fields=_FIELDS)
def of_person(request: HttpRequest, ident: str) -> HttpResponse:
    """Set a budget of a person, or lift it."""
    account = people.find(request.user, ident)
    _budget(request, user=account.username)
    return go(request, reverse("person", args=[account.username]))


@page("groups/<str:ident>/expiry-rule/", "group_expiry_rule", needs=NEEDS, under="groups", methods=("POST",), back="group")
def rule(request: HttpRequest, ident: str) -> HttpResponse:
    """How long its machines may be there."""
    row = quotas.limited_group(request.user, ident)
    names = [name.removesuffix("_s") for name in expiry_rules.NAMES]
    values = Form.of(request).values
    expiry_rules.put(request.user, row.pk, {name: values[name].strip() or "never" for name in names if name in values})
    messages.success(request, gettext("The rule is changed"))
    return go(request, reverse("group", args=[row.pk]))


@page("groups/<str:ident>/expiry/", "group_expiry", needs=NEEDS, under="groups", methods=("POST",), back="group")
def end_all(request: HttpRequest, ident: str) -> HttpResponse:
    """One end for all its machines."""
    row = groups.resolve(request.user, ident)
    many = expiry.put_all(request.user, row.pk, Form.of(request).values.get("expires", ""))
    messages.success(request, ngettext("%(n)d machine has a new end", "%(n)d machines have a new end", many) % {"n": many})
    return go(request, reverse("group", args=[row.pk]))


@page("expiry/let-go/", "expiry_let_go", admin_only=True, under="overview", methods=("POST",), back="overview")
def let_go(request: HttpRequest) -> HttpResponse:
    """An administrator's word."""
    endings.let_go(request.user)
    return go(request, reverse("overview"))
