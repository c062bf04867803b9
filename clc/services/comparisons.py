"""What two versions of an image share: asked of the store once, for versions never change. The only writer of Comparison."""

from __future__ import annotations

from clc.services import hosts, images, tasks
from luhyaapi.contracts.commands import ImageCompare
from luhyaapi.contracts.reports import Outcome
from luhyaapi.contracts.vocabulary import ImageState, Role
from luhyaapi.errors import Refused, Unavailable
from luhyaapi.machines import TASK
from luhyadb import memory, scope
from luhyadb.models import Account, Comparison, Image, ImageVersion, Task

KIND = ImageCompare.kind


def compare(account: Account, text: str, one: int, other: int) -> tuple[Comparison, Task | None]:
    """What is known of two versions of an image, and the task that finds it out where it is not known yet.

    Raises Refused(invalid | not_found | forbidden), Unavailable(host_silent).
    """
    scope.require_admin(account)
    with memory.atomic():
        image = images.resolve(account, text)
        first, second = _version(image, one), _version(image, other)
        if first == second:
            raise Refused("invalid", "A version does not differ from itself", "give two versions", field="other")
        row = Comparison.objects.filter(one=first, other=second).first()
        if row is not None and row.difference is not None:
            return row, None
        if row is not None and tasks.is_open(row.task):
            return row, Task.objects.get(pk=row.task)
        walrus = next(iter(hosts.hosts_of(Role.WALRUS)), None)
        if walrus is None:
            raise Unavailable("host_silent", "The image store does not answer now")
        task = tasks.open_task(KIND, account, image.pk, image.name, ImageCompare.timeout_s)
        tasks.send(task, ImageCompare(image=image.pk, one=_files(first), other=_files(second)), walrus)
        row, _ = Comparison.objects.update_or_create(one=first, other=second, defaults={"task": task.pk})
    return row, task


def _version(image: Image, number: int) -> ImageVersion:
    found = image.versions.filter(version=min(number, 2**31 - 1), state=ImageState.PUBLISHED).first()
    if found is None:
        raise Refused("not_found", f"There is no version {number} of {image.name} to compare", "only published versions can be compared")
    return found


def _files(version: ImageVersion) -> tuple[str, ...]:
    return tuple(b["sha256"] for b in version.blobs)


def ended(task: Task, report: Outcome) -> None:
    """The store told it, or could not."""
    if report.difference is not None:
        Comparison.objects.filter(task=task.pk).update(difference=report.difference.model_dump())
    else:
        Comparison.objects.filter(task=task.pk).delete()


def going_on(image: Image) -> list[tuple[Comparison, Task]]:
    """What is just being found out, each with the task that does it."""
    rows = Comparison.objects.filter(one__image=image, difference__isnull=True).select_related("one", "other").order_by("pk")
    open_ = Task.objects.exclude(state__in=TASK.final).in_bulk([row.task for row in rows])
    return [(row, open_[row.task]) for row in rows if row.task in open_]


def known(image: Image) -> list[Comparison]:
    """What is known of the versions of an image."""
    rows = Comparison.objects.filter(one__image=image, difference__isnull=False)
    return list(rows.select_related("one", "other").order_by("one__version", "other__version"))
