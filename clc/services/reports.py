"""What was used, by whom and when: reports of machines, image storage, public addresses and capacity, of what somebody may see."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, FloatField, Q, QuerySet, Sum

from clc.services import audit_export, groups, people, runs, spans
from clc.services.audit_export import harmless
from luhyaapi import clock
from luhyaapi.contracts.vocabulary import ImageState, Kind, Role, Verb
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, AddressHolding, CapacitySample, Group, Host, Image, ImageVersion, Instance, Run

USUAL_S = 30 * 86400.0
LINES_AT_MOST = 200_000
MIB = 1024 * 1024
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What of: a time in seconds since 1970, all that belongs to a group or below it, what is somebody's; empty: all."""

    since: float
    until: float
    group: str = ""
    user: str = ""


@dataclass(frozen=True)
class Report:
    """One report: its rows for who asks, the columns they are read by, and how each is told. ``by``: the column they are in the order of."""

    rows: Callable[[Account, Asked], QuerySet[Any]]
    columns: Sequence[str]
    told: Callable[[Row, Asked], dict[str, Any]]
    by: str
    heads: Sequence[str]


def asked(by: Account, values: Mapping[str, str]) -> Asked:
    """``from`` (30 days ago unless said), ``to`` (now; of a date its end), ``group``, ``user``. Raises Refused(invalid | not_found)."""
    now = clock.now()
    until = spans.end_of_day(values["to"].strip(), "to") if values.get("to", "").strip() else now
    since = audit_export.moment(values["from"].strip(), "from") if values.get("from", "").strip() else until - USUAL_S
    if not 0 <= since < until:
        raise Refused("invalid", "The time is not possible", "it begins before it ends", field="from")
    group = groups.resolve(by, values["group"]).path if values.get("group", "").strip() else ""
    return Asked(since, until, group, values.get("user", "").strip()[:150])


def _narrowed(rows: QuerySet[Any], asked: Asked, prefix: str = "") -> QuerySet[Any]:
    if asked.group:
        rows = rows.filter(**{f"{prefix}group__in": groups.below(Group.objects.all(), asked.group).values("pk")})
    if asked.user:
        rows = rows.filter(Q(**{f"{prefix}owner__username__iexact": asked.user}) | Q(**{f"{prefix}owner__username__istartswith": f"{asked.user}{people.GONE}"}))
    return rows


# ---- machines


def _instances(by: Account, asked: Asked) -> QuerySet[Run]:
    rows = Run.objects.all() if by.is_admin else Run.objects.filter(instance__in=scope.visible_to(by, Instance).order_by().values("pk"))
    return runs.between(_narrowed(rows, asked), asked.since, asked.until).annotate(weighed=F("length") * F("cpus"))


def _instance(row: Row, _asked: Asked) -> dict[str, Any]:
    return {
        "instance": row["instance"], "name": row["instance__name"], "user": _name(row["owner__username"]), "group": groups.shown(row["group__path"]),
        "image": row["instance__image__image__name"], "image_version": row["instance__image__version"], "cpus": row["cpus"],
        "memory_bytes": row["memory_mib"] * MIB, "from": _when(row["began_at"]), "to": _when(row["ended_at"] or row["unknown_at"]),
        "hours": round(row["length"] / runs.HOUR_S, 3), "cpu_hours": round(row["weighed"] / runs.HOUR_S, 3),
    }


# ---- image storage


def _images(by: Account, asked: Asked) -> QuerySet[ImageVersion]:
    seen = ImageVersion.objects.filter(state=ImageState.PUBLISHED, image__retired=False, created_at__lt=asked.until)
    if not by.is_admin:
        seen = seen.filter(image__in=scope.visible_to(by, Image).order_by().values("pk"))
    return _narrowed(seen, asked, "image__")


def _image(row: Row, _asked: Asked) -> dict[str, Any]:
    """What its disks show to guests, what they hold without holes, and by how much the store grew when it came: blocks that were there cost nothing."""
    came = {p["part"]: p["filled"] for p in row["parts"]}
    return {
        "image": row["image__name"], "version": row["version"], "user": _name(row["image__owner__username"]), "group": groups.shown(row["image__group__path"]),
        "since": _when(row["created_at"]), "logical_bytes": sum(int(b.get("virtual_size") or b.get("size") or 0) for b in row["blobs"]),
        "filled_bytes": sum(int(came.get(b["part"], b["size"])) for b in row["blobs"]), "added_bytes": sum(int(p.get("added") or 0) for p in row["parts"]),
    }


# ---- public addresses


def _addresses(by: Account, asked: Asked) -> QuerySet[AddressHolding]:
    rows = AddressHolding.objects.filter(began_at__lt=asked.until).filter(Q(ended_at=0) | Q(ended_at__gt=asked.since))
    if not by.is_admin:
        rows = rows.filter(Q(owner=by) | Q(group__in=scope.reach(by, Kind.ACCOUNT, Verb.READ)))
    return _narrowed(rows, asked)


def _address(row: Row, asked: Asked) -> dict[str, Any]:
    end = min(row["ended_at"] or clock.now(), asked.until)
    return {"address": row["address"], "user": _name(row["owner__username"]), "group": groups.shown(row["group__path"]), "from": _when(row["began_at"]),
            "to": _when(row["ended_at"]), "hours": round(max(end - max(row["began_at"], asked.since), 0) / runs.HOUR_S, 3)}


# ---- capacity


def _capacity(by: Account, asked: Asked) -> QuerySet[CapacitySample]:
    clusters = scope.visible_to(by, Host).filter(role=Role.CC).order_by().values("pk")
    return CapacitySample.objects.filter(at__gte=asked.since, at__lt=asked.until, cluster__in=clusters)


def _sample(row: Row, _asked: Asked) -> dict[str, Any]:
    told = {"cluster": row["cluster__name"], "at": _when(row["at"]), "nodes": row["nodes"], "cpus": row["cpus"], "cpus_used": row["cpus_used"],
            "cpus_promised": row["cpus_promised"], "cpus_free": max(row["cpus"] - row["cpus_used"], 0)}
    memory = {name: row[f"{name}_mib"] * MIB for name in ("memory", "memory_used", "memory_promised", "disk", "disk_promised")}
    return told | {f"{name}_bytes": value for name, value in memory.items()} | {"memory_free_bytes": max(memory["memory"] - memory["memory_used"], 0)}


def _name(username: str) -> str:
    return username.partition(people.GONE)[0]


def _when(stamp: float) -> str | None:
    return clock.rfc3339(stamp) if stamp else None


REPORTS: dict[str, Report] = {
    "instances": Report(_instances, ("pk", "instance", "instance__name", "owner__username", "group__path", "instance__image__image__name",
                                     "instance__image__version", "cpus", "memory_mib", "began_at", "ended_at", "unknown_at", "length", "weighed"),
                        _instance, "began_at", ("instance", "name", "user", "group", "image", "image_version", "cpus", "memory_bytes", "from", "to", "hours",
                                                "cpu_hours")),
    "images": Report(_images, ("pk", "image__name", "version", "image__owner__username", "image__group__path", "created_at", "blobs", "parts"), _image,
                     "created_at", ("image", "version", "user", "group", "since", "logical_bytes", "filled_bytes", "added_bytes")),
    "addresses": Report(_addresses, ("pk", "address", "owner__username", "group__path", "began_at", "ended_at"), _address, "began_at",
                        ("address", "user", "group", "from", "to", "hours")),
    "capacity": Report(_capacity, ("pk", "at", "cluster__name", "nodes", "cpus", "cpus_used", "cpus_promised", "memory_mib", "memory_used_mib",
                                   "memory_promised_mib", "disk_mib", "disk_promised_mib"), _sample, "at",
                       ("cluster", "at", "nodes", "cpus", "cpus_used", "cpus_promised", "cpus_free", "memory_bytes", "memory_used_bytes",
                        "memory_promised_bytes", "memory_free_bytes", "disk_bytes", "disk_promised_bytes")),
}


def find(name: str) -> Report:
    """The report of that name. Raises Refused(not_found)."""
    if name not in REPORTS:
        raise Refused("not_found", f"There is no report {name[:20]!r}", f"there are {', '.join(REPORTS)}")
    return REPORTS[name]


def totals(by: Account, asked: Asked) -> dict[str, float]:
    """The hours of all machines of a report: one question."""
    found = _instances(by, asked).aggregate(hours=Sum("length"), cpu_hours=Sum("weighed", output_field=FloatField()))
    return {name: round((value or 0) / runs.HOUR_S, 3) for name, value in found.items()}


def lines(by: Account, report: Report, asked: Asked, at_most: int) -> list[dict[str, Any]]:
    """The newest rows of a report: one question."""
    rows = report.rows(by, asked).order_by(f"-{report.by}", "-pk").values(*report.columns)[:at_most]
    return [report.told(row, asked) for row in rows]


def as_csv(by: Account, report: Report, asked: Asked) -> str:
    """All of it as CSV that no spreadsheet takes for formulas. Raises Refused(invalid) when it is too long."""
    found = lines(by, report, asked, LINES_AT_MOST + 1)
    if len(found) > LINES_AT_MOST:
        raise Refused("invalid", "The report is too long", f"it has more than {LINES_AT_MOST} lines", hint="Ask for a shorter time, or for one group.",
                      field="from")
    out = io.StringIO()
    out.write("\N{BYTE ORDER MARK}")
    csv.writer(out).writerows([report.heads, *([_cell(each[head]) for head in report.heads] for each in found)])
    return out.getvalue()


def _cell(value: Any) -> str:
    return harmless("" if value is None else str(value))
