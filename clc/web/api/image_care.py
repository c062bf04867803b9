"""/api/v1/images/: which versions stay, who uses them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import comparisons, image_pictures, images, lineage, pictures, retention
from clc.web.api.endpoint import Endpoint
from clc.web.api.image_shapes import DifferenceShape, LineageShape, RetentionShape, VersionUsesShape
from clc.web.api.images import TAG
from clc.web.api.once import once
from clc.web.api.shapes import KEY, ImageShape, TaskShape, many, says
from clc.web.rest import Form, Nothing, Whole, accepted
from luhyaapi.contracts.vocabulary import Verb
from luhyaapi.errors import Refused
from luhyadb.models import Image


class RetentionForm(Form):
    """How many of the newest versions are kept."""

    keep = Whole(allow_null=True, help_text="null: as many as the settings say; 0: all.")


class Retention(Endpoint):
    """Which versions of an image stay."""

    def _found(self, image: str) -> Image:
        return images.resolve(self.account, image, Verb.WRITE)

    @says(RetentionShape, tag=TAG, operation_id="images_retention",
          parameters=[OpenApiParameter("keep", int, description="As if so many of the newest versions were kept; nothing is changed.")])
    def get(self, request: Request, image: str) -> Response:
        """Show which versions the image's rule keeps, and why, and which would go (who may change it)."""
        text = request.query_params.get("keep", "")
        if text and not (text.isascii() and text.isdigit() and int(text[:9]) <= retention.KEEP_AT_MOST):
            raise Refused("invalid", "keep is not possible", f"give 0 to {retention.KEEP_AT_MOST}; 0: all are kept", field="keep")
        return Response(image_pictures.retention(self._found(image), int(text) if text else None))

    @says(RetentionShape, sends=RetentionForm, tag=TAG, operation_id="images_retain")
    def put(self, _request: Request, image: str) -> Response:
        """Set how many of the newest versions are kept; older ones that nobody uses or pinned are retired at once (who may change it)."""
        went = images.keep(self.account, image, self.sent(RetentionForm)["keep"])
        return Response(image_pictures.retention(self._found(image), None, went))


class Pin(Endpoint):
    """A version that no rule retires."""

    @says(ImageShape, sends=Nothing, tag=TAG, operation_id="images_pin")
    def put(self, _request: Request, image: str, version: int) -> Response:
        """Pin a version: no rule retires it (who may change it)."""
        self.sent(Nothing)
        return self._pinned(image, version, on=True)

    @says(ImageShape, tag=TAG, operation_id="images_unpin")
    def delete(self, _request: Request, image: str, version: int) -> Response:
        """Unpin a version (who may change it)."""
        return self._pinned(image, version, on=False)

    def _pinned(self, image: str, version: int, **how: Any) -> Response:
        return Response(image_pictures.image(images.pin(self.account, image, min(version, 2**31 - 1), **how)))


class Uses(Endpoint):
    """Who needs an image."""

    @says(many("VersionUses", VersionUsesShape), tag=TAG, operation_id="images_uses")
    def get(self, _request: Request, image: str) -> Response:
        """List who needs which version: nobody can delete that (who may change it)."""
        found = images.resolve(self.account, image, Verb.WRITE)
        return Response({"results": image_pictures.uses(found), "next": None})


class Lineage(Endpoint):
    """Where versions come from."""

    @says(many("Lineage", LineageShape), tag=TAG, operation_id="images_lineage")
    def get(self, _request: Request, image: str) -> Response:
        """List where each version comes from, oldest first."""
        return Response({"results": lineage.of(images.resolve(self.account, image)), "next": None})


class DiffForm(Form):
    """Two versions of the image."""

    one = Whole(min_value=1)
    other = Whole(min_value=1)


class Diff(Endpoint):
    """What versions share."""

    @says({200: DifferenceShape, 202: TaskShape}, sends=DiffForm, parameters=[KEY], tag=TAG, operation_id="images_compare")
    @once
    def post(self, _request: Request, image: str) -> Response:
        """Tell what two versions share, or have the store find it out: then its task; asked again when that is done it is told (who may change it)."""
        asked = self.sent(DiffForm)
        row, task = comparisons.compare(self.account, image, asked["one"], asked["other"])
        return Response(image_pictures.difference(row)) if task is None else accepted(task.pk, pictures.task(task))

    @says(many("Difference", DifferenceShape), tag=TAG, operation_id="images_compared")
    def get(self, _request: Request, image: str) -> Response:
        """List what is known already of the image's versions."""
        found = comparisons.known(images.resolve(self.account, image))
        return Response({"results": [image_pictures.difference(row) for row in found], "next": None})
