"""The base of every endpoint, and how its token is described."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from clc.services import provider_sign_in, sign_in
from clc.web.rest import Form, JsonAlways, SmallJson, admit
from luhyadb.models import Account


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The token in the API's description."""

    target_class = "clc.web.rest.BearerToken"
    name = "token"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        """One HTTP bearer scheme."""
        return {"type": "http", "scheme": "bearer"}


class Endpoint(APIView):
    """Base of every endpoint."""

    content_negotiation_class = JsonAlways
    parser_classes = (SmallJson,)
    signs_in = False
    """Whether its changes are to how somebody signs in: no token that was made, as against signed in, is good for them."""
    new_password = False
    """Whether it is open to who must change the password first."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Before any method: who asks, and whether that sign-in is good for it."""
        super().initial(request, *args, **kwargs)
        if request.user.is_authenticated:
            reads = request.method in ("GET", "HEAD", "OPTIONS")
            admit(request.user, request.auth, reads=reads, signs_in=self.signs_in, new_password=self.new_password)

    @property
    def address(self) -> str:
        """From where it is asked."""
        return str(self.request.META.get("REMOTE_ADDR", ""))

    @property
    def account(self) -> Account:
        """Who asks."""
        return cast("Account", self.request.user)

    def sent(self, form: type[Form]) -> dict[str, Any]:
        """The checked body. Raises ValidationError with the field named."""
        checked = form(data=self.request.data)
        checked.is_valid(raise_exception=True)
        return dict(checked.validated_data)


Handler = Callable[..., Response]


def proved(form: type[Form]) -> Callable[[Handler], Handler]:
    """Ask for the ``current_password`` of ``form`` first. Outside of ``once``: in its transaction a wrong one would not be counted."""

    def around(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def handle(view: Endpoint, *args: Any, **kwargs: Any) -> Response:
            sent = view.sent(form)
            if not provider_sign_in.is_proved(getattr(view.request, "session", {}), view.account):
                sign_in.again(view.account, sent["current_password"], view.address)
            return handler(view, *args, **kwargs)

        return handle

    return around
