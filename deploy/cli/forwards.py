"""`educloud forward`: ports of instances that are reached by ports of their cluster."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import access, api, output
from deploy.cli.instances import InstanceName, resolve
from deploy.cli.session import Session, noun, verb
from luhyaapi import clock
from luhyaapi.errors import Failed, Refused, from_wire

app = noun("forward")
_WAIT_S = 30.0
_PAUSE_S = 0.5

Forward = dict[str, Any]


def _all(session: Session, ident: str) -> list[Forward]:
    return session.api.everything(api.path("instances", ident, "forwards"))


@verb(app, "list")
def list_forwards(session: Session, instance: InstanceName) -> None:
    """List the forwards of an instance."""
    found = _all(session, resolve(session, instance))
    if session.json:
        output.document(found)
        return
    heads = ("id", "port", "protocol", "reached at", "from", "until")
    output.table(heads, [
        (f.get("id"), f.get("guest_port"), f.get("protocol"), access.where(f), " ".join(f.get("sources") or []) or "anywhere", f.get("until"))
        for f in found
    ])


@verb(app, "add")
def add(
    session: Session, instance: InstanceName,
    port: Annotated[int, typer.Argument(min=1, max=65535, help="The port of the instance.")],
    udp: Annotated[bool, typer.Option("--udp", help="By UDP; otherwise TCP.")] = False,
    source: Annotated[list[str] | None, typer.Option("--from", metavar="CIDR", help="Who may use it; several times. Anyone when left out.")] = None,
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long, for example 90m, 2h or 7d; otherwise as long as the instance.")] = "",
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until it is open.")] = False,
) -> None:  # fmt: skip
    """Have a port of an instance reached from outside; prints where."""
    body: dict[str, Any] = {"guest_port": port, "protocol": "udp" if udp else "tcp", "sources": source or []}
    if span:
        body["for_s"] = access.seconds(span)
    ident = resolve(session, instance)
    made: Forward = session.api.post(api.path("instances", ident, "forwards"), body)
    if not no_wait:
        made = _open(session, ident, made)
    if session.json:
        output.document(made)
    else:
        output.line(access.where(made) or str(made["id"]))


def _open(session: Session, ident: str, made: Forward) -> Forward:
    """The forward once its cluster said where it is reached. Raises its error, Failed(timeout)."""
    until = clock.monotonic() + _WAIT_S
    while True:
        if made.get("port"):
            return made
        if made.get("error"):
            raise from_wire({k: str(v or "") for k, v in made["error"].items()})
        if clock.monotonic() >= until:
            raise Failed("timeout", f"The forward {made['id']} is not open yet", f"its cluster did not say where in {_WAIT_S:g} s",
                         hint=f"It opens by itself; look again: `educloud forward list {ident}`.")
        clock.sleep(_PAUSE_S)
        made = session.api.get(api.path("instances", ident, "forwards", made["id"]))


@verb(app, "delete")
def delete(
    session: Session, instance: InstanceName,
    forward: Annotated[str, typer.Argument(metavar="FORWARD", help="Its id, or the instance's port: 22, or 53/udp.")],
) -> None:  # fmt: skip
    """Close a forward."""
    ident = resolve(session, instance)
    found = _named(session, ident, forward)
    session.api.delete(api.path("instances", ident, "forwards", found))
    if session.json:
        output.document({"id": found, "deleted": True})
    else:
        output.note(f"The forward {found} is closed.")


def _named(session: Session, ident: str, text: str) -> str:
    if text.startswith("fwd-"):
        return text
    port, _, protocol = text.partition("/")
    for each in _all(session, ident):
        if (str(each.get("guest_port")), each.get("protocol")) == (port, protocol or "tcp"):
            return str(each["id"])
    raise Refused("not_found", f"Port {text[:40]} is not forwarded", hint=f"`educloud forward list {ident}` shows what is.")
