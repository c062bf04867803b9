"""New system disks: of one instance, or of all that have an older version of an image. Each is a task that waits for its turn."""

from __future__ import annotations

from dataclasses import dataclass

from clc.services import admission, images, instances, people, queue, tasks
from luhyaapi.contracts.vocabulary import ImageState, InstanceState, Persistence, Verb
from luhyaapi.errors import Refused
from luhyaapi.machines import WORKSPACE
from luhyadb import memory, scope
from luhyadb.models import Account, ImageVersion, Instance, Workspace

NEWEST = "newest"
_MAY = (InstanceState.RUNNING, InstanceState.STOPPED, InstanceState.FAILED)


@dataclass(frozen=True)
class Renewed:
    """What became of all that had an older version: those that get a new disk, and those that cannot now."""

    begun: list[Instance]
    passed_over: list[Instance]


def restore(account: Account, ident: str, version: str = "") -> Instance:
    """A new system disk from the version it has, from ``newest`` or from that number; what was on it is lost, a data disk stays.

    What runs is stopped and started again. Raises Refused(not_found | state | quota), Unavailable(no_capacity).
    """
    with memory.atomic():
        people.require_active(account)
        row = instances.held(account, ident, Verb.WRITE)
        if why := _why_not(row):
            raise Refused("state", "This instance cannot be restored now", why)
        _await(row, _version(row, version))
        admission.admit()
        row.refresh_from_db()
    return row


def renew(account: Account, text: str, *, transient_only: bool = False) -> Renewed:
    """Put every instance of an image that one may restore on its newest version. Raises what :func:`restore` raises."""
    with memory.atomic():
        people.require_active(account)
        newest = images.runnable(account, images.resolve(account, text).pk)
        begun, passed_over = [], []
        for seen in outdated(account, newest):
            row = instances.held(None, seen.pk)
            if transient_only and row.persistence != Persistence.TRANSIENT:
                continue
            if _why_not(row):
                passed_over.append(row)
            else:
                _await(row, newest)
                begun.append(row)
        admission.admit()
        for row in begun:
            row.refresh_from_db()
    return Renewed(begun, passed_over)


def outdated(account: Account, newest: ImageVersion) -> list[Instance]:
    """What one may see of an image that has an older version than this one; none in which a workspace works."""
    open_ = Workspace.objects.exclude(state__in=WORKSPACE.final).values("instance")
    rows = scope.visible_to(account, Instance, Verb.WRITE).filter(image__image=newest.image_id, image__version__lt=newest.version)
    return list(rows.exclude(state=InstanceState.DELETED).exclude(pk__in=open_).select_related("image", "owner").order_by("created_at", "id"))


def _await(row: Instance, version: ImageVersion) -> None:
    queue.check(row.owner, 1)
    images.hold(version)
    instances.await_restore(row, version)


def _why_not(row: Instance) -> str:
    """Why it can have no new disk now; empty: it can."""
    if row.state not in _MAY:
        return f"it is {row.state}"
    if row.wanted == InstanceState.DELETED:
        return "it is being deleted, and its disk may be gone already"
    if not row.node:
        return "it has no disk yet"
    if tasks.is_open(row.task):
        return "something else is being done with it"
    if space := Workspace.objects.filter(instance=row).exclude(state__in=WORKSPACE.final).first():
        return f"the workspace {space.pk} works in it"
    return ""


def _version(row: Instance, asked: str) -> ImageVersion:
    if asked in ("", str(row.image.version)):
        return row.image
    rows = row.image.image.versions.filter(state=ImageState.PUBLISHED).order_by("-version")
    if asked != NEWEST:
        rows = rows.filter(version=int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else -1)
    found = rows.first()
    if found is None:
        raise Refused("not_found", f"There is no version {asked[:20]} of {row.image.image.name} to restore to",
                      "give newest, or the number of a published one", field="version")
    return found
