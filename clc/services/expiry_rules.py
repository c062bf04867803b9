"""How long machines of a group may be there: its rules, and which bind one: the only writer of ExpiryRule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from clc.services import events, groups, quotas, spans
from luhyaapi import clock
from luhyaapi.errors import Refused
from luhyadb import memory, paths
from luhyadb.models import Account, ExpiryRule, Group, GroupAbove

WARN_S = 24 * 3600.0
BUDGET_GRACE_S = 24 * 3600.0
ZERO = ("delete_after", "budget_grace")
"""Of these ``0s`` means something: not at all, and at once."""


@dataclass(frozen=True)
class Rule:
    """What binds the machines of a group: the nearest group that says something, and of ``longest_s`` the least of all above."""

    default_s: float | None = None
    longest_s: float | None = None
    warn_s: float = WARN_S
    delete_after_s: float = 0.0
    budget_grace_s: float = BUDGET_GRACE_S
    longest_of: str = ""
    longest_by: str = ""

    @property
    def usual_s(self) -> float | None:
        """How long a machine is there of which nobody says so; None: for ever."""
        known = [each for each in (self.default_s, self.longest_s) if each is not None]
        return min(known, default=None)


NAMES = tuple(f.name for f in fields(Rule) if f.name.endswith("_s"))


def binding(group: str) -> Rule:
    """The rule of a group, by its id."""
    rows = list(ExpiryRule.objects.filter(group__in=GroupAbove.objects.filter(group=group).values("above")).select_related("group"))
    rows.sort(key=lambda row: len(paths.segments(row.group.path)), reverse=True)
    said = {name: next((value for row in rows if (value := getattr(row, name)) is not None), None) for name in NAMES}
    least = min((row for row in rows if row.longest_s is not None), key=lambda row: row.longest_s, default=None)
    given = {name: value for name, value in said.items() if value is not None}
    if least is not None:
        given["longest_s"] = least.longest_s
    return Rule(**given, longest_of=groups.shown(least.group.path) if least else "", longest_by=least.set_by if least else "")


def own(row: Group) -> ExpiryRule | None:
    """What a group says itself."""
    return ExpiryRule.objects.filter(group=row).first()


def put(by: Account, group: str, given: Mapping[str, str]) -> ExpiryRule:
    """Change the rule of a group, by who manages people above it. ``given``: spans by name without ``_s``; ``never``: nothing is said any more.

    Raises Refused(invalid | not_found | forbidden).
    """
    values = {f"{name}_s": _span(name, text) for name, text in given.items()}
    with memory.atomic():
        row = quotas.limited_group(by, group)
        before = own(row)
        old = {name: getattr(before, name) for name in NAMES} if before else dict.fromkeys(NAMES)
        new = old | values
        if new["default_s"] is not None and new["longest_s"] is not None and new["default_s"] > new["longest_s"]:
            raise Refused("invalid", "The rule is not possible", "what is usual is longer than what is possible", field="default")
        made, _ = ExpiryRule.objects.update_or_create(group=row, defaults={**new, "set_by": by.username, "set_at": clock.now()})
        events.record("group", row.pk, "expiry rule set", path=row.path, before=old, after=new)
    return made


def _span(name: str, text: str) -> float | None:
    if f"{name}_s" not in NAMES:
        raise Refused("invalid", "The rule is not possible", f"there is no {name[:40]!r}", field=name[:40])
    if name in ZERO and text.strip() in ("0", "0s"):
        return 0.0
    return spans.seconds(text, name)
