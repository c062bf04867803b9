"""/api/v1/letters/: dead letters, messages that could not be handled; for administrators."""

from __future__ import annotations

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import letters, pictures
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, LetterShape, asks, listed, says
from clc.web.rest import Filters, Nothing, exactly, narrowed, page
from luhyadb import scope
from luhyadb.models import Letter

TAG = "letters"


class Letters(Endpoint):
    """All dead letters."""

    filters: ClassVar[Filters] = {"host": exactly("host"), "task": exactly("task"), "kind": exactly("kind")}

    @says(listed("Letter", LetterShape), parameters=asks(*filters), tag=TAG, operation_id="letters_list")
    def get(self, request: Request) -> Response:
        """List dead letters with their story."""
        scope.require_admin(self.account)
        rows = narrowed(request, scope.visible_to(self.account, Letter), self.filters)
        return page(request, rows, pictures.letters, newest=False)


class OneLetter(Endpoint):
    """One dead letter."""

    @says(LetterShape, tag=TAG, operation_id="letters_show")
    def get(self, _request: Request, letter: str) -> Response:
        """Show its story."""
        return Response(pictures.letters([letters.find(self.account, letter)])[0])

    @says(None, 204, tag=TAG, operation_id="letters_drop")
    def delete(self, _request: Request, letter: str) -> Response:
        """Forget it."""
        letters.drop(self.account, letter)
        return Response(status=204)


class Resend(Endpoint):
    """Send it again."""

    @says(LetterShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="letters_resend")
    @once
    def post(self, _request: Request, letter: str) -> Response:
        """Have it sent again by the boss whose broker it died in."""
        self.sent(Nothing)
        return Response(pictures.letters([letters.resend(self.account, letter)])[0])
