"""/api/v1/images/: images, their versions and their bytes."""

from __future__ import annotations

from typing import ClassVar

from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from clc.services import groups, image_pictures, image_properties, images, imports, pictures, prefetches, renewals
from clc.web.api import store
from clc.web.api.endpoint import Endpoint
from clc.web.api.image_forms import NEW_VERSION, USAGE, ChangeForm, PropertiesForm, apart
from clc.web.api.once import once
from clc.web.api.shapes import BYTES, KEY, ImageShape, RenewedShape, TaskShape, VersionShape, asks, listed, many, says
from clc.web.rest import Filters, Form, Nothing, Text, accepted, exactly, narrowed, page
from luhyaapi.contracts.vocabulary import Architecture, DiskFormat, ImageState, Part, Usage
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Image

TAG = "images"


class Images(Endpoint):
    """All images."""

    filters: ClassVar[Filters] = {
        "name": exactly("name"), "usage": exactly("usage", Usage), "state": lambda rows, asked: exactly("versions__state", ImageState)(rows, asked).distinct(),
        "architecture": exactly("architecture", Architecture), "os_type": exactly("os_type"), "os_distro": exactly("os_distro"),
        "owner_group": lambda rows, asked: groups.belonging(rows, asked.split(",")), "sort": lambda rows, _asked: rows,
    }

    @says(listed("Image", ImageShape), tag=TAG, operation_id="images_list", parameters=[
        *asks(*(f for f in filters if f != "sort")),
        OpenApiParameter("sort", str, description=f"{', '.join(image_properties.SORTS)}; texts from A, dates newest first. created_at when left out."),
    ])
    def get(self, request: Request) -> Response:
        """List images, newest first. `owner_group` also finds the groups below it."""
        rows = narrowed(request, scope.visible_to(self.account, Image).filter(retired=False), self.filters)
        sort = request.query_params.get("sort", "created_at")
        rows, newest = image_properties.ordered_by(rows, sort)
        return page(request, rows, image_pictures.images, by=sort, newest=newest, is_text=not newest)


class ImportForm(PropertiesForm):
    """A disk somewhere, for a new image or the next version of one."""

    name = Text(max_length=80)
    url = Text(max_length=8192, help_text="http, https or ftp, without user name and password.")
    new_version = serializers.BooleanField(required=False, default=False, help_text=NEW_VERSION)
    usage = Text(max_length=20, required=False, allow_blank=True, default="", help_text=USAGE)
    description = Text(max_length=2000, required=False, allow_blank=True, default="", lines=True)
    os_type = Text(max_length=40, required=False, allow_blank=True, default="")
    format = Text(max_length=20, required=False, allow_blank=True, default="", help_text="qcow2, raw, or nothing: it is found out.")
    sha256 = Text(max_length=64, required=False, allow_blank=True, default="", help_text="Of the file as it lies there.")


class Import(Endpoint):
    """Images from elsewhere."""

    @says(TaskShape, 202, sends=ImportForm, parameters=[KEY], tag=TAG, operation_id="images_import")
    @once
    def post(self, _request: Request) -> Response:
        """Have a disk fetched from a URL, checked and published; the task tells how that goes (administrators)."""
        task = imports.begin(self.account, imports.Ask(**apart(self.sent(ImportForm))))
        return accepted(task.pk, pictures.task(task))


class OneImage(Endpoint):
    """One image, by id or name."""

    @says(ImageShape, tag=TAG, operation_id="images_show")
    def get(self, _request: Request, image: str) -> Response:
        """Show an image with its versions."""
        return Response(image_pictures.image(images.resolve(self.account, image)))

    @says(ImageShape, sends=ChangeForm, tag=TAG, operation_id="images_change")
    def patch(self, _request: Request, image: str) -> Response:
        """Change what is said of an image, and the hardware of its newest version, `name:version` for a certain one (administrators)."""
        return Response(image_pictures.image(images.change(self.account, image, self.sent(ChangeForm))))

    @says(None, 204, tag=TAG, operation_id="images_delete")
    def delete(self, _request: Request, image: str) -> Response:
        """Delete an image and all its versions (administrators)."""
        images.delete(self.account, image)
        return Response(status=204)


class Versions(Endpoint):
    """The versions of an image."""

    @says(many("Version", VersionShape), tag=TAG, operation_id="images_versions")
    def get(self, _request: Request, image: str) -> Response:
        """List the versions of an image, oldest first."""
        rows = images.resolve(self.account, image).versions.order_by("version")
        return Response({"results": image_pictures.versions(rows), "next": None})


class OneVersion(Endpoint):
    """One version of an image."""

    @says(None, 204, tag=TAG, operation_id="images_retire")
    def delete(self, _request: Request, image: str, version: int) -> Response:
        """Retire one version: its files go unless others need them (administrators)."""
        images.retire(self.account, image, version)
        return Response(status=204)


class RollBack(Endpoint):
    """Going back to a version."""

    @says(ImageShape, sends=Nothing, parameters=[KEY], tag=TAG, operation_id="images_rollback")
    @once
    def post(self, _request: Request, image: str, version: int) -> Response:
        """Publish an older version again, as the newest (administrators)."""
        self.sent(Nothing)
        row = images.roll_back(self.account, image, version)
        return Response(image_pictures.image(row.image))


class PrefetchForm(Form):
    """Where an image shall be, and when."""

    hosts = serializers.ListField(
        child=Text(max_length=63), required=False, default=[prefetches.ALL], max_length=1000, help_text="Names or ids of clusters and nodes; `all`: each.",
    )
    by = serializers.DateTimeField(required=False, allow_null=True, default=None, help_text="When it shall be there, at most three days ahead; null: now.")


class Prefetch(Endpoint):
    """An image on its way before it is needed."""

    @says(TaskShape, 202, sends=PrefetchForm, parameters=[KEY], tag=TAG, operation_id="images_prefetch")
    @once
    def post(self, _request: Request, image: str) -> Response:
        """Bring an image (`name:version` for a certain version) to hosts before it is needed (administrators).

        It begins at once. A host that is away is waited for until the time; what came is kept there until six hours after it.
        """
        asked = self.sent(PrefetchForm)
        task = prefetches.prefetch(self.account, image, asked["hosts"], asked["by"].timestamp() if asked["by"] else None)
        return accepted(task.pk, pictures.task(task))


class RenewForm(Form):
    """Which instances."""

    transient_only = serializers.BooleanField(required=False, default=False, help_text="Leave out those whose system disk is to be kept.")


class Renew(Endpoint):
    """Instances on the newest version."""

    @says(RenewedShape, 202, sends=RenewForm, parameters=[KEY], tag=TAG, operation_id="images_renew")
    @once
    def post(self, _request: Request, image: str) -> Response:
        """Put all instances that one may restore and that have an older version of an image on its newest one.

        Each gets a new system disk, by a task of its own; all that was on the old one is lost. What runs is stopped and started again.
        """
        found = renewals.renew(self.account, image, **self.sent(RenewForm))
        answer = {"results": pictures.instances(found.begun), "passed_over": [row.pk for row in found.passed_over]}
        return accepted(found.begun[0].task if found.begun else "", answer)


class PartBytes(Endpoint):
    """One file of a version."""

    @says(BYTES, tag=TAG, operation_id="images_download",
          parameters=[OpenApiParameter("as", str, description="`qcow2` for a disk in that format, without its holes; else the raw bytes.")])
    def get(self, request: Request, image: str, version: int, part: str) -> StreamingHttpResponse:
        """Download one file (disk, kernel, initrd) of a published version; Range is honoured."""
        asked = request.query_params.get("as", "raw")
        if asked not in list(DiskFormat) or (asked == DiskFormat.QCOW2 and part != Part.DISK):
            raise Refused("invalid", "as is not possible", "raw; of a disk also qcow2", field="as")
        row = images.resolve(self.account, image)
        found = row.versions.filter(version=min(version, 2**31 - 1), state=ImageState.PUBLISHED).first()
        file = next((b for b in found.blobs if b["part"] == part), None) if found else None
        if found is None:
            raise Refused("not_found", f"There is no version {version} of {row.name} to read", "only published versions can be read")
        if file is None:
            raise Refused("not_found", f"Version {version} of {row.name} has no {part[:20]!r}",
                          f"it has {', '.join(sorted(b['part'] for b in found.blobs))}")
        return store.blob(request._request, file["sha256"],  # noqa: SLF001 - Django's own request
                          f"{row.name}-{found.version}-{part}.{asked}",
                          "/qcow2" if asked == DiskFormat.QCOW2 else "")
