"""/api/v1/status/: how the cloud is."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import pictures
from clc.web.api.endpoint import Endpoint
from clc.web.api.shapes import StatusShape, says


class Status(Endpoint):
    """How the cloud is."""

    @says(StatusShape, tag="status", operation_id="status")
    def get(self, _request: Request) -> Response:
        """Show the health of every part; hosts for administrators only."""
        found = pictures.status()
        return Response(found if self.account.is_admin else found | {"hosts": []})
