"""With whom an image or an instance is shared: the card on its page, what its forms do, and who may do what with it."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext

from clc.services import explain, groups, shares
from clc.web.listing import listed
from clc.web.page import Form, at_field, go, page, show
from clc.web.pages import rights
from clc.web.pages.words import Shown
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, Image, Instance, Share

_SHOWN_SHARES = 200
_PAGE_SIZE = 20


def card(request: HttpRequest, noun: str, row: Image | Instance) -> Shown:
    """What the card "Sharing" shows to who may change it."""
    shown = [{"id": each.pk, "verb": Verb(each.verb), "with": _with(each), "is_group": each.account is None} for each in shares.of(row)[:_SHOWN_SHARES]]
    return {"shares": shown, "share_at": reverse(f"{noun}_share", args=[row.pk]), "who_at": reverse(f"{noun}_who", args=[row.pk]),
            "unshare": f"{noun}_unshare", "of": row.pk, "group": groups.shown(row.group.path), "group_paths": rights.group_paths(request, Verb.READ)}


def _with(row: Share) -> str:
    return row.account.username if row.account else groups.shown(row.group.path)


def _share(request: HttpRequest, ident: str, noun: str) -> HttpResponse:
    """Share it with a person or a group."""
    values = {name: value.strip() for name, value in Form.of(request).values.items()}
    row = explain.subject(request.user, noun, ident)
    group = ""
    if values.get("with_group"):
        with at_field("group"):
            group = groups.resolve(request.user, values["with_group"]).pk
    made = shares.share(request.user, row, values.get("verbs", "").split(), person=values.get("with_user", ""), group=group)
    messages.success(request, gettext("%(name)s is shared with %(to)s") % {"name": row.name, "to": _with(made[0])})
    return go(request, reverse(noun, args=[row.pk]) + "#sharing")


def _end(request: HttpRequest, ident: str, share: str, noun: str) -> HttpResponse:
    """Share it no more."""
    row = explain.subject(request.user, noun, ident)
    with at_field("share"):
        if not shares.of(row).filter(pk=share).exists():
            raise Refused("not_found", f"There is no share {share[:63]!r}", "nothing you may see has that id")
        ended = shares.end(request.user, share)
    messages.success(request, gettext("%(name)s is shared with %(to)s no more") % {"name": row.name, "to": _with(ended)})
    return go(request, reverse(noun, args=[row.pk]) + "#sharing")


def _who(request: HttpRequest, ident: str, noun: str) -> HttpResponse:
    """All who may do that with it, and why."""
    row = explain.subject(request.user, noun, ident)
    asked = request.GET.get("verb", "")
    verb = Verb(asked) if asked in rights.ASKED else Verb.READ
    found = listed(request, explain.who(request.user, row, verb), "username", size=_PAGE_SIZE)
    why = scope.reasons_of(found.rows, row, verb)
    manages = set(scope.visible_to(request.user, Account).filter(pk__in=[each.pk for each in found.rows]).values_list("pk", flat=True))
    rows = [{"username": each.username, "is_managed": each.pk in manages, "reasons": rights.reasons(why[each.pk])} for each in found.rows]
    return show(request, "rights/who.html", rows=rows, name=row.name, at=reverse(noun, args=[row.pk]), kind=Kind(noun), verb=verb, verbs=rights.ASKED,
                next_url=found.next_url, previous_url=found.previous_url, command=f"educloud permission who {verb} {noun} {row.name}")


def _pages(noun: str) -> None:
    more: dict[str, Any] = {"under": f"{noun}s", "back": noun}
    fields = {"user": "with_user", "group": "with_group", "path": "with_group"}
    page(f"{noun}s/<str:ident>/shares/add/", f"{noun}_share", methods=("POST",), fields=fields, **more)(partial(_share, noun=noun))
    page(f"{noun}s/<str:ident>/shares/<str:share>/end/", f"{noun}_unshare", methods=("POST",), **more)(partial(_end, noun=noun))
    page(f"{noun}s/<str:ident>/shares/who/", f"{noun}_who", **more)(partial(_who, noun=noun))


for _noun in ("image", "instance"):
    _pages(_noun)
