"""/api/v1/elastic-addresses/: public addresses that lead to instances."""

from __future__ import annotations

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import access_pictures, elastic, instances
from clc.web.api.access_shapes import AllocateForm, AssociateForm, ElasticShape, RangesForm
from clc.web.api.endpoint import Endpoint
from clc.web.api.once import once
from clc.web.api.shapes import KEY, asks, listed, many, says
from clc.web.rest import Filters, Nothing, exactly, narrowed, page
from luhyadb import scope
from luhyadb.models import ElasticAddress

TAG = "public addresses"


def _shown(row: ElasticAddress, status: int = 200) -> Response:
    return Response(access_pictures.elastics([row])[0], status=status)


class Addresses(Endpoint):
    """All public addresses one may see: one's own, an administrator all."""

    filters: ClassVar[Filters] = {
        "address": exactly("live_address"), "cluster": exactly("cluster"), "owner": exactly("owner__username"), "instance": exactly("instance"),
    }

    @says(listed("Elastic", ElasticShape), parameters=asks(*filters), tag=TAG, operation_id="elastic_list")
    def get(self, request: Request) -> Response:
        """List public addresses."""
        rows = scope.visible_to(self.account, ElasticAddress).filter(retired_at=0).select_related("cluster", "owner", "instance")
        return page(request, narrowed(request, rows, self.filters), access_pictures.elastics, by="number", newest=False)

    @says(ElasticShape, 201, sends=AllocateForm, parameters=[KEY], tag=TAG, operation_id="elastic_allocate")
    @once
    def post(self, _request: Request) -> Response:
        """Allocate a public address for oneself."""
        return _shown(elastic.allocate(self.account, self.sent(AllocateForm)["cluster"]), 201)


class Ranges(Endpoint):
    """What administrators bring in."""

    @says(many("Elastic", ElasticShape), 201, sends=RangesForm, parameters=[KEY], tag=TAG, operation_id="elastic_add")
    @once
    def post(self, _request: Request) -> Response:
        """Add public addresses of a cluster."""
        given = self.sent(RangesForm)
        return Response({"results": access_pictures.elastics(elastic.add(self.account, given["cluster"], given["ranges"]))}, status=201)


class OneAddress(Endpoint):
    """One public address, by itself or by its id."""

    @says(ElasticShape, tag=TAG, operation_id="elastic_show")
    def get(self, _request: Request, address: str) -> Response:
        """Show a public address."""
        return _shown(elastic.resolve(self.account, address))

    @says(None, 204, tag=TAG, operation_id="elastic_retire")
    def delete(self, _request: Request, address: str) -> Response:
        """Retire a public address nobody has."""
        elastic.retire(self.account, address)
        return Response(status=204)


class Associate(Endpoint):
    """Where it leads to."""

    @says(ElasticShape, sends=AssociateForm, parameters=[KEY], tag=TAG, operation_id="elastic_associate")
    @once
    def post(self, _request: Request, address: str) -> Response:
        """Have it lead to an instance, in one step away from where it led."""
        target = instances.resolve(self.account, self.sent(AssociateForm)["instance"])
        return _shown(elastic.associate(self.account, address, target.pk))


class Dissociate(Endpoint):
    """It leads nowhere."""

    @says(ElasticShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="elastic_dissociate")
    @once
    def post(self, _request: Request, address: str) -> Response:
        """Have it lead nowhere; it stays allocated."""
        self.sent(Nothing)
        return _shown(elastic.dissociate(self.account, address))


class Release(Endpoint):
    """It is given back."""

    @says(ElasticShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="elastic_release")
    @once
    def post(self, _request: Request, address: str) -> Response:
        """Give it back; after a minute somebody else may get it."""
        self.sent(Nothing)
        return _shown(elastic.release(self.account, address))
