"""Groups: the tree as a list of paths, make, one with who and what belongs to it, rename or move, give up."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import groups, right_pictures
from clc.web.listing import listed, matching
from clc.web.page import Form, go, page, show
from clc.web.pages import ends, limits, rights, words
from clc.web.pages.rights import NEEDS
from luhyaapi.contracts.vocabulary import InstanceState, Kind, Verb
from luhyadb import paths, scope
from luhyadb.models import Account, Group, Image, Instance
from luhyadb.models.groups import EVERYBODY

_SHOWN = 100


@page("groups/", "groups", title=_("Groups"), icon="folder", rank=61, needs=NEEDS)
def index(request: HttpRequest) -> HttpResponse:
    """Those one sees, by path, and a form for one more."""
    chosen = {"q": request.GET.get("q", "").strip()[:100]}
    rows = scope.visible_to(request.user, Group)
    found = listed(request, rows.filter(matching(chosen["q"], "path")) if chosen["q"] else rows, "path", "id")
    many = right_pictures.belongings(request.user, found.rows)
    return show(request, "rights/groups.html", rows=[{"id": row.pk, "path": groups.shown(row.path)} | many[row.pk] for row in found.rows], filters=chosen,
                next_url=found.next_url, previous_url=found.previous_url, begun=request.GET.get("new", "")[:700],
                **rights.choices(request, Verb.CREATE))


@page("groups/add/", "group_add", needs=NEEDS, under="groups", methods=("POST",), back="groups")
def add(request: HttpRequest) -> HttpResponse:
    """A group below one that is there."""
    row = groups.create(request.user, Form.of(request).values.get("path", ""))
    messages.success(request, gettext("The group %(path)s is made") % {"path": row.path})
    return go(request, reverse("groups"))


@page("groups/<str:ident>/", "group", needs=NEEDS, under="groups")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One group: who is in it, who has which role over it, its images and machines."""
    row, me = groups.resolve(request.user, ident), request.user
    held = scope.held(me)
    instances = scope.visible_to(me, Instance).filter(group=row).exclude(state=InstanceState.DELETED).order_by("-created_at")
    images = scope.visible_to(me, Image).filter(group=row, retired=False).order_by("name")
    return show(
        request, "rights/group.html", group={"id": row.pk, "path": groups.shown(row.path), "created_at": row.created_at, "takes_requests": row.takes_requests},
        many=right_pictures.belongings(me, [row])[row.pk], is_everybody=row.pk == EVERYBODY,
        may={str(verb): held.may(Kind.ACCOUNT, verb, row.path) for verb in Verb} | {
            "move": row.pk != EVERYBODY and held.may(Kind.ACCOUNT, Verb.WRITE, row.path) and held.may(Kind.ACCOUNT, Verb.CREATE, paths.parent(row.path))},
        people=list(scope.visible_to(me, Account).filter(group=row, is_active=True).order_by("username")[:_SHOWN]),
        over=[each | {"group": groups.shown(each["group"])} for each in right_pictures.over(me, row)],
        below=[{"id": each.pk, "path": each.path} for each in scope.visible_to(me, Group).filter(parent=row).order_by("path")[:_SHOWN]],
        images=words.images(images[:_SHOWN]), instances=words.instances(instances[:_SHOWN]),
        command=f"educloud group show {groups.shown(row.path)}", **rights.choices(request, Verb.CREATE),
        **limits.card(request, group=row), **ends.card(request, group=row),
    )


@page("groups/<str:ident>/move/", "group_move", needs=NEEDS, under="groups", methods=("POST",), back="group")
def move(request: HttpRequest, ident: str) -> HttpResponse:
    """Another path, with all below it."""
    row = groups.move(request.user, ident, Form.of(request).values.get("path", ""))
    messages.success(request, gettext("The group is %(path)s now") % {"path": row.path})
    return go(request, reverse("group", args=[row.pk]))


@page("groups/<str:ident>/delete/", "group_delete", needs=NEEDS, under="groups", methods=("POST",), back="group")
def delete(request: HttpRequest, ident: str) -> HttpResponse:
    """Give it up."""
    row = groups.delete(request.user, ident)
    messages.success(request, gettext("The group %(path)s is given up") % {"path": row.path})
    return go(request, reverse("groups"))
