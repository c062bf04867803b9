"""/api/v1/uploads/: bringing images in, piece by piece."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import image_pictures, images, pictures, uploads
from clc.web.api import store
from clc.web.api.endpoint import Endpoint
from clc.web.api.image_forms import NEW_VERSION, USAGE, PropertiesForm, apart
from clc.web.api.once import once
from clc.web.api.shapes import BYTES, KEY, ArrivedShape, TaskShape, UploadShape, says
from clc.web.rest import Form, Text, Whole, accepted
from luhyaapi.errors import Refused, Trouble
from luhyadb import memory, scope
from luhyadb.models import Account, Upload

TAG = "uploads"
PIECE_AT_MOST = 16 * 1024 * 1024


class PartForm(Form):
    """One file of the new version."""

    part = Text(max_length=20)
    size_bytes = Whole()
    format = Text(max_length=20, required=False, allow_blank=True, default="")
    sha256 = Text(max_length=64, required=False, allow_blank=True, default="")


class UploadForm(PropertiesForm):
    """A new image, or the next version of an image."""

    name = Text(max_length=80)
    parts = PartForm(many=True, allow_empty=False)
    new_version = serializers.BooleanField(required=False, default=False, help_text=NEW_VERSION)
    usage = Text(max_length=20, required=False, allow_blank=True, default="", help_text=USAGE)
    description = Text(max_length=2000, required=False, allow_blank=True, default="", lines=True)
    os_type = Text(max_length=40, required=False, allow_blank=True, default="")
    cmdline = Text(max_length=1024, required=False, allow_blank=True, default="")


class DoneForm(Form):
    """What was sent."""

    class Part(Form):
        """One file as it was sent."""

        part = Text(max_length=20)
        sha256 = Text(max_length=64, required=False, allow_blank=True, default="")
        size_bytes = Whole(required=False)

    parts = Part(many=True, required=False, default=list)


class AnyBytes(BaseParser):
    """Leaves the body where it is: it is read in pieces."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """The stream itself."""
        del media_type, parser_context
        return stream


def _mine(account: Account, upload: str) -> Upload:
    return uploads.find(account, upload)


class Uploads(Endpoint):
    """New uploads."""

    @says(UploadShape, 201, sends=UploadForm, parameters=[KEY], tag=TAG, operation_id="uploads_begin")
    @once
    def post(self, _request: Request) -> Response:
        """Begin to upload a new image, or with `new_version` the next version of an image (who may make or change images there)."""
        sent = self.sent(UploadForm)
        sent["parts"] = tuple(dict(p) for p in sent["parts"])
        with memory.atomic():
            row = uploads.begin(self.account, images.Ask(**apart(sent)))
            received = store.begin(*uploads.store_door(row), row.parts)
        return Response(image_pictures.upload(row, received), 201)


class OneUpload(Endpoint):
    """An upload under way."""

    @says(UploadShape, tag=TAG, operation_id="uploads_show")
    def get(self, _request: Request, upload: str) -> Response:
        """Show what has arrived: where to go on after a cut."""
        row = _mine(self.account, upload)
        return Response(image_pictures.upload(row, store.arrived(*uploads.store_door(row))))

    @says({204: None, 202: TaskShape}, tag=TAG, operation_id="uploads_abandon")
    def delete(self, _request: Request, upload: str) -> Response:
        """Give up an upload, of one's own or as an administrator: nothing of it is kept (204; also when there is none).

        Once it is complete, its task is cancelled (202): that tells how it ends.
        """
        row = scope.visible_to(self.account, Upload).filter(pk=upload).first()
        if row is None and self.account.is_admin:
            return Response(status=204)
        row = row or _mine(self.account, upload)
        with memory.atomic():
            task = uploads.abandon(self.account, row.pk)
            if task is None:
                store.abandon(*uploads.store_door(row))
        return Response(status=204) if task is None else accepted(task.pk, pictures.task(task))


class Piece(Endpoint):
    """The bytes of an upload."""

    parser_classes = (AnyBytes,)

    @says(ArrivedShape, sends={"application/octet-stream": BYTES}, tag=TAG, operation_id="uploads_piece",
          parameters=[OpenApiParameter("offset", int, required=True, description="Where the piece belongs, in bytes.")])
    def put(self, request: Request, upload: str, part: str) -> Response:
        """Send the next piece of a file, at most 16 MiB; a piece that is there already is harmless."""
        row = _mine(self.account, upload)
        offset, length = request.query_params.get("offset", ""), request.META.get("CONTENT_LENGTH") or ""
        if not (offset.isascii() and offset.isdigit() and len(offset) < 19):
            raise Refused("invalid", "The offset is missing", "?offset=N tells where the piece belongs", field="offset")
        if not (length.isascii() and length.isdigit() and len(length) < 19 and 0 < int(length) <= PIECE_AT_MOST):
            raise Refused("invalid", "The piece cannot be taken", f"Content-Length is 1 to {PIECE_AT_MOST}")
        if part not in [p["part"] for p in row.parts]:
            raise Refused("not_found", f"This upload has no part {part[:20]!r}")
        door, ticket = uploads.store_door(row)
        try:
            received = store.send(door, ticket, part, int(offset), request._request, int(length))  # noqa: SLF001 - Django's own stream
        except Trouble as e:
            if e.code == "state":
                e.params["received_bytes"] = store.arrived(door, ticket).get(part, 0)
            raise
        return Response({"part": part, "received_bytes": received})


class Complete(Endpoint):
    """The end of an upload."""

    @says(TaskShape, 202, sends=DoneForm, parameters=[KEY], tag=TAG, operation_id="uploads_complete")
    @once
    def post(self, _request: Request, upload: str) -> Response:
        """Everything is sent: have it checked and published; the task tells how that goes."""
        row = _mine(self.account, upload)
        said = self.sent(DoneForm)["parts"]
        sizes = {p["part"]: p["size"] for p in row.parts}
        for each in said:
            if each["part"] not in sizes or each.get("size_bytes", sizes[each["part"]]) != sizes[each["part"]]:
                raise Refused("invalid", f"The part {each['part']!r} is not as announced", "its name or size is another", field="parts")
        task = uploads.complete(self.account, row.pk, tuple(dict(p) for p in said))
        return accepted(task.pk, pictures.task(task))
