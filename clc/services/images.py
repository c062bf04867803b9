"""Publish, change, retire and delete images: the only writer of Image and ImageVersion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clc.services import events, groups, hosts, image_properties, image_uses, quotas, retention, shares, tasks
from clc.services.own import own
from luhyaapi import clock, ids
from luhyaapi.contracts.base import Command
from luhyaapi.contracts.commands import ImageDelete
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.specs import Blob, Hardware, ImageRef
from luhyaapi.contracts.vocabulary import Counted, ImageState, Kind, Part, Role, TaskState, Usage, Verb
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.machines import IMAGE, TASK
from luhyadb import memory, outbox, scope
from luhyadb.models import Account, Group, Host, Image, ImageVersion, Task
from luhyadb.models.groups import EVERYBODY

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_TAKEN = frozenset({"import"})
_CMDLINE = re.compile(r"[\x20-\x7e]{0,1024}")
_MEMORY_MIB, _MEMORY_WITHOUT_DISK_MIB = 512, 128
_GONE_WITHIN_S = 24 * 3600.0
BUILD = "image/build"
"""Kind of the tasks of ``builds``."""


@dataclass(frozen=True)
class Ask:
    """What somebody wants to upload: a new image, or with ``new_version`` the next version of the image of that name.

    ``more``: further properties (:mod:`clc.services.image_properties`); an empty one is not given. A new version keeps what is
    not given; of what is given it takes its own (cmdline, hardware), and the image's is changed by :func:`change` alone.
    """

    name: str
    parts: tuple[dict[str, Any], ...] = ()
    new_version: bool = False
    usage: str = ""
    description: str = ""
    os_type: str = ""
    cmdline: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


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


def next_version(account: Account, ask: Ask) -> ImageVersion:
    """The first version of a new image, or the wanted next one of an image, whose bytes are still to come.

    Raises Refused(invalid | exists | not_found | forbidden).
    """
    check_name(ask.name)
    if ask.usage not in ("", *Usage):
        raise Refused("invalid", "usage is not possible", f"give desktop or server, not {ask.usage[:20]!r}", field="usage")
    if not _CMDLINE.fullmatch(ask.cmdline):
        raise Refused("invalid", "cmdline is not possible", "printable ASCII, at most 1024 signs", field="cmdline")
    more = {k: v for k, v in ask.more.items() if v}
    said = {k: v for k, v in {"description": ask.description, "os_type": ask.os_type, **more}.items() if v}
    about = image_properties.of_image(said) | ({"usage": ask.usage} if ask.usage else {})
    with memory.atomic():
        image = Image.objects.filter(name=ask.name, retired=False).first()
        last = image.versions.order_by("-version").first() if image else None
        if image is None:
            group = _group(account, about)
            scope.require(account, Kind.IMAGE, Verb.CREATE, group.pk)
            if ask.new_version:
                raise Refused("not_found", f"There is no image {ask.name!r}", "a new version was asked for", field="name")
            quotas.check(account, group.pk, {Counted.IMAGES: 1})
            image = Image.objects.create(id=ids.new("img"), name=ask.name, live_name=ask.name, owner=account, group=group, created_at=clock.now(), **about)
            _open(image)
        else:
            if image.pk not in set(scope.visible_to(account, Image, Verb.WRITE).values_list("pk", flat=True)):
                scope.require(account, Kind.IMAGE, Verb.CREATE, account.group_id)
                raise Refused("exists", f"There is an image {ask.name!r} already", "you may not change it", hint="Choose another name.", field="name")
            _check_next(image, last, ask, about)
        return ImageVersion.objects.create(
            image=image, version=last.version + 1 if last else 1, cmdline=ask.cmdline or (last.cmdline if last else ""), created_at=clock.now(),
            hardware=image_properties.hardware(more, last.hardware if last else None, image.os_type),
        )


def _group(account: Account, about: dict[str, str]) -> Group:
    """Where an image shall belong: to the group that is named, else to that of who makes it."""
    path = about.pop("owner_group", "")
    return groups.belongs_to(account, path) if path else account.group


def _open(image: Image) -> None:
    """What belongs to everybody is everybody's to use, until somebody shares it no more."""
    if image.group_id == EVERYBODY:
        shares.open_to(image, image.group, (Verb.EXECUTE,))


def _check_next(image: Image, last: ImageVersion | None, ask: Ask, about: Mapping[str, str]) -> None:
    """Whether an image gets the version that is asked for. Raises Refused(exists | invalid)."""
    if not ask.new_version:
        under_way = last is not None and last.state in (ImageState.DRAFT, ImageState.BUILDING)
        raise Refused("exists", f"There is an image {ask.name!r} already",
                      "an upload of it is under way" if under_way else f"version {last.version if last else 0} is its newest",
                      hint="Choose another name; or where it shall become its next version, say so: new_version, --new-version.", field="name")
    kept = {name: image.group.path if name == "owner_group" else str(getattr(image, name)) for name in about}
    other = next((name for name, value in about.items() if value != kept[name]), None)
    if other:
        raise Refused("invalid", f"{other} is the image's, not a version's", f"the image has {kept[other][:80]!r}",
                      hint="Leave it away; `educloud image set`, or Change on its page, changes it.", field=other)


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
        publish(version, [b.model_dump() for b in report.blobs], [p.model_dump() for p in report.parts])
        from clc.services import uploads

        uploads.over(version)
    else:
        _refuse(version, f"{report.error.what}: {report.error.why}")


def runnable(account: Account, text: str, verb: Verb = Verb.EXECUTE) -> ImageVersion:
    """The newest published version of an image by id or name, ``name:version`` for a certain one, if that may be done with it.

    Raises Refused(not_found | forbidden | state).
    """
    name, _, number = text.partition(":")
    try:
        image = resolve(account, name, verb)
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


def resolve(account: Account, text: str, verb: Verb = Verb.READ) -> Image:
    """The image with that id or name, if that may be done with it. Raises Refused(not_found | forbidden)."""
    by: dict[str, Any] = {"pk": text} if ids.is_id(text, "img") else {"name": text, "retired": False}
    image = scope.one(account, Image, verb, **by)
    if image.retired:
        raise Refused("not_found", f"There is no image {text[:63]!r}", "it was deleted")
    return image


def change(account: Account, text: str, given: Mapping[str, str]) -> Image:
    """Change properties of an image, and the hardware of its newest version (``name:version``: of a certain one).

    What runs already keeps the hardware it was placed with; the next version keeps what its parent has.
    Raises Refused(invalid | not_found | state | forbidden).
    """
    name, _, number = text.partition(":")
    said: dict[str, Any] = image_properties.of_image(given)
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    with memory.atomic():
        image = resolve(account, name, Verb.WRITE)
        if any(given.get(each) for each in image_properties.CHOICES):
            version = runnable(account, text, Verb.WRITE)
            hardware = image_properties.hardware(given, version.hardware)
            ImageVersion.objects.filter(pk=version.pk).update(hardware=hardware)
            before, after = dict(version.hardware), dict(hardware)
        elif number:
            raise Refused("invalid", "Only the hardware is a version's own", f"the other properties are those of {image.name}, whatever its version")
        told = dict(said)
        if "owner_group" in said:
            before["owner_group"] = groups.shown(image.group.path)
            said["group"] = groups.belongs_to(account, said.pop("owner_group"))
            scope.require(account, Kind.IMAGE, Verb.CREATE, said["group"].pk)
            told["owner_group"] = groups.shown(said["group"].path)
        if said:
            before |= {each: getattr(image, each) for each in told if each != "owner_group"}
            after |= told
            Image.objects.filter(pk=image.pk).update(**said)
            image.refresh_from_db()
        events.record("image", image.pk, "image changed", owner=account, properties=sorted(k for k in given if k in image_properties.NAMES),
                      before=before, after=after)
    return image


def reference(version: ImageVersion) -> ImageRef:
    """A version as commands name it."""
    return ImageRef(image=version.image_id, version=version.version, cmdline=version.cmdline,
                    blobs=tuple(Blob(**b) for b in version.blobs), hardware=Hardware(**version.hardware))


def delete(account: Account, text: str) -> Image:
    """Retire an image nobody uses; its blobs go unless another version needs them. Raises Refused(state)."""
    with memory.atomic():
        return end(resolve(account, text, Verb.DELETE), account)


def end(image: Image, by: Account) -> Image:
    """As :func:`delete`, for whoever was asked before. In a transaction of the caller's."""
    mine = _locked(image)
    image_uses.check(f"The image {image.name}", mine)
    for version in mine:
        if IMAGE.allows(version.state, "retire"):
            _move(version, "retire", pinned=False)
    _drop(mine)
    Image.objects.filter(pk=image.pk).update(retired=True, live_name=None)
    events.record("image", image.id, "image retired", owner=by)
    return image


def hand_over(of: Account, to: Account) -> None:
    """What is somebody's is somebody else's from now on, in the group it belongs to. In a transaction."""
    for image in Image.objects.select_for_update().filter(owner=of, retired=False):
        Image.objects.filter(pk=image.pk).update(owner=to)
        events.record("image", image.pk, "image given", owner=to, before={"owner": of.username}, after={"owner": to.username})


def like(of: Image, name: str, owner: Account, description: str) -> Image:
    """The image of that name, a new one for the same use as another. In a transaction of the caller's."""
    image, _ = Image.objects.get_or_create(
        name=name, retired=False, defaults={
            "id": ids.new("img"), "live_name": name, "usage": of.usage, "os_type": of.os_type, "os_distro": of.os_distro, "architecture": of.architecture,
            "group_id": of.group_id, "description": description, "owner": owner, "created_at": clock.now(),
        },
    )
    return image


def add_version(image: Image, parent: ImageVersion, note: str, task: str) -> ImageVersion:
    """The next version of an image, being made from another one, as that boots. In a transaction of the caller's."""
    last = image.versions.order_by("-version").first()
    version = ImageVersion.objects.create(
        image=image, version=last.version + 1 if last else 1, cmdline=parent.cmdline, hardware=parent.hardware, parent=parent, note=note, task=task,
        created_at=clock.now(),
    )
    _move(version, "build")
    return version


def publish(version: ImageVersion, blobs: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    """All its files are in the store; they go again where its image was deleted meanwhile."""
    _move(version, "publish", blobs=blobs, parts=parts, published_at=clock.now())
    if version.image.retired:
        _retire(version, None)
    else:
        tidy(version.image)


def refuse(version: ImageVersion, why: str) -> None:
    """It came to nothing, and leaves nothing but its events."""
    _refuse(version, why)


def roll_back(account: Account, text: str, number: int) -> ImageVersion:
    """Publish an older version again, as the newest: no byte moves. Raises Refused(not_found | state | forbidden)."""
    with memory.atomic():
        image = resolve(account, text, Verb.WRITE)
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
    with memory.atomic():
        image = resolve(account, text, Verb.DELETE)
        published = {v.version: v for v in _locked(image) if v.state == ImageState.PUBLISHED}
        version = published.get(number)
        if version is None:
            raise Refused("not_found", f"There is no version {number} of {image.name} to retire", "only published versions can be retired")
        if len(published) == 1:
            raise Refused("state", f"Version {number} is the only one of {image.name}", hint="Delete the image instead.")
        image_uses.check(f"Version {number} of {image.name}", [version])
        _retire(version, account)
    return image


def _retire(version: ImageVersion, by: Account | None) -> None:
    _move(version, "retire", pinned=False)
    _drop([version])
    events.record("image", version.image_id, "version retired", owner_id=by.pk if by else version.image.owner_id, version=version.version)


def _locked(image: Image) -> list[ImageVersion]:
    """Its versions; who wants to use one of them waits until the transaction has ended."""
    return list(image.versions.select_for_update().select_related("image").order_by("version"))


def hold(version: ImageVersion) -> None:
    """Before a version comes into use, in that transaction: it is there, and stays. Raises Refused(state)."""
    if not ImageVersion.objects.select_for_update().filter(pk=version.pk, state=ImageState.PUBLISHED).exists():
        raise Refused("state", f"Version {version.version} of {version.image.name} was just retired", hint="Take a newer one.")


def pin(account: Account, text: str, number: int, *, on: bool) -> Image:
    """Have a rule never retire a version, or let it again. Raises Refused(not_found | forbidden)."""
    with memory.atomic():
        image = resolve(account, text, Verb.WRITE)
        was = image.versions.filter(version=number, state=ImageState.PUBLISHED).values_list("pinned", flat=True).first()
        if was is None:
            raise Refused("not_found", f"There is no version {number} of {image.name} to pin", "only published versions can be pinned")
        ImageVersion.objects.filter(image=image, version=number).update(pinned=on)
        events.record("image", image.pk, "version pinned" if on else "version unpinned", owner=account, version=number,
                      before={"pinned": was}, after={"pinned": on})
    return image


def keep(account: Account, text: str, newest: int | None) -> list[retention.Verdict]:
    """Keep so many of the newest versions of an image from now on (None: as the settings say; 0: all); what that lets go, and has retired.

    Raises Refused(invalid | not_found | forbidden).
    """
    if newest is not None and not 0 <= newest <= retention.KEEP_AT_MOST:
        raise Refused("invalid", "keep is not possible", f"give 0 to {retention.KEEP_AT_MOST}; 0: all are kept", field="keep")
    with memory.atomic():
        image = resolve(account, text, Verb.WRITE)
        before = image.keep_versions
        Image.objects.filter(pk=image.pk).update(keep_versions=newest)
        image.refresh_from_db()
        events.record("image", image.pk, "image changed", owner=account, keep_versions=newest,
                      before={"keep_versions": before}, after={"keep_versions": newest})
        return tidy(image, account)


def tidy(image: Image, by: Account | None = None) -> list[retention.Verdict]:
    """Retire the versions that the rule of an image lets go; those."""
    if not retention.kept(image):
        return []
    with memory.atomic():
        _locked(image)
        gone = [each for each in retention.judged(image) if each.goes]
        for each in gone:
            _retire(each.version, by)
    return gone


def tidy_all() -> int:
    """The same with every image: what was used may be no more; how many versions went."""
    return sum(len(tidy(image)) for image in Image.objects.filter(retired=False))


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
        outbox.send(order, host.id, sender=own().id, task=ids.new("tsk"), deadline=clock.now() + _GONE_WITHIN_S)


def _refuse(version: ImageVersion, why: str) -> None:
    """A refused version leaves nothing but its events and its task; nor does an image that never had another one."""
    _move(version, "refuse", why=why[:2000])
    image = version.image
    version.delete()
    if not image.versions.exists():
        image.delete()


def _move(version: ImageVersion, event: str, **changes: Any) -> None:
    before = version.state
    new = IMAGE.advance(before, event)
    if ImageVersion.objects.filter(pk=version.pk, state=version.state).update(state=new, **changes):
        version.refresh_from_db()
        events.record("image", version.image_id, f"version {version.version} {new}", owner_id=version.image.owner_id,
                      task=version.task, version=version.version, before={"state": before}, after={"state": new},
                      **({"why": version.why} if version.why else {}))


def forget_group(group: Group) -> None:
    """A group is given up: what is retired was of the one above."""
    Image.objects.filter(group=group, retired=True).update(group=group.parent_id)
