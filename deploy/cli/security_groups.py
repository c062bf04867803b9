"""`educloud security-group`: rules that several instances share."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deploy.cli import access, api, output
from deploy.cli.session import Session, noun, verb

app = noun("security-group")
rule_app = typer.Typer(name="rule", help="The rules of a group: add, remove.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(rule_app)
GroupName = Annotated[str, typer.Argument(metavar="GROUP", help="Id of the group, or its name.")]
RuleText = Annotated[str, typer.Argument(metavar="RULE", help="tcp:22:10.0.0.0/8, udp:5000-5010, icmp or any:CIDR; without a CIDR: anywhere.")]

Group = dict[str, Any]


def _print(session: Session, group: Group) -> None:
    if session.json:
        output.document(group)
    else:
        output.fields({**group, "rules": " ".join(map(access.line, group["rules"]))}, ("id", "name", "owner", "rules", "instances"))


@verb(app, "list")
def list_groups(session: Session) -> None:
    """List security groups."""
    found = session.api.everything(api.path("security-groups"))
    if session.json:
        output.document(found)
        return
    heads = ("id", "name", "owner", "instances", "rules")
    rows = [(g.get("id"), g.get("name"), g.get("owner"), g.get("instances"), " ".join(map(access.line, g.get("rules") or []))) for g in found]
    output.table(heads, rows)


@verb(app, "show")
def show(session: Session, group: GroupName) -> None:
    """Show one security group."""
    _print(session, session.api.get(api.path("security-groups", group)))


@verb(app, "create")
def create(
    session: Session, name: Annotated[str, typer.Argument(metavar="NAME", help="Its name.")],
    allow: Annotated[list[str] | None, typer.Option("--allow", metavar="RULE", help="A rule, for example tcp:22:10.0.0.0/8; several times.")] = None,
) -> None:  # fmt: skip
    """Make a security group."""
    api.segment(name, "name of a security group")
    _print(session, session.api.post(api.path("security-groups"), {"name": name, "rules": [access.rule(each) for each in allow or []]}))


@verb(rule_app, "add")
def add_rule(session: Session, group: GroupName, rule: RuleText) -> None:
    """Let something more in to all that are in a group."""
    _print(session, session.api.post(api.path("security-groups", group, "rules"), dict(access.rule(rule))))


@verb(rule_app, "remove")
def remove_rule(session: Session, group: GroupName, rule: RuleText) -> None:
    """Let it in no more."""
    _print(session, session.api.post(api.path("security-groups", group, "rules", "remove"), dict(access.rule(rule))))


@verb(app, "delete")
def delete(session: Session, group: GroupName, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a security group; refused while instances are in it."""
    output.confirm(f"Deleting the security group {group}", yes=yes, terminal=session.terminal)
    session.api.delete(api.path("security-groups", group))
    if session.json:
        output.document({"id": group, "deleted": True})
    else:
        output.note(f"The security group {group} is deleted.")
