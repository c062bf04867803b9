"""/api/v1/instances/<id>/network-check/: where the way from an instance to the outside ends."""

from __future__ import annotations

from rest_framework import serializers as s
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import instances, probes
from clc.web.api.endpoint import Endpoint
from clc.web.api.shapes import KEY, says
from clc.web.rest import Nothing
from luhyaapi.contracts.vocabulary import LinkState


class LinkShape(s.Serializer):
    """One link as its host found it; ``card``: the address it is about, or empty."""

    host = s.CharField()
    host_name = s.CharField()
    role = s.CharField()
    link = s.CharField()
    state = s.ChoiceField(choices=[(word.value, word.en) for word in LinkState])
    card = s.CharField(allow_blank=True)
    what = s.CharField()
    why = s.CharField(allow_blank=True)
    hint = s.CharField(allow_blank=True)


class NetworkCheckShape(s.Serializer):
    """All links from the guest to the outside, and the first broken one, if any is."""

    instance = s.CharField()
    name = s.CharField()
    broken = LinkShape(allow_null=True)
    links = LinkShape(many=True)


class NetworkCheck(Endpoint):
    """Whether an instance's network is in order."""

    # Nothing is changed, so with its key it may be done again. It must not wait within one transaction: what it asks would not be sent.
    @says(NetworkCheckShape, sends=Nothing, parameters=[KEY], tag="instances", operation_id="instances_network_check")
    def post(self, _request: Request, instance: str) -> Response:
        """Have its node and its cluster look at each link of its network; takes seconds, 15 when one of them does not answer."""
        self.sent(Nothing)
        return Response(probes.check(self.account, instances.resolve(self.account, instance).pk))
