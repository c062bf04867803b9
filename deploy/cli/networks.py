"""`educloud network`: networks of clusters, beside the one of their settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from deploy.cli import api, network_doctor, output
from deploy.cli.session import Session, noun, verb

app = noun("network")
NetworkName = Annotated[str, typer.Argument(metavar="ID", help="Id of the network, or its name if only one cluster has it.")]
Mode = Literal["node", "cluster", "campus", "closed"]
_ORDER = ("id", "name", "mode", "cluster", "cluster_name", "subnet", "gateway", "ranges", "way_out", "isolated", "addresses", "instances", "created_at")


def _print(session: Session, shown: dict[str, Any]) -> None:
    if session.json:
        output.document(shown)
    else:
        output.fields({**shown, "ranges": " ".join(shown["ranges"])}, _ORDER)


@verb(app, "list")
def list_networks(session: Session) -> None:
    """List networks."""
    found = session.api.everything(api.path("networks"))
    if session.json:
        output.document(found)
        return
    heads = ("id", "name", "mode", "cluster", "subnet", "addresses", "instances")
    output.table(heads, [tuple(n.get("cluster_name" if h == "cluster" else h) for h in heads) for n in found])


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
    ranges: Annotated[list[str] | None, typer.Option("--range", metavar="FIRST-LAST", help="What of it is lent; several times. All when left out.")] = None,
    gateway: Annotated[str, typer.Option(help="The router of a campus network; its first address when left out.")] = "",
    no_way_out: Annotated[bool, typer.Option("--no-way-out", help="Its guests reach nothing outside of the cluster.")] = False,
    isolated: Annotated[bool, typer.Option("--isolated", help="Its guests do not reach each other.")] = False,
) -> None:
    """Make a network."""
    form: dict[str, Any] = {"name": name, "subnet": subnet, "cluster": cluster, "mode": mode, "ranges": ranges or [], "gateway": gateway}
    form |= {"way_out": not no_way_out, "isolated": isolated}
    _print(session, session.api.post(api.path("networks"), form))


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
