"""Images: list, one with its versions, upload, delete."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from functools import partial

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from clc.services import (
    comparisons,
    groups,
    image_pictures,
    image_properties,
    images,
    imports,
    prefetches,
    renewals,
    uploads,
)
from clc.web.listing import filters, listed, matching
from clc.web.page import Form, form_of, go, may_somewhere, page, show
from clc.web.pages import arrivals, shares, timeline, words
from luhyaapi.contracts.vocabulary import ImageState, InstanceState, Kind, Part, Verb
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Image, ImageVersion, Instance, Workspace

_SHOWN_INSTANCES = 100
_TITLES = {
    "disk_bus": _("Disks"), "vif_model": _("Network card"), "video_model": _("Graphics card"), "pointer_model": _("Pointer"),
    "machine_type": _("Main board"), "firmware_type": _("Firmware"), "clock": _("Clock"),
}


def _properties() -> list[dict[str, object]]:
    """The pieces of hardware one may choose, as a form shows them."""
    return [{"name": name, "title": _TITLES[name], "words": words} for name, words in image_properties.CHOICES.items()]


def _said(form: Form, *, unsaid: bool) -> dict[str, str]:
    """The properties in a form; ``unsaid``: an empty one is not given."""
    given = {name: form.values[name].strip() for name in image_properties.NAMES if name in form.values}
    return {name: value for name, value in given.items() if value or not unsaid}


def _chosen(form: Form, image: words.Shown | None = None) -> words.Shown:
    """What the fields of the properties show: what was typed, else what is said of the image."""
    known = image or {"hardware": {}}
    return known | form.values | {"hardware": known["hardware"] | form.values}


def _may_bring(request: HttpRequest) -> bool:
    """Whether somebody may bring in an image, or the next version of one: by a role somewhere, or of one that is theirs or shared with them."""
    if any(may_somewhere(request, Kind.IMAGE, verb) for verb in (Verb.CREATE, Verb.WRITE)):
        return True
    return bool(scope.visible_to(request.user, Image, Verb.WRITE).exists())


def _require_may_bring(request: HttpRequest) -> None:
    if not _may_bring(request):
        raise Refused("not_found", "There is no such page")


@page("images/", "images", title=_("Images"), icon="photo", rank=30)
def index(request: HttpRequest) -> HttpResponse:
    """All that somebody may see, by name."""
    chosen = filters(request, ImageState)
    sort, group = request.GET.get("sort", ""), request.GET.get("group", "")[:200]
    chosen |= {"sort": sort if sort in image_properties.SORTS else "name", "group": group}
    rows = scope.visible_to(request.user, Image).filter(retired=chosen["state"] == ImageState.RETIRED).select_related("owner", "group")
    known = sorted(set(rows.exclude(group__path="").order_by().values_list("group__path", flat=True)))
    if group:
        rows = groups.belonging(rows, [group])
    if chosen["state"]:
        rows = rows.filter(pk__in=ImageVersion.objects.filter(state=chosen["state"]).values("image"))
    if chosen["q"]:
        rows = rows.filter(matching(chosen["q"], "name", "id", "description"))
    rows, newest = image_properties.ordered_by(rows, chosen["sort"])
    found = listed(request, rows, *dict.fromkeys([f"{'-' * newest}{chosen['sort']}", "name"]))
    spaces = words.open_workspaces(scope.visible_to(request.user, Workspace))
    half_done = {row.version.image_id for row in uploads.half_done(request.user)}
    return show(request, "images/list.html", spaces=spaces, groups=known, rows=words.images(found.rows, request.user), filters=chosen,
                next_url=found.next_url, previous_url=found.previous_url, half_done=half_done, may_bring=_may_bring(request))


@page("images/upload/", "image_upload", under="images")
def upload(request: HttpRequest) -> HttpResponse:
    """The form; the bytes go by the API, in pieces."""
    _require_may_bring(request)
    return show(request, "images/upload.html", form=Form({"name": request.GET.get("name", "")[:63]}, {}), properties=_properties(),
                half_done=arrivals.of(uploads.half_done(request.user)))


@page("images/import/", "image_import", under="images", methods=("GET", "POST"))
def bring(request: HttpRequest) -> HttpResponse:
    """A disk that lies elsewhere; the store fetches it, and the task tells how that goes."""
    _require_may_bring(request)
    if request.method == "GET":
        left = form_of(request)
        is_taken = "name" in left.errors and scope.visible_to(request.user, Image).filter(name=left.values.get("name"), retired=False).exists()
        return show(request, "images/import.html", properties=_properties(), chosen=_chosen(left), is_taken=is_taken)
    form = Form.of(request)
    given = {name: form.values.get(name, "").strip() for name in ("name", "url", "usage", "format", "sha256")}
    task = imports.begin(request.user, imports.Ask(**given, new_version=bool(form.values.get("new_version")), more=_said(form, unsaid=True)))
    return go(request, reverse("task", args=(task.pk,)))


@page("images/<str:ident>/", "image", under="images")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One image and the machines made from it."""
    found = images.resolve(request.user, ident)
    asked = request.GET.get("keep", "")
    keep = _number(asked)
    made = scope.visible_to(request.user, Instance).filter(image__image=found).exclude(state=InstanceState.DELETED)
    spaces = scope.visible_to(request.user, Workspace).filter(base__image=found)
    shown = words.image(found, request.user)
    newest = found.versions.filter(state=ImageState.PUBLISHED).order_by("-version").first()
    rule = None
    if shown["may"]["write"]:
        rule = words.rule(found, keep if keep >= 0 else None)
    if request.user.is_admin:
        needed = words.used(found)
        shown["versions"] = [v | {"used_by": needed.get(v["version"])} for v in shown["versions"]]
    return show(request, "images/detail.html", image=shown, timeline=timeline.of(found), rule=rule,
                half_done=arrivals.of(row for row in uploads.half_done(request.user) if row.version.image_id == found.pk),
                can_compare=request.user.is_admin and shown["published_count"] > 1,
                differences=[image_pictures.difference(row) for row in comparisons.known(found)],
                comparing=[{"one": row.one.version, "other": row.other.version, "task": words.task(task)} for row, task in comparisons.going_on(found)],
                properties=_properties(), chosen=_chosen(form_of(request), shown),
                spaces=words.open_workspaces(spaces),
                can_derive=shown["may"]["execute"] and scope.held(request.user).may(Kind.IMAGE, Verb.CREATE, found.group.path),
                can_modify=any(part["part"] == Part.DISK for v in shown["versions"] for part in v["parts"]),
                outdated=len(renewals.outdated(request.user, newest)) if newest else 0,
                sharing=shares.card(request, "image", found) if shown["may"]["write"] else None,
                instances=words.instances(made.order_by("-created_at")[:_SHOWN_INSTANCES]))


@page("images/<str:ident>/prefetch/", "image_prefetch", admin_only=True, under="images", methods=("POST",), back="image")
def prefetch(request: HttpRequest, ident: str) -> HttpResponse:
    """Bring it to hosts before it is needed."""
    found = images.resolve(request.user, ident)
    values = Form.of(request).values
    names = [name for name in re.split(r"[\s,]+", values.get("hosts", "")) if name]
    task = prefetches.prefetch(request.user, found.pk, names, _moment(values.get("by", ""), values.get("zone", "")))
    messages.success(request, gettext("%(name)s is on its way") % {"name": found.name})
    return go(request, reverse("task", args=[task.pk]))


@page("images/<str:ident>/change/", "image_change", under="images", methods=("POST",), back="image")
def change(request: HttpRequest, ident: str) -> HttpResponse:
    """Change what is said of it."""
    found = images.resolve(request.user, ident)
    images.change(request.user, found.pk, _said(Form.of(request), unsaid=False))
    messages.success(request, gettext("%(name)s is changed") % {"name": found.name})
    return go(request, reverse("image", args=[found.pk]))


@page("images/<str:ident>/retention/", "image_retention", under="images", methods=("POST",), back="image")
def retention(request: HttpRequest, ident: str) -> HttpResponse:
    """Set how many of its newest versions are kept, or only look what that would let go."""
    found = images.resolve(request.user, ident)
    there = reverse("image", args=[found.pk])
    number = _number(request.POST.get("keep", ""))
    if request.POST.get("look") and number >= 0:
        return go(request, f"{there}?keep={number}")
    images.keep(request.user, found.pk, number)
    messages.success(request, gettext("%(name)s is changed") % {"name": found.name})
    return go(request, there)


def _number(text: str) -> int:
    """A whole number; -1 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


@page("images/<str:ident>/diff/", "image_diff", admin_only=True, under="images", methods=("POST",), back="image")
def diff(request: HttpRequest, ident: str) -> HttpResponse:
    """Have two of its versions compared; what is known stands on its page."""
    found = images.resolve(request.user, ident)
    one, other = (max(_number(request.POST.get(name, "")), 0) for name in ("one", "other"))
    comparisons.compare(request.user, found.pk, one, other)
    return go(request, reverse("image", args=[found.pk]) + "#differences")


def _moment(text: str, zone: str) -> float | None:
    """What a browser's field for date and time holds; ``zone`` is how many minutes its clock is behind UTC. Raises Refused(invalid)."""
    if not text.strip():
        return None
    try:
        behind = int(zone or 0)
        return dt.datetime.fromisoformat(text.strip()).replace(tzinfo=dt.UTC).timestamp() + behind * 60
    except (ValueError, OverflowError) as e:
        raise Refused("invalid", "The time is not possible", "give date and time", field="by") from e


@page("images/<str:ident>/renew/", "image_renew", under="images", methods=("POST",), back="image")
def renew(request: HttpRequest, ident: str) -> HttpResponse:
    """Put its instances on the newest version."""
    found = images.resolve(request.user, ident)
    renewed = renewals.renew(request.user, found.pk, transient_only=bool(request.POST.get("transient_only")))
    messages.success(request, ngettext("%(n)d machine gets a new system disk", "%(n)d machines get a new system disk", len(renewed.begun))
                     % {"n": len(renewed.begun)})
    if renewed.passed_over:
        messages.warning(request, gettext("%(names)s cannot now; try again later") % {"names": ", ".join(row.name for row in renewed.passed_over)})
    return go(request, reverse("image", args=[found.pk]))


@page("images/<str:ident>/delete/", "image_delete", under="images", methods=("POST",), back="image")
def delete(request: HttpRequest, ident: str) -> HttpResponse:
    """Retire it."""
    found = images.resolve(request.user, ident)
    images.delete(request.user, found.pk)
    messages.success(request, gettext("%(name)s is deleted") % {"name": found.name})
    return go(request, reverse("images"))


@page("images/<str:ident>/versions/<int:version>/<str:verb>/", "image_version", under="images", methods=("POST",), back="image")
def version(request: HttpRequest, ident: str, version: int, verb: str) -> HttpResponse:
    """Go back to it, retire it, or have no rule retire it."""
    if verb not in _VERBS:
        raise Refused("not_found", "There is nothing at this address")
    found = images.resolve(request.user, ident)
    _VERBS[verb](request.user, found.pk, version)
    said = {"rollback": gettext("Version %(n)d of %(name)s is the newest again"), "retire": gettext("Version %(n)d of %(name)s is retired"),
            "pin": gettext("Version %(n)d of %(name)s is pinned"), "unpin": gettext("Version %(n)d of %(name)s is pinned no more")}[verb]
    messages.success(request, said % {"n": version, "name": found.name})
    return go(request, reverse("image", args=[found.pk]))


_VERBS: dict[str, Callable[..., object]] = {"rollback": images.roll_back, "retire": images.retire, "pin": partial(images.pin, on=True),
                                            "unpin": partial(images.pin, on=False)}
