"""Many accounts at once, from a table or a row of numbers: looked at before, made all or none, and the same again changes nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from clc.services import groups, one_time, people
from luhyaapi.errors import Refused
from luhyadb import memory, paths
from luhyadb.models import Account, Group
from luhyadb.ready_made import key_of

AT_MOST = 10_000
_COLUMNS = ("username", "group", "role", "password")
_HARMLESS = ("user", "anonymous")
"""Roles that may be given over everybody without saying so."""
_TOLD = 20


class Action(StrEnum):
    """What becomes of a line."""

    ADD = "add"
    SAME = "same"
    MOVE = "move"
    WRONG = "wrong"


@dataclass(frozen=True)
class Line:
    """What somebody wants: ``group`` and ``role`` empty: as the batch says. ``password`` empty: one is made up."""

    number: int
    username: str
    group: str = ""
    role: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Looked:
    """A line with what becomes of it, and why it cannot."""

    line: Line
    action: Action
    why: str = ""
    group: str = ""
    role: str = ""


@dataclass(frozen=True)
class Batch:
    """Lines with what becomes of each, and the groups that are made for them."""

    looked: Sequence[Looked]
    new_groups: Sequence[str]

    def counts(self) -> dict[str, int]:
        """How many lines become what."""
        return {str(each): sum(one.action is each for one in self.looked) for each in Action}


def table(text: str) -> list[Line]:
    """The lines of a CSV text whose first line names its columns: username, and group, role, password if there are such.

    Comma, semicolon or tab between them. Raises Refused(invalid).
    """
    text = text.removeprefix("\ufeff")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as e:
        raise Refused("invalid", "The table cannot be read", str(e), field="table") from e
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "username" not in heads:
        raise Refused("invalid", "The table has no column username", f"its first line names: {', '.join(filter(None, heads))[:200] or 'nothing'}",
                      hint="Begin it with a line such as username,group,role.", field="table")
    if unknown := [head for head in heads if head not in _COLUMNS]:
        raise Refused("invalid", "A column of the table is unknown", f"{unknown[0][:40]!r}; there are {', '.join(_COLUMNS)}", field="table")
    if len(set(heads)) < len(heads):
        raise Refused("invalid", "A column of the table is named twice", field="table")
    found = []
    for number, row in enumerate(rows[1:], 2):
        if any(cell.strip() for cell in row):
            cells = dict(zip(heads, (cell.strip() for cell in row), strict=False))
            found.append(Line(number, **{name: cells.get(name, "") for name in _COLUMNS}))
    return _bounded(found)


def numbered(prefix: str, first: int, last: int) -> list[Line]:
    """``pupil-`` from 1 to 30: pupil-01 to pupil-30. Raises Refused(invalid)."""
    if not 0 <= first <= last or last - first >= AT_MOST:
        raise Refused("invalid", "The numbers are not possible", f"from {first} to {last}; at most {AT_MOST} at once", field="last")
    width = len(str(last))
    return [Line(n - first + 1, f"{prefix}{n:0{width}d}") for n in range(first, last + 1)]


def look(by: Account, lines: Sequence[Line], group: str = "", role: str = "user") -> Batch:
    """What would become of each line, for ``group`` and ``role`` where it says none. Nothing is changed. Raises Refused(forbidden)."""
    people.known(by)
    there = {a.username.casefold(): a for a in Account.objects.select_related("group")}
    default = groups.resolve(by, group).path if group else by.group.path
    seen: dict[str, int] = {}
    offices: dict[tuple[str, str], people.Place | Refused] = {}
    looked: list[Looked] = []
    new: dict[str, None] = {}
    admins = {a.pk for a in there.values() if a.is_staff and a.is_active and not a.is_service}
    for line in lines:
        known, what = there.get(line.username.casefold()), line.role or role
        where = line.group or group or (known.group.path if known else default)
        try:
            path = paths.normal(where) if where and where.strip() != groups.SHOWN else ""
            if not path and not (line.group or group) and not known and what.casefold() not in _HARMLESS:
                raise Refused("invalid", "No group is said", f"as {what} they would be over everybody; say `everybody` if that is meant")
            if (before := seen.setdefault(line.username.casefold(), line.number)) != line.number:
                raise Refused("invalid", f"line {before} has the same name")
            new |= dict.fromkeys(_missing(path, new))
            place = _office(by, path, what, new, offices)
            became = _becomes(by, line, known, path, place)
            if known and known.pk in admins and place.role.pk != people.ALL:
                if len(admins) == 1:
                    raise people.last_admin(known)
                admins.discard(known.pk)
            looked.append(became)
        except Refused as e:
            looked.append(Looked(line, Action.WRONG, f"{e.what}: {e.why}" if e.why else e.what))
    return Batch(looked, sorted(new))


def carry_out(by: Account, lines: Sequence[Line], group: str = "", role: str = "user") -> tuple[Batch, dict[str, str]]:
    """Make and move what is not as the lines say: all of them or none. Answers the passwords that were made up, by name, this once.

    Raises Refused(invalid) naming the lines that cannot be, and what :func:`look` raises.
    """
    with memory.atomic():
        batch = look(by, lines, group, role)
        if wrong := [each for each in batch.looked if each.action is Action.WRONG]:
            more = [f"and {len(wrong) - _TOLD} more"] if len(wrong) > _TOLD else []
            raise Refused("invalid", "Lines of the table cannot be taken", "; ".join([*(f"line {w.line.number}: {w.why}" for w in wrong[:_TOLD]), *more]),
                          hint="Correct them and bring in the whole table again: nothing of it was kept.", field="table")
        for path in batch.new_groups:
            groups.create(by, path)
        made_up: dict[str, str] = {}
        news = []
        for each in batch.looked:
            if each.action is Action.ADD:
                password = each.line.password or made_up.setdefault(each.line.username, one_time.made())
                news.append(people.New(each.line.username, password, each.role, each.group, is_made_up=not each.line.password))
            elif each.action is Action.MOVE:
                people.place(by, each.line.username, each.role, groups.shown(each.group))
        people.add_many(news)
    return batch, made_up


def _bounded(found: list[Line]) -> list[Line]:
    if not found or len(found) > AT_MOST:
        raise Refused("invalid", "The table cannot be taken", f"it has {len(found)} lines; 1 to {AT_MOST} are possible", field="table")
    return found


def _missing(path: str, new: Iterable[str]) -> list[str]:
    """The groups of a path that are not there yet, the upper ones first."""
    every = [".".join(paths.segments(path)[:n]) for n in range(1, len(paths.segments(path)) + 1)]
    missing = [each for each in every if each not in new]
    if not missing:
        return []
    there = set(Group.objects.filter(key__in=[key_of(each) for each in missing]).values_list("path", flat=True))
    return [each for each in missing if each not in there]


def _office(by: Account, path: str, role: str, new: Iterable[str], known: dict[tuple[str, str], people.Place | Refused]) -> people.Place:
    """Whether ``by`` may have people there with that role: asked once for all lines that say the same. A group to be made is judged by the one above."""
    if (path, role) not in known:
        above = path
        while above in new:
            above = paths.parent(above)
        try:
            known[path, role] = people.allowed_place(by, role, groups.shown(above))
        except Refused as e:
            # The same words, whether what lies above is not there or is not to be seen.
            is_hidden = e.code == "not_found" or (path and not above)
            known[path, role] = e if not is_hidden else Refused(
                "not_found", f"There is no group {path[:63]!r}", "nothing you may see has that path, and you may not make it")
    found = known[path, role]
    if isinstance(found, Refused):
        raise found
    return found


def _becomes(by: Account, line: Line, there: Account | None, path: str, place: people.Place) -> Looked:
    role = place.role.pk
    if there is None:
        people.check_name(line.username)
        if line.password:
            people.check_password(line.username, line.password)
        return Looked(line, Action.ADD, group=path, role=role)
    if not there.is_active:
        raise Refused("state", f"{there.username} is deactivated", "an account keeps its name")
    if (there.group.path, there.access_role_id) == (path, role):
        return Looked(line, Action.SAME, group=path, role=role)
    people.find(by, there.username)
    return Looked(line, Action.MOVE, f"it is {there.access_role_id} in {groups.shown(there.group.path)}", group=path, role=role)
