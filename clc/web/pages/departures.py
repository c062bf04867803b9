"""Deleting an account: what it owns, and the choice what becomes of that."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import departure_pictures, departures, people
from clc.web.page import Form, go, page, show
from clc.web.pages.rights import NEEDS
from luhyaapi.contracts.vocabulary import Verb
from luhyaapi.errors import Refused
from luhyadb.models import Account

KINDS = {
    "instances": _("Machines"), "workspaces": _("Workspaces"), "images": _("Images"), "uploads": _("Uploads"), "addresses": _("Public addresses"),
    "security_groups": _("Security groups"), "reservations": _("Reserved addresses"), "grants": _("Further roles"), "shares": _("Shared with them"),
}


def under_way(account: Account) -> dict[str, Any] | None:
    """How far an account is that goes with everything, for a page about it; None: it stays."""
    if departures.of(account) is None:
        return None
    found = departure_pictures.departure(account)
    return found["under_way"] | {"owns": [each | {"title": KINDS[each["kind"]]} for each in found["owns"] if not each["ends_anyway"]]}


@page("people/of/<str:ident>/delete/", "person_delete", needs=NEEDS, under="people", methods=("GET", "HEAD", "POST"))
def delete(request: HttpRequest, ident: str) -> HttpResponse:
    """What there is, and the choice."""
    found = people.find(request.user, ident, Verb.DELETE)
    if request.method != "POST":
        looked = departure_pictures.departure(found)
        owns = [each | {"title": KINDS[each["kind"]]} for each in looked["owns"]]
        return show(request, "people/delete.html", person=found, owns=[each for each in owns if not each["ends_anyway"]],
                    ends=[each for each in owns if each["ends_anyway"]], needed=looked["needed_by_others"], under_way=looked["under_way"],
                    command=f"educloud user delete {found.username} --preview")
    values = Form.of(request).values
    chosen = values.get("choice", "")
    if chosen == "give":
        owner = departures.give(request.user, found.username, values.get("give_to", "").strip(), override_limits="override_limits" in values)
        messages.success(request, gettext("%(name)s is deleted; what they owned is %(owner)s's") % {"name": found.username, "owner": owner.username})
    elif chosen == "everything":
        if not departures.begin(request.user, found.username):
            return go(request, reverse("person", args=[found.username]))
        messages.success(request, gettext("%(name)s is deleted") % {"name": found.username})
    elif chosen == "nothing":
        people.delete(request.user, found.username)
        messages.success(request, gettext("%(name)s is deleted") % {"name": found.username})
    else:
        raise Refused("invalid", "What shall become of what they own?", "give it to somebody, or delete everything", field="choice")
    return go(request, reverse("people"))


@page("people/of/<str:ident>/keep/", "person_keep", needs=NEEDS, under="people", methods=("POST",), back="person")
def keep(request: HttpRequest, ident: str) -> HttpResponse:
    """It stays, with what is left."""
    account = departures.cancel(request.user, ident)
    messages.success(request, gettext("%(name)s stays, with what is left") % {"name": account.username})
    return go(request, reverse("person", args=[account.username]))
