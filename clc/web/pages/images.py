"""Images: list, one with its versions, upload, delete."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from clc.services import images, imports, prefetches, renewals
from clc.web.listing import filters, listed, matching
from clc.web.page import Form, go, is_fragment, page, show
from clc.web.pages import words
from luhyaapi.contracts.vocabulary import ImageState, InstanceState, Part
from luhyaapi.errors import Refused, Trouble
from luhyadb import scope
from luhyadb.models import Image, ImageVersion, Instance, Workspace

_SHOWN_INSTANCES = 100


@page("images/", "images", title=_("Images"), icon="photo", rank=30)
def index(request: HttpRequest) -> HttpResponse:
    """All that somebody may see, by name."""
    chosen = filters(request, ImageState)
    rows = scope.visible_to(request.user, Image).filter(retired=chosen["state"] == ImageState.RETIRED).select_related("owner")
    if chosen["state"]:
        rows = rows.filter(pk__in=ImageVersion.objects.filter(state=chosen["state"]).values("image"))
    if chosen["q"]:
        rows = rows.filter(matching(chosen["q"], "name", "id", "description"))
    found = listed(request, rows, "name")
    spaces = words.open_workspaces(scope.visible_to(request.user, Workspace))
    return show(request, "images/list.html", spaces=spaces, rows=words.images(found.rows), filters=chosen, next_url=found.next_url,
                previous_url=found.previous_url)


@page("images/upload/", "image_upload", admin_only=True, under="images")
def upload(request: HttpRequest) -> HttpResponse:
    """The form; the bytes go by the API, in pieces."""
    return show(request, "images/upload.html", form=Form({}, {}))


@page("images/import/", "image_import", admin_only=True, under="images", methods=("GET", "POST"))
def bring(request: HttpRequest) -> HttpResponse:
    """A disk that lies elsewhere; the store fetches it, and the task tells how that goes."""
    if request.method == "GET":
        return show(request, "images/import.html", form=Form({}, {}))
    form = Form.of(request)
    given = {name: form.values.get(name, "").strip() for name in ("name", "url", "usage", "format", "sha256")}
    try:
        task = imports.begin(request.user, imports.Ask(**given))
    except Trouble as error:
        return show(request, "images/import.html", 422, form=form, error=form.blame(error))
    return go(request, reverse("task", args=(task.pk,)))


@page("images/<str:ident>/", "image", under="images")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One image and the machines made from it."""
    found = images.resolve(request.user, ident)
    return _detail(request, found, None)


def _detail(request: HttpRequest, found: Image, error: dict[str, str] | None, form: Form | None = None) -> HttpResponse:
    made = scope.visible_to(request.user, Instance).filter(image__image=found).exclude(state=InstanceState.DELETED)
    spaces = scope.visible_to(request.user, Workspace).filter(base__image=found)
    shown = words.image(found)
    newest = found.versions.filter(state=ImageState.PUBLISHED).order_by("-version").first()
    wrong = 409 if error else 422 if form and form.errors else 200
    return show(request, "images/detail.html", wrong, image=shown, form=form or Form({}, {}), error=error, spaces=words.open_workspaces(spaces),
                can_modify=any(part["part"] == Part.DISK for v in shown["versions"] for part in v["parts"]),
                outdated=len(renewals.outdated(request.user, newest)) if newest else 0,
                instances=words.instances(made.order_by("-created_at")[:_SHOWN_INSTANCES]))


@page("images/<str:ident>/prefetch/", "image_prefetch", admin_only=True, under="images", methods=("POST",))
def prefetch(request: HttpRequest, ident: str) -> HttpResponse:
    """Bring it to hosts before it is needed."""
    found = images.resolve(request.user, ident)
    form = Form.of(request)
    try:
        names = [name for name in re.split(r"[\s,]+", form.values.get("hosts", "")) if name]
        task = prefetches.prefetch(request.user, found.pk, names, _moment(form.values.get("by", ""), form.values.get("zone", "")))
    except Trouble as error:
        if error.family == "bug" or is_fragment(request):
            raise
        return _detail(request, found, form.blame(error), form)
    messages.success(request, gettext("%(name)s is on its way") % {"name": found.name})
    return go(request, reverse("task", args=[task.pk]))


def _moment(text: str, zone: str) -> float | None:
    """What a browser's field for date and time holds; ``zone`` is how many minutes its clock is behind UTC. Raises Refused(invalid)."""
    if not text.strip():
        return None
    try:
        behind = int(zone or 0)
        return dt.datetime.fromisoformat(text.strip()).replace(tzinfo=dt.UTC).timestamp() + behind * 60
    except (ValueError, OverflowError) as e:
        raise Refused("invalid", "The time is not possible", "give date and time", field="by") from e


@page("images/<str:ident>/renew/", "image_renew", under="images", methods=("POST",))
def renew(request: HttpRequest, ident: str) -> HttpResponse:
    """Put its instances on the newest version."""
    found = images.resolve(request.user, ident)
    try:
        renewed = renewals.renew(request.user, found.pk, transient_only=bool(request.POST.get("transient_only")))
    except Trouble as error:
        if error.family == "bug" or is_fragment(request):
            raise
        return _detail(request, found, error.wire())
    messages.success(request, ngettext("%(n)d machine gets a new system disk", "%(n)d machines get a new system disk", len(renewed.begun))
                     % {"n": len(renewed.begun)})
    if renewed.passed_over:
        messages.warning(request, gettext("%(names)s cannot now; try again later") % {"names": ", ".join(row.name for row in renewed.passed_over)})
    return go(request, reverse("image", args=[found.pk]))


@page("images/<str:ident>/delete/", "image_delete", admin_only=True, under="images", methods=("POST",))
def delete(request: HttpRequest, ident: str) -> HttpResponse:
    """Retire it."""
    found = images.resolve(request.user, ident)
    try:
        images.delete(request.user, found.pk)
    except Refused as error:
        if is_fragment(request):
            raise
        return _detail(request, found, error.wire())
    messages.success(request, gettext("%(name)s is deleted") % {"name": found.name})
    return go(request, reverse("images"))


@page("images/<str:ident>/versions/<int:version>/<str:verb>/", "image_version", admin_only=True, under="images", methods=("POST",))
def version(request: HttpRequest, ident: str, version: int, verb: str) -> HttpResponse:
    """Go back to it, or retire it."""
    if verb not in _VERBS:
        raise Refused("not_found", "There is nothing at this address")
    found = images.resolve(request.user, ident)
    try:
        _VERBS[verb](request.user, found.pk, version)
    except Refused as error:
        if is_fragment(request):
            raise
        return _detail(request, found, error.wire())
    said = {"rollback": gettext("Version %(n)d of %(name)s is the newest again"), "retire": gettext("Version %(n)d of %(name)s is retired")}[verb]
    messages.success(request, said % {"n": version, "name": found.name})
    return go(request, reverse("image", args=[found.pk]))


_VERBS: dict[str, Callable[..., object]] = {"rollback": images.roll_back, "retire": images.retire}
