"""The base of every endpoint, and how its token is described."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.views import APIView

from clc.web.rest import Form, JsonAlways, SmallJson
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

    @property
    def account(self) -> Account:
        """Who asks."""
        return cast("Account", self.request.user)

    def sent(self, form: type[Form]) -> dict[str, Any]:
        """The checked body. Raises ValidationError with the field named."""
        checked = form(data=self.request.data)
        checked.is_valid(raise_exception=True)
        return dict(checked.validated_data)
