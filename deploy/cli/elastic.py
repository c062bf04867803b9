"""`educloud elastic`: public addresses that lead to instances."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, output
from deploy.cli.instances import InstanceName, resolve
from deploy.cli.session import Session, noun, verb

app = noun("elastic")
AddressName = Annotated[str, typer.Argument(metavar="ADDRESS", help="The address, or its id.")]
_HEADS = ("address", "state", "owner", "instance_name", "cluster_name", "id")

Elastic = dict[str, Any]


def _print(session: Session, found: Elastic) -> None:
    if session.json:
        output.document(found)
    else:
        output.fields(found, _HEADS)


def _print_many(session: Session, found: list[Elastic]) -> None:
    if session.json:
        output.document(found)
    else:
        output.table(("address", "state", "owner", "instance", "cluster", "id"), [tuple(e.get(head) for head in _HEADS) for e in found])


@verb(app, "list")
def list_addresses(session: Session) -> None:
    """List your public addresses; for an administrator, all."""
    _print_many(session, session.api.everything(api.path("elastic-addresses")))


@verb(app, "show")
def show(session: Session, address: AddressName) -> None:
    """Show one public address."""
    _print(session, session.api.get(api.path("elastic-addresses", address)))


@verb(app, "add")
def add(
    session: Session,
    ranges: Annotated[list[str], typer.Argument(metavar="RANGE...", help="FIRST-LAST, one address, or CIDR (without its first and last).")],
    cluster: Annotated[str, typer.Option(help="Id or name of the cluster they lead to; may be left out where there is one.")] = "",
) -> None:
    """Add public addresses to a cluster (administrators)."""
    made = session.api.post(api.path("elastic-addresses", "ranges"), {"cluster": cluster, "ranges": ranges})
    _print_many(session, made["results"])


@verb(app, "allocate")
def allocate(
    session: Session, cluster: Annotated[str, typer.Option(help="Id or name of the cluster; may be left out where only one has any.")] = ""
) -> None:
    """Allocate a public address for yourself."""
    _print(session, session.api.post(api.path("elastic-addresses"), {"cluster": cluster}))


@verb(app, "associate")
def associate(session: Session, address: AddressName, instance: InstanceName) -> None:
    """Have it lead to an instance; one that leads elsewhere is moved in one step."""
    _print(session, session.api.post(api.path("elastic-addresses", address, "associate"), {"instance": resolve(session, instance)}))


@verb(app, "dissociate")
def dissociate(session: Session, address: AddressName) -> None:
    """Have it lead nowhere; it stays yours."""
    _print(session, session.api.post(api.path("elastic-addresses", address, "dissociate")))


@verb(app, "release")
def release(session: Session, address: AddressName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Give it back; after a minute somebody else may get it."""
    output.confirm(f"Giving back the public address {address}", yes=yes, terminal=session.terminal)
    session.api.post(api.path("elastic-addresses", address, "release"))
    if session.json:
        output.document({"address": address, "released": True})
    else:
        output.note(f"The public address {address} is given back.")


@verb(app, "retire")
def retire(
    session: Session, addresses: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="Addresses nobody has.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:  # fmt: skip
    """Take public addresses away from their cluster (administrators)."""
    output.confirm(f"Taking away {len(addresses)} public addresses", yes=yes, terminal=session.terminal)
    for address in addresses:
        session.api.delete(api.path("elastic-addresses", address))
    if session.json:
        output.document([{"address": address, "retired": True} for address in addresses])
    else:
        output.note(f"Taken away: {', '.join(addresses)}.")
