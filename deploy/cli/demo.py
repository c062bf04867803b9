"""Builds a demonstration image on this machine and brings it into the cloud, unless the same bytes are there."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from deploy.cli import api, images, output, upload
from luhyaapi import clock
from luhyaapi.errors import Refused, Trouble

if TYPE_CHECKING:
    from deploy.cli.session import Session

_TELL_EVERY_S = 1.0
_ABOUT = {
    "tiny": ("server", "Boots in seconds, answers HTTP with its own id"),
    "debian": ("server", "Debian 12 with cloud-init and the guest agent; ssh as debian, with the key given at the run"),
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
    files, cmdline = _build(session, name, is_told=known is None)
    sources = [upload.source(part, file) for part, file in files.items()]
    sums = {s.part: upload.digest(s.file) for s in sources}
    version = same(known, sums)
    if known and version is not None:
        return {"name": name, "id": known.get("id"), "version": version, "uploaded": False}
    usage, about = _ABOUT[name]
    said = {"usage": usage, "description": about, "os_type": "linux"} if known is None else {"new_version": True}
    order = {"name": name, **said} | ({"cmdline": cmdline} if cmdline else {})
    image = images.send(session, order, sources, show=False)
    newest = max((int(v["version"]) for v in image.get("versions") or []), default=None)
    return {"name": name, "id": image.get("id"), "version": newest, "uploaded": True}


def same(image: dict[str, Any] | None, sums: Mapping[str, str]) -> int | None:
    """The version of ``image`` that consists of exactly these files, or None."""
    for version in (image or {}).get("versions") or []:
        parts = {str(p.get("part")): str((p.get("uploaded") or {}).get("sha256")) for p in version.get("parts") or []}
        if parts == sums:
            return int(version["version"])
    return None


def _known(session: Session, name: str) -> dict[str, Any] | None:
    try:
        return images.fetch(session, name)
    except Refused as e:
        if e.code != "not_found":
            raise
        return None


def _build(session: Session, name: str, *, is_told: bool) -> tuple[Mapping[str, Path], str]:
    from deploy.demo_images import build

    builders = {"tiny": build.build_tiny, "debian": build.build_debian}
    place = home(session.environ)
    place.mkdir(parents=True, exist_ok=True)
    with _Told(session, name) if is_told else contextlib.nullcontext() as told, output.Bars() as bars:

        def seen(step: str, share: float) -> None:
            bars.show(f"build {name}", share, 1.0, step)
            if told is not None:
                told.seen(step, share)

        built = builders[name](place, place / ".work", seen)
    return {str(part): Path(file) for part, file in built.files.items()}, built.cmdline


class _Told:
    """The build as a task of the cloud, at most once a second; a cloud that is away does not end it, a cancel there does."""

    def __init__(self, session: Session, name: str) -> None:
        self._api = session.api
        self._at = -math.inf
        self._phase = ""
        self._id = str(self._api.post(api.path("builds"), {"name": name})["id"])

    def __enter__(self) -> Self:
        return self

    def seen(self, step: str, share: float) -> None:
        """Raises Refused(cancelled)."""
        if step == self._phase and clock.monotonic() - self._at < _TELL_EVERY_S:
            return
        self._phase, self._at = step, clock.monotonic()
        with contextlib.suppress(api.Unreachable):
            task = self._api.put_json(api.path("builds", self._id), {"phase": step[:40], "percent": min(int(100 * share), 99)})
            if task.get("state") != "running":
                raise Refused("cancelled", "The build was cancelled", f"its task {self._id} is {task.get('state')}")

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        what = {} if error is None else {"what": str(getattr(error, "what", "")) or type(error).__name__, "why": str(getattr(error, "why", error))}
        with contextlib.suppress(Trouble):
            self._api.post(api.path("builds", self._id, "end"), {name: text[:300] for name, text in what.items()})
