"""`educloud token`: API tokens of scripts."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb

app = noun("token")
_FIRST = ("id", "name", "scope", "expires_at", "token")


@verb(app, "list")
def list_tokens(session: Session, user: Annotated[str, typer.Option(metavar="NAME", help="Of that account (administrators).")] = "") -> None:
    """List one's own tokens: made ones and sign-ins of this client, with their ends and when they were used."""
    found = session.api.everything(api.path("users", user, "tokens") if user else api.path("tokens"))
    if session.json:
        output.document(found)
        return
    rows = [(t.get("id"), t.get("name"), "signed in" if t.get("signed_in") else t.get("scope"), t.get("expires_at"), t.get("used_at"), t.get("used_from"))
            for t in found]
    output.table(("id", "name", "scope", "ends", "used", "from"), rows)


@verb(app, "create")
def create(
    session: Session, name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    read_only: Annotated[bool, typer.Option("--read-only", help="It may read, and change nothing.")] = False,
    days: Annotated[int, typer.Option(min=1, max=365, help="It ends after so many days.")] = 365,
    user: Annotated[str, typer.Option(metavar="NAME", help="Of a program's account that you manage.")] = "",
) -> None:
    """Make a token for a script; it is shown this once. Needs a sign-in, not a token that was made."""
    where = api.path("users", user, "tokens") if user else api.path("tokens")
    made = session.api.post(where, {"name": name, "scope": "read" if read_only else "all", "days": days})
    if session.json:
        output.document(made)
    else:
        output.fields({k: made.get(k) for k in _FIRST})


@verb(app, "revoke")
def revoke(session: Session, token: Annotated[str, typer.Argument(metavar="ID", help="Id of the token, as `token list` shows it.")]) -> None:
    """End a token at once: one's own, as an administrator any."""
    session.api.delete(api.path("tokens", token))
    if session.json:
        output.document({"id": token, "revoked": True})
    else:
        output.note(f"The token {token} is revoked.")
