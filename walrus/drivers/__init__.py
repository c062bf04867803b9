"""Drivers of the store of objects, by the name a setting calls them."""

from __future__ import annotations

from collections.abc import Callable

from luhyaapi.conf import Settings
from walrus.drivers import local
from walrus.drivers.base import ObjectStore


def _s3(settings: Settings) -> ObjectStore:
    from walrus.drivers import s3  # who keeps a folder need not load it

    return s3.make(settings)


STORES: dict[str, Callable[[Settings], ObjectStore]] = {"folder": local.make, "s3": _s3}
