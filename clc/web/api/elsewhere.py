"""What ``clc.web.live`` serves at addresses of the API: described here, answered there."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import instances
from clc.web.api.endpoint import Endpoint
from clc.web.api.shapes import TEXT, says
from luhyaapi.errors import Unavailable


def _elsewhere() -> Unavailable:
    return Unavailable("interrupted", "This is served by the live part of the console", "which does not run here")


class Log(Endpoint):
    """The console log of an instance."""

    @says({(200, "text/plain"): TEXT}, tag="instances", operation_id="instances_log")
    def get(self, _request: Request, instance: str) -> Response:
        """Read what the guest wrote on its serial console, as its node has it now."""
        instances.resolve(self.account, instance)
        raise _elsewhere()


class Events(Endpoint):
    """What happens, while it happens."""

    @says({(200, "text/event-stream"): TEXT}, tag="events", operation_id="events",
          parameters=[OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER, description="Where a cut stream goes on.")])
    def get(self, _request: Request) -> Response:
        """Follow all events one may see, as server-sent events."""
        raise _elsewhere()
