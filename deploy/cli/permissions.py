"""`educloud permission`: single resources shared, and the rule told: why, and who."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb

app = noun("permission")
Kind = Annotated[Literal["image", "instance"], typer.Argument(metavar="KIND", help="image or instance.")]
Subject = Annotated[str, typer.Argument(metavar="ID", help="Its id or name.")]
Verb = Annotated[Literal["read", "write", "execute", "delete"], typer.Argument(metavar="VERB", help="read, write, execute or delete.")]
Verbs = Annotated[list[str] | None, typer.Option("--verb", help="What they may do; several times. To use it when left out.")]


def _table(session: Session, rows: list[dict[str, Any]]) -> None:
    if session.json:
        output.document(rows)
        return
    shown = [(r.get("id"), r.get("verb"), r.get("user") or "-", "everybody" if r.get("group") == "" else r.get("group") or "-") for r in rows]
    output.table(("id", "verb", "user", "group"), shown)


@verb(app, "shares")
def shares(session: Session, kind: Kind, subject: Subject) -> None:
    """List with whom an image or an instance is shared."""
    _table(session, session.api.everything(f"{api.path('shares')}?{urlencode({'kind': kind, 'subject': subject})}"))


@verb(app, "share")
def share(
    session: Session, kind: Kind, subject: Subject, verbs: Verbs = None,
    user: Annotated[str, typer.Option(help="With this person.")] = "",
    group: Annotated[str, typer.Option(metavar="PATH", help="With all of this group and below it; everybody: with all.")] = "",
) -> None:  # fmt: skip
    """Share an image or an instance with a person or a group."""
    form = {"kind": kind, "subject": subject, "verbs": verbs or ["execute"], "user": user, "group": group}
    made = session.api.post(api.path("shares"), form)
    _table(session, made["results"])


@verb(app, "unshare")
def unshare(session: Session, ident: Annotated[str, typer.Argument(metavar="SHARE", help="Id of the share, as `shares` shows it.")]) -> None:
    """Share it no more."""
    session.api.delete(api.path("shares", ident))
    if session.json:
        output.document({"id": ident, "deleted": True})
    else:
        output.note("It is shared no more.")


def _reason(each: dict[str, Any]) -> str:
    at = each.get("at") or "everybody"
    return {"admin": "may do everything", "owner": "it is theirs", "role": f"{each.get('role')} at {at} ({each.get('verb')})",
            "share": f"shared with {at} ({each.get('verb')})"}[each["by"]]


@verb(app, "why")
def why(
    session: Session, verb_: Verb, kind: Kind, subject: Subject, user: Annotated[str, typer.Option(help="Whose right; your own when left out.")] = "",
) -> None:  # fmt: skip
    """Whether somebody may do something, and why, or why not. Exit code 1 when not."""
    told = session.api.get(api.path("permissions", "why"), kind=kind, subject=subject, verb=verb_, user=user)
    if session.json:
        output.document(told)
    else:
        said = [_reason(each) for each in told["reasons"]] or [told["why_not"]]
        output.note(f"{told['user']} {'may' if told['allowed'] else 'may not'} {verb_} the {kind} {told['subject']}: {'; '.join(said)}.")
    if not told["allowed"]:
        raise typer.Exit(1)


@verb(app, "who")
def who(session: Session, verb_: Verb, kind: Kind, subject: Subject) -> None:
    """List all who may do something with a resource, and why."""
    found = session.api.everything(f"{api.path('permissions', 'who')}?{urlencode({'kind': kind, 'subject': subject, 'verb': verb_})}")
    if session.json:
        output.document(found)
    else:
        output.table(("user", "why"), [(each.get("user"), "; ".join(map(_reason, each["reasons"]))) for each in found])
