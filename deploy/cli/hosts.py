"""`educloud host`: the machines of the cloud and what they are allowed to do."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb

app = noun("host")
HostName = Annotated[str, typer.Argument(metavar="ID", help="The host's id or name.")]
Role = Literal["walrus", "cc", "nc", "sc"]


def host_rows(hosts: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The cells of a table of hosts."""
    return [(h.get("id"), h.get("role"), h.get("name"), h.get("state"), h.get("last_heartbeat_age_s")) for h in hosts]


HEADS = ("id", "role", "name", "state", "heartbeat (s ago)")


def _print(session: Session, host: dict[str, Any]) -> None:
    if session.json:
        output.document(host)
    else:
        facts = {f"facts.{name}": value for name, value in (host.get("facts") or {}).items()}
        output.fields({k: v for k, v in host.items() if k != "facts"} | facts, ("id", "role", "name", "state", "last_heartbeat_age_s"))


@verb(app, "list")
def list_hosts(session: Session) -> None:
    """List all hosts with the age of their last heartbeat."""
    found = session.api.everything(api.path("hosts"))
    if session.json:
        output.document(found)
    else:
        output.table(HEADS, host_rows(found))


@verb(app, "show")
def show(session: Session, host: HostName) -> None:
    """Show one host and its facts."""
    _print(session, session.api.get(api.path("hosts", host)))


@verb(app, "token")
def token(session: Session, role: Annotated[Role, typer.Option(help="Which role the new host will play.")] = "nc") -> None:
    """Make a one-time token with which a new host may join."""
    made = session.api.post(api.path("hosts", "tokens"), {"role": role})
    if session.json:
        output.document(made)
        return
    output.line(made["token"])
    output.note(f"For one host of role {made.get('role', role)}, until {made.get('expires_at')}. On that machine:")
    output.note(f"  make join ROLE={made.get('role', role)} BOSS={made.get('boss', 'ADDRESS')} TOKEN={made['token']}")
    if str(made.get("boss", "")).startswith("http://127."):
        output.note("This cloud binds loopback only: no other machine reaches it. `make up LISTEN=ADDRESS` opens it, with TLS.")


def _act(session: Session, host: str, action: str) -> None:
    answer = session.api.post(api.path("hosts", host, action))
    known = isinstance(answer, dict) and answer.get("id")
    _print(session, answer if known else session.api.get(api.path("hosts", host)))


@verb(app, "place")
def place(session: Session, host: HostName, group: Annotated[str, typer.Option(help="The path of a group; `everybody` for all.")]) -> None:
    """Have a host belong to a group: whoever has a right over hosts there sees it."""
    _print(session, session.api.patch(api.path("hosts", host), {"group": group}))


@verb(app, "approve")
def approve(session: Session, host: HostName) -> None:
    """Let a waiting host in."""
    _act(session, host, "approve")


@verb(app, "refresh")
def refresh(session: Session, host: HostName) -> None:
    """Ask a host for fresh facts now."""
    _act(session, host, "refresh")


@verb(app, "drain")
def drain(session: Session, host: HostName) -> None:
    """Give a host no new work."""
    _act(session, host, "drain")


@verb(app, "resume")
def resume(session: Session, host: HostName) -> None:
    """Give a drained host work again."""
    _act(session, host, "resume")


@verb(app, "remove")
def remove(
    session: Session, host: HostName,
    lost: Annotated[bool, typer.Option("--lost", help="Its machine and disks are gone for good: what was on it fails, and can begin anew.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a host from the cloud; it must join anew to come back."""
    doing = f"Removing the host {host}, and giving up all that was on it," if lost else f"Removing the host {host}"
    output.confirm(doing, yes=yes, terminal=session.terminal)
    answer = session.api.post(api.path("hosts", host, "lost")) if lost else session.api.delete(api.path("hosts", host))
    answer = answer or {"id": host, "state": "retired"}
    if session.json:
        output.document(answer)
    else:
        output.note(f"The host {host} is removed.")
