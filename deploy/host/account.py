"""The calling user's client configuration: our one entry put in and taken out."""

from __future__ import annotations

import dataclasses
import os
import pwd
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.cli import contexts
from deploy.host import console, ground
from deploy.host.plan import Plan
from luhyaapi.errors import Refused


@dataclass(frozen=True)
class Caller:
    """Who called: under sudo the user behind it."""

    home: Path
    uid: int
    gid: int

    @property
    def config(self) -> Path:
        """The client's configuration file."""
        return self.home / ".config" / "educloud" / "config.toml"


def caller(environ: Mapping[str, str]) -> Caller:
    """The calling user."""
    sudo = environ.get("SUDO_USER", "")
    if os.geteuid() == 0 and sudo and sudo != "root":
        found = pwd.getpwnam(sudo)
        return Caller(Path(found.pw_dir), found.pw_uid, found.pw_gid)
    return Caller(Path(environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir), os.geteuid(), os.getegid())


def has_entry(plan: Plan, who: Caller) -> bool:
    """Whether the user's file names this cloud with a token, and believes its console. Raises Refused(invalid)."""
    entry, there, ours = contexts.load(who.config)[1].get(plan.context), console.of(plan), str(_authority(plan, who))
    if not (entry and entry.token and entry.url == there.url):
        return False
    if entry.ca_file not in ("", ours):
        return True  # the user's own choice
    return (ground.read(_authority(plan, who)) or "" if entry.ca_file else "") == there.authority


def put_entry(plan: Plan, who: Caller, source: Path) -> None:
    """Take the entry that a file of ours holds into the user's file, 0600, others kept. Raises Refused(invalid)."""
    if source.is_symlink():
        raise Refused("invalid", f"{source} is a link", "it should be the file just made")
    current, found = contexts.load(source)
    entry = found.get(current) or next(iter(found.values()))
    made: list[Path] = [folder for folder in (who.config.parent, who.config.parent.parent) if not folder.exists()]
    authority, there = _authority(plan, who), console.of(plan)
    ca_file = str(authority) if there.authority else ""
    contexts.save(dataclasses.replace(entry, name=plan.context, url=there.url, ca_file=ca_file), who.config)
    authority.unlink(missing_ok=True)
    if there.authority:
        authority.write_text(there.authority, "ascii")
        made.append(authority)
    for path in (*made, who.config):
        os.chown(path, who.uid, who.gid)


def _authority(plan: Plan, who: Caller) -> Path:
    """The user's own copy of whom to trust: the cloud's folders are closed to them."""
    return who.config.with_name(f"{plan.context}-authority.pem")


def drop_entry(plan: Plan, who: Caller) -> None:
    """Take this cloud's entries out again, of whatever user; the file goes when there are no others."""
    current, before = contexts.load(who.config)
    ours = {plan.console.rstrip("/")}
    with suppress(Refused):  # a certificate that is gone keeps nobody from taking the cloud away
        ours.add(console.of(plan).url)
    found = {name: context for name, context in before.items() if context.url not in ours}
    if found == before:
        return
    who.config.unlink()
    _authority(plan, who).unlink(missing_ok=True)
    # The last one saved becomes the current one.
    for name in sorted(found, key=lambda name: name == current):
        contexts.save(found[name], who.config)
        os.chown(who.config, who.uid, who.gid)
    if not found and not any(who.config.parent.iterdir()):
        who.config.parent.rmdir()
