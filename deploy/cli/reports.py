"""`educloud report`: what was used, by whom and when."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from deploy.cli import api, output, sizes
from deploy.cli.session import Session, noun, verb

app = noun("report")
Since = Annotated[str, typer.Option("--from", metavar="TIME", help="Since then: a date or a time; 30 days ago when left out.")]
Until = Annotated[str, typer.Option("--to", metavar="TIME", help="Until then; of a date, until it is over.")]
InGroup = Annotated[str, typer.Option("--group", metavar="PATH", help="All that belongs to this group or below it.")]
OfUser = Annotated[str, typer.Option("--user", metavar="NAME", help="What is this person's.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="A table for a spreadsheet.")]


def _show(session: Session, name: str, asked: dict[str, str], *, as_csv: bool) -> None:
    query = urlencode({key: value for key, value in (asked | ({"form": "csv"} if as_csv else {})).items() if value})
    where = api.path("reports", name) + (f"?{query}" if query else "")
    if as_csv:
        sys.stdout.write(session.api.text(where).replace("\r\n", "\n"))
        return
    rows: list[dict[str, Any]] = session.api.everything(where)
    if session.json:
        output.document(rows)
        return
    heads = tuple(rows[0]) if rows else ("nothing in that time",)
    output.table(heads, [tuple(sizes.show(row[head]) if head.endswith("_bytes") else row[head] for head in heads) for row in rows])


def _owned(name: str, about: str) -> Callable[..., None]:
    def report(session: Session, since: Since = "", until: Until = "", group: InGroup = "", user: OfUser = "", as_csv: AsCsv = False) -> None:
        _show(session, name, {"from": since, "to": until, "group": group, "user": user}, as_csv=as_csv)

    report.__doc__ = about
    return verb(app, name)(report)


instances = _owned("instances", "Tell which machines ran, whose, how large, from when to when, for how many hours.")
images = _owned("images", "Tell what images take: as guests see them, without holes, and by how much the store grew.")
addresses = _owned("addresses", "Tell who has had which public address, and when.")


@verb(app, "capacity")
def capacity(session: Session, since: Since = "", until: Until = "", as_csv: AsCsv = False) -> None:
    """Tell what clusters had hour by hour: processors, memory and disks, used, promised and free."""
    _show(session, "capacity", {"from": since, "to": until}, as_csv=as_csv)
