"""What several pages show of rights: the groups and access roles a form offers, and why somebody may or may not."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from clc.services import access_roles, explain, groups, people, right_pictures
from clc.web.page import Form
from clc.web.pages.words import Shown
from luhyaapi.contracts.vocabulary import Kind, Verb
from luhyaapi.errors import Refused
from luhyadb import scope
from luhyadb.models import Account, Group

NEEDS = (Kind.ACCOUNT, Verb.READ, Verb.CREATE)
"""Who has to do with people at all."""
_OFFERED = 200
ASKED_OF = (Kind.IMAGE, Kind.INSTANCE)
"""The kinds of what a page can be asked about."""
ASKED = (Verb.READ, Verb.WRITE, Verb.EXECUTE, Verb.DELETE)


def choices(request: HttpRequest, verb: Verb) -> dict[str, Any]:
    """The roles somebody may give, and the groups whose people they may do that with."""
    roles = [name for name in access_roles.givable(request.user) if request.user.is_admin or name != people.ALL]
    return {"roles": roles, "group_paths": group_paths(request, verb)}


def group_paths(request: HttpRequest, verb: Verb) -> list[str]:
    """The paths of the first groups with which somebody may do that, for a field's list; others can be typed."""
    found = scope.visible_to(request.user, Group, verb).order_by("path", "id").values_list("path", flat=True)
    return [groups.shown(path) for path in found[:_OFFERED]]


def reasons(found: list[scope.Reason]) -> list[Shown]:
    """Why somebody may, with words for verbs and paths."""
    return [each | {"at": groups.shown(each["at"]), "verb": Verb(each["verb"]) if each["verb"] else ""} for each in right_pictures.reasons(found)]


def why(request: HttpRequest, whom: Account) -> Shown:
    """The card that answers "why can X (not)?", with the answer once all is asked in the address."""
    form = Form({name: request.GET.get(name, "").strip()[:100] for name in ("kind", "subject", "verb")}, {})
    shown: Shown = {"asked": form.values, "kinds": ASKED_OF, "verbs": ASKED}
    if not form.values["subject"]:
        return shown
    try:
        verb = explain.verb_of(form.values["verb"])
        row = explain.subject(request.user, form.values["kind"], form.values["subject"])
    except Refused as error:
        return shown | {"error": error.wire()}
    found, why_not = explain.why(request.user, whom, row, verb)
    return shown | {"answer": {"allowed": bool(found), "reasons": reasons(found), "why_not": why_not, "verb": verb, "name": row.name}}
