"""Directories of people: how each is asked, and where its people belong: the only writer of Directory and DirectoryMapping."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from django.db.models import Max, Q
from pydantic import ValidationError

from clc.drivers import DIRECTORIES
from clc.drivers.base import LdapSettings, OidcSettings
from clc.services import events, groups, people, sealed
from luhyaapi import clock, ids
from luhyaapi.contracts.vocabulary import DirectoryKind
from luhyaapi.errors import Refused
from luhyadb import memory, scope
from luhyadb.models import AccessRole, Account, Directory, DirectoryAccount, DirectoryMapping, Group

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SEALED_FOR = "secrets of directories"
_MAPPINGS_AT_MOST = 1000
PRESETS: dict[str, dict[str, str]] = {
    "openldap": {},
    "active-directory": {
        "filter": "(&(objectCategory=person)(objectClass=user)(sAMAccountName={name})(!(userAccountControl:1.2.840.113556.1.4.803:=2)))",
        "id_attribute": "objectGUID", "name_attribute": "sAMAccountName", "display_attribute": "displayName",
    },
    "oidc": {},
}
"""What is usual where: settings that need not be given."""
Settings = LdapSettings | OidcSettings


def add(by: Account, name: str, preset: str, settings: Mapping[str, Any], *, secret: str = "", role: str = "user", group: str | None = None,  # noqa: PLR0913
        units: str | None = None, enabled: bool = False) -> Directory:  # fmt: skip
    """A directory; nobody signs in by it before it is ``enabled``.

    ``group``: the path of the group of whom no mapping knows; None: they are refused. Raises Refused(forbidden | invalid | exists).
    """
    scope.require_admin(by)
    if not _NAME.fullmatch(name):
        raise Refused("invalid", "The name of the directory is not possible", "small letters, digits and dashes, at most 32", field="name")
    if preset not in PRESETS:
        raise Refused("invalid", "The preset is not possible", f"there are {', '.join(PRESETS)}", field="preset")
    kind = DirectoryKind.OIDC if preset == "oidc" else DirectoryKind.LDAP
    checked = checked_settings(kind, PRESETS[preset] | dict(settings))
    with memory.atomic():
        if Directory.objects.filter(name=name).exists():
            raise Refused("exists", f"There is a directory {name!r} already", field="name")
        row = Directory(id=ids.new("dir"), name=name, kind=kind, enabled=enabled, settings=checked.model_dump(exclude_defaults=True),
                        secret=sealed.seal(_SEALED_FOR, secret), created_at=clock.now())
        _belong(by, row, role, group, units)
        row.save()
        events.record("directory", row.pk, "directory added", owner=by, actor=by, name=name, kind=str(kind), after=_told(row))
    return row


def change(by: Account, name: str, settings: Mapping[str, Any] | None = None, **what: Any) -> Directory:
    """Other settings, each of which that is not given stays; ``what``: enabled, secret, role, group, units as in :func:`add`.

    Raises Refused(forbidden | not_found | invalid).
    """
    with memory.atomic():
        row = find(by, name, lock=True)
        before = _told(row)
        if settings:
            now = checked_settings(DirectoryKind(row.kind), row.settings | dict(settings))
            row.settings = now.model_dump(exclude_defaults=True)
        if what.get("secret") is not None:
            row.secret = sealed.seal(_SEALED_FOR, what["secret"])
        elif settings and _address(row.kind, before) != _address(row.kind, _told(row)):
            # a secret is for whom it was given to: it is not sent to wherever the address is changed to
            row.secret = ""
        if what.get("enabled") is not None:
            row.enabled = bool(what["enabled"])
        if {"role", "group", "units"} & set(what):
            said = {"group": _path(row.group), "units": _path(row.units), "role": row.role_id} | what
            _belong(by, row, said["role"], said["group"], said["units"])
        row.save()
        after = _told(row) | ({"credential": "another one"} if what.get("secret") is not None else {})
        events.record("directory", row.pk, "directory changed", owner=by, actor=by, name=row.name, before=before, after=after)
    return row


def remove(by: Account, name: str, *, with_accounts: bool = False) -> None:
    """Ask a directory no more, when none of its accounts is active; ``with_accounts``: they are deactivated and stay, as accounts without a password.

    Raises Refused(forbidden | not_found | state).
    """
    from clc.services import directory_people

    with memory.atomic():
        row = find(by, name, lock=True)
        active = DirectoryAccount.objects.filter(directory=row, account__is_active=True).count()
        if active and not with_accounts:
            raise Refused("state", f"The directory {row.name} has accounts here", f"{active} people could not sign in any more",
                          hint="Turn it off instead; or remove it with its accounts, which are deactivated and stay.")
        directory_people.let_go(by, row)
        events.record("directory", row.pk, "directory removed", owner=by, actor=by, name=row.name, before=_told(row))
        row.delete()


def map_to(by: Account, name: str, attribute: str, value: str, group: str, role: str) -> DirectoryMapping:
    """Have everybody with that value of an attribute belong to a group with an access role there; the last line of the table.

    Raises Refused(forbidden | not_found | invalid | exists).
    """
    attribute, value = attribute.strip(), value.strip()
    if not attribute.isprintable() or not 0 < len(attribute) <= 64 or not value.isprintable() or not 0 < len(value) <= 500:
        raise Refused("invalid", "The mapping is not possible", "give an attribute or claim, and a value of it", field="value")
    with memory.atomic():
        row = find(by, name, lock=True)
        place = people.allowed_place(by, role, group)
        rows = DirectoryMapping.objects.filter(directory=row)
        if rows.count() >= _MAPPINGS_AT_MOST:
            raise Refused("quota", "The directory has too many mappings", f"{_MAPPINGS_AT_MOST} are possible")
        if rows.filter(attribute__iexact=attribute, value=value).exists():
            raise Refused("exists", "There is such a mapping already", f"{attribute} {value}"[:200], field="value")
        last = rows.aggregate(last=Max("place"))["last"] or 0
        made = DirectoryMapping.objects.create(id=ids.new("dmp"), directory=row, place=last + 1, attribute=attribute, value=value, group_id=place.group,
                                               role=place.role)
        events.record("directory", row.pk, "mapping added", owner=by, actor=by, name=row.name, attribute=attribute, value=value,
                      group=groups.shown(place.path), role=place.role.pk)
    return made


def unmap(by: Account, name: str, ident: str) -> None:
    """Take a line out of the table. Raises Refused(forbidden | not_found)."""
    with memory.atomic():
        row = find(by, name, lock=True)
        mapping = DirectoryMapping.objects.filter(directory=row, pk=ident).first()
        if mapping is None:
            raise Refused("not_found", f"There is no mapping {ident[:63]!r}", f"list them by `educloud directory show {row.name}`")
        events.record("directory", row.pk, "mapping removed", owner=by, actor=by, name=row.name, attribute=mapping.attribute, value=mapping.value,
                      group=groups.shown(mapping.group.path), role=mapping.role_id)
        mapping.delete()


def find(by: Account, name: str, *, lock: bool = False) -> Directory:
    """The directory of that name. Raises Refused(forbidden | not_found)."""
    scope.require_admin(by)
    rows = Directory.objects.select_for_update() if lock else Directory.objects.select_related("group", "units")
    row = rows.filter(Q(name=name.casefold()) | Q(pk=name)).first()
    if row is None:
        raise Refused("not_found", f"There is no directory {name[:63]!r}", "list them by `educloud directory list`")
    return row


def every(by: Account) -> list[Directory]:
    """All of them, in the order in which they are asked. Raises Refused(forbidden)."""
    scope.require_admin(by)
    return list(Directory.objects.select_related("group", "units"))


def in_use(kind: DirectoryKind) -> list[Directory]:
    """Those of a kind that are turned on, in the order in which they are asked."""
    return list(Directory.objects.filter(kind=kind, enabled=True).select_related("group", "units", "role"))


def settings_of(row: Directory) -> Settings:
    """Its settings, whole."""
    return (OidcSettings if row.kind == DirectoryKind.OIDC else LdapSettings).model_validate(row.settings)


def secret_of(row: Directory) -> str:
    """Its secret. Raises Refused(state)."""
    return sealed.opened(_SEALED_FOR, row.secret)


def compared(row: Directory) -> list[str]:
    """The attributes that its mappings look at."""
    return sorted(set(DirectoryMapping.objects.filter(directory=row).values_list("attribute", flat=True)))


def found(row: Directory, trouble: str = "", **counts: Any) -> None:
    """Keep how its people were found just now."""
    Directory.objects.filter(pk=row.pk).update(checked_at=clock.now(), checked={"trouble": trouble[:500], **counts})


def that_name(group: Group) -> list[str]:
    """The names of the directories whose people may belong to a group."""
    rows = Directory.objects.filter(Q(group=group) | Q(units=group) | Q(mappings__group=group))
    return sorted(set(rows.values_list("name", flat=True)))


def that_give(role: AccessRole) -> list[str]:
    """The names of the directories whose people may get an access role."""
    return sorted(set(Directory.objects.filter(Q(role=role) | Q(mappings__role=role)).values_list("name", flat=True)))


def checked_settings(kind: DirectoryKind, given: Mapping[str, Any]) -> Settings:
    """Settings as they may be. Raises Refused(invalid) naming the first field that may not."""
    try:
        made = (OidcSettings if kind is DirectoryKind.OIDC else LdapSettings).model_validate(dict(given))
    except ValidationError as e:
        first = e.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "issuer" if kind is DirectoryKind.OIDC else "filter"
        known = "there is no such setting" if first["type"] == "extra_forbidden" else str(first["msg"]).removeprefix("Value error, ")
        raise Refused("invalid", f"The setting {field[:40]} is not possible", known, field=field[:40]) from e
    if isinstance(made, LdapSettings) and made.uri.partition("://")[0] not in DIRECTORIES:
        raise Refused("invalid", "The setting uri is not possible", f"it begins with {' or '.join(f'{each}://' for each in DIRECTORIES)}", field="uri")
    _check_certificate(made.ca)
    return made


def _check_certificate(text: str) -> None:
    from cryptography import x509

    try:
        if text:
            x509.load_pem_x509_certificates(text.encode())
    except ValueError as e:
        raise Refused("invalid", "The setting ca is not possible", "it is no certificate in PEM", field="ca") from e


def _belong(by: Account, row: Directory, role: str, group: str | None, units: str | None) -> None:
    """Where people belong of whom no mapping knows, as ``by`` may say."""
    if role.casefold() == people.ALL.casefold():
        raise Refused("invalid", "The role is not possible", f"{people.ALL} is given by a mapping alone, to whom it names", field="role")
    for field, path in (("group", group), ("units", units)):
        place = people.allowed_place(by, role, groups.shown(path)) if path is not None else None
        setattr(row, f"{field}_id", place.group if place else None)
        row.role_id = place.role.pk if place else row.role_id
    if group is None and units is None:
        given = AccessRole.objects.filter(name__iexact=role).first()
        if given is None:
            raise Refused("invalid", "The role is not possible", "it is of whom no mapping knows", field="role")
        row.role_id = given.pk


def _path(group: Group | None) -> str | None:
    return None if group is None else group.path


def _address(kind: str, told: Mapping[str, Any]) -> Any:
    return [told["settings"].get(part) for part in (("issuer",) if kind == DirectoryKind.OIDC else ("uri", "plain"))]


def _told(row: Directory) -> dict[str, Any]:
    """What events say of it: all but its secret, and of a certificate its digest."""
    told = dict(row.settings)
    if told.get("ca"):
        told["ca"] = f"sha256 {hashlib.sha256(told['ca'].encode()).hexdigest()[:16]}"
    return {"settings": told, "enabled": row.enabled, "role": row.role_id, "group": row.group_id or "", "units": row.units_id or ""}
