"""Where the versions of an image come from: their parents, branches and ways back, and what was made from them in other images."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from clc.services.pictures import when
from luhyaapi.contracts.vocabulary import ImageState
from luhyadb.models import Image, ImageVersion, Task

_SHOWN = (ImageState.BUILDING, ImageState.PUBLISHED, ImageState.RETIRED)


def of(image: Image) -> list[dict[str, Any]]:
    """Every version, oldest first, as a picture.

    ``came``: ``upload`` (brought in), ``change`` (made from a version of this image), ``back`` (an older one again),
    ``copy`` (made from one of another image). ``lane``: versions that follow each other share one; a branch begins
    another. ``parent`` and ``made`` (images begun from it) read ``name:version``, ``parent_version`` is set within the image.
    """
    rows = list(image.versions.filter(state__in=_SHOWN).select_related("parent__image", "workspace__owner").order_by("version"))
    owners = dict(Task.objects.filter(pk__in=[r.task for r in rows if r.task]).values_list("pk", "owner__username"))
    made = _made(image)
    lanes = _lanes(rows)
    return [
        {
            "version": row.version, "state": str(row.state), "came": _came(row), "lane": lanes[row.version],
            "parent": f"{row.parent.image.name}:{row.parent.version}" if row.parent else None,
            "parent_version": row.parent.version if row.parent and row.parent.image_id == image.pk else None,
            "note": row.note, "by": row.workspace.owner.username if hasattr(row, "workspace") else owners.get(row.task) or "",
            "made": made[row.pk], "pinned": row.pinned, "created_at": when(row.created_at),
        }
        for row in rows
    ]


def _made(image: Image) -> dict[int, list[str]]:
    """The first versions of other images, by the version they were made from."""
    found = defaultdict(list)
    others = ImageVersion.objects.filter(parent__image=image, image__retired=False, state__in=_SHOWN).exclude(image=image)
    for row in others.select_related("image").order_by("image__name", "version"):
        found[row.parent_id or 0].append(f"{row.image.name}:{row.version}")
    return found


def _came(row: ImageVersion) -> str:
    if row.parent is None:
        return "upload"
    if row.parent.image_id != row.image_id:
        return "copy"
    return "back" if row.blobs and row.blobs == row.parent.blobs else "change"


def _lanes(rows: list[ImageVersion]) -> dict[int, int]:
    """The lane of each version: that of its parent if nothing followed there yet, else a new one. What only comes in, or back, is in the first."""
    found: dict[int, int] = {}
    heads: dict[int, int] = {}
    for row in rows:
        parent = row.parent.version if row.parent and _came(row) == "change" else None
        lane = 0
        if parent is not None:
            lane = next((each for each, head in heads.items() if head == parent), len(heads))
        heads[lane] = row.version
        found[row.version] = lane
    return found
