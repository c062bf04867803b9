"""Directories: where people have an account already; how each is asked, where its people belong, and whether it works."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from clc.services import directories, directory_checks, directory_pictures
from clc.services.batches import Action
from clc.web.page import Form, at_field, form_of, go, page, show
from clc.web.pages import rights
from luhyaapi.contracts.vocabulary import DirectoryKind, Verb
from luhyaapi.errors import Refused

_SECRET = "bind_password"  # noqa: S105 - the name of a field; what is typed there is not kept with a refused form
_SHOWN_LINES = 500
_TITLES: dict[str, tuple[Any, Any]] = {
    "uri": (_("Address"), _("ldaps://HOST, or ldap://HOST with StartTLS; a port if it is another")),
    "issuer": (_("Issuer"), _("the address the provider is known by; https://")),
    "client_id": (_("Client id"), ""),
    "title": (_("Text of the button"), ""),
    "base": (_("Search base"), _("people lie below it")),
    "bind_dn": (_("Bind DN"), _("the account that may search; empty: anybody may")),
    "filter": (_("Filter"), _("{name} stands for the name that was typed")),
    "id_attribute": (_("Attribute that never changes"), ""),
    "name_attribute": (_("Attribute of the user name"), ""),
    "display_attribute": (_("Attribute of the name to show"), ""),
    "mail_attribute": (_("Attribute of the e-mail address"), ""),
    "groups_attribute": (_("Attribute of the groups"), ""),
    "group_filter": (_("Filter of groups"), _("where people do not tell their groups: finds them by {dn} or {name}")),
    "scopes": (_("Scopes"), ""),
    "name_claim": (_("Claim of the user name"), ""),
    "display_claim": (_("Claim of the name to show"), ""),
    "mail_claim": (_("Claim of the e-mail address"), ""),
    "timeout_s": (_("Patience, in seconds"), ""),
}
_OPTIONAL = ("bind_dn", "group_filter", "title")


@page("directories/", "directories", title=_("Directories"), icon="database", rank=64, admin_only=True)
def index(request: HttpRequest) -> HttpResponse:
    """All of them, and a form for one more."""
    rows = [each | {"kind": DirectoryKind(each["kind"])} for each in directory_pictures.listed(directories.every(request.user))]
    return show(request, "directories/list.html", rows=rows, presets=_presets())


def _presets() -> list[dict[str, Any]]:
    titles = {"openldap": "OpenLDAP", "active-directory": "Active Directory", "oidc": "OpenID Connect"}
    return [{"name": name, "title": titles[name]} for name in directories.PRESETS]


@page("directories/add/", "directory_add", admin_only=True, under="directories", methods=("POST",), back="directories",
      fields={"uri": "address", "issuer": "address", "client_id": "who", "bind_dn": "who", "base": "base"})
def add(request: HttpRequest) -> HttpResponse:
    """A new directory; the rest of its settings is on its page."""
    values = Form.of(request).values
    preset = values.get("preset", "")
    names = ("issuer", "client_id") if preset == "oidc" else ("uri", "bind_dn")
    given = dict(zip(names, (values.get("address", "").strip(), values.get("who", "").strip()), strict=True))
    if preset != "oidc":
        given["base"] = values.get("base", "").strip()
    row = directories.add(request.user, values.get("name", "").strip(), preset, given, secret=request.POST.get(_SECRET, "")[:1024])
    messages.success(request, gettext("The directory %(name)s is added. Test it, say where its people belong, then turn it on.") % {"name": row.name})
    return go(request, reverse("directory", args=[row.name]))


@page("directories/<str:ident>/", "directory", admin_only=True, under="directories")
def detail(request: HttpRequest, ident: str) -> HttpResponse:
    """One of them."""
    return _page(request, ident)


def _page(request: HttpRequest, ident: str, **more: Any) -> HttpResponse:
    row = directories.find(request.user, ident)
    shown = directory_pictures.directory(row)
    settings = shown["settings"]
    fields = [{"name": name, "title": title, "hint": hint, "value": settings[name], "optional": name in _OPTIONAL}
              for name, (title, hint) in _TITLES.items() if name in settings]
    return show(request, "directories/detail.html", directory=shown | {"kind": DirectoryKind(row.kind)}, settings=fields,
                is_ldap=row.kind == DirectoryKind.LDAP, command=f"educloud directory show {row.name}", values=form_of(request).values,
                back=request.build_absolute_uri(reverse("login_return", args=[row.name])), **rights.choices(request, Verb.CREATE), **more)


@page("directories/<str:ident>/change/", "directory_change", admin_only=True, under="directories", methods=("POST",), back="directory")
def change(request: HttpRequest, ident: str) -> HttpResponse:
    """Other settings, all at once; an empty secret is the one there was."""
    row, values = directories.find(request.user, ident), Form.of(request).values
    known = directories.settings_of(row).model_dump()
    given: dict[str, Any] = {name: values[name].strip() for name in known if name in values}
    given["plain"] = "plain" in values
    if "timeout_s" in given:
        given["timeout_s"] = _number(given["timeout_s"])
    secret = request.POST.get(_SECRET, "")[:1024]
    directories.change(request.user, row.name, given, **({"secret": secret} if secret else {}))
    messages.success(request, gettext("The settings are changed"))
    return go(request, reverse("directory", args=[row.name]))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise Refused("invalid", "The setting timeout_s is not possible", "it is a number", field="timeout_s") from e


@page("directories/<str:ident>/belong/", "directory_belong", admin_only=True, under="directories", methods=("POST",), back="directory",
      fields={"path": "group"})
def belong(request: HttpRequest, ident: str) -> HttpResponse:
    """Where people belong of whom no mapping knows."""
    values = Form.of(request).values
    group, units = (values.get(name, "").strip() or None for name in ("group", "units"))
    directories.change(request.user, ident, role=values.get("role", "user"), group=group, units=units)
    messages.success(request, gettext("The settings are changed"))
    return go(request, reverse("directory", args=[ident]))


@page("directories/<str:ident>/switch/", "directory_switch", admin_only=True, under="directories", methods=("POST",), back="directory")
def switch(request: HttpRequest, ident: str) -> HttpResponse:
    """Ask it, or not for now."""
    directories.change(request.user, ident, enabled=Form.of(request).values.get("enabled") == "1")
    return go(request, reverse("directory", args=[ident]))


@page("directories/<str:ident>/map/", "directory_map", admin_only=True, under="directories", methods=("POST",), back="directory",
      fields={"path": "map_group", "role": "map_role"})
def map_to(request: HttpRequest, ident: str) -> HttpResponse:
    """One line more of the table."""
    values = Form.of(request).values
    with at_field("value"):
        directories.map_to(request.user, ident, values.get("attribute", ""), values.get("value", ""), values.get("map_group", ""), values.get("map_role", ""))
    messages.success(request, gettext("The mapping is added"))
    return go(request, reverse("directory", args=[ident]))


@page("directories/<str:ident>/mappings/<str:mapping>/remove/", "directory_unmap", admin_only=True, under="directories", methods=("POST",), back="directory")
def unmap(request: HttpRequest, ident: str, mapping: str) -> HttpResponse:
    """One line less."""
    directories.unmap(request.user, ident, mapping)
    return go(request, reverse("directory", args=[ident]))


@page("directories/<str:ident>/test/", "directory_test", admin_only=True, under="directories", methods=("POST",), back="directory")
def test(request: HttpRequest, ident: str) -> HttpResponse:
    """What works, and the first thing that does not; nothing is changed, so there is no redirect."""
    user = Form.of(request).values.get("user", "").strip()[:150]
    return _page(request, ident, tested=directory_pictures.steps(directory_checks.look_into(request.user, ident, user)), tested_user=user)


@page("directories/<str:ident>/check/", "directory_check", admin_only=True, under="directories", methods=("POST",), back="directory")
def check(request: HttpRequest, ident: str) -> HttpResponse:
    """Who is gone; by an administrator's word also more than a tenth."""
    row = directories.find(request.user, ident)
    found = directory_checks.check(row, by=request.user if "deactivate" in Form.of(request).values else None)
    text = gettext("Accounts: %(accounts)d, deactivated now: %(gone)d, waiting for your word: %(held)d")
    messages.success(request, text % {"accounts": found.accounts, "gone": len(found.deactivated), "held": len(found.held)})
    return go(request, reverse("directory", args=[row.name]))


@page("directories/<str:ident>/import/", "directory_import", admin_only=True, under="directories", methods=("POST",), back="directory")
def bring_in(request: HttpRequest, ident: str) -> HttpResponse:
    """All its people: looked at first; what became of each is shown this once."""
    preview = "yes" not in Form.of(request).values
    found = directory_checks.bring_in(request.user, ident, preview=preview)
    shown = directory_pictures.batch(found, done=not preview)
    lines = sorted(shown["lines"], key=lambda each: (list(Action)[::-1].index(Action(each["action"])), each["username"]))
    return _page(request, ident, batch=shown | {"lines": lines[:_SHOWN_LINES], "more": max(0, len(lines) - _SHOWN_LINES)})


@page("directories/<str:ident>/remove/", "directory_remove", admin_only=True, under="directories", methods=("POST",), back="directory")
def remove(request: HttpRequest, ident: str) -> HttpResponse:
    """It is asked no more."""
    row = directories.find(request.user, ident)
    directories.remove(request.user, row.name, with_accounts="with_accounts" in Form.of(request).values)
    messages.success(request, gettext("The directory %(name)s is removed") % {"name": row.name})
    return go(request, reverse("directories"))
