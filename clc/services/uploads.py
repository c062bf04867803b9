"""Bytes of new versions on their way into the store: the only writer of Upload."""

from __future__ import annotations

from typing import Any

from clc.services import events, hosts, images, tasks
from clc.services.own import own
from luhyaapi import clock, ids
from luhyaapi.contracts.commands import ImagePublish
from luhyaapi.contracts.specs import UploadPart
from luhyaapi.contracts.vocabulary import DiskFormat, ImageState, Part, Role
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.wire.signing import make_ticket
from luhyadb import memory, scope
from luhyadb.models import Account, ImageVersion, Task, Upload

MAX_PART_BYTES = 4 * 1024**4
_LIFE_S = 24 * 3600.0


def _parts(rows: tuple[dict[str, Any], ...]) -> list[UploadPart]:
    found: dict[str, UploadPart] = {}
    for row in rows:
        name = str(row.get("part", ""))[:20]
        try:
            part = UploadPart(part=Part(name), size=int(row["size_bytes"]), sha256=str(row.get("sha256") or ""),
                              format=DiskFormat(row["format"]) if row.get("format") else None)
        except (ValueError, KeyError, TypeError) as e:
            raise Refused("invalid", f"The part {name!r} cannot be taken",
                          "give part (disk, kernel, initrd), size_bytes above 0, format (qcow2, raw, or none: it is found out)", field="parts") from e
        if name in found or part.size > MAX_PART_BYTES:
            raise Refused("invalid", f"The part {name!r} cannot be taken", "named twice, or larger than 4 TiB", field="parts")
        found[name] = part
    if not found or ("disk" not in found and "kernel" not in found) or ("initrd" in found and "kernel" not in found):
        raise Refused("invalid", "The parts make no image", "give a disk, or a kernel with or without initrd and disk", field="parts")
    return list(found.values())


def begin(account: Account, ask: images.Ask) -> Upload:
    """Room for a new version. Raises Refused(invalid | exists | not_found | forbidden)."""
    parts = _parts(ask.parts)
    with memory.atomic():
        version = images.next_version(account, ask)
        upload = Upload.objects.create(
            id=new_name(), version=version, account=account, parts=[p.model_dump() for p in parts], created_at=version.created_at,
        )
        events.record("image", version.image_id, "upload began", owner=account, version=version.version)
    return upload


def new_name() -> str:
    """What the bytes of a version are called on their way into the store."""
    return f"u{ids.secret()}"


def store_door(upload: Upload) -> tuple[str, str]:
    """Where the bytes of an upload go, and the ticket for it. Raises Unavailable(host_silent)."""
    walrus = next(iter(hosts.hosts_of(Role.WALRUS)), None)
    if walrus is None or not walrus.address:
        raise Unavailable("host_silent", "The image store does not answer now")
    sizes = {p["part"]: p["size"] for p in upload.parts}
    ticket = make_ticket(own().key, {"put": upload.id, "parts": sizes, "to": walrus.id})
    return f"{walrus.address}/walrus/api/1.0/uploads/{upload.id}", ticket


def find(account: Account, upload: str) -> Upload:
    """An upload of this account that is under way. Raises Refused(not_found)."""
    return scope.one(account, Upload, pk=upload)


def complete(account: Account, upload_id: str, announced: tuple[dict[str, Any], ...] = ()) -> Task:
    """All bytes are there: have the store check and publish them."""
    with memory.atomic():
        upload = find(account, upload_id)
        version = upload.version
        if version.state != ImageState.DRAFT:
            done = Task.objects.filter(pk=version.task).first()
            if done is None:
                raise Refused("state", "This upload is over", f"its version is {version.state}")
            return done
        digests = {str(a.get("part")): str(a.get("sha256") or "") for a in announced}
        try:
            parts = tuple(UploadPart(**{**p, "sha256": digests.get(p["part"]) or p["sha256"]}) for p in upload.parts)
        except ValueError as e:
            raise Refused("invalid", "A sha256 is not possible", "64 hexadecimal digits", field="parts") from e
        return images.give("image/publish", account, version, ImagePublish(
            image=version.image_id, version=version.version, upload=upload.id, parts=parts,
        ))


def half_done(account: Account) -> list[Upload]:
    """The visible uploads whose bytes are not all there, newest first."""
    rows = scope.visible_to(account, Upload).filter(version__state=ImageState.DRAFT)
    return list(rows.select_related("version__image", "account").order_by("-created_at"))


def abandon(account: Account, upload_id: str) -> Task | None:
    """Give up an upload, of one's own or as an administrator; an image that has nothing else goes with it.

    Once the store is at work on it, its task is cancelled: that, because it may also end otherwise. Raises Refused(not_found | state).
    """
    with memory.atomic():
        upload = find(account, upload_id)
        if upload.version.state == ImageState.BUILDING:
            return tasks.cancel(account, upload.version.task)
        if upload.version.state == ImageState.DRAFT:
            images.refuse(upload.version, "the upload was abandoned")
        else:
            upload.delete()
    return None


def hand_over(of: Account, to: Account) -> None:
    """What somebody began to upload is somebody else's to go on with. In a transaction."""
    Upload.objects.filter(account=of).update(account=to)


def end_all(account: Account) -> None:
    """Give up all uploads of somebody whose bytes are not all there. In a transaction."""
    for upload in Upload.objects.filter(account=account, version__state=ImageState.DRAFT).select_related("version"):
        images.refuse(upload.version, "the upload was abandoned")


def over(version: ImageVersion) -> None:
    """The version has its bytes."""
    Upload.objects.filter(version=version).delete()


def sweep() -> int:
    """Give up uploads nobody finished for a day; how many."""
    past = Upload.objects.filter(created_at__lt=clock.now() - _LIFE_S)
    old = list(past.filter(version__state=ImageState.DRAFT))
    for upload in old:
        with memory.atomic():
            images.refuse(upload.version, "the upload was never finished")
    past.filter(version__state=ImageState.RETIRED).delete()
    return len(old)
