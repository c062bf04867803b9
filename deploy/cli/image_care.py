"""`educloud image`, what an administrator says of images that are there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, images, lineage, output, sizes, waiting
from deploy.cli.images import ImageName
from deploy.cli.session import Session, verb
from luhyaapi.errors import Refused

app = images.app
"""With the verbs below; whoever wants the noun asks here."""


def _option(text: str, metavar: str) -> Any:
    return typer.Option(help=text, metavar=metavar)


@verb(app, "set")
def set_properties(  # noqa: PLR0913, PLR0917 - the options people have
    session: Session,
    image: Annotated[str, typer.Argument(metavar="N[:VERSION]", help="The image; its hardware is that of its newest version, or of this one.")],
    description: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    os_type: Annotated[str | None, _option("Which system is in it.", "linux|windows|...")] = None,
    os_distro: Annotated[str | None, _option("Which edition of it.", "winxp|debian12|...")] = None,
    architecture: Annotated[str | None, _option("Which processor it is made for.", "x86_64|i686")] = None,
    owner_group: Annotated[str | None, _option("The group it belongs to.", "edu.school.class")] = None,
    disk_bus: Annotated[str | None, _option("How guests reach their disks.", "virtio|scsi|sata|ide")] = None,
    vif_model: Annotated[str | None, _option("Their network card.", "virtio|e1000|e1000e|rtl8139")] = None,
    video_model: Annotated[str | None, _option("Their graphics card.", "vga|cirrus|virtio")] = None,
    pointer_model: Annotated[str | None, _option("What moves their pointer.", "virtio|usbtablet|ps2mouse")] = None,
    machine_type: Annotated[str | None, _option("Their main board.", "pc|q35")] = None,
    firmware_type: Annotated[str | None, _option("What starts them.", "bios|uefi")] = None,
    clock: Annotated[str | None, _option("What their clock shows.", "utc|localtime")] = None,
) -> None:
    """Change what is said of an image, and the hardware its guests get from their next run on."""
    given = {
        "description": description, "os_type": os_type, "os_distro": os_distro, "architecture": architecture, "owner_group": owner_group,
        "disk_bus": disk_bus, "vif_model": vif_model, "video_model": video_model, "pointer_model": pointer_model, "machine_type": machine_type,
        "firmware_type": firmware_type, "clock": clock,
    }
    body = {name: value for name, value in given.items() if value is not None}
    if not body:
        raise Refused("invalid", "There is nothing to change", hint="Name what shall be, for example --disk-bus ide.")
    images.print_one(session, session.api.patch(api.path("images", image), body))


_Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Which version.")]


@verb(app, "pin")
def pin(session: Session, image: ImageName, version: _Version) -> None:
    """Have no rule retire a version."""
    images.print_one(session, session.api.put_json(api.path("images", image, "versions", str(version), "pin"), {}))


@verb(app, "unpin")
def unpin(session: Session, image: ImageName, version: _Version) -> None:
    """Let a rule retire a version again."""
    images.print_one(session, session.api.delete(api.path("images", image, "versions", str(version), "pin")))


@verb(app, "retention")
def retention(
    session: Session, image: ImageName,
    keep: Annotated[str, typer.Option(metavar="N|all|default", help="Keep so many of the newest versions; default: as the settings say.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Show which versions of an image stay, and why; with --keep set how many, and retire what goes."""
    if keep and not (keep in ("all", "default") or (keep.isascii() and keep.isdigit())):
        raise Refused("invalid", f"{keep!r} is no number of versions", hint="Give a number, all or default.")
    wanted = None if keep in ("", "default") else 0 if keep == "all" else int(keep)
    where = api.path("images", image, "retention")
    if keep and not dry_run:
        found = session.api.put_json(where, {"keep": wanted})
    elif keep == "default":
        raise Refused("invalid", "What the settings say is not known here", hint="Give --dry-run a number.")
    else:
        found = session.api.get(where, **({} if wanted is None else {"keep": wanted}))
    if session.json:
        output.document(found)
        return
    output.line(f"{found['keep'] or 'all'} of the newest versions are kept" + (", as the settings say" if found["is_default"] else ""))
    rows = [*((v, "retired just now") for v in found["went"]), *((v, "would go" if v["goes"] else f"stays: {v['because']}") for v in found["versions"])]
    output.table(("version", "what becomes of it", "used by"), [(v["version"], said, _names(v)) for v, said in rows])


@verb(app, "uses")
def uses(session: Session, image: ImageName) -> None:
    """List who needs which version of an image."""
    found = session.api.everything(api.path("images", image, "uses"))
    if session.json:
        output.document(found)
    else:
        output.table(("version", "state", "kind", "id", "name"), [
            (v["version"], v["state"], use.get("kind"), use.get("id"), use.get("name")) for v in found for use in v["used_by"] or [{}]
        ])


@verb(app, "lineage")
def show_lineage(session: Session, image: ImageName) -> None:
    """Show where the versions of an image come from, newest first: branches, ways back, and what was made from them."""
    found = session.api.everything(api.path("images", image, "lineage"))
    if session.json:
        output.document(found)
        return
    columns = lineage.drawn(found)
    width = max(map(len, columns), default=0)
    for column, node in zip(columns, reversed(found), strict=True):
        output.line(f"{column:<{width}}  {_told(node)}")


def _told(node: dict[str, Any]) -> str:
    came = {"upload": "brought in", "back": f"{node['parent']} again"}.get(node["came"], f"from {node['parent']}")
    more = [node["state"] if node["state"] != "published" else "", "pinned" if node["pinned"] else "", *(f"became {m}" for m in node["made"]), node["by"]]
    note = " ".join(node["note"].split()) if node["came"] != "back" else ""
    return ", ".join(filter(None, (f"v{node['version']} {came}", *more, str(node["created_at"])[:16], note)))


_WAIT_S = 600.0


@verb(app, "diff")
def diff(
    session: Session, image: ImageName, one: Annotated[int, typer.Argument(metavar="A", min=1)], other: Annotated[int, typer.Argument(metavar="B", min=1)],
    timeout: Annotated[float, typer.Option(metavar="S", help="Give up waiting after so many seconds; 0: never.")] = _WAIT_S,
) -> None:
    """Say which blocks two versions of an image share, and which only one of them has."""
    where, asked = api.path("images", image, "diff"), {"one": one, "other": other}
    found = session.api.post(where, asked)
    if "shared" not in found:
        waiting.finished(session, waiting.id_of(found), timeout)
        found = session.api.post(where, asked)
    if session.json:
        output.document(found)
        return
    output.table(("what", "blocks", "bytes"), [
        (what, found[name]["blocks"], sizes.show(found[name]["bytes"]))
        for what, name in ((f"only in version {one}", "only_one"), (f"only in version {other}", "only_other"), ("in both", "shared"))
    ])


def _names(version: dict[str, Any]) -> str:
    return ", ".join(use["name"] for use in version["used_by"])
