"""Builds a demonstration image on this machine and brings it into the cloud, unless the same bytes are there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.cli import images, output, upload
from luhyaapi.errors import Refused

if TYPE_CHECKING:
    from deploy.cli.session import Session

_ABOUT = {
    "tiny": ("server", "Boots in seconds, answers HTTP with its own id"),
    "debian": ("server", "Debian 12 with cloud-init and the guest agent"),
}


def home(environ: Mapping[str, str]) -> Path:
    """Where built images and fetched packages are kept on this machine."""
    if environ.get("EDUCLOUD_HOME"):
        return Path(environ["EDUCLOUD_HOME"]) / "demo-images"
    if os.geteuid() == 0:
        return Path("/var/lib/educloud/demo-images")
    return Path(environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "educloud" / "demo-images"


def provide(session: Session, name: str) -> dict[str, Any]:
    """Build the image ``name`` and upload what is new: ``name``, ``id``, ``version``, ``uploaded``.

    Raises what the builder and the cloud raise; the cloud is asked first, so nothing is built for nobody.
    """
    known = _known(session, name)
    files, cmdline = _build(session, name)
    sources = [upload.source(part, file) for part, file in files.items()]
    sums = {s.part: upload.digest(s.file) for s in sources}
    version = same(known, sums)
    if known and version is not None:
        return {"name": name, "id": known.get("id"), "version": version, "uploaded": False}
    usage, about = _ABOUT[name]
    order = {"name": name, "usage": usage, "description": about, "os_type": "linux"} | ({"cmdline": cmdline} if cmdline else {})
    image = images.send(session, order, sources, show=False)
    newest = max((int(v["version"]) for v in image.get("versions") or []), default=None)
    return {"name": name, "id": image.get("id"), "version": newest, "uploaded": True}


def same(image: dict[str, Any] | None, sums: Mapping[str, str]) -> int | None:
    """The version of ``image`` that consists of exactly these files, or None."""
    for version in (image or {}).get("versions") or []:
        parts = {str(p.get("part")): str(p.get("sha256")) for p in version.get("parts") or []}
        if parts == sums or (not parts and version.get("sha256") in sums.values()):
            return int(version["version"])
    return None


def _known(session: Session, name: str) -> dict[str, Any] | None:
    try:
        return images.fetch(session, name)
    except Refused as e:
        if e.code != "not_found":
            raise
        return None


def _build(session: Session, name: str) -> tuple[Mapping[str, Path], str]:
    from deploy.demo_images import build

    builders = {"tiny": build.build_tiny, "debian": build.build_debian}
    place = home(session.environ)
    place.mkdir(parents=True, exist_ok=True)
    with output.Bars() as bars:
        built = builders[name](place, place / ".work", lambda step, share: bars.show(f"build {name}", share, 1.0, step))
    return {str(part): Path(file) for part, file in built.files.items()}, built.cmdline
