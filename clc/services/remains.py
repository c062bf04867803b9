"""Files of retired versions that the store still has: the order to forget them got lost, and is given again."""

from __future__ import annotations

from collections.abc import Collection

from clc.services import images
from luhyaapi.contracts.specs import Blob
from luhyaapi.contracts.vocabulary import ImageState
from luhyadb import memory
from luhyadb.models import ImageVersion, Outbox


def forget_again(store: str, stored: Collection[str]) -> int:
    """``stored``: sha256s of the files the store ``store`` says it has; how many of them it is told once more to forget.

    Only what a version we remember was retired with: a memory restored from a backup must not cost what is newer.
    While a version is being made nothing is said: it may be of the same content.
    """
    with memory.atomic():
        if not stored or Outbox.objects.filter(to=store).exists() or ImageVersion.objects.filter(state=ImageState.BUILDING).exists():
            return 0
        retired = {b["sha256"]: b for blobs in _blobs(ImageState.RETIRED) for b in blobs if b["sha256"] in stored}
        for blobs in _blobs(ImageState.PUBLISHED) if retired else ():
            for blob in blobs:
                retired.pop(blob["sha256"], None)
        if retired:
            image = ImageVersion.objects.filter(state=ImageState.RETIRED).values_list("image_id", flat=True)[0]
            images.forget([Blob(**b) for b in retired.values()], image)
    return len(retired)


def _blobs(state: ImageState) -> list[list[dict[str, object]]]:
    return list(ImageVersion.objects.filter(state=state).values_list("blobs", flat=True))
