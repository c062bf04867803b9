"""`educloud network doctor`: the first broken link between an instance and the outside, and all others behind it."""

from __future__ import annotations

from typing import Any

import typer

from deploy.cli import api, output
from deploy.cli.instances import InstanceName, resolve
from deploy.cli.session import Session

BROKEN_EXIT = 1


def doctor(session: Session, instance: InstanceName) -> None:
    """Walk from the guest to the outside, and name the first broken link, why it is and what to do; exit code 1 when there is one."""
    found = session.api.post(api.path("instances", resolve(session, instance), "network-check"))
    if session.json:
        output.document(found)
    else:
        _print(found)
    if found["broken"]:
        raise typer.Exit(BROKEN_EXIT)


def _print(found: dict[str, Any]) -> None:
    broken = found["broken"]
    if broken:
        output.line(f"broken: {broken['what']} ({_host(broken)})")
        for word, key in (("why: ", "why"), ("next:", "hint")):
            if broken[key]:
                output.line(f"  {word} {broken[key]}")
    elif any(each["state"] == "unknown" for each in found["links"]):
        output.line("Nothing broken was found, but not every link could be looked at.")
    else:
        output.line(f"The network of {found['name']} is in order.")
    output.line("")
    many = len({each["card"] for each in found["links"] if each["card"]}) > 1
    heads = ("state", *(["card"] if many else []), "host", "link", "what", "why")
    output.table(heads, [tuple(_host(each) if head == "host" else each[head] for head in heads) for each in found["links"]])


def _host(link: dict[str, Any]) -> str:
    return str(link["host_name"] or link["host"])
