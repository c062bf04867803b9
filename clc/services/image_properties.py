"""What is said of an image beside its files: properties of it, and the hardware a version expects. Checked here, written by ``images``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import cast

from django.db.models import F, Max, QuerySet

from luhyaapi.contracts.specs import Hardware
from luhyaapi.contracts.vocabulary import Architecture, GuestClock, PointerModel
from luhyaapi.errors import Refused
from luhyadb import paths
from luhyadb.models import Image

CHOICES: dict[str, list[str]] = {name: [str(word) for word in cast("type[StrEnum]", field.annotation)] for name, field in Hardware.model_fields.items()}
"""What each piece of hardware may be; the first is what a guest gets where nothing is said."""
OF_IMAGE = {"description": 2000, "os_type": 40, "os_distro": 40, "architecture": 16, "owner_group": paths.LENGTH}
"""Properties of an image, and the most signs of each."""
NAMES = (*OF_IMAGE, *CHOICES)
SORTS = ("name", "owner_group", "published_at", "created_at")
"""By what a list of images may be ordered."""
_LINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]*")
_WINDOWS = {"clock": str(GuestClock.LOCAL), "pointer_model": str(PointerModel.USB)}
"""What every Windows expects, whatever drivers it has."""


def of_image(given: Mapping[str, str]) -> dict[str, str]:
    """The properties of an image among those that are ``given``. Raises Refused(invalid) with the field."""
    found = {name: given[name] for name in OF_IMAGE if name in given}
    for name, value in found.items():
        if len(value) > OF_IMAGE[name]:
            raise Refused("invalid", f"{name} is not possible", f"at most {OF_IMAGE[name]} signs", field=name)
    for name in ("os_type", "os_distro"):
        if found.get(name) and not _LINE.fullmatch(found[name]):
            raise Refused("invalid", f"{name} is not possible", "letters, digits, space, dot, dash, plus and underscore", field=name)
    if "architecture" in found and found["architecture"] not in list(Architecture):
        raise Refused("invalid", "architecture is not possible", f"it is one of {', '.join(Architecture)}", field="architecture")
    if found.get("owner_group"):
        try:
            found["owner_group"] = paths.normal(found["owner_group"])
        except Refused as e:
            raise Refused(e.code, e.what, e.why, hint=e.hint, field="owner_group") from e
    return found


def hardware(given: Mapping[str, str], before: Mapping[str, str] | None = None, os_type: str = "") -> dict[str, str]:
    """The hardware of a version as it is kept: what is ``given`` over what was ``before``. A first version of a Windows has its usual one.

    Raises Refused(invalid) with the field.
    """
    found = {name: given[name] for name in CHOICES if given.get(name)}
    for name, value in found.items():
        if value not in CHOICES[name]:
            raise Refused("invalid", f"{name} is not possible", f"it is one of {', '.join(CHOICES[name])}", field=name)
    usual = _WINDOWS if before is None and os_type.strip().lower() == "windows" else {}
    whole = Hardware.model_validate({**usual, **(before or {}), **found})
    whole.check()
    return whole.model_dump(mode="json")


def ordered_by(rows: QuerySet[Image], sort: str) -> tuple[QuerySet[Image], bool]:
    """Images with that column, ``published_at`` that of their newest version; and whether the largest come first. Raises Refused(invalid)."""
    if sort not in SORTS:
        raise Refused("invalid", f"One cannot sort by {sort[:40]!r}", f"it is one of {', '.join(SORTS)}", field="sort")
    if sort == "owner_group":
        rows = rows.annotate(owner_group=F("group__path"))
    if sort == "published_at":
        rows = rows.annotate(published_at=Max("versions__published_at", default=0.0))
    return rows, sort in ("published_at", "created_at")
