"""/api/v1/.../expiry/, expiry-rule/, expiry/held/ and budgets/: when machines end, and how many hours they may run."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import budgets, endings, expiry, expiry_rules, groups, instances, pictures, spans
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, InstanceShape, asks, many, says, word
from clc.web.rest import Form, Nothing, Text, Whole
from luhyaapi.contracts.vocabulary import Budgeted
from luhyaapi.errors import Refused
from luhyadb import paths, scope
from luhyadb.models import Group

TAG = "limits"
_SPAN_AT_MOST = 40


class ExpiryForm(Form):
    """When it ends."""

    expires = Text(max_length=_SPAN_AT_MOST, help_text="`7d`, `12h`, a date (when that day is over), RFC 3339, or `never`.")


class InstanceExpiry(Endpoint):
    """When an instance ends."""

    @says(InstanceShape, sends=ExpiryForm, tag=TAG, operation_id="instances_expire")
    def put(self, _request: Request, instance: str) -> Response:
        """Have an instance end at another time, or never: its owner as far as its group allows, others who may change it further."""
        row = expiry.put(self.account, instances.resolve(self.account, instance).pk, self.sent(ExpiryForm)["expires"])
        return Response(pictures.instance(row))


class AllEndedShape(s.Serializer):
    """How many machines got that end."""

    group = s.CharField()
    machines = s.IntegerField()


class GroupExpiry(Endpoint):
    """When all machines of a group end."""

    @says(AllEndedShape, sends=ExpiryForm, tag=TAG, operation_id="groups_expire")
    def put(self, _request: Request, group: str) -> Response:
        """Have all machines of a group and below it end at one time, or never (who may change machines there)."""
        row = groups.resolve(self.account, group)
        return Response({"group": groups.shown(row.path), "machines": expiry.put_all(self.account, row.pk, self.sent(ExpiryForm)["expires"])})


class SpansShape(s.Serializer):
    """Spans: what a group says itself (null: nothing), and what binds its machines (null: never)."""

    default = s.CharField(allow_null=True, help_text="How long a machine is there of which nobody says so.")
    longest = s.CharField(allow_null=True, help_text="How long its owner may have it at most; of all groups above the least binds.")
    warn = s.CharField(allow_null=True, help_text="How long before it is told.")
    delete_after = s.CharField(allow_null=True, help_text="What has ended is deleted so long afterwards; 0s: never.")
    budget_grace = s.CharField(allow_null=True, help_text="What runs when a budget is used up goes on so long.")


class ExpiryRuleShape(s.Serializer):
    """The rule of a group."""

    group = s.CharField()
    own = SpansShape()
    binding = SpansShape()
    set_by = s.CharField(allow_blank=True)


class ExpiryRuleForm(Form):
    """What changes; `never`: the group says nothing of it any more."""

    default = Text(max_length=_SPAN_AT_MOST, required=False)
    longest = Text(max_length=_SPAN_AT_MOST, required=False)
    warn = Text(max_length=_SPAN_AT_MOST, required=False)
    delete_after = Text(max_length=_SPAN_AT_MOST, required=False)
    budget_grace = Text(max_length=_SPAN_AT_MOST, required=False)


def rule_of(row: Group) -> dict[str, Any]:
    """The rule of a group as a picture."""
    own, bound = expiry_rules.own(row), expiry_rules.binding(row.pk)

    def told(of: object) -> dict[str, str | None]:
        return {name.removesuffix("_s"): None if (value := getattr(of, name, None)) is None else spans.shown(value) for name in expiry_rules.NAMES}

    return {"group": groups.shown(row.path), "own": told(own), "binding": told(bound), "set_by": own.set_by if own else ""}


class GroupRule(Endpoint):
    """How long machines of a group may be there."""

    @says(ExpiryRuleShape, tag=TAG, operation_id="groups_expiry_rule")
    def get(self, _request: Request, group: str) -> Response:
        """Show what a group says of the ends of its machines, and what binds them."""
        return Response(rule_of(groups.resolve(self.account, group)))

    @says(ExpiryRuleShape, sends=ExpiryRuleForm, tag=TAG, operation_id="groups_set_expiry_rule")
    def put(self, _request: Request, group: str) -> Response:
        """Change it (who manages people above the group)."""
        row = groups.resolve(self.account, group)
        expiry_rules.put(self.account, row.pk, self.sent(ExpiryRuleForm))
        return Response(rule_of(row))


class HeldShape(s.Serializer):
    """How many wait for a word."""

    stops = s.IntegerField(help_text="Those that run, are over, and nobody was told of in time.")
    deletes = s.IntegerField(help_text="Those that would be deleted.")


class Held(Endpoint):
    """Ends that wait for an administrator's word."""

    @says(HeldShape, tag=TAG, operation_id="expiry_held")
    def get(self, _request: Request) -> Response:
        """Tell how many ends wait for an administrator's word: more than a tenth of all at once (administrators)."""
        scope.require_admin(self.account)
        return Response(vars(endings.held()))


class LetGo(Endpoint):
    """That word."""

    @says(HeldShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="expiry_let_go")
    @once
    def post(self, _request: Request) -> Response:
        """Have all that waits end (administrators)."""
        self.sent(Nothing)
        return Response(vars(endings.let_go(self.account)))


class BudgetShape(s.Serializer):
    """A budget, and how it stands."""

    group = s.CharField(allow_null=True)
    user = s.CharField(allow_null=True)
    counted = word(Budgeted)
    hours = s.IntegerField(allow_null=True, help_text="null: there is none any more.")
    since = s.DateTimeField(allow_null=True)
    until = s.DateTimeField(allow_null=True)
    used = s.FloatField()
    left = s.FloatField(allow_null=True)
    ends_running_at = s.DateTimeField(allow_null=True, help_text="It is used up: what runs ends then.")
    set_by = s.CharField(allow_blank=True)


class BudgetForm(Form):
    """A budget of a group or a user, for a term."""

    group = Text(max_length=4 * paths.LENGTH, required=False, allow_blank=True, default="")
    user = Text(max_length=150, required=False, allow_blank=True, default="")
    counted = Text(max_length=16)
    hours = Whole(allow_null=True, help_text="null: none any more.")
    since = Text(max_length=_SPAN_AT_MOST, required=False, allow_blank=True, default="", help_text="A date or a time; empty: now.")
    until = Text(max_length=_SPAN_AT_MOST, required=False, allow_blank=True, default="", help_text="As `expires` of an instance; of a date when it is over.")


def budget_of(each: budgets.Standing) -> dict[str, Any]:
    """A budget as a picture."""
    row = each.budget
    return {
        "group": row.group.path if row.group else None, "user": row.account.username if row.account else None, "counted": str(row.counted),
        "hours": int(row.hours), "since": pictures.when(row.from_at), "until": pictures.when(row.to_at), "used": round(each.used, 2),
        "left": round(each.left, 2), "ends_running_at": pictures.when(budgets.grace_over(row)), "set_by": row.set_by,
    }


class Budgets(Endpoint):
    """Budgets."""

    @says(many("Budget", BudgetShape), parameters=asks("group", "user"), tag=TAG, operation_id="budgets_list")
    def get(self, request: Request) -> Response:
        """List the budgets of a `group` or a `user` with what is used; without either those that bind oneself now."""
        asked = {name: request.query_params.get(name, "")[:3000] for name in ("group", "user")}
        if unknown := set(request.query_params) - set(asked):
            raise Refused("invalid", f"One cannot filter by {min(unknown)[:40]!r}", "filters: group, user", field=min(unknown)[:40])
        return Response({"results": [budget_of(each) for each in budgets.known(self.account, **asked)], "next": None})

    @says(BudgetShape, sends=BudgetForm, tag=TAG, operation_id="budgets_set")
    def put(self, _request: Request) -> Response:
        """Set or lift a budget (who manages people above the group, or the person)."""
        sent = self.sent(BudgetForm)
        found = budgets.put(self.account, sent["counted"], sent["hours"], sent["since"], sent["until"], group=sent["group"], user=sent["user"])
        nothing = {"group": sent["group"] or None, "user": sent["user"] or None, "counted": sent["counted"], "hours": None, "since": None, "until": None,
                   "used": 0, "left": None, "ends_running_at": None, "set_by": ""}
        return Response(budget_of(found) if found else nothing)
