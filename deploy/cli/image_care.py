"""`educloud image`, what an administrator says of images that are there."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import api, images
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
