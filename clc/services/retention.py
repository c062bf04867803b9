"""Which versions of an image its rule lets go: it decides, ``images`` retires."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.conf import settings

from clc.services import image_uses
from clc.services.image_uses import Use
from luhyaapi.contracts.vocabulary import ImageState
from luhyadb.models import Image, ImageVersion

KEEP_AT_MOST = 10_000


@dataclass(frozen=True)
class Verdict:
    """Whether a published version ``goes``, and else what keeps it: ``new``, ``pinned`` or ``used`` (by ``uses``)."""

    version: ImageVersion
    because: str
    uses: list[Use] = field(default_factory=list)

    @property
    def goes(self) -> bool:
        """Whether nothing keeps it."""
        return not self.because


def kept(image: Image) -> int:
    """How many of its newest versions are kept; 0: all."""
    return int(settings.EDUCLOUD.images.keep_versions) if image.keep_versions is None else image.keep_versions


def judged(image: Image, keep: int | None = None) -> list[Verdict]:
    """Every published version, oldest first, by the image's own rule or by another number of versions to ``keep``."""
    keep = kept(image) if keep is None else keep
    rows = list(image.versions.filter(state=ImageState.PUBLISHED).order_by("version"))
    old = rows[:-keep] if keep else []
    uses = image_uses.of(old, later=True) if old else {}
    return [_judged(row, uses.get(row.pk, []), is_new=n >= len(old)) for n, row in enumerate(rows)]


def _judged(row: ImageVersion, uses: list[Use], *, is_new: bool) -> Verdict:
    return Verdict(row, "new" if is_new else "pinned" if row.pinned else "used" if uses else "", uses)
