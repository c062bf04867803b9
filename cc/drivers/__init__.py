"""Edge drivers of the cluster controller, by the name a setting calls them."""

from __future__ import annotations

from collections.abc import Callable

from cc.drivers import fake, linux, user
from cc.drivers.base import EdgeDriver
from luhyaapi.conf import Settings

EDGES: dict[str, Callable[[Settings], EdgeDriver]] = {"dnsmasq": linux.make, "fake": fake.make, "user": user.make}
