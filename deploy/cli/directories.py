"""`educloud directory`: where people have an account already, and where that puts them here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli import api, output
from deploy.cli.session import Session, noun, verb
from luhyaapi.errors import Refused

app = noun("directory")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the directory.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="SETTING=VALUE", help="For example uri=ldaps://ldap.school or base=dc=school; several times.")]
CaFile = Annotated[str, typer.Option(metavar="FILE", help="The certificate of the authority that signed the server's.")]
SecretFile = Annotated[str, typer.Option(metavar="FILE", help="File with the bind DN's password, or the client's secret; - reads standard input.")]
Role = Annotated[str, typer.Option(help="The access role of whom no mapping knows.")]
InGroup = Annotated[str, typer.Option("--group", metavar="PATH", help="The group of whom no mapping knows; `none`: they are refused.")]
Units = Annotated[str, typer.Option(metavar="PATH", help="Below this group organizational units are paths; `none`: they are not.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_FIRST = ("id", "name", "kind", "enabled", "has_secret", "role", "group", "units", "people", "missing", "trouble", "checked_at")
_NUMBERS, _TRUTHS = ("timeout_s",), ("plain",)


def _settings(given: list[str] | None, ca_file: str) -> dict[str, Any]:
    found: dict[str, Any] = {"ca": Path(ca_file).read_text("utf-8")} if ca_file else {}
    for each in given or []:
        name, equals, value = each.partition("=")
        if not equals:
            raise Refused("invalid", "A setting cannot be read", f"{each[:60]!r}: give SETTING=VALUE", field="set")
        found[name] = _value(name, value)
    return found


def _value(name: str, text: str) -> Any:
    if name in _TRUTHS:
        return text.casefold() in ("true", "yes", "on", "1")
    try:
        return float(text) if name in _NUMBERS else text
    except ValueError as e:
        raise Refused("invalid", f"The setting {name} is not possible", "it is a number", field="set") from e


def _belonging(role: str, group: str, units: str) -> dict[str, Any]:
    paths = {"group": group, "units": units}
    return ({"role": role} if role else {}) | {name: None if path == "none" else path for name, path in paths.items() if path}


def _print(session: Session, shown: dict[str, Any]) -> None:
    if session.json:
        output.document(shown)
        return
    given = {name: value for name, value in shown["settings"].items() if value not in ("", False) and name != "ca"}
    output.fields({name: shown[name] for name in _FIRST} | given, _FIRST)
    if shown["mappings"]:
        heads = ("id", "attribute", "value", "group", "role")
        output.table(heads, [tuple(each[head] for head in heads) for each in shown["mappings"]])


@verb(app, "list")
def list_directories(session: Session) -> None:
    """List directories, in the order in which they are asked."""
    found = session.api.everything(api.path("directories"))
    if session.json:
        output.document(found)
        return
    heads = ("name", "kind", "enabled", "people", "address", "trouble")
    output.table(heads, [tuple(each.get(head) for head in heads) for each in found])


@verb(app, "show")
def show(session: Session, name: Name) -> None:
    """Show a directory and its mappings; its secret is told to nobody."""
    _print(session, session.api.get(api.path("directories", name)))


@verb(app, "add")
def add(  # noqa: PLR0913, PLR0917 - each is an option
    session: Session, name: Name, preset: Annotated[str, typer.Option(help="openldap, active-directory or oidc: what is usual there.")] = "openldap",
    settings: Set = None, ca_file: CaFile = "", secret_file: SecretFile = "", role: Role = "", group: InGroup = "", units: Units = "",
    on: Annotated[bool, typer.Option("--on", help="People sign in by it at once; else after `directory change NAME --on`.")] = False,
) -> None:  # fmt: skip
    """Add a directory, to be tested and turned on. Until a mapping, units or a default group says where people belong, all of them are refused."""
    secret = session.password(secret_file, prompt="Password of the bind DN, or secret of the client (empty: none)", variable="")
    form = {"name": name, "preset": preset, "settings": _settings(settings, ca_file), "secret": secret, "enabled": on} | _belonging(role, group, units)
    _print(session, session.api.post(api.path("directories"), form))


@verb(app, "change")
def change(  # noqa: PLR0913, PLR0917 - each is an option
    session: Session, name: Name, settings: Set = None, ca_file: CaFile = "", secret_file: SecretFile = "", role: Role = "", group: InGroup = "",
    units: Units = "", enabled: Annotated[bool | None, typer.Option("--on/--off", help="Whether it is asked.")] = None,
) -> None:  # fmt: skip
    """Change settings; what is not given stays. Another address needs the secret again."""
    form: dict[str, Any] = _belonging(role, group, units) | ({} if enabled is None else {"enabled": enabled})
    if given := _settings(settings, ca_file):
        form["settings"] = given
    if secret_file:
        form["secret"] = session.password(secret_file, prompt="", variable="")
    _print(session, session.api.patch(api.path("directories", name), form))


@verb(app, "remove")
def remove(
    session: Session, name: Name, with_accounts: Annotated[bool, typer.Option("--with-accounts", help="Its accounts are deactivated and stay.")] = False,
    yes: Yes = False,
) -> None:  # fmt: skip
    """Ask a directory no more. `change NAME --off` keeps it for later."""
    output.confirm(f"Removing the directory {name}", yes=yes, terminal=session.terminal)
    session.api.post(api.path("directories", name, "remove"), {"with_accounts": with_accounts})
    if session.json:
        output.document({"name": name, "removed": True})
    else:
        output.note(f"The directory {name} is removed.")


@verb(app, "map")
def map_to(
    session: Session, name: Name, value: Annotated[str, typer.Argument(metavar="VALUE", help="The DN of a group there, or another value.")],
    group: Annotated[str, typer.Argument(metavar="PATH", help="The group here.")], role: Annotated[str, typer.Option(help="The access role there.")] = "user",
    attribute: Annotated[str, typer.Option(help="The attribute, or claim, that has the value.")] = "memberOf",
) -> None:  # fmt: skip
    """Have everybody with that value belong to a group; the first line of the table that fits counts."""
    made = session.api.post(api.path("directories", name, "mappings"), {"attribute": attribute, "value": value, "group": group, "role": role})
    if session.json:
        output.document(made)
    else:
        output.fields(made, ("id", "attribute", "value", "group", "role"))


@verb(app, "unmap")
def unmap(session: Session, name: Name, mapping: Annotated[str, typer.Argument(metavar="MAPPING", help="Its id, as `show` tells it.")]) -> None:
    """Take a line out of the table."""
    session.api.delete(api.path("directories", name, "mappings", mapping))
    if session.json:
        output.document({"id": mapping, "removed": True})
    else:
        output.note("The mapping is removed.")


@verb(app, "test")
def test(session: Session, name: Name, user: Annotated[str, typer.Option(metavar="NAME", help="Also where this person belongs.")] = "") -> None:  # noqa: PT028
    """Say step by step what works, and the first thing that is wrong. Nothing is changed."""
    found = session.api.post(api.path("directories", name, "test"), {"user": user})
    if session.json:
        output.document(found)
    else:
        for each in found["steps"]:
            output.note(f"{'ok   ' if each['ok'] else 'WRONG'} {each['text']}{': ' + each['why'] if each['why'] else ''}")
            if each["hint"]:
                output.note(f"      {each['hint']}")
    if not found["ok"]:
        raise typer.Exit(1)


@verb(app, "check")
def check(
    session: Session, name: Name, deactivate: Annotated[bool, typer.Option("--deactivate", help="All who are gone, also more than a tenth.")] = False,
) -> None:  # fmt: skip
    """Bring the accounts of a directory up to date now, and deactivate those it knows no more."""
    found = session.api.post(api.path("directories", name, "check"), {"deactivate": deactivate})
    if session.json:
        output.document(found)
        return
    output.fields(found | {"deactivated": ", ".join(found["deactivated"]), "held": ", ".join(found["held"])}, ("accounts", "deactivated", "held"))
    if found["held"]:
        output.note("More than a tenth are gone: nobody was deactivated. If that is right: --deactivate.")


@verb(app, "import")
def bring_in(session: Session, name: Name, preview: Annotated[bool, typer.Option("--preview", help="Only look: nothing is changed.")] = False) -> None:
    """Make and move the accounts of all its people, before they sign in."""
    said = session.api.post(api.path("directories", name, "import"), {"preview": preview})
    if session.json:
        output.document(said)
        return
    heads = ("username", "group", "role", "action", "why")
    output.table(heads, [tuple(each[head] for head in heads) for each in said["lines"]])
    counted = ", ".join(f"{count} {action}" for action, count in said["counts"].items() if count)
    output.note(f"{counted or 'nobody'}." if said["done"] else f"{counted or 'nobody'}; nothing is changed yet.")
