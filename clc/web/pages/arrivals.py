"""Uploads that are half done, as the pages show them: what has arrived, the store alone knows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clc.services import uploads
from clc.services.pictures import when
from clc.web.api import store
from luhyaapi.errors import Trouble
from luhyadb.models import Upload


def of(rows: Iterable[Upload]) -> list[dict[str, Any]]:
    """Each with its ``share`` (empty where the store does not answer), ``size_bytes``, and the image and version it is for."""
    return [
        {"id": row.pk, "name": row.version.image.name, "version": row.version.version, "share": _share(row), "size_bytes": _size(row),
         "account": row.account.username, "created_at": when(row.created_at)} for row in rows
    ]


def _size(row: Upload) -> int:
    return sum(int(part["size"]) for part in row.parts)


def _share(row: Upload) -> str:
    try:
        arrived = sum(store.arrived(*uploads.store_door(row)).values())
    except Trouble:
        return ""
    return f"{100 * arrived // max(_size(row), 1)} %"
