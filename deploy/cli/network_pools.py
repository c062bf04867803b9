"""`educloud network leases`, `usage`, `reserve`, ...: what of a network is lent, and what is kept for somebody."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli import api, output
from deploy.cli.session import Session
from luhyaapi.errors import Refused

PoolName = Annotated[str, typer.Argument(metavar="ID", help="Id or name of the network; default, or a cluster's id, for the cluster's own.")]
Whose = Annotated[str, typer.Option("--owner", metavar="USER", help="Whose instance gets it.")]
_ETHERS_AT_MOST = 512 * 1024


def leases(session: Session, network: PoolName) -> None:
    """List what of a network is lent, rests, is reserved or somebody else's; for administrators."""
    found = session.api.everything(api.path("networks", network, "leases"))
    if session.json:
        output.document(found)
        return
    heads = ("address", "state", "mac", "instance", "name", "owner", "since", "until", "seen_at")
    output.table(heads, [tuple(each[head] for head in heads) for each in found])


def usage(session: Session, network: PoolName) -> None:
    """Show how each address of a network stands, in stretches of equal ones; for administrators."""
    found = session.api.get(api.path("networks", network, "usage"))
    if session.json:
        output.document(found)
        return
    output.line(f"{found['name']}, {found['subnet']}: " + ", ".join(f"{many} {state}" for state, many in found["counts"].items() if many))
    output.line("")
    heads = ("first", "last", "count", "state")
    output.table(heads, [tuple(each[head] for head in heads) for each in found["stretches"]])


def reservations(session: Session, network: PoolName) -> None:
    """List what of a network is reserved."""
    _print(session, session.api.everything(api.path("networks", network, "reservations")))


def reserve(
    session: Session,
    network: PoolName,
    address: Annotated[str, typer.Argument(help="The address that nobody shall be lent by chance.")],
    owner: Whose = "",
    instance: Annotated[str, typer.Option(metavar="NAME", help="Only the instance of that name gets it; without --owner, of whoever has one.")] = "",
    mac: Annotated[str, typer.Option(help="With this MAC; without an owner, DHCP gives it to the machine that has it.")] = "",
) -> None:
    """Reserve an address of a network."""
    form = {"address": address, "owner": owner, "name": instance, "mac": mac}
    made = session.api.post(api.path("networks", network, "reservations"), form)
    if session.json:
        output.document(made)
    else:
        output.fields(made)


def unreserve(session: Session, network: PoolName, address: Annotated[str, typer.Argument(help="The reserved address.")]) -> None:
    """Reserve an address no more; an instance that has it keeps it."""
    session.api.delete(api.path("networks", network, "reservations", address))
    if session.json:
        output.document({"address": address, "deleted": True})
    else:
        output.note(f"{address} is reserved no more.")


def import_ethers(
    session: Session, network: PoolName,
    file: Annotated[Path, typer.Argument(help="Lines of a MAC and an address, or of a MAC and the name of an instance.")], owner: Whose = "",
) -> None:
    """Reserve what the lines of an ethers file say: all of them, or none."""
    size = api.readable(file, "ethers file")
    if size > _ETHERS_AT_MOST:
        raise Refused("invalid", "The ethers file cannot be read", f"it has {size} bytes, at most {_ETHERS_AT_MOST} are taken", hint="Bring it in in parts.")
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as e:
        raise Refused("invalid", "The ethers file cannot be read", "it is no text in UTF-8", hint="Save it as UTF-8, and bring it in again.") from e
    made = session.api.post(api.path("networks", network, "reservations", "import"), {"ethers": text, "owner": owner})["results"]
    _print(session, made)
    if not session.json:
        output.note(f"{len(made)} addresses are reserved now that were not.")


def _print(session: Session, found: list[dict[str, str]]) -> None:
    if session.json:
        output.document(found)
        return
    heads = ("address", "mac", "owner", "name", "created_at")
    output.table(heads, [tuple(each[head] for head in heads) for each in found])
