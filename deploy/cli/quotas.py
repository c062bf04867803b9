"""`educloud quota`: at most so much."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb
from luhyaapi.errors import Refused

app = noun("quota")
InGroup = Annotated[str, typer.Option("--group", metavar="PATH", help="Of all that belongs to this group or below it.")]
OfUser = Annotated[str, typer.Option("--user", metavar="NAME", help="Of this person.")]
What = Literal["instances", "cpus", "memory_mib", "disk_mib", "images", "addresses"]


def _table(rows: list[dict[str, Any]]) -> None:
    heads = ("of", "counted", "limit", "used", "left", "set_by")
    output.table(heads, [tuple((r | {"of": r.get("user") or r.get("group") or "everybody"}).get(head) for head in heads) for r in rows])


@verb(app, "list")
def list_quotas(session: Session, group: InGroup = "", user: OfUser = "") -> None:
    """List the limits of a group or a person, and what is used; without either those that bind you."""
    query = urlencode({name: value for name, value in (("group", group), ("user", user)) if value})
    found = session.api.everything(api.path("quotas") + (f"?{query}" if query else ""))
    if session.json:
        output.document(found)
    else:
        _table(found)


@verb(app, "set")
def change(
    session: Session, counted: Annotated[What, typer.Argument(metavar="WHAT", help="instances, cpus, memory_mib, disk_mib, images or addresses.")],
    limit: Annotated[str, typer.Argument(metavar="LIMIT", help="At most so much; none: no limit any more.")], group: InGroup = "", user: OfUser = "",
) -> None:  # fmt: skip
    """Set a limit, or lift it."""
    if limit != "none" and not (limit.isascii() and limit.isdigit()):
        raise Refused("invalid", "The limit cannot be read", f"{limit[:20]!r}: give a whole number or none", field="limit")
    given = None if limit == "none" else int(limit)
    made = session.api.put_json(api.path("quotas"), {"counted": counted, "limit": given, "group": group, "user": user})
    if session.json:
        output.document(made)
    else:
        _table([made])
