"""`educloud access-role`: named sets of permissions, and who has which where."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb
from luhyaapi.errors import Refused

app = noun("access-role")
RoleName = Annotated[str, typer.Argument(metavar="ROLE", help="Name of the access role.")]
UserName = Annotated[str, typer.Argument(metavar="USER", help="Name of the account.")]
Allow = Annotated[list[str] | None, typer.Option("--allow", metavar="KIND:VERB,VERB", help="For example instance:read,execute; several times.")]


def _permissions(allow: list[str] | None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in allow or []:
        kind, colon, verbs = each.partition(":")
        if not colon:
            raise Refused("invalid", "A permission cannot be read", f"{each[:60]!r}: give KIND:VERB,VERB", field="allow")
        found.setdefault(kind, []).extend(filter(None, verbs.split(",")))
    return found


def _row(role: dict[str, Any]) -> dict[str, Any]:
    return role | {"permissions": " ".join(f"{kind}:{','.join(verbs)}" for kind, verbs in (role.get("permissions") or {}).items())}


def _print(session: Session, role: dict[str, Any]) -> None:
    if session.json:
        output.document(role)
    else:
        output.fields(_row(role), ("name", "description", "permissions", "people", "ready_made"))


@verb(app, "list")
def list_roles(session: Session) -> None:
    """List access roles."""
    found = session.api.everything(api.path("access-roles"))
    if session.json:
        output.document(found)
        return
    heads = ("name", "people", "permissions")
    output.table(heads, [tuple(_row(each).get(head) for head in heads) for each in found])


@verb(app, "create")
def create(session: Session, role: RoleName, allow: Allow = None, description: Annotated[str, typer.Option(help="What it is for.")] = "") -> None:
    """Make an access role of your own."""
    _print(session, session.api.post(api.path("access-roles"), {"name": role, "permissions": _permissions(allow), "description": description}))


@verb(app, "set")
def change(session: Session, role: RoleName, allow: Allow = None) -> None:
    """Give an access role other permissions, all of them; for all who have it, at once."""
    _print(session, session.api.put_json(api.path("access-roles", role), {"permissions": _permissions(allow)}))


@verb(app, "delete")
def delete(session: Session, role: RoleName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Give up an access role that nobody has."""
    output.confirm(f"Giving up the access role {role}", yes=yes, terminal=session.terminal)
    session.api.delete(api.path("access-roles", role))
    if session.json:
        output.document({"name": role, "deleted": True})
    else:
        output.note(f"The access role {role} is given up.")


@verb(app, "grants")
def grants(session: Session, user: Annotated[str, typer.Option(help="Only this person's.")] = "") -> None:
    """List who has which role where, beside the one of their own group."""
    found = session.api.everything(api.path("grants") + (f"?{urlencode({'user': user})}" if user else ""))
    if session.json:
        output.document(found)
        return
    heads = ("id", "user", "role", "group")
    output.table(heads, [tuple((each | {"group": each.get("group") or "everybody"}).get(head) for head in heads) for each in found])


@verb(app, "give")
def give(
    session: Session, role: RoleName, user: UserName, group: Annotated[str, typer.Argument(metavar="PATH", help="Over which group, and all below it.")],
) -> None:  # fmt: skip
    """Give somebody an access role over a group."""
    made = session.api.post(api.path("grants"), {"user": user, "role": role, "group": group})
    if session.json:
        output.document(made)
    else:
        output.fields(made, ("id", "user", "role", "group"))


@verb(app, "take")
def take(session: Session, grant: Annotated[str, typer.Argument(metavar="GRANT", help="Id of the grant, as `grants` shows it.")]) -> None:
    """Take a given role back."""
    session.api.delete(api.path("grants", grant))
    if session.json:
        output.document({"id": grant, "deleted": True})
    else:
        output.note("It is taken back.")
