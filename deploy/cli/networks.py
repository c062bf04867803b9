"""`educloud network`: networks of clusters, beside the one of their settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from deploy.cli import api, network_doctor, network_pools, output
from deploy.cli.session import Session, noun, verb

app = noun("network")
NetworkName = Annotated[str, typer.Argument(metavar="ID", help="Id of the network, or its name if only one cluster has it.")]
Mode = Literal["node", "cluster", "campus", "closed"]
_ORDER = ("id", "name", "mode", "cluster", "cluster_name", "subnet", "subnet6", "gateway", "ranges", "macs", "way_out", "isolated", "addresses", "instances",
          *(_POOL := ("free", "lent", "resting", "reserved", "taken")), "ports", "created_at")
Ranges = Annotated[list[str] | None, typer.Option("--range", metavar="FIRST-LAST", help="What of it is lent; several times. All when left out.")]


def _print(session: Session, shown: dict[str, Any]) -> None:
    if session.json:
        output.document(shown)
    else:
        pool = shown.get("pool") or {}
        ports = ", ".join(f"{each['pool']} {each['first']}-{each['last']}: {each['lent']} lent, {each['free']} free" for each in shown.get("ports", ()))
        flat = {key: value for key, value in shown.items() if key != "pool"} | {name: pool.get(name) for name in _POOL}
        output.fields({**flat, "ranges": " ".join(shown["ranges"]), "ports": ports}, _ORDER)


@verb(app, "list")
def list_networks(session: Session) -> None:
    """List networks."""
    found = session.api.everything(api.path("networks"))
    if session.json:
        output.document(found)
        return
    heads = ("id", "name", "mode", "cluster", "subnet", "addresses", "free", "instances")
    output.table(heads, [_row(each, heads) for each in found])


def _row(network: dict[str, Any], heads: tuple[str, ...]) -> tuple[Any, ...]:
    shown = network | {"cluster": network.get("cluster_name"), "free": (network.get("pool") or {}).get("free")}
    return tuple(shown.get(head) for head in heads)


@verb(app, "show")
def show(session: Session, network: NetworkName) -> None:
    """Show one network."""
    _print(session, session.api.get(api.path("networks", network)))


@verb(app, "create")
def create(  # noqa: PLR0913, PLR0917 - one for each option of the command line
    session: Session,
    name: Annotated[str, typer.Option(help="Its name.")],
    subnet: Annotated[str, typer.Option(metavar="CIDR", help="Its addresses, for example 10.40.0.0/24; the first is the gateway's.")],
    cluster: Annotated[str, typer.Option(help="Id or name of its cluster; may be left out where there is one.")] = "",
    mode: Annotated[Mode, typer.Option(help="Where it ends: at the node, at the cluster (closed: for a class), or in the campus network.")] = "cluster",
    ranges: Ranges = None,
    subnet6: Annotated[str, typer.Option(metavar="CIDR", help="Its IPv6 side, a /64, for example fd12:3456:789a:1::/64; IPv4 only when left out.")] = "",
    gateway: Annotated[str, typer.Option(help="The router of a campus network; its first address when left out.")] = "",
    no_way_out: Annotated[bool, typer.Option("--no-way-out", help="Its guests reach nothing outside of the cluster.")] = False,
    isolated: Annotated[bool, typer.Option("--isolated", help="Its guests do not reach each other.")] = False,
) -> None:
    """Make a network."""
    form: dict[str, Any] = {"name": name, "subnet": subnet, "cluster": cluster, "mode": mode, "ranges": ranges or [], "gateway": gateway, "subnet6": subnet6}
    form |= {"way_out": not no_way_out, "isolated": isolated}
    _print(session, session.api.post(api.path("networks"), form))


@verb(app, "set")
def change(
    session: Session, network: NetworkName, ranges: Ranges = None,
    ports: Annotated[str | None, typer.Option(metavar="FIRST-LAST", help="Of a cluster, by its id: the ports it lends; '' for those of its settings.")] = None,
) -> None:
    """Lend other ranges of a network, or other ports of a cluster; what is lent outside of them stays lent until it is given back."""
    form = {"ranges": ranges or []} if ports is None else {"ports": ports}
    _print(session, session.api.patch(api.path("networks", network), form))


@verb(app, "delete")
def delete(session: Session, network: NetworkName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Give a network up; refused while instances have cards in it."""
    output.confirm(f"Giving up the network {network}", yes=yes, terminal=session.terminal)
    session.api.delete(api.path("networks", network))
    if session.json:
        output.document({"id": network, "deleted": True})
    else:
        output.note(f"The network {network} is given up.")


verb(app, "doctor")(network_doctor.doctor)
verb(app, "leases")(network_pools.leases)
verb(app, "usage")(network_pools.usage)
verb(app, "reservations")(network_pools.reservations)
verb(app, "reserve")(network_pools.reserve)
verb(app, "unreserve")(network_pools.unreserve)
verb(app, "import-ethers")(network_pools.import_ethers)
