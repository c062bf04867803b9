"""`educloud budget`: at most so many hours in a term."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from deploy.cli import api, output
from deploy.cli.quotas import InGroup, OfUser
from deploy.cli.session import Session, noun, verb
from luhyaapi.errors import Refused

app = noun("budget")
What = Literal["hours", "cpu_hours"]


def _table(rows: list[dict[str, Any]]) -> None:
    heads = ("of", "counted", "hours", "used", "left", "since", "until", "ends_running_at", "set_by")
    output.table(heads, [tuple((r | {"of": r.get("user") or r.get("group") or "everybody"}).get(head) for head in heads) for r in rows])


@verb(app, "list")
def list_budgets(session: Session, group: InGroup = "", user: OfUser = "") -> None:
    """List the budgets of a group or a person, and what is used; without either those that bind you."""
    query = urlencode({name: value for name, value in (("group", group), ("user", user)) if value})
    found = session.api.everything(api.path("budgets") + (f"?{query}" if query else ""))
    if session.json:
        output.document(found)
    else:
        _table(found)


@verb(app, "set")
def change(
    session: Session, counted: Annotated[What, typer.Argument(metavar="WHAT", help="hours of machines that run, or cpu_hours of their processors.")],
    hours: Annotated[str, typer.Argument(metavar="HOURS", help="At most so many; none: no budget any more.")],
    until: Annotated[str, typer.Option(metavar="WHEN", help="The last day of the term, or a span from now.")] = "",
    since: Annotated[str, typer.Option(metavar="WHEN", help="Its first day; now when left out.")] = "", group: InGroup = "", user: OfUser = "",
) -> None:  # fmt: skip
    """Set a budget for a term, or lift it."""
    if hours != "none" and not (hours.isascii() and hours.isdigit()):
        raise Refused("invalid", "The budget cannot be read", f"{hours[:20]!r}: give a whole number of hours or none", field="hours")
    given = {"counted": counted, "hours": None if hours == "none" else int(hours), "since": since, "until": until, "group": group, "user": user}
    made = session.api.put_json(api.path("budgets"), given)
    if session.json:
        output.document(made)
    else:
        _table([made])
