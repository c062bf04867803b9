"""Upload, publish, list and delete images: the only writer of Image, ImageVersion and Upload."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from clc.services import events, hosts, tasks
from clc.services.own import own
from luhyaapi import clock, ids
from luhyaapi.contracts.base import Command
from luhyaapi.contracts.commands import ImageDelete, ImagePublish
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.specs import Blob, ImageRef, UploadPart
from luhyaapi.contracts.vocabulary import DiskFormat, ImageState, InstanceState, Part, Role, TaskState, Usage
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.machines import IMAGE, TASK
from luhyaapi.wire.signing import make_ticket
from luhyadb import memory, outbox, scope
from luhyadb.models import Account, Host, Image, ImageVersion, Instance, Task, Turn, Upload

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TAKEN = frozenset({"import"})
_CMDLINE = re.compile(r"[\x20-\x7e]{0,1024}")
MAX_PART_BYTES = 4 * 1024**4
_NAMED_AT_MOST = 5
_MEMORY_MIB, _MEMORY_WITHOUT_DISK_MIB = 512, 128
_UPLOAD_LIFE_S = 24 * 3600.0
BUILD = "image/build"
"""Kind of the tasks of ``builds``."""


@dataclass(frozen=True)
class Ask:
    """What somebody wants to upload: a new image, or the next version of their image of that name."""

    name: str
    parts: tuple[dict[str, Any], ...] = ()
    usage: str = Usage.SERVER
    description: str = ""
    os_type: str = ""
    cmdline: str = ""


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


def memory_mib(blobs: list[dict[str, Any]]) -> int:
    """The memory an instance gets unless one asks for another size: what the image recommends, in MiB.

    A kernel without a disk lives in its ram disk and needs little.
    """
    return _MEMORY_MIB if not blobs or any(b["part"] == Part.DISK for b in blobs) else _MEMORY_WITHOUT_DISK_MIB


def check_name(name: str) -> None:
    """Whether an image may be called so. Raises Refused(invalid)."""
    if name in _TAKEN:
        raise Refused("invalid", "The name is not possible", "it is a word of the API", field="name")
    if not _NAME.fullmatch(name):
        raise Refused("invalid", "The name is not possible", "letters, digits, dot, dash and underscore, at most 63, no other sign",
                      field="name")


def begin_upload(account: Account, ask: Ask) -> Upload:
    """Room for a new version. Raises Refused(invalid | exists | forbidden)."""
    scope.require_admin(account)
    parts = _parts(ask.parts)
    with memory.atomic():
        version = next_version(account, ask)
        upload = Upload.objects.create(
            id=new_upload(), version=version, account=account, parts=[p.model_dump() for p in parts], created_at=version.created_at,
        )
        events.record("image", version.image_id, "upload began", owner=account, version=version.version)
    return upload


def new_upload() -> str:
    """What the bytes of a version are called on their way into the store."""
    return f"u{ids.secret()}"


def next_version(account: Account, ask: Ask) -> ImageVersion:
    """The next version of an image, maybe its first, whose bytes are still to come. Raises Refused(invalid | forbidden)."""
    scope.require_admin(account)
    check_name(ask.name)
    if ask.usage not in list(Usage):
        raise Refused("invalid", "usage is not possible", f"give desktop or server, not {ask.usage[:20]!r}", field="usage")
    if not _CMDLINE.fullmatch(ask.cmdline):
        raise Refused("invalid", "cmdline is not possible", "printable ASCII, at most 1024 signs", field="cmdline")
    now = clock.now()
    with memory.atomic():
        image = Image.objects.filter(name=ask.name).first()
        if image is None:
            image = Image.objects.create(
                id=ids.new("img"), name=ask.name, usage=ask.usage, os_type=ask.os_type[:40], description=ask.description[:2000],
                owner=account, created_at=now,
            )
        elif image.retired:
            Image.objects.filter(pk=image.pk).update(retired=False)
        last = image.versions.order_by("-version").first()
        return ImageVersion.objects.create(
            image=image, version=last.version + 1 if last else 1, cmdline=ask.cmdline, created_at=now,
        )


def store_door(upload: Upload) -> tuple[str, str]:
    """Where the bytes of an upload go, and the ticket for it. Raises Unavailable(host_silent)."""
    walrus = next(iter(hosts.hosts_of(Role.WALRUS)), None)
    if walrus is None or not walrus.address:
        raise Unavailable("host_silent", "The image store does not answer now")
    sizes = {p["part"]: p["size"] for p in upload.parts}
    ticket = make_ticket(own().key, {"put": upload.id, "parts": sizes, "to": walrus.id})
    return f"{walrus.address}/walrus/api/1.0/uploads/{upload.id}", ticket


def find_upload(account: Account, upload: str) -> Upload:
    """An upload of this account that is under way. Raises Refused(not_found)."""
    return scope.one(account, Upload, pk=upload)


def complete(account: Account, upload_id: str, announced: tuple[dict[str, Any], ...] = ()) -> Task:
    """All bytes are there: have the store check and publish them."""
    with memory.atomic():
        upload = find_upload(account, upload_id)
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
        return give("image/publish", account, version, ImagePublish(
            image=version.image_id, version=version.version, upload=upload.id, parts=parts,
        ))


def give(kind: str, account: Account, version: ImageVersion, order: Command) -> Task:
    """Have the store make that version, as a new task, in the open transaction. Raises Unavailable(host_silent)."""
    walrus = next(iter(hosts.hosts_of(Role.WALRUS)), None)
    if walrus is None:
        raise Unavailable("host_silent", "The image store does not answer now")
    task = tasks.open_task(kind, account, version.image_id, version.image.name, order.timeout_s)
    tasks.send(task, order, walrus)
    _move(version, "build", task=task.id)
    return task


def ended(task: Task, report: Outcome) -> None:
    """The store published a version, or refused it."""
    version = ImageVersion.objects.filter(task=task.id).first()
    if version is None or version.state != ImageState.BUILDING:
        return
    if report.error is None:
        _move(version, "publish", blobs=[b.model_dump() for b in report.blobs], parts=[p.model_dump() for p in report.parts])
        Upload.objects.filter(version=version).delete()
    else:
        _refuse(version, f"{report.error.what}: {report.error.why}")


def runnable(account: Account, text: str) -> ImageVersion:
    """The newest published version of an image by id or name, ``name:version`` for a certain one. Raises Refused(not_found | state)."""
    name, _, number = text.partition(":")
    try:
        image = resolve(account, name)
    except Refused as e:
        over = [*TASK.final, TaskState.LOST]
        if e.code == "not_found" and (build := Task.objects.filter(kind=BUILD, subject_name=name).exclude(state__in=over).first()):
            raise Refused("state", f"The image {name[:63]!r} is still being built", f"{build.progress} %: {build.phase or 'begun'}",
                          hint="Wait until it is there, then try again.") from e
        raise
    rows = image.versions.filter(state=ImageState.PUBLISHED)
    if number:
        rows = rows.filter(version=int(number) if number.isdigit() else -1)
    version = rows.order_by("-version").first()
    if version is None:
        raise Refused("state", f"The image {name!r} has no published version" + (f" {number}" if number else ""),
                      "wait until it is checked, or look at its versions")
    return version


def resolve(account: Account, text: str) -> Image:
    """The visible image with that id or name. Raises Refused(not_found)."""
    by = {"pk": text} if ids.is_id(text, "img") else {"name": text}
    image = scope.one(account, Image, **by)
    if image.retired:
        raise Refused("not_found", f"There is no image {text[:63]!r}", "it was deleted")
    return image


def reference(version: ImageVersion) -> ImageRef:
    """A version as commands name it."""
    return ImageRef(image=version.image_id, version=version.version, cmdline=version.cmdline,
                    blobs=tuple(Blob(**b) for b in version.blobs))


def delete(account: Account, text: str) -> Image:
    """Retire an image nobody uses; its blobs go unless another version needs them. Raises Refused(state)."""
    scope.require_admin(account)
    with memory.atomic():
        image = resolve(account, text)
        used = list(Instance.objects.filter(image__image=image).exclude(state=InstanceState.DELETED).order_by("name").values_list("name", flat=True))
        if used:
            raise Refused("state", f"The image {image.name} is in use", f"needed by {_named(used)}", hint="Delete those instances first.")
        mine = list(image.versions.all())
        for version in mine:
            if IMAGE.allows(version.state, "retire"):
                _move(version, "retire")
        _drop(mine)
        Image.objects.filter(pk=image.pk).update(retired=True)
        events.record("image", image.id, "image retired", owner=account)
    return image


def sweep_uploads() -> int:
    """Give up uploads nobody finished for a day; how many."""
    old = Upload.objects.filter(created_at__lt=clock.now() - _UPLOAD_LIFE_S, version__state=ImageState.DRAFT)
    for upload in old:
        with memory.atomic():
            _refuse(upload.version, "the upload was never finished")
    return len(old)


def like(of: Image, name: str, owner: Account, description: str) -> Image:
    """The image of that name, a new one for the same use as another. In a transaction of the caller's."""
    Image.objects.filter(name=name).update(retired=False)
    image, _ = Image.objects.get_or_create(
        name=name, defaults={
            "id": ids.new("img"), "usage": of.usage, "os_type": of.os_type, "description": description, "owner": owner, "created_at": clock.now(),
        },
    )
    return image


def add_version(image: Image, parent: ImageVersion, note: str, task: str) -> ImageVersion:
    """The next version of an image, being made from another one, as that boots. In a transaction of the caller's."""
    last = image.versions.order_by("-version").first()
    version = ImageVersion.objects.create(
        image=image, version=last.version + 1 if last else 1, cmdline=parent.cmdline, parent=parent, note=note, task=task, created_at=clock.now(),
    )
    _move(version, "build")
    return version


def publish(version: ImageVersion, blobs: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    """All its files are in the store."""
    _move(version, "publish", blobs=blobs, parts=parts)


def refuse(version: ImageVersion, why: str) -> None:
    """It came to nothing, and leaves nothing but its events."""
    _refuse(version, why)


def roll_back(account: Account, text: str, number: int) -> ImageVersion:
    """Publish an older version again, as the newest: no byte moves. Raises Refused(not_found | state | forbidden)."""
    scope.require_admin(account)
    with memory.atomic():
        image = resolve(account, text)
        old = image.versions.filter(version=number, state=ImageState.PUBLISHED).first()
        newest = image.versions.filter(state=ImageState.PUBLISHED).order_by("-version").first()
        if old is None or newest is None:
            raise Refused("not_found", f"There is no version {number} of {image.name} to go back to", "only published versions can be gone back to")
        if old == newest:
            raise Refused("state", f"Version {number} of {image.name} is the newest already")
        version = add_version(image, old, f"version {number} again", "")
        publish(version, old.blobs, [{**part, "added": 0} for part in old.parts])
    return version


def retire(account: Account, text: str, number: int) -> Image:
    """Have one version no more; its files go unless others need them. Raises Refused(not_found | state | forbidden)."""
    scope.require_admin(account)
    with memory.atomic():
        image = resolve(account, text)
        version = image.versions.filter(version=number, state=ImageState.PUBLISHED).first()
        if version is None:
            raise Refused("not_found", f"There is no version {number} of {image.name} to retire", "only published versions can be retired")
        if image.versions.filter(state=ImageState.PUBLISHED).count() == 1:
            raise Refused("state", f"Version {number} is the only one of {image.name}", hint="Delete the image instead.")
        going = Turn.objects.filter(image=version).values("task")
        rows = Instance.objects.filter(Q(image=version) | Q(task__in=going)).exclude(state=InstanceState.DELETED)
        used = list(rows.order_by("name").values_list("name", flat=True))
        if used:
            raise Refused("state", f"Version {number} of {image.name} is in use", f"needed by {_named(used)}", hint="Delete those instances first.")
        _move(version, "retire")
        _drop([version])
        events.record("image", image.id, "version retired", owner=account, version=number)
    return image


def _named(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:_NAMED_AT_MOST]) + (f", and {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else "")


def _drop(versions: list[ImageVersion]) -> None:
    """Have the files of versions that are retired no more, except such as a published one needs.

    While a version is being made, which may be of the same content, they stay: :mod:`clc.services.remains` comes back to them.
    """
    if versions and not ImageVersion.objects.filter(state=ImageState.BUILDING).exists():
        forget([Blob(**b) for v in versions for b in v.blobs], versions[0].image_id)


def forget(blobs: Sequence[Blob], image: str) -> None:
    """Have these files of an image nowhere, except such as a published version needs."""
    kept = {b["sha256"] for v in ImageVersion.objects.filter(state=ImageState.PUBLISHED) for b in v.blobs} if blobs else set()
    gone = tuple({b.sha256: b for b in blobs if b.sha256 not in kept}.values())
    for host in Host.objects.filter(role__in=[Role.WALRUS, Role.CC]).exclude(state="retired") if gone else ():
        order = ImageDelete(image=image, blobs=gone)
        outbox.send(order, host.id, sender=own().id, task=ids.new("tsk"), deadline=clock.now() + _UPLOAD_LIFE_S)


def _refuse(version: ImageVersion, why: str) -> None:
    """A refused version leaves nothing but its events and its task; nor does an image that never had another one."""
    _move(version, "refuse", why=why[:2000])
    image = version.image
    version.delete()
    if not image.versions.exists():
        image.delete()


def _move(version: ImageVersion, event: str, **changes: Any) -> None:
    new = IMAGE.advance(version.state, event)
    if ImageVersion.objects.filter(pk=version.pk, state=version.state).update(state=new, **changes):
        version.refresh_from_db()
        events.record("image", version.image_id, f"version {version.version} {new}", owner_id=version.image.owner_id,
                      task=version.task, version=version.version, **({"why": version.why} if version.why else {}))
