"""Who needs a version of an image: what is used is neither deleted nor retired."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from luhyaapi import clock
from luhyaapi.command.send import Order, command_of
from luhyaapi.contracts.commands import ImagePrefetch
from luhyaapi.contracts.vocabulary import ImageState, InstanceState, TaskState
from luhyaapi.errors import Refused
from luhyaapi.machines import TASK, WORKSPACE
from luhyadb.models import ImageVersion, Instance, Task, Turn, Workspace

_NAMED_AT_MOST = 5
_HINTS = {
    "instance": "Delete those instances first.", "workspace": "Submit or abandon those workspaces first.",
    "prefetch": "Cancel those prefetches first, or wait for them.", "draft": "Wait until those versions are published.",
}


@dataclass(frozen=True)
class Use:
    """One that needs a version: an ``instance``, an open ``workspace``, a ``prefetch`` (a task), or a ``draft`` that is being made from it."""

    kind: str
    id: str
    name: str


def of(versions: Collection[ImageVersion], *, later: bool = False) -> dict[int, list[Use]]:
    """Who needs each of these versions, by its primary key; one nobody needs is left out.

    ``later``: also what was prefetched and shall still lie there.
    """
    found: dict[int, list[Use]] = {}
    keys = [v.pk for v in versions]
    spaces = list(Workspace.objects.filter(base__in=keys).exclude(state__in=WORKSPACE.final).order_by("pk"))
    made = Instance.objects.filter(image__in=keys).exclude(state=InstanceState.DELETED).exclude(pk__in=[s.instance_id for s in spaces])
    for row in made.order_by("name", "pk"):
        found.setdefault(row.image_id, []).append(Use("instance", row.pk, row.name))
    going = dict(Turn.objects.filter(image__in=keys).values_list("task", "image"))
    for row in Instance.objects.filter(task__in=going).exclude(state=InstanceState.DELETED).order_by("name", "pk"):
        if row.image_id != going[row.task]:  # it waits for its new system disk
            found.setdefault(going[row.task], []).append(Use("instance", row.pk, row.name))
    for space in spaces:
        found.setdefault(space.base_id, []).append(Use("workspace", space.pk, space.pk))
    for version, task in _prefetched(versions, later=later):
        found.setdefault(version, []).append(Use("prefetch", task, task))
    drafts = ImageVersion.objects.filter(parent__in=keys, state__in=[ImageState.DRAFT, ImageState.BUILDING]).select_related("image")
    for draft in drafts.order_by("pk"):
        name = f"{draft.image.name}:{draft.version}"
        found.setdefault(draft.parent_id or 0, []).append(Use("draft", name, name))
    return found


def check(what: str, versions: Collection[ImageVersion]) -> None:
    """Raises Refused(state) with the names of those who need one of them; ``what`` is in use."""
    uses = [use for each in of(versions).values() for use in each]
    if uses:
        named = ", ".join(use.name for use in uses[:_NAMED_AT_MOST])
        more = f", and {len(uses) - _NAMED_AT_MOST} more" if len(uses) > _NAMED_AT_MOST else ""
        raise Refused("state", f"{what} is in use", f"needed by {named}{more}", hint=_HINTS[uses[0].kind])


def prefetch_of(task: Task) -> ImagePrefetch | None:
    """What a prefetch is for: its image, and when it shall be there."""
    part = next(iter(task.orders.all()), None)
    order = command_of(Order.model_validate_json(part.order)) if part else None
    return order if isinstance(order, ImagePrefetch) else None


def _prefetched(versions: Collection[ImageVersion], *, later: bool) -> list[tuple[int, str]]:
    """(version's key, task) of the prefetches under way, with ``later`` also of those done whose files are kept until a moment to come."""
    known = {(v.image_id, v.version): v.pk for v in versions}
    tasks = Task.objects.filter(kind=ImagePrefetch.kind, subject__in={image for image, _ in known}).prefetch_related("orders").order_by("pk")
    over = [state for state in TASK.final if not (later and state == TaskState.DONE)]
    found = []
    for task in tasks.exclude(state__in=over):
        order = prefetch_of(task)
        if order and (key := known.get((order.image, order.ref.version))) and (task.state != TaskState.DONE or order.keep_until > clock.now()):
            found.append((key, task.pk))
    return found
